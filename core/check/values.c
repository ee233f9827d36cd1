/*
** Checks of results: shapes, types, layouts, aliasing, odd numbers.
** SPDX-License-Identifier: MIT
*/
#include <math.h>
#include <string.h>

#include "check/list.h"
#include "graph/tape.h"

/*
** True if there are outputs to look at. A schema cannot say everything, so an op may refuse a drawn
** input with an argument error; any other failure is a finding.
*/
static bool called(qni_check_context *x, const qn_opref *op, const qni_sample *sample,
                   qni_outputs *out) {
  char text[1024];
  *out = (qni_outputs){0};
  qn_status st = qni_check_call(op, sample, out);
  if (!st) return ++x->n_judged;
  const qn_error *e = qn_error_last();
  if (st == QN_E_ARG || st == QN_E_SHAPE || st == QN_E_DTYPE || st == QN_E_UNSUPPORTED)
    return false;
  qni_check_find(x, "%s fails: %s; %s", qni_check_describe(op, sample, text, sizeof text), e->what,
                 e->detail);
  return false;
}

/* ---- shape: valid input runs, invalid input is refused before a kernel ---- */

static void valid_runs(qni_check_context *x, const qn_opref *op, qni_sample *sample) {
  qni_outputs out;
  if (called(x, op, sample, &out)) qni_outputs_free(&out);
}

/* Calls with one argument spoilt: it must be refused, naming the argument (or the dimension it breaks). */
static void must_refuse(qni_check_context *x, const qn_opref *op, qni_sample *sample,
                        const char *name, const char *what) {
  qni_outputs out = {0};
  if (!qni_check_call(op, sample, &out)) {
    qni_check_find(x, "%s accepts %s for '%s'", op->name, what, name);
    qni_outputs_free(&out);
    return;
  }
  const qn_error *e = qn_error_last();
  if (!strstr(e->what, name) && !strstr(e->detail, name))
    qni_check_find(x, "%s does not name '%s' when it refuses %s: %s", op->name, name, what,
                   e->what);
}

/* Every argument in turn as something it cannot be, and one that the op does not have. */
static void invalid_refused(qni_check_context *x, const qn_opref *op, qni_sample *sample) {
  for (int32_t i = 0; i < sample->n_args; i++) {
    qn_arg saved = sample->arg[i];
    int32_t p = saved.name ? qni_schema_param(op->schema, saved.name) : i;
    const qni_param *param = &op->schema->param[p];
    if (param->kind != QNI_STR && param->kind != QNI_ENUM) {
      sample->arg[i].kind = QN_ARG_STR;
      sample->arg[i].v.s = "neither a number nor a tensor";
      must_refuse(x, op, sample, param->name, "a string");
    } else {
      sample->arg[i].kind = QN_ARG_BOOL;
      sample->arg[i].v.i = 1;
      must_refuse(x, op, sample, param->name, "a boolean");
    }
    if (param->kind == QNI_ENUM) {
      sample->arg[i].kind = QN_ARG_STR;
      sample->arg[i].v.s = "no_such_word";
      must_refuse(x, op, sample, param->name, "a word that is not among its words");
    }
    bool bounded = (param->kind == QNI_INT || param->kind == QNI_NUM) && isfinite(param->low);
    if (bounded) {
      sample->arg[i].kind = param->kind == QNI_INT ? QN_ARG_INT : QN_ARG_NUM;
      if (param->kind == QNI_INT)
        sample->arg[i].v.i = (int64_t)param->low - 1;
      else
        sample->arg[i].v.f = param->low - 1;
      must_refuse(x, op, sample, param->name, "a number below its range");
    }
    if (!param->optional && !param->has_default && !param->variadic) {
      sample->arg[i].kind = QN_ARG_NIL;
      must_refuse(x, op, sample, param->name, "nothing");
    }
    sample->arg[i] = saved;
  }
  sample->arg[sample->n_args++] = (qn_arg){.name = "no_such_argument", .kind = QN_ARG_INT};
  must_refuse(x, op, sample, "no_such_argument", "a value");
  sample->n_args--;
}

/* An op whose schema says all must accept what is drawn from it. */
static bool says_all(const qn_opref *op) {
  for (int32_t p = 0; p < op->schema->n_params; p++)
    if (op->schema->param[p].kind == QNI_TENSOR && op->schema->param[p].tensor.lead == QNI_LEAD_ANY)
      return false;
  return !op->op->infer;
}

static qn_status run_shape(qni_check_context *x) {
  qn_status st = QN_OK;
  qni_check_context one = *x;
  one.samples = x->quick ? x->samples : 200;
  for (int32_t i = 0; !st && i < x->n_ops; i++) {
    qni_sample_options o = {.max_size = 33, .allow_empty = true};
    one.ops = &x->ops[i], one.n_ops = 1, one.n_judged = 0;
    st = qni_check_each(&one, &o, valid_runs);
    for (uint64_t k = 1; !st && !one.n_judged && k < 8;
         k++) { /* conditions on several arguments are met seldom */
      one.seed = x->seed + k * 7919;
      o.max_size = 7;
      st = qni_check_each(&one, &o, valid_runs);
    }
    one.seed = x->seed;
    if (!st && !one.n_judged && says_all(x->ops[i]))
      qni_check_find(x, "%s refuses every input drawn from its schema; the last time: %s",
                     x->ops[i]->name, qn_error_last()->what);
  }
  qni_sample_options o;
  o = (qni_sample_options){.max_size = 3};
  return st ? st : qni_check_each(x, &o, invalid_refused); /* each spoils every argument */
}

const qni_check qni_check_shape = {
    "shape", "L2", "valid input runs at every size, invalid input is refused by name", true,
    run_shape};

/* ---- dtype: f32 agrees with f64 ---- */

/* The same call with its f32 tensors in f64; false if it has none. */
static bool widen(const qni_sample *sample, qni_sample *wide, qn_tensor **made, int32_t *n_made) {
  *wide = *sample;
  *n_made = 0;
  for (int32_t i = 0; i < sample->n_args; i++) {
    const qn_arg *a = &sample->arg[i];
    if (a->kind == QN_ARG_TENSORS) return false;
    if (a->kind != QN_ARG_TENSOR || !a->v.tensor || a->v.tensor->view.dtype != QN_F32) continue;
    if (qni_tensor_cast(a->v.tensor, QN_F64, &made[*n_made])) return false;
    wide->arg[i].v.tensor = made[(*n_made)++];
  }
  return *n_made > 0;
}

static void widths_agree(qni_check_context *x, const qn_opref *op, qni_sample *sample) {
  qn_tensor *made[QN_MAX_PARAMS];
  qni_sample wide;
  qni_outputs narrow_out, wide_out = {0};
  char text[1024];
  int32_t n_made;
  if (!called(x, op, sample, &narrow_out)) return;
  if (widen(sample, &wide, made, &n_made) && called(x, op, &wide, &wide_out))
    for (int32_t o = 0; o < wide_out.n && o < narrow_out.n; o++) {
      if (!qni_dtype_floating(narrow_out.t[o]->view.dtype)) continue;
      double d = qni_check_distance(narrow_out.t[o], wide_out.t[o]);
      if (d > 1e-3)
        qni_check_find(x, "%s: f32 and f64 differ by %.3g in output %d",
                       qni_check_describe(op, sample, text, sizeof text), d, (int)o + 1);
    }
  for (int32_t i = 0; i < n_made; i++) qn_tensor_free(made[i]);
  qni_outputs_free(&narrow_out);
  qni_outputs_free(&wide_out);
}

static bool offers_both_widths(const qn_opref *op) {
  for (int32_t p = 0; p < op->schema->n_params; p++)
    if (op->schema->param[p].kind == QNI_TENSOR && op->schema->param[p].tensor.dtype == QNI_DT_F)
      return true;
  return false;
}

static void widths_agree_where_offered(qni_check_context *x, const qn_opref *op,
                                       qni_sample *sample) {
  if (offers_both_widths(op) && !qni_check_writes(op)) widths_agree(x, op, sample);
}

/* bf16 is storage: a call on bf16 tensors gives what the same values give as f32, rounded. */
static void storage_agrees(qni_check_context *x, const qn_opref *op, qni_sample *sample) {
  qn_tensor *made[QN_MAX_PARAMS];
  qni_sample wide = *sample;
  qni_outputs narrow_out = {0}, wide_out = {0};
  char text[1024];
  int32_t n_made = 0;
  if (!offers_both_widths(op) || qni_check_writes(op) || !called(x, op, sample, &narrow_out))
    return;
  bool single = true;
  for (int32_t i = 0; i < sample->n_args; i++) {
    const qn_arg *a = &sample->arg[i];
    single &= a->kind != QN_ARG_TENSORS;
    if (a->kind == QN_ARG_TENSOR && a->v.tensor && a->v.tensor->view.dtype == QN_BF16 &&
        !qni_tensor_cast(a->v.tensor, QN_F32, &made[n_made]))
      wide.arg[i].v.tensor = made[n_made++];
  }
  if (single && n_made && called(x, op, &wide, &wide_out))
    for (int32_t o = 0; o < wide_out.n && o < narrow_out.n; o++) {
      if (!qni_dtype_floating(narrow_out.t[o]->view.dtype)) continue;
      double d = qni_check_distance(narrow_out.t[o], wide_out.t[o]);
      if (d > 1.6e-2)
        qni_check_find(x, "%s: bf16 and f32 differ by %.3g in output %d",
                       qni_check_describe(op, sample, text, sizeof text), d, (int)o + 1);
    }
  for (int32_t i = 0; i < n_made; i++) qn_tensor_free(made[i]);
  qni_outputs_free(&narrow_out);
  qni_outputs_free(&wide_out);
}

static qn_status run_dtype(qni_check_context *x) {
  qni_sample_options narrow = {.dtype = QN_F32, .max_size = 16},
                     storage = {.dtype = QN_BF16, .max_size = 7};
  qn_status st = qni_check_each(x, &narrow, widths_agree_where_offered);
  return st ? st : qni_check_each(x, &storage, storage_agrees);
}

const qni_check qni_check_dtype = {
    "dtype", "L2", "f32 results agree with f64 ones, and bf16 with f32", true, run_dtype};

/* ---- strides: any layout gives what contiguous copies give ---- */

static void layouts_agree(qni_check_context *x, const qn_opref *op, qni_sample *sample) {
  qni_outputs as_lies, copied = {0};
  qn_tensor *held[QN_MAX_PARAMS];
  qni_sample dense = *sample;
  char text[1024];
  int32_t n_held = 0;
  if (qni_check_writes(op) || !called(x, op, sample, &as_lies)) return;
  for (int32_t i = 0; i < sample->n_args; i++) {
    const qn_arg *a = &sample->arg[i];
    if (a->kind == QN_ARG_TENSOR && a->v.tensor &&
        !qni_tensor_contiguous(a->v.tensor, &held[n_held]))
      dense.arg[i].v.tensor = held[n_held++];
  }
  if (called(x, op, &dense, &copied))
    for (int32_t o = 0; o < copied.n; o++)
      if (!qni_check_equal(as_lies.t[o], copied.t[o]))
        qni_check_find(x,
                       "%s: output %d of a strided input differs from that of its contiguous copy",
                       qni_check_describe(op, sample, text, sizeof text), (int)o + 1);
  for (int32_t i = 0; i < n_held; i++) qn_tensor_free(held[i]);
  qni_outputs_free(&as_lies);
  qni_outputs_free(&copied);
}

static qn_status run_strides(qni_check_context *x) {
  qn_status st = QN_OK;
  for (int32_t layout = QNI_LAYOUT_TRANSPOSED; !st && layout <= QNI_LAYOUT_BROADCAST; layout++) {
    qni_sample_options o = {.max_size = 7, .layout = layout};
    st = qni_check_each(x, &o, layouts_agree);
  }
  return st;
}

const qni_check qni_check_strides = {
    "strides", "L2",
    "transposed, offset, stepped and broadcast inputs give what contiguous ones do", true,
    run_strides};

/* ---- aliasing: inputs stay as they were, unless the schema marks them ---- */

static void inputs_unchanged(qni_check_context *x, const qn_opref *op, qni_sample *sample) {
  qn_tensor *before[QN_MAX_PARAMS] = {NULL};
  qni_outputs out;
  char text[1024];
  for (int32_t i = 0; i < sample->n_args; i++)
    if (sample->arg[i].kind == QN_ARG_TENSOR && sample->arg[i].v.tensor &&
        qni_tensor_cast(sample->arg[i].v.tensor, sample->arg[i].v.tensor->view.dtype, &before[i]))
      before[i] = NULL;
  if (called(x, op, sample, &out)) qni_outputs_free(&out);
  for (int32_t i = 0; i < sample->n_args; i++) {
    int32_t p = sample->arg[i].name ? qni_schema_param(op->schema, sample->arg[i].name) : i;
    if (before[i] && !op->schema->param[p].written &&
        !qni_check_equal(before[i], sample->arg[i].v.tensor))
      qni_check_find(x, "%s writes into '%s', which its schema does not mark with !",
                     qni_check_describe(op, sample, text, sizeof text), op->schema->param[p].name);
    qn_tensor_free(before[i]);
  }
}

static bool overlap(const qn_tensor *a, const qn_tensor *b) {
  return a->storage == b->storage && qni_tensor_count(a) && qni_tensor_count(b);
}

static bool aliased(const qn_opref *op) {
  for (int32_t o = 0; o < op->schema->n_outputs; o++)
    if (op->schema->output[o].alias >= 0) return true;
  return false;
}

/* Outputs share memory with inputs and with each other only as the schema says. */
static void outputs_apart(qni_check_context *x, const qn_opref *op, const qni_sample *sample,
                          const qni_outputs *out) {
  for (int32_t o = 0; o < out->n && !aliased(op); o++) {
    for (int32_t i = 0; i < sample->n_held; i++)
      if (overlap(out->t[o], sample->held[i]))
        qni_check_find(x, "%s: output %d lies on an input, which the schema does not say", op->name,
                       (int)o + 1);
    for (int32_t k = 0; k < o; k++)
      if (overlap(out->t[o], out->t[k]))
        qni_check_find(x, "%s: outputs %d and %d overlap", op->name, (int)k + 1, (int)o + 1);
  }
}

/* Backward reads the gradients that come in, the saved tensors and the inputs; it writes none. */
static void backward_reads_only(qni_check_context *x, const qn_opref *op, qni_sample *sample) {
  qn_tensor *floats[QN_MAX_TENSORS], *seed = NULL, *copy = NULL;
  qni_outputs out = {0};
  int32_t n = qni_check_floats(sample, floats, QN_MAX_TENSORS);
  if (!n || !qni_check_differentiable(op)) return;
  for (int32_t i = 0; i < n; i++) floats[i]->requires_grad = true;
  qn_status st = qni_check_call(op, sample, &out);
  if (!st) outputs_apart(x, op, sample, &out);
  if (!st && out.n && out.t[0]->requires_grad) {
    st = qni_tensor_cast(out.t[0], out.t[0]->view.dtype, &seed);
    if (!st) st = qni_tensor_cast(out.t[0], out.t[0]->view.dtype, &copy);
    if (!st && !qn_backward(out.t[0], seed, QN_BACKWARD_KEEP) && !qni_check_equal(seed, copy))
      qni_check_find(x, "%s: backward writes into the gradient that comes in", op->name);
    if (!st && !qni_check_equal(out.t[0], copy))
      qni_check_find(x, "%s: backward writes into its forward's output", op->name);
  }
  for (int32_t i = 0; i < n; i++) {
    qn_tensor_clear_grad(floats[i]);
    floats[i]->requires_grad = false;
  }
  qn_tensor_free(seed);
  qn_tensor_free(copy);
  qni_outputs_free(&out);
}

static void memory_as_declared(qni_check_context *x, const qn_opref *op, qni_sample *sample) {
  inputs_unchanged(x, op, sample);
  backward_reads_only(x, op, sample);
}

static qn_status run_aliasing(qni_check_context *x) {
  qni_sample_options o = {.max_size = 16};
  return qni_check_each(x, &o, memory_as_declared);
}

const qni_check qni_check_aliasing = {"aliasing", "L2",
                                      "only what is marked ! is written, and outputs lie apart",
                                      true, run_aliasing};

/* ---- numbers: NaN passes through, finite input makes no NaN ---- */

static bool has_nan(const qn_tensor *t) {
  for (int64_t i = 0; i < qni_tensor_count(t); i++)
    if (isnan(qni_dtype_load(t->view.dtype, (const char *)t->view.data +
                                                i * (int64_t)qni_dtype_size(t->view.dtype))))
      return true;
  return false;
}

static void nan_passes(qni_check_context *x, const qn_opref *op, qni_sample *sample) {
  qn_tensor *floats[QN_MAX_TENSORS];
  qni_outputs out;
  char text[1024];
  int32_t n = qni_check_floats(sample, floats, QN_MAX_TENSORS);
  if (!called(x, op, sample, &out)) return;
  for (int32_t o = 0; o < out.n && !(op->op->flags & QN_OP_DOMAIN); o++)
    if (qni_dtype_floating(out.t[o]->view.dtype) && qni_view_contiguous(&out.t[o]->view) &&
        has_nan(out.t[o]))
      qni_check_find(
          x, "%s makes NaN from ordinary numbers; say QN_OP_DOMAIN if these lie outside its domain",
          qni_check_describe(op, sample, text, sizeof text));
  qni_outputs_free(&out);
  if (!n || (op->op->flags & QN_OP_NAN_STOPS) || qni_check_writes(op)) return;
  for (int32_t i = 0; i < n; i++)
    for (int64_t e = 0; qni_view_contiguous(&floats[i]->view) && e < qni_tensor_count(floats[i]);
         e++)
      qni_dtype_store(
          floats[i]->view.dtype,
          (char *)floats[i]->view.data + e * (int64_t)qni_dtype_size(floats[i]->view.dtype), NAN);
  if (!called(x, op, sample, &out)) return;
  for (int32_t o = 0; o < out.n; o++)
    if (qni_dtype_floating(out.t[o]->view.dtype) && qni_tensor_count(out.t[o]) &&
        qni_view_contiguous(&out.t[o]->view) && !has_nan(out.t[o]))
      qni_check_find(x,
                     "%s hides NaN: all floating inputs are NaN, output %d is not; say "
                     "QN_OP_NAN_STOPS if that is meant",
                     qni_check_describe(op, sample, text, sizeof text), (int)o + 1);
  qni_outputs_free(&out);
}

/* Infinities, denormals, +-0 and the largest numbers: no crash, and equal bits when it comes again. */
static void extremes_pass(qni_check_context *x, const qn_opref *op, qni_sample *sample) {
  qni_result first, again;
  char text[1024];
  qn_status st = qni_check_both(op, sample, &first);
  if (st == QN_E_INTERNAL || st == QN_E_PLUGIN)
    qni_check_find(x, "%s fails on extreme numbers: %s",
                   qni_check_describe(op, sample, text, sizeof text), qn_error_last()->what);
  if (!st && op->op->det == QN_DET_BITWISE && !qni_check_writes(op)) {
    st = qni_check_both(op, sample, &again);
    for (int32_t o = 0; !st && o < first.out.n; o++)
      if (!qni_check_equal(first.out.t[o], again.out.t[o]))
        qni_check_find(x, "%s: extreme numbers give other bits the second time",
                       qni_check_describe(op, sample, text, sizeof text));
    qni_result_free(&again);
  }
  qni_result_free(&first);
}

static qn_status run_numbers(qni_check_context *x) {
  qni_sample_options usual = {.max_size = 7}, extreme = {.max_size = 7, .values = 1};
  qn_status st = qni_check_each(x, &usual, nan_passes);
  return st ? st : qni_check_each(x, &extreme, extremes_pass);
}

const qni_check qni_check_numbers = {
    "numbers", "L3", "NaN in gives NaN out; ordinary numbers give none", true, run_numbers};
