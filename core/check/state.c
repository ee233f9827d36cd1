/*
** The check of things with state: objects, hooks, data sets, metrics, codecs, scorers.
**
** Settings and inputs are drawn from their schemas. State saved, put back into a new thing and
** saved again has equal bits, and so has what the two do next; a state that is not theirs is
** refused, or at least survived; a file written is read back as it was, and mutilated ones are
** refused or survived.
** SPDX-License-Identifier: MIT
*/
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "check/list.h"
#include "graph/thing.h"

enum { STEPS = 3, PARAMETERS = 2 };

/* One type under test, with one draw of settings. */
struct trial {
  qni_check_context *x;
  const qni_type *type;
  const qni_sample *settings;
  uint64_t seed;
};

static void complain(const struct trial *k, const char *what) {
  const qn_error *e = qn_error_last();
  qni_check_find(k->x, "%s %s: %s%s%s", qni_kind_name(k->type->kind), k->type->name, what,
                 *e->what ? ": " : "", e->what);
}

/* ---- What the kinds are fed with ---- */

/* Parameters of a model: 2x3 and 3 numbers of f32, each with a gradient and room for scores. */
struct model {
  qn_tensor *tensor[PARAMETERS][3];
  qn_parameter parameter[PARAMETERS], *list[PARAMETERS];
};

static void model_free(struct model *m) {
  for (int32_t i = 0; i < PARAMETERS; i++)
    for (int32_t k = 0; k < 3; k++) qn_tensor_free(m->tensor[i][k]);
}

static qn_status model_make(struct model *m, uint64_t seed) {
  static const char *const names[PARAMETERS] = {"layer1.w", "layer1.b"};
  static const char *const roles[PARAMETERS] = {"weight.linear", "bias"};
  memset(m, 0, sizeof *m);
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && i < PARAMETERS; i++) {
    for (int32_t k = 0; !st && k < 3; k++) {
      st = qni_tensor_zeros(QN_F32, 2 - i, (int64_t[]){i ? 3 : 2, 3}, &m->tensor[i][k]);
      for (int64_t e = 0; !st && k < 2 && e < qni_tensor_count(m->tensor[i][k]); e++)
        ((float *)m->tensor[i][k]->view.data)[e] =
            (float)sin((double)(seed % 97 + 7) * (double)(e + 1) + k);
    }
    if (st) break;
    m->parameter[i] = (qn_parameter){.struct_size = sizeof(qn_parameter),
                                     .name = names[i],
                                     .role = roles[i],
                                     .value = &m->tensor[i][0]->view,
                                     .grad = &m->tensor[i][1]->view,
                                     .score = &m->tensor[i][2]->view};
    m->list[i] = &m->parameter[i];
  }
  return st;
}

/* Gives a method its sampled inputs; records of a data set lie within it. */
static qn_status run_method(const struct trial *k, qni_thing *t, uint64_t round, qni_outputs *out) {
  qni_sample sample;
  qni_sample_options o = {.seed = k->seed * 131 + round, .max_size = 7};
  qn_status st = qni_schema_sample(k->type->method->schema, &o, &sample);
  int64_t count = 0;
  *out = (qni_outputs){0};
  if (st) return st;
  if (k->type->kind == QNI_DATASET) {
    st = qni_thing_count(t, &count);
    const qn_tensor *records = sample.n_args ? sample.arg[0].v.tensor : NULL;
    for (int64_t i = 0; !st && records && count && i < qni_tensor_count(records); i++)
      ((int64_t *)records->view.data)[i] %= count;
  }
  qn_random_seed(7);
  qn_random_step(round + 1);
  if (!st) st = qni_thing_method(t, sample.arg, sample.n_args, out->t, QN_MAX_TENSORS, &out->n);
  for (int32_t i = 0; !st && i < out->n; i++) { /* what was written in place dies with the sample */
    qn_tensor *copy = NULL;
    st = qni_tensor_cast(out->t[i], out->t[i]->view.dtype, &copy);
    qn_tensor_free(out->t[i]);
    out->t[i] = copy;
  }
  qni_sample_free(&sample);
  return st;
}

static qn_status tell_events(qni_thing *t, struct model *m, int64_t round) {
  qn_status st = QN_OK;
  for (int32_t e = QN_BEFORE_EPOCH; !st && e <= QN_AT_FINISH; e++) {
    qn_moment moment = {.struct_size = sizeof moment,
                        .event = e,
                        .epoch = round,
                        .step = round + 1,
                        .loss = 0.5,
                        .n_parameters = PARAMETERS,
                        .parameter = m->list};
    st = qni_thing_event(t, &moment);
  }
  return st;
}

/* One thing's next step; what came of it is in out. */
static qn_status go_on(const struct trial *k, qni_thing *t, uint64_t round, qni_outputs *out) {
  struct model m;
  *out = (qni_outputs){0};
  qni_error_reset();
  if (k->type->method) return run_method(k, t, round, out);
  if (k->type->kind == QNI_CODEC) return QN_OK;
  qn_status st = model_make(&m, k->seed + round);
  if (!st && k->type->kind == QNI_HOOK) st = tell_events(t, &m, (int64_t)round);
  if (!st && k->type->kind == QNI_SCORER) st = qni_thing_score(t, PARAMETERS, m.list);
  for (int32_t i = 0; !st && i < PARAMETERS; i++)
    for (int32_t j = 0; j < 3; j++) out->t[out->n++] = qn_tensor_retain(m.tensor[i][j]);
  model_free(&m);
  return st;
}

/* A refusal of drawn values is no fault of the thing. */
static bool refused(qn_status st) {
  return st == QN_E_ARG || st == QN_E_SHAPE || st == QN_E_DTYPE || st == QN_E_UNSUPPORTED ||
         st == QN_E_STATE;
}

static bool same_outputs(const qni_outputs *a, const qni_outputs *b) {
  bool same = a->n == b->n;
  for (int32_t i = 0; same && i < a->n; i++) same = qni_check_equal(a->t[i], b->t[i]);
  return same;
}

/* ---- Saved, put back, gone on with ---- */

static bool same_state(const qni_thing *a, const qni_thing *b) {
  bool same = a->n_state == b->n_state && !strcmp(a->text ? a->text : "", b->text ? b->text : "");
  for (int32_t i = 0; same && i < a->n_state; i++)
    same = !strcmp(a->state[i].name, b->state[i].name) &&
           qni_check_equal(a->state[i].tensor, b->state[i].tensor);
  return same;
}

static qn_status put_back(qni_thing *to, const qni_thing *from) {
  const char **names = qni_mem_zalloc((size_t)from->n_state + 1, sizeof *names);
  qn_tensor **tensors = qni_mem_zalloc((size_t)from->n_state + 1, sizeof *tensors);
  qn_status st = names && tensors ? QN_OK : QN_E_NOMEM;
  for (int32_t i = 0; !st && i < from->n_state; i++)
    names[i] = from->state[i].name, tensors[i] = from->state[i].tensor;
  if (!st) st = qni_thing_load(to, names, tensors, from->n_state, from->text ? from->text : "");
  qni_mem_free(names);
  qni_mem_free(tensors);
  return st;
}

static qn_status save(qni_thing *t) { return qni_thing_run(t, t->type->head->save); }

static void compare_next_steps(const struct trial *k, qni_thing *a, qni_thing *b) {
  for (uint64_t r = STEPS; r < 2 * STEPS; r++) {
    qni_outputs x = {0}, y = {0};
    qn_status one = go_on(k, a, r, &x), other = go_on(k, b, r, &y);
    qni_error_reset();
    if (one != other || !same_outputs(&x, &y))
      complain(k, "goes on differently after its state was saved and put back; all it needs "
                  "belongs into qn.store/1");
    qni_outputs_free(&x);
    qni_outputs_free(&y);
    if (k->x->text[0]) return;
  }
}

static void comes_back(const struct trial *k, qni_thing *t) {
  qni_thing *again = NULL;
  qni_error_reset();
  if (save(t)) return complain(k, "save fails");
  if (qni_thing_new(k->type, k->settings->arg, k->settings->n_args, &again))
    return complain(k, "cannot be made a second time");
  if (put_back(again, t))
    complain(k, "refuses the state it saved");
  else if (save(again) || !same_state(t, again))
    complain(k, "saves another state than the one it was given; tensors and text must come back "
                "with equal bytes");
  else
    compare_next_steps(k, t, again);
  qni_thing_free(again);
}

/* ---- States that are not its own ---- */

enum mischief { OTHER_TYPE, NO_ELEMENTS, STRANGER, GARBAGE, MISSING, N_MISCHIEFS };

static qn_status spoil(qni_thing *t, enum mischief how) {
  qn_tensor *made = NULL;
  qn_status st = QN_OK;
  int64_t none = 0;
  for (int32_t i = 0; !st && i < t->n_state; i++) {
    qn_tensor *was = t->state[i].tensor;
    if (how == OTHER_TYPE)
      st = qni_tensor_zeros(was->view.dtype == QN_BOOL ? QN_F32 : QN_BOOL, was->view.ndim,
                            was->view.shape, &made);
    else if (how == NO_ELEMENTS)
      st = qni_tensor_zeros(was->view.dtype, 1, &none, &made);
    else if (how == GARBAGE)
      st = qni_tensor_cast(was, was->view.dtype, &made);
    if (st || !made) break;
    if (how == GARBAGE)
      memset(made->view.data, 0xff,
             (size_t)qni_tensor_count(made) * qni_dtype_size(made->view.dtype));
    qn_tensor_free(t->state[i].tensor);
    t->state[i].tensor = made;
    made = NULL;
  }
  if (how == STRANGER) {
    st = qni_tensor_zeros(QN_BOOL, 1, &(int64_t){3}, &made);
    if (!st) st = qni_thing_put(t, "a tensor nobody knows", made);
    qn_tensor_free(made);
  }
  if (how == MISSING && t->n_state) {
    qni_mem_free(t->state[0].name);
    qn_tensor_free(t->state[0].tensor);
    memmove(t->state, t->state + 1, (size_t)--t->n_state * sizeof *t->state);
  }
  return st;
}

/* Puts a spoilt copy of `good` into a new thing and goes on: no crash, and no writes outside. */
static void survives(const struct trial *k, const qni_thing *good, enum mischief how) {
  static const char *const words[] = {"of another type", "without elements", "it does not know"};
  qni_thing *spoilt = NULL, *victim = NULL;
  qni_outputs out = {0};
  qn_status st = qni_thing_new(k->type, k->settings->arg, k->settings->n_args, &spoilt);
  for (int32_t i = 0; !st && i < good->n_state; i++)
    st = qni_thing_put(spoilt, good->state[i].name, good->state[i].tensor);
  if (!st) st = spoil(spoilt, how);
  if (!st) st = qni_thing_new(k->type, k->settings->arg, k->settings->n_args, &victim);
  if (!st) {
    qni_error_reset();
    qn_status taken = put_back(victim, spoilt);
    qni_error_reset();
    if (!taken && good->n_state && (how == OTHER_TYPE || (how == STRANGER && k->type->head->load)))
      qni_check_find(k->x, "%s %s takes a state with a tensor %s; refuse it in load",
                     qni_kind_name(k->type->kind), k->type->name, words[how]);
    (void)!go_on(k, victim, STEPS, &out);
    qni_outputs_free(&out);
    if (qni_mem_guard_damage())
      complain(k, "writes outside its buffers after a state that is not its own was put in");
  }
  qni_thing_free(victim);
  qni_thing_free(spoilt);
}

/* ---- Files ---- */

struct bytes {
  char *data;
  size_t n;
};

static qn_status collect(void *ctx, const void *data, size_t n) {
  struct bytes *b = ctx;
  char *grown = qni_mem_realloc(b->data, b->n + n);
  if (!grown) return QN_E_NOMEM;
  memcpy(grown + b->n, data, n);
  b->data = grown;
  b->n += n;
  return QN_OK;
}

/* Encodes some tensor of a type and shape that the codec takes; false if it takes none. */
static bool some_file(const struct trial *k, struct bytes *b, qni_thing **written) {
  static const char *const names[] = {"array", "image", "values", "data"};
  static const int32_t dtypes[] = {QN_F32, QN_U8, QN_I64, QN_F64};
  const qn_codec *codec = (const void *)k->type->head;
  for (int32_t i = 0; codec->encode && i < 48; i++) {
    int64_t shape[3] = {3, 4, 3};
    qn_tensor *t = NULL;
    qni_thing *thing = NULL;
    qn_status st = qni_tensor_zeros(dtypes[i / 4 % 4], 1 + i / 16, shape, &t);
    for (int64_t e = 0; !st && e < qni_tensor_count(t); e++)
      qni_dtype_store(t->view.dtype,
                      (char *)t->view.data + e * (int64_t)qni_dtype_size(t->view.dtype),
                      (double)(e * 7 % 11));
    if (!st) st = qni_thing_new(k->type, k->settings->arg, k->settings->n_args, &thing);
    if (!st) st = qni_thing_put(thing, names[i % 4], t);
    if (!st) {
      b->n = 0;
      thing->put = collect, thing->put_ctx = b;
      st = qni_thing_run(thing, codec->encode);
      thing->put = NULL;
    }
    qn_tensor_free(t);
    qni_error_reset();
    if (!st) return *written = thing, true;
    qni_thing_free(thing);
  }
  return false;
}

static void file_comes_back(const struct trial *k, const struct bytes *b,
                            const qni_thing *written) {
  qni_thing *t = NULL;
  if (qni_thing_new(k->type, k->settings->arg, k->settings->n_args, &t)) return;
  if (qni_thing_decode(t, b->data, b->n))
    complain(k, "cannot read the file it wrote");
  else if (t->n_state != 1 || !qni_check_equal(t->state[0].tensor, written->state[0].tensor))
    complain(k, "reads other values than it wrote");
  qni_thing_free(t);
}

/* Every cut and many flipped bytes of a file, in a buffer that ends at a guard page. */
static void broken_files(const struct trial *k, const struct bytes *b) {
  int32_t rounds = k->x->quick ? 100 : 600;
  uint64_t state = k->seed + 5;
  for (int32_t i = 0; i < rounds; i++) {
    size_t n = i < rounds / 2 ? (size_t)i % (b->n + 1) : b->n;
    char *copy = qni_mem_buffer(n ? n : 1);
    qni_thing *t = NULL;
    if (!copy || qni_thing_new(k->type, k->settings->arg, k->settings->n_args, &t)) {
      qni_mem_buffer_free(copy, n ? n : 1);
      return;
    }
    memcpy(copy, b->data, n);
    state = state * 6364136223846793005u + 1442695040888963407u;
    if (i >= rounds / 2 && n)
      copy[(state >> 33) % (n < 64 ? n : 64)] ^= (char)(1 + (state >> 20) % 255);
    (void)!qni_thing_decode(t, copy, n);
    qni_error_reset();
    qni_thing_free(t);
    qni_mem_buffer_free(copy, n ? n : 1);
  }
  if (qni_mem_guard_damage()) complain(k, "writes outside its buffers when a file is broken");
}

static void judge_codec(const struct trial *k) {
  struct bytes b = {0};
  qni_thing *written = NULL;
  const qn_codec *codec = (const void *)k->type->head;
  bool any = some_file(k, &b, &written);
  if (!any && !collect(&b, "quern", 6)) b.n = 5;
  if (any && codec->decode) file_comes_back(k, &b, written);
  if (codec->decode) broken_files(k, &b);
  qni_thing_free(written);
  qni_mem_free(b.data);
}

/* ---- All of it ---- */

static void judge(const struct trial *k) {
  qni_thing *t = NULL;
  qni_error_reset();
  qn_status st = qni_thing_new(k->type, k->settings->arg, k->settings->n_args, &t);
  if (st) {
    if (!refused(st)) complain(k, "create fails");
    return;
  }
  for (uint64_t r = 0; !st && r < STEPS; r++) {
    qni_outputs out = {0};
    st = go_on(k, t, r, &out);
    qni_outputs_free(&out);
  }
  if (st && !refused(st)) complain(k, "fails");
  if (!k->x->text[0]) comes_back(k, t);
  for (int how = 0; how < N_MISCHIEFS && !k->x->text[0]; how++) survives(k, t, (enum mischief)how);
  if (k->type->kind == QNI_CODEC) judge_codec(k);
  if (!k->x->text[0] && qni_thing_run(t, k->type->head->describe)) complain(k, "describe fails");
  qni_thing_free(t);
  k->x->n_judged++;
}

static qn_status judge_type(qni_check_context *x, const qni_type *type) {
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && !x->text[0] && i < (x->quick ? 2 : 8); i++) {
    qni_sample settings;
    qni_sample_options o = {.seed = x->seed * 17 + (uint64_t)i, .max_size = 7};
    struct trial k = {.x = x, .type = type, .settings = &settings, .seed = o.seed};
    st = qni_schema_sample(type->settings->schema, &o, &settings);
    if (st == QN_E_UNSUPPORTED) return QN_OK;
    if (st) return st;
    judge(&k);
    qni_sample_free(&settings);
  }
  return st;
}

static qn_status run_state(qni_check_context *x) {
  qn_status st = QN_OK;
  qni_mem_guard(QNI_GUARD_END);
  for (int32_t i = 0; !st && i < qni_type_count(); i++)
    if (qni_type_at(i)->plugin->entry == x->entry) st = judge_type(x, qni_type_at(i));
  qni_mem_guard(QNI_GUARD_OFF);
  return st;
}

const qni_check qni_check_state = {
    "state", "L3", "state saved and put back goes on with equal bits; a stranger's is refused",
    true, run_state};
