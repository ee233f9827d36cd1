/*
** Captured steps below Lua: functions of the slice, trial slices, steady steps that allocate
** nothing, failure of each allocation.
** SPDX-License-Identifier: MIT
*/
#include "ops_help.h"

#include <sys/resource.h>

#include "base/mem.h"
#include "exec/pool.h"
#include "graph/affine.h"
#include "graph/call.h"
#include "graph/capture.h"
#include "graph/trial.h"

/* ---- Functions of the slice ---- */

static const qni_extent trials[QNI_TRIALS] = {{3, 21, 8}, {5, 20, 6}, {2, 13, 7}};

static void sizes_are_found_as_functions(void **state) {
  (void)state;
  static const struct {
    int64_t values[QNI_TRIALS];
    const char *text;
  } cases[] = {{{7, 7, 7}, "7"},      {{3, 5, 2}, "B"},        {{84, 80, 52}, "4 N"},
               {{8, 6, 7}, "L"},      {{24, 30, 14}, "B L"},   {{22, 21, 14}, "1 N +1"},
               {{64, 36, 49}, "L L"}, {{168, 120, 91}, "N L"}, {{9, 25, 4}, "B B"}};
  qni_affines a;
  char text[64];
  int32_t f;
  assert_ok(qni_affines_start(&a, trials));
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    assert_ok(qni_affine_fit(&a, cases[i].values, &f));
    assert_true(f >= 0);
    assert_string_equal(qni_affine_text(&a.list[f], text, sizeof text), cases[i].text);
    for (int32_t t = 0; t < QNI_TRIALS; t++)
      assert_int_equal(qni_affine_value(&a.list[f], &trials[t]), cases[i].values[t]);
  }
  assert_ok(qni_affine_fit(&a, (int64_t[]){1, 2, 9}, &f));
  assert_int_equal(f, -1);
  int32_t n = a.n;
  assert_ok(qni_affine_fit(&a, cases[1].values, &f));
  assert_int_equal(a.n, n); /* each once */
  qni_affines_free(&a);
}

static qn_tensor *jagged(int64_t B, const int64_t *lengths) {
  int64_t n = B + 1, at = 0;
  qn_tensor *offsets, *values, *t;
  assert_ok(qn_tensor_new(QN_I64, 1, &n, &offsets));
  for (int64_t b = 0; b < B; b++) ((int64_t *)offsets->view.data)[b + 1] = at += lengths[b];
  assert_ok(qn_tensor_new(QN_I64, 1, &at, &values));
  for (int64_t i = 0; i < at; i++) ((int64_t *)values->view.data)[i] = i % 10;
  assert_ok(qn_tensor_jagged(values, offsets, &t));
  qn_tensor_free(values), qn_tensor_free(offsets);
  return t;
}

static void trial_slices_tell_samples_from_rows(void **state) {
  (void)state;
  qn_tensor *t = jagged(4, (int64_t[]){2, 30, 0, 9}), *made;
  bool shared = false;
  qni_extent e[QNI_TRIALS];
  for (int32_t k = 0; k < QNI_TRIALS; k++) {
    assert_ok(qni_trial_make(&t, &shared, 1, 4, k, &made, &e[k]));
    const int64_t *at = made->offsets->view.data;
    assert_int_equal(made->view.shape[0], e[k].N);
    assert_int_equal(at[e[k].B], e[k].N);
    assert_int_equal(((int64_t *)made->view.data)[0], 2); /* the longest begins at row 2 */
    qn_tensor_free(made);
  }
  assert_true((e[1].N - e[0].N) * (e[2].B - e[0].B) != (e[2].N - e[0].N) * (e[1].B - e[0].B));
  assert_true(e[0].L != e[1].L);
  qn_tensor_free(t);
}

/* ---- A step in C ---- */

struct model {
  qn_tensor *table, *w, *bias;
};

static qn_tensor *parameter(int32_t ndim, const int64_t *shape) {
  qn_tensor *t;
  assert_ok(qn_tensor_new(QN_F32, ndim, shape, &t));
  for (int64_t i = 0; i < qni_tensor_count(t); i++)
    ((float *)t->view.data)[i] = (float)(i * 37 % 101) / 101 - 0.5f;
  assert_ok(qn_tensor_require_grad(t, 1));
  return t;
}

static struct model model_new(void) {
  return (struct model){parameter(2, (int64_t[]){10, 6}), parameter(2, (int64_t[]){4, 6}),
                        parameter(1, (int64_t[]){4})};
}

static void model_free(struct model *m) {
  qn_tensor_free(m->table), qn_tensor_free(m->w), qn_tensor_free(m->bias);
}

static void model_clear(struct model *m) {
  qn_tensor_clear_grad(m->table), qn_tensor_clear_grad(m->w), qn_tensor_clear_grad(m->bias);
}

static qn_arg tensor_arg(qn_tensor *t) { return (qn_arg){.kind = QN_ARG_TENSOR, .v.tensor = t}; }

/* The mean cross-entropy of linear(embedding(ids)) against ids / 3; frees what it makes. */
static qn_status step(const struct model *m, qn_tensor *const *batch, qn_tensor **loss) {
  qn_tensor *x = NULL, *y = NULL;
  *loss = NULL;
  qn_arg embed[] = {tensor_arg(m->table),
                    tensor_arg(batch[0]),
                    {.name = "sparse", .kind = QN_ARG_BOOL, .v.i = 1}};
  qn_status st = qni_call_named("embedding", embed, 3, &x, 1);
  qn_arg linear[] = {tensor_arg(x), tensor_arg(m->w), tensor_arg(m->bias)};
  if (!st) st = qni_call_named("linear", linear, 3, &y, 1);
  qn_arg entropy[] = {tensor_arg(y), tensor_arg(batch[1])};
  if (!st) st = qni_call_named("cross_entropy", entropy, 2, loss, 1);
  if (!st) st = qn_backward(*loss, NULL, 0);
  qn_tensor_free(x), qn_tensor_free(y);
  if (!st) return st;
  qn_tensor_free(*loss);
  *loss = NULL;
  return st;
}

static void batch_new(int64_t B, const int64_t *lengths, qn_tensor **batch) {
  batch[0] = jagged(B, lengths);
  batch[1] = jagged(B, lengths);
  for (int64_t i = 0; i < qni_tensor_count(batch[1]); i++) ((int64_t *)batch[1]->view.data)[i] /= 3;
}

static void batch_free(qn_tensor **batch) { qn_tensor_free(batch[0]), qn_tensor_free(batch[1]); }

typedef qn_status (*step_fn)(const struct model *m, qn_tensor *const *batch, qn_tensor **loss);

static qn_status capture_of(step_fn fn, const struct model *m, qn_tensor *const *batch,
                            int64_t budget, const qni_choices *choices, qni_capture **c) {
  bool shared[2] = {false, false};
  qni_extent extent;
  qn_status st = qni_capture_new(batch, shared, 2, budget, c);
  if (!st && choices) qni_capture_choose(*c, choices);
  for (int32_t t = 0; !st && t < QNI_TRIALS; t++) {
    qn_tensor *loss;
    st = qni_capture_begin(*c, t);
    if (st) break;
    st = fn(m, qni_capture_inputs(*c, t, &extent), &loss);
    qn_status end = qni_capture_end(*c, t, loss);
    qn_tensor_free(loss);
    if (!st) st = end;
  }
  if (!st) st = qni_capture_build(*c);
  return st;
}

static qn_status capture(const struct model *m, qn_tensor *const *batch, int64_t budget,
                         qni_capture **c) {
  return capture_of(step, m, batch, budget, NULL, c);
}

static void close_to(const qn_tensor *a, const qn_tensor *b) {
  assert_int_equal(qni_tensor_count(a), qni_tensor_count(b));
  for (int64_t i = 0; i < qni_tensor_count(a); i++)
    if (fabs(value_at(a, i) - value_at(b, i)) > 1e-6)
      fail_msg("%g, not %g", value_at(a, i), value_at(b, i));
}

static const int64_t lengths[12] = {3, 1, 7, 2, 5, 4, 1, 9, 2, 3, 6, 2};

static void gradients_are_those_of_backward(void **state) {
  (void)state;
  struct model m = model_new(), e = model_new();
  double over;
  qn_tensor *batch[2], *loss, *eager;
  qni_capture *c;
  batch_new(12, lengths, batch);
  assert_ok(capture(&m, batch, 2048, &c));
  assert_null(qn_tensor_grad(m.w)); /* recording leaves none */
  assert_ok(qni_capture_step(c, batch, 2, &loss, &over));
  assert_ok(step(&e, batch, &eager));
  assert_true(fabs(value_at(loss, 0) - value_at(eager, 0)) < 1e-6);
  close_to(m.w->grad, e.w->grad);
  close_to(m.bias->grad, e.bias->grad);
  close_to(m.table->grad_ids, e.table->grad_ids);
  close_to(m.table->grad_rows, e.table->grad_rows);
  qn_tensor_free(loss), qn_tensor_free(eager);
  qni_capture_free(c);
  batch_free(batch), model_free(&m), model_free(&e);
}

static qn_tensor *zeros_like(const qn_tensor *t) {
  qn_tensor *z;
  assert_ok(qni_tensor_zeros(t->view.dtype, t->view.ndim, t->view.shape, &z));
  return z;
}

/* Adam for all three parameters; the table by rows. */
static void updates_new(const struct model *m, qni_update *u) {
  qn_tensor *w[3] = {m->table, m->w, m->bias};
  for (int32_t i = 0; i < 3; i++)
    u[i] = (qni_update){.kind = QNI_UPDATE_ADAM_ROWS,
                        .w = w[i],
                        .m = zeros_like(w[i]),
                        .v = zeros_like(w[i]),
                        .with = {.lr = 0.1,
                                 .scale = 1,
                                 .beta1 = 0.9,
                                 .beta2 = 0.999,
                                 .eps = 1e-8,
                                 .step = 1,
                                 .decoupled = 1}};
}

static void updates_free(qni_update *u) {
  for (int32_t i = 0; i < 3; i++) qn_tensor_free(u[i].m), qn_tensor_free(u[i].v);
}

static int64_t page_faults(void) {
  struct rusage now;
  getrusage(RUSAGE_SELF, &now);
  return now.ru_minflt + now.ru_majflt;
}

/*
** Some steps warm up, in which each worker may meet its largest slice. The system may fault for
** reasons of its own, so one quiet run of steps among several is enough; allocations are exact.
*/
static void a_steady_step_allocates_and_faults_nothing(void **state) {
  (void)state;
  struct model m = model_new();
  double over, norm;
  bool done;
  qn_tensor *batch[2], *loss;
  qni_update u[3];
  qni_capture *c;
  batch_new(12, lengths, batch);
  updates_new(&m, u);
  assert_ok(capture(&m, batch, 2048, &c));
  int64_t allocations = 1, faults = 1;
  const bool emulated = getenv("QUERN_EMULATED") != NULL; /* by a program that faults itself */
  for (int32_t run = 0; run < 20 && (run < 2 || allocations || (faults && !emulated)); run++) {
    allocations = qni_mem_count(), faults = page_faults();
    for (int32_t i = 0; i < 5; i++) {
      assert_ok(qni_capture_run(c, batch, 2, &loss, &over));
      qn_tensor_free(loss);
      assert_ok(qni_capture_update(c, u, 3, &norm, &done));
      assert_true(done);
    }
    allocations = qni_mem_count() - allocations, faults = page_faults() - faults;
  }
  assert_int_equal(allocations, 0);
  if (emulated)
    print_message("skipped: page faults, which the emulator has of its own\n");
  else
    assert_int_equal(faults, 0);
  updates_free(u);
  qni_capture_free(c);
  batch_free(batch), model_free(&m);
}

/* Memory of a step in slices follows the slice, not the batch: four times the samples, as much. */
static void memory_is_flat_in_the_batch(void **state) {
  (void)state;
  struct model m = model_new();
  double over;
  qn_tensor *batch[2], *loss;
  qni_capture *c;
  qni_capture_info info;
  int64_t many[4096], arena[2];
  for (int32_t i = 0; i < 4096; i++) many[i] = 4;
  for (int32_t k = 0; k < 2; k++) {
    batch_new(k ? 4096 : 1024, many, batch);
    assert_ok(capture(&m, batch, 16384, &c));
    assert_ok(qni_capture_step(c, batch, 2, &loss, &over));
    qni_capture_describe(c, &info);
    arena[k] = info.arena_bytes;
    qn_tensor_free(loss);
    model_clear(&m);
    qni_capture_free(c);
    batch_free(batch);
  }
  assert_int_equal(arena[0], arena[1]);
  model_free(&m);
}

static void updates_without_gradients_are_refused(void **state) {
  (void)state;
  struct model m = model_new();
  double norm;
  bool done;
  qn_tensor *batch[2];
  qni_update u[3];
  qni_capture *c;
  batch_new(12, lengths, batch);
  updates_new(&m, u);
  assert_ok(capture(&m, batch, 2048, &c));
  assert_fails(qni_capture_update(c, u, 3, &norm, &done), QN_E_STATE, "holds gradients");
  assert_fails(qni_capture_deliver(c), QN_E_STATE, "holds gradients");
  updates_free(u);
  qni_capture_free(c);
  batch_free(batch), model_free(&m);
}

static void bits_do_not_depend_on_workers(void **state) {
  (void)state;
  static const int32_t workers[] = {1, 2, 3, 7};
  float first[24];
  double over;
  qn_tensor *batch[2], *loss;
  batch_new(12, lengths, batch);
  qni_pool_shake(true);
  for (int32_t k = 0; k < 4; k++) {
    struct model m = model_new();
    qni_capture *c;
    assert_ok(qn_threads_set(workers[k]));
    assert_ok(capture(&m, batch, 1024, &c));
    assert_ok(qni_capture_step(c, batch, 2, &loss, &over));
    if (k == 0) memcpy(first, m.w->grad->view.data, sizeof first);
    assert_memory_equal(first, m.w->grad->view.data, sizeof first);
    qn_tensor_free(loss);
    qni_capture_free(c);
    model_free(&m);
  }
  qni_pool_shake(false);
  assert_ok(qn_threads_set(2));
  batch_free(batch);
}

static void other_batches_are_refused_by_kind(void **state) {
  (void)state;
  struct model m = model_new();
  double over;
  qn_tensor *batch[2], *loss, *half[2];
  qni_capture *c;
  batch_new(12, lengths, batch);
  assert_ok(capture(&m, batch, 0, &c));
  assert_fails(qni_capture_step(c, batch, 1, &loss, &over), QN_E_SHAPE,
               "the batch has 1 tensors, the captured one had 2");
  half[0] = batch[0], half[1] = m.w;
  assert_fails(qni_capture_step(c, half, 2, &loss, &over), QN_E_SHAPE, "another kind");
  half[1] = jagged(6, lengths);
  assert_fails(qni_capture_step(c, half, 2, &loss, &over), QN_E_SHAPE, "another number of samples");
  qn_tensor_free(half[1]);
  half[1] = jagged(12, (int64_t[]){1, 3, 7, 2, 5, 4, 1, 9, 2, 3, 6, 2});
  assert_fails(qni_capture_step(c, half, 2, &loss, &over), QN_E_SHAPE, "other lengths");
  qn_tensor_free(half[1]);
  qni_capture_free(c);
  batch_free(batch), model_free(&m);
}

/* An empty sequence, an empty batch, one sample: sizes at the edge. */
static void small_batches_run(void **state) {
  (void)state;
  struct model m = model_new();
  double over;
  qn_tensor *batch[2], *small[2], *loss;
  qni_capture *c;
  batch_new(12, lengths, batch);
  assert_ok(capture(&m, batch, 0, &c));
  static const int64_t sizes[3][2] = {{4, 0}, {0, 0}, {2, 1}};
  for (int32_t B = 0; B <= 2; B++)
    for (int32_t k = 0; k < 3; k++) {
      batch_new(B, sizes[k], small);
      assert_ok(qni_capture_step(c, small, 2, &loss, &over));
      assert_true(isfinite(value_at(loss, 0)));
      qn_tensor_free(loss);
      batch_free(small);
    }
  qni_capture_free(c);
  batch_free(batch), model_free(&m);
}

/* ---- Ops of others ---- */

/* y = 2 x: of a row, and not element by element as far as the host knows. */
static void double_rows(const qn_view *x, const qn_view *y) {
  for (int64_t i = 0; i < x->shape[0] * x->shape[1]; i++)
    ((float *)y->data)[i] = 2 * ((const float *)x->data)[i];
}
static qn_status double_forward(const qn_host *h, qn_call *c) {
  return double_rows(h->in(c, 0), h->out(c, 0)), QN_OK;
}
static qn_status double_backward(const qn_host *h, qn_call *c) {
  return double_rows(h->in(c, 0), h->out(c, 0)), QN_OK;
}
#define DOUBLE(name, more)                                                                         \
  {                                                                                                \
    .struct_size = sizeof(qn_op), .det = QN_DET_BITWISE, .batch = QN_BATCH_ROWS, .flags = more,    \
    .schema = name "(x: f32[N,C]) -> y: f32[N,C]", .summary = "2 x", .forward = double_forward,    \
    .backward = double_backward                                                                    \
  }
static const qn_op costly = DOUBLE("test_costly", 0), cheap = DOUBLE("test_cheap", QN_OP_CHEAP);

/* The mean of x double(x), x = embedding(ids): x is there in backward, for double to run again. */
static qn_status doubled(const char *op, const struct model *m, qn_tensor *const *batch,
                         qn_tensor **loss) {
  qn_tensor *x = NULL, *y = NULL, *z = NULL;
  *loss = NULL;
  qn_arg embed[] = {tensor_arg(m->table), tensor_arg(batch[0])};
  qn_status st = qni_call_named("embedding", embed, 2, &x, 1);
  qn_arg rows[] = {tensor_arg(x)};
  if (!st) st = qni_call_named(op, rows, 1, &y, 1);
  qn_arg both[] = {tensor_arg(x), tensor_arg(y)};
  if (!st) st = qni_call_named("mul", both, 2, &z, 1);
  qn_arg mean[] = {tensor_arg(z)};
  if (!st) st = qni_call_named("mean", mean, 1, loss, 1);
  if (!st) st = qn_backward(*loss, NULL, 0);
  qn_tensor_free(x), qn_tensor_free(y), qn_tensor_free(z);
  if (st) qn_tensor_free(*loss), *loss = NULL;
  return st;
}
static qn_status with_costly(const struct model *m, qn_tensor *const *batch, qn_tensor **loss) {
  return doubled("test_costly", m, batch, loss);
}
static qn_status with_cheap(const struct model *m, qn_tensor *const *batch, qn_tensor **loss) {
  return doubled("test_cheap", m, batch, loss);
}

/* What a plugin says to be cheap runs again in backward instead of being kept; what it does not, does not. */
static void cheap_ops_of_plugins_run_again(void **state) {
  (void)state;
  static const qn_op *const ops[] = {&costly, &cheap, NULL};
  const qni_plugin plugin = {
      .id = "test.capture", .name = "capture_test", .version = "1", .path = "", .build = ""};
  const qni_choices choices = {.again = QNI_AGAIN_ON, .slicing = QNI_SLICES_ON};
  const step_fn steps[] = {with_costly, with_cheap};
  struct model m = {.table = parameter(2, (int64_t[]){10, 64})};
  qn_tensor *batch[2], *loss, *first = NULL;
  double over;
  batch_new(12, lengths, batch);
  assert_ok(qni_registry_publish(&plugin, ops));
  for (int32_t k = 0; k < 2; k++) {
    qni_capture *c;
    qni_capture_info info;
    assert_ok(capture_of(steps[k], &m, batch, 4096, &choices, &c));
    assert_ok(qni_capture_step(c, batch, 2, &loss, &over));
    qni_capture_describe(c, &info);
    assert_int_equal(info.again, k);
    if (k == 0)
      first = qn_tensor_retain(m.table->grad);
    else
      assert_memory_equal(m.table->grad->view.data, first->view.data, 640 * sizeof(float));
    qn_tensor_clear_grad(m.table);
    qn_tensor_free(loss);
    qni_capture_free(c);
  }
  qn_tensor_free(first), qn_tensor_free(m.table);
  batch_free(batch);
}

static int64_t live_bytes(void) {
  qn_memory now;
  qn_memory_stats(&now);
  return now.live;
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  struct model m = model_new();
  double over;
  qn_tensor *batch[2], *loss;
  batch_new(12, lengths, batch);
  assert_ok(qn_threads_set(1));
  qni_capture *first;
  assert_ok(capture(&m, batch, 0, &first)); /* so that threads have their own memory */
  qni_capture_free(first);
  int64_t before = live_bytes();
  bool done = false;
  for (int64_t n = 1; !done; n++) {
    qni_capture *c = NULL;
    loss = NULL;
    qni_error_reset();
    qni_mem_fail_after(n, 0);
    qn_status st = capture(&m, batch, 0, &c);
    if (!st) st = qni_capture_step(c, batch, 2, &loss, &over);
    qni_mem_fail_after(0, 0);
    done = st == QN_OK;
    if (!done) assert_int_equal(st, QN_E_NOMEM);
    qn_tensor_free(loss);
    qni_capture_free(c);
    model_clear(&m);
    if (!done && live_bytes() > before)
      fail_msg("allocation %d: %d bytes stay", (int)n, (int)(live_bytes() - before));
    assert_true(n < 5000);
  }
  assert_ok(qn_threads_set(2));
  batch_free(batch), model_free(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sizes_are_found_as_functions),
      cmocka_unit_test(trial_slices_tell_samples_from_rows),
      cmocka_unit_test(gradients_are_those_of_backward),
      cmocka_unit_test(a_steady_step_allocates_and_faults_nothing),
      cmocka_unit_test(memory_is_flat_in_the_batch),
      cmocka_unit_test(updates_without_gradients_are_refused),
      cmocka_unit_test(bits_do_not_depend_on_workers),
      cmocka_unit_test(other_batches_are_refused_by_kind),
      cmocka_unit_test(small_batches_run),
      cmocka_unit_test(cheap_ops_of_plugins_run_again),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, ops_start, ops_stop);
}
