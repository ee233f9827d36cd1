/*
** One op call: bind arguments to the schema, unify, infer, allocate, run, record.
**
** A number given for a tensor becomes a 0-d constant of the type the other
** tensors have. bf16 is a storage type: floating parameters see it as f32. Inputs are
** made contiguous unless the schema says strided; one written in place is then copied back.
** SPDX-License-Identifier: MIT
*/
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "exec/prof.h"
#include "exec/rng.h"
#include "graph/finite.h"
#include "graph/frame.h"
#include "graph/record.h"

static bool check_finite;
static const char *(*source_now)(void);

void qni_call_check_finite(bool on) { check_finite = on; }
bool qni_finite_on(void) { return check_finite; }
void qni_call_source(const char *(*source)(void)) { source_now = source; }
const char *qni_call_source_now(void) { return source_now ? source_now() : NULL; }

/* ---- Binding arguments ---- */

struct binder {
  qn_call *c;
  const qni_schema *s;
  const qn_arg *given[QN_MAX_PARAMS]; /* by parameter */
  qni_value attrs[QN_MAX_PARAMS];
  int16_t owner[QN_MAX_TENSORS];
};

static qn_status param_error(const qni_param *p, const char *problem) {
  return qni_fail(QN_E_ARG, "argument '%s' %s", p->name, problem);
}

static qn_status place_args(struct binder *b, const qn_arg *args, int32_t n_args) {
  const qni_schema *s = b->s;
  memset(b->given, 0, sizeof b->given[0] * (size_t)s->n_params);
  for (int32_t i = 0, next = 0; i < n_args; i++) {
    int32_t p = args[i].name ? qni_schema_param(s, args[i].name) : next++;
    if (p < 0) {
      qni_fail(QN_E_ARG, "%s has no argument '%s'", s->name, args[i].name);
      qni_error_hint("its signature is %s", s->canonical);
      return QN_E_ARG;
    }
    if (p >= s->n_params || (!args[i].name && s->param[p].keyword && args[i].kind != QN_ARG_NIL)) {
      qni_fail(QN_E_ARG, "%s was given %d positional arguments", s->name, (int)n_args);
      qni_error_hint("its signature is %s; arguments after * are given by name", s->canonical);
      return QN_E_ARG;
    }
    if (b->given[p]) return param_error(&s->param[p], "is given twice");
    b->given[p] = &args[i];
  }
  return QN_OK;
}

static const char *kind_words(int16_t kind) {
  switch (kind) {
  case QNI_INT: return "must be an integer";
  case QNI_NUM: return "must be a number";
  case QNI_BOOL: return "must be true or false";
  case QNI_INTS: return "must be a list of integers";
  case QNI_NUMS: return "must be a list of numbers";
  default: return "must be a string";
  }
}

/* An argument as the kind its parameter has; integers pass for numbers, one element for a list. */
static bool convert(const qni_param *p, const qn_arg *a, qni_value *v) {
  *v = (qni_value){.kind = a->kind, .count = a->count};
  switch (p->kind) {
  case QNI_INT: return v->v.i = a->v.i, a->kind == QN_ARG_INT;
  case QNI_BOOL: return v->v.i = a->v.i, a->kind == QN_ARG_BOOL;
  case QNI_NUM:
    v->kind = QN_ARG_NUM;
    v->v.f = a->kind == QN_ARG_INT ? (double)a->v.i : a->v.f;
    return a->kind == QN_ARG_INT || a->kind == QN_ARG_NUM;
  case QNI_STR:
  case QNI_ENUM: return v->v.s = a->v.s, a->kind == QN_ARG_STR;
  case QNI_INTS:
    if (a->kind == QN_ARG_INT) return *v = (qni_value){QN_ARG_INTS, 1, {.ints = &a->v.i}}, true;
    return v->v.ints = a->v.ints, a->kind == QN_ARG_INTS;
  case QNI_NUMS:
    if (a->kind == QN_ARG_NUM) return *v = (qni_value){QN_ARG_NUMS, 1, {.nums = &a->v.f}}, true;
    return v->v.nums = a->v.nums, a->kind == QN_ARG_NUMS;
  default: return false;
  }
}

static qn_status bind_attr(struct binder *b, int32_t p) {
  const qni_param *q = &b->s->param[p];
  const qn_arg *a = b->given[p];
  if (!a || a->kind == QN_ARG_NIL) {
    b->attrs[p] = q->value;
    if (q->has_default || q->optional) return QN_OK;
    qni_fail(QN_E_ARG, "argument '%s' is missing", q->name);
    qni_error_hint("its signature is %s", b->s->canonical);
    return QN_E_ARG;
  }
  if (!convert(q, a, &b->attrs[p])) return param_error(q, kind_words(q->kind));
  return qni_schema_check_attr(b->s, p, &b->attrs[p]);
}

static qn_status add_input(struct binder *b, int32_t p, qn_tensor *t) {
  qn_call *c = b->c;
  if (c->n_in >= QN_MAX_TENSORS)
    return qni_fail(QN_E_ARG, "more than %d tensors are given", QN_MAX_TENSORS);
  b->owner[c->n_in] = (int16_t)p;
  c->input[c->n_in] = c->dense[c->n_in] = t;
  c->n_in++;
  return QN_OK;
}

/* The type a bare number takes: that of a tensor whose parameter has the same class. */
static int32_t number_dtype(const struct binder *b, int32_t p, const qn_arg *a) {
  int16_t class = b->s->param[p].tensor.dtype;
  if (b->s->param[p].tensor.like >= 0) class = b->s->param[b->s->param[p].tensor.like].tensor.dtype;
  if (class < QNI_DT_F) return class;
  for (int32_t q = 0; q < b->s->n_params; q++) {
    const qn_arg *g = b->given[q];
    if (g && g->kind == QN_ARG_TENSOR && g->v.tensor && b->s->param[q].tensor.dtype == class)
      return class == QNI_DT_F && g->v.tensor->view.dtype == QN_BF16 ? QN_F32
                                                                     : g->v.tensor->view.dtype;
  }
  return class == QNI_DT_I || (class != QNI_DT_F && a->kind == QN_ARG_INT) ? QN_I64 : QN_F32;
}

static qn_status bind_number(struct binder *b, int32_t p, const qn_arg *a) {
  qn_tensor *t;
  int32_t dtype = number_dtype(b, p, a);
  double value = a->kind == QN_ARG_INT ? (double)a->v.i : a->v.f;
  if (!qni_dtype_floating(dtype) && a->kind == QN_ARG_NUM && value != floor(value)) {
    qni_fail(QN_E_DTYPE, "argument '%s' is %g, but the other tensor holds integers",
             b->s->param[p].name, value);
    qni_error_hint("convert the tensor first, for example with :to('f32')");
    return QN_E_DTYPE;
  }
  qn_status st = qni_tensor_empty(dtype, 0, NULL, &t);
  if (st) return st;
  if (dtype == QN_I64 && a->kind == QN_ARG_INT)
    *(int64_t *)t->view.data = a->v.i;
  else
    qni_dtype_store(dtype, t->view.data, value);
  b->c->held[b->c->n_held++] = t; /* at most one per parameter: held_first has room */
  return add_input(b, p, t);
}

static qn_status bind_tensor(struct binder *b, int32_t p) {
  const qni_param *q = &b->s->param[p];
  const qn_arg *a = b->given[p];
  qn_status st = QN_OK;
  if (!a || a->kind == QN_ARG_NIL) {
    if (q->variadic) return QN_OK;
    if (q->optional || q->has_default) return add_input(b, p, NULL);
    qni_fail(QN_E_ARG, "argument '%s' is missing", q->name);
    qni_error_hint("its signature is %s", b->s->canonical);
    return QN_E_ARG;
  }
  if (a->kind == QN_ARG_TENSOR && a->v.tensor) return add_input(b, p, a->v.tensor);
  if (a->kind == QN_ARG_TENSORS && q->variadic) {
    for (int32_t i = 0; !st && i < a->count; i++) st = add_input(b, p, a->v.tensors[i]);
    return st;
  }
  if ((a->kind == QN_ARG_INT || a->kind == QN_ARG_NUM) && !q->written) return bind_number(b, p, a);
  return param_error(q, q->variadic ? "must be a list of tensors" : "must be a tensor");
}

static qn_status bind_all(struct binder *b) {
  qn_status st = QN_OK;
  for (int32_t p = 0; !st && p < b->s->n_params; p++) {
    if (b->s->param[p].kind == QNI_TENSOR) {
      b->attrs[p] = (qni_value){0};
      st = bind_tensor(b, p);
    } else {
      st = bind_attr(b, p);
    }
  }
  return st;
}

/* ---- Inputs and outputs ---- */

static qn_status hold(qn_call *c, qn_tensor *t) {
  if (c->n_held == c->max_held) { /* as many as inputs: only long variadic calls come here */
    qn_tensor **grown = qni_arena_alloc(&c->memory, (QN_MAX_TENSORS + 64) * sizeof *grown);
    if (!grown) {
      qn_tensor_free(t);
      return QN_E_NOMEM;
    }
    memcpy(grown, c->held, (size_t)c->n_held * sizeof *grown);
    c->held = grown;
    c->max_held = QN_MAX_TENSORS + 64;
  }
  c->held[c->n_held++] = t;
  return QN_OK;
}

/* What the kernel gets for input i: bf16 is storage, so `f` parameters see it as f32. */
static qn_status make_dense_input(qn_call *c, const qni_tensor_type *type, int32_t i) {
  qn_tensor *t = c->input[i], *dense;
  qn_status st;
  if (t->view.dtype == QN_BF16 && type->dtype == QNI_DT_F)
    st = qni_tensor_cast(t, QN_F32, &dense);
  else if (!type->strided && !qni_view_contiguous(&t->view))
    st = qni_tensor_contiguous(t, &dense);
  else
    return QN_OK;
  if (!st) st = hold(c, dense);
  if (!st) c->dense[i] = dense;
  return st;
}

static qn_status make_dense(struct binder *b) {
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && i < b->c->n_in; i++) {
    const qni_tensor_type *type = &b->s->param[b->owner[i]].tensor;
    if (type->like >= 0) type = &b->s->param[type->like].tensor;
    if (b->c->input[i]) st = make_dense_input(b->c, type, i);
  }
  return st;
}

static void copy_back(struct binder *b) {
  qn_call *c = b->c;
  for (int32_t i = 0; i < c->n_in; i++) {
    if (!c->input[i] || !b->s->param[b->owner[i]].written) continue;
    if (c->dense[i] != c->input[i]) qni_view_copy(&c->dense[i]->view, &c->input[i]->view);
    qni_tensor_touch(c->input[i]);
  }
}

static int32_t input_of(const struct binder *b, int32_t param) {
  for (int32_t i = 0; i < b->c->n_in; i++)
    if (b->owner[i] == param) return i;
  return -1;
}

static qn_status infer(struct binder *b) {
  qn_call *c = b->c;
  const qn_view *views[QN_MAX_TENSORS];
  int64_t n_seq[QN_MAX_TENSORS];
  qni_binding binding;
  for (int32_t i = 0; i < c->n_in; i++) {
    views[i] = c->dense[i] ? &c->dense[i]->view : NULL;
    n_seq[i] = c->input[i] && c->input[i]->offsets ? c->input[i]->offsets->view.shape[0] - 1 : -1;
  }
  qn_status st = qni_schema_unify(b->s, c->n_in, views, b->owner, n_seq, b->attrs, &binding);
  bool all_decided = true;
  c->n_out = b->s->n_outputs;
  for (int32_t o = 0; o < c->n_out; o++) c->output[o] = NULL;
  for (int32_t o = 0; !st && o < c->n_out; o++) {
    bool decided = true;
    const qni_output *out = &b->s->output[o];
    int32_t i = out->alias >= 0 ? input_of(b, out->alias) : -1;
    if (i >= 0)
      c->out_view[o] = *views[i];
    else
      st = qni_schema_output(b->s, o, &binding, views, b->owner, c->n_in, b->attrs, &c->out_view[o],
                             &decided);
    all_decided = all_decided && decided;
  }
  if (st) return st;
  if (c->op->op->infer) {
    c->phase = QNI_PHASE_INFER;
    st = c->op->op->infer(&qni_host, c);
    c->phase = QNI_PHASE_FORWARD;
    return st;
  }
  return all_decided
             ? QN_OK
             : qni_fail(QN_E_PLUGIN, "%s has an output [?] but no infer function", b->s->name);
}

static bool same_rows(const qn_view *in, const qn_view *out) {
  return in->ndim > 0 && out->ndim > 0 && in->shape[0] == out->shape[0];
}

/* Whether output o of the call keeps the sequences of jagged input i. */
static bool keeps_sequences(const struct binder *b, int32_t o, int32_t i) {
  const qn_call *c = b->c;
  const qni_output *out = &b->s->output[o];
  const qni_tensor_type *t = &out->tensor;
  const qn_view *in = &c->input[i]->view, *v = &c->out_view[o];
  if (!c->input[i]->offsets || !same_rows(in, v)) return false;
  if (out->alias >= 0) return b->owner[i] == out->alias && v->stride[0] == in->stride[0];
  if (t->like >= 0) return b->owner[i] == t->like || b->s->param[t->like].tensor.jagged >= 0;
  if (t->jagged >= 0) return b->s->param[b->owner[i]].tensor.jagged >= 0;
  if (t->lead == QNI_LEAD_ANY) return c->op->op->batch == QN_BATCH_ROWS;
  int16_t lead = b->s->param[b->owner[i]].tensor.lead;
  return t->lead == QNI_LEAD_SHARED && (lead == QNI_LEAD_SHARED || lead == QNI_LEAD_BROADCAST);
}

static void attach_offsets(const struct binder *b, int32_t o) {
  qn_call *c = b->c;
  for (int32_t i = 0; i < c->n_in; i++)
    if (c->input[i] && keeps_sequences(b, o, i)) {
      c->output[o]->offsets = qn_tensor_retain(c->input[i]->offsets);
      return;
    }
}

static void drop_outputs(qn_call *c) {
  for (int32_t o = 0; o < c->n_out; o++) {
    qn_tensor_free(c->output[o]);
    c->output[o] = NULL;
  }
}

static qn_status allocate(struct binder *b) {
  qn_call *c = b->c;
  qn_status st = QN_OK;
  for (int32_t o = 0; !st && o < c->n_out; o++) {
    const qni_output *out = &b->s->output[o];
    qn_view *v = &c->out_view[o];
    int32_t i = out->alias >= 0 ? input_of(b, out->alias) : -1;
    if (out->same) {
      c->output[o] = qn_tensor_retain(c->input[i]);
      continue;
    }
    if (i >= 0)
      st = qni_tensor_alias(c->dense[i], v, &c->output[o]);
    else
      st = qni_tensor_empty(v->dtype, v->ndim, v->shape, &c->output[o]);
    if (st) break;
    *v = c->output[o]->view;
    attach_offsets(b, o);
  }
  return st;
}

/* ---- Recording ---- */

/* An op leaves a node when a floating input has a history and the tape is on. */
static qn_status grad_wanted(struct binder *b, bool *wanted) {
  qn_call *c = b->c;
  *wanted = false;
  if (!qni_tape_enabled() || (c->op->op->flags & QN_OP_NO_GRAD)) return QN_OK;
  bool written = false;
  for (int32_t i = 0; i < c->n_in; i++) {
    written = written || b->s->param[b->owner[i]].written;
    if (c->input[i] && c->input[i]->requires_grad) *wanted = true, c->needs |= 1ull << i;
  }
  if (!*wanted || !written) return QN_OK;
  qni_fail(QN_E_STATE, "%s would change a tensor in place while gradients are being recorded",
           b->s->name);
  qni_error_hint("run it under no_grad, or use the form without the underscore");
  return QN_E_STATE;
}

static qn_status copy_attrs(qni_node *node, const qni_value *attrs, int32_t n) {
  node->attrs = qni_arena_alloc(&node->memory, (size_t)(n ? n : 1) * sizeof *attrs);
  if (!node->attrs) return QN_E_NOMEM;
  memcpy(node->attrs, attrs, (size_t)n * sizeof *attrs);
  for (int32_t i = 0; i < n; i++) {
    qni_value *v = &node->attrs[i];
    size_t bytes = v->kind == QN_ARG_STR                              ? strlen(v->v.s) + 1
                   : v->kind == QN_ARG_INTS || v->kind == QN_ARG_NUMS ? (size_t)v->count * 8
                                                                      : 0;
    if (!bytes) continue;
    void *copy = qni_arena_alloc(&node->memory, bytes);
    if (!copy) return QN_E_NOMEM;
    memcpy(copy, v->v.s, bytes);
    v->v.s = copy;
  }
  return QN_OK;
}

static void link_input(qni_node *node, int32_t i, qn_tensor *t, const qn_tensor *dense) {
  node->in_like[i] = t ? dense->view : (qn_view){0};
  node->in_like[i].data = NULL;
  if (!t) return;
  if (t->offsets) node->in_offsets[i] = qn_tensor_retain(t->offsets);
  if (!t->requires_grad) return;
  if (t->node)
    node->edge[i] = (qni_edge){.node = qni_node_retain(t->node), .output = t->node_out};
  else
    node->edge[i] = (qni_edge){.leaf = qn_tensor_retain(t)};
}

static qn_status record(struct binder *b) {
  qn_call *c = b->c;
  qn_status st = qni_node_new(c->op, c->n_in, c->n_out, &c->node);
  if (st) return st;
  if ((st = copy_attrs(c->node, b->attrs, b->s->n_params))) return st;
  memcpy(c->node->owner, b->owner, (size_t)c->n_in * sizeof *b->owner);
  for (int32_t i = 0; i < c->n_in; i++) link_input(c->node, i, c->input[i], c->dense[i]);
  c->node->instance = c->instance;
  c->node->step = c->step;
  const char *source = source_now ? source_now() : NULL;
  if (source) {
    char *copy = qni_arena_alloc(&c->node->memory, strlen(source) + 1);
    if (!copy) return QN_E_NOMEM;
    c->node->source = strcpy(copy, source);
  }
  return QN_OK;
}

/* Floating outputs become the node's; if none is floating, nothing can flow back. */
static void adopt_outputs(qn_call *c) {
  for (int32_t o = 0; o < c->n_out; o++) {
    c->node->out_like[o] = c->output[o]->view;
    c->node->out_like[o].data = NULL;
    if (!qni_dtype_floating(c->output[o]->view.dtype)) continue;
    c->output[o]->node = qni_node_retain(c->node);
    c->output[o]->node_out = o;
    c->output[o]->requires_grad = true;
  }
}

/* ---- Running ---- */

static int64_t bytes_moved(const qn_call *c) {
  int64_t bytes = 0;
  for (int32_t i = 0; i < c->n_in; i++)
    if (c->dense[i])
      bytes +=
          qni_view_count(&c->dense[i]->view) * (int64_t)qni_dtype_size(c->dense[i]->view.dtype);
  for (int32_t o = 0; o < c->n_out; o++)
    bytes += qni_view_count(&c->out_view[o]) * (int64_t)qni_dtype_size(c->out_view[o].dtype);
  return bytes;
}

static qn_status run_forward(qn_call *c) {
  const qn_op *op = c->op->op;
  if (!op->forward) return QN_OK;
  if (!qni_prof_on) return op->forward(&qni_host, c);
  int64_t begin = qni_prof_now();
  qn_status st = op->forward(&qni_host, c);
  qni_prof_add(c->op->name, false, begin, qni_prof_now(), bytes_moved(c),
               op->flops ? op->flops(&qni_host, c) : 0);
  return st;
}

static qn_status execute(struct binder *b) {
  qn_call *c = b->c;
  bool wanted = false;
  qn_status st = make_dense(b);
  if (!st) st = infer(b);
  if (!st) st = grad_wanted(b, &wanted);
  if (!st && (c->op->op->flags & QN_OP_RANDOM)) c->instance = qni_rng_instance();
  if (!st) st = allocate(b);
  if (!st && wanted) st = record(b);
  if (!st) st = run_forward(c);
  if (c->pending) st = c->pending;
  if (!st && check_finite) st = qni_finite_outputs(c);
  if (!st) copy_back(b);
  if (!st && qni_recorder) st = qni_record_forward(c);
  if (!st && c->node) adopt_outputs(c);
  if (st) drop_outputs(c);
  qni_node_free(c->node);
  c->node = NULL;
  return st;
}

static void hand_over(qn_call *c, qn_tensor **outs, int32_t max_outs, int32_t *n_outs) {
  for (int32_t o = 0; o < c->n_out; o++) {
    if (o < max_outs)
      outs[o] = c->output[o];
    else
      qn_tensor_free(c->output[o]);
  }
  *n_outs = c->n_out < max_outs ? c->n_out : max_outs;
}

qn_status qni_call(const qn_opref *op, const qn_arg *args, int32_t n_args, qn_tensor **outs,
                   int32_t max_outs, int32_t *n_outs) {
  qn_call c;
  struct binder b; /* its arrays are filled as far as they are used */
  b.c = &c;
  b.s = op->schema;
  *n_outs = 0;
  qni_frame_init(&c, op, QNI_PHASE_FORWARD);
  c.attrs = b.attrs;
  c.owner = b.owner;
  qn_status st = place_args(&b, args, n_args);
  if (!st) st = bind_all(&b);
  if (!st) st = execute(&b);
  if (st)
    qni_frame_explain(&c, st);
  else
    hand_over(&c, outs, max_outs, n_outs);
  qni_frame_free(&c);
  return st;
}

qn_status qni_call_kink(const qn_opref *op, const qn_arg *args, int32_t n_args) {
  qn_call c;
  struct binder b;
  b.c = &c;
  b.s = op->schema;
  if (!op->op->kink) return QN_OK;
  qni_frame_init(&c, op, QNI_PHASE_FORWARD);
  c.attrs = b.attrs;
  c.owner = b.owner;
  qn_status st = place_args(&b, args, n_args);
  if (!st) st = bind_all(&b);
  if (!st) st = make_dense(&b);
  if (!st) st = infer(&b);
  if (!st) st = op->op->kink(&qni_host, &c);
  qni_frame_free(&c);
  return st;
}

qn_status qni_call_named(const char *name, const qn_arg *args, int32_t n_args, qn_tensor **outs,
                         int32_t n_outs) {
  int32_t made = 0;
  const qn_opref *op = qni_registry_find(name);
  if (!op) return QN_E_NOT_FOUND;
  qn_status st = qni_call(op, args, n_args, outs, n_outs, &made);
  if (!st && made != n_outs) {
    while (made > 0) qn_tensor_free(outs[--made]);
    return qni_fail(QN_E_PLUGIN, "%s does not have %d outputs", name, (int)n_outs);
  }
  return st;
}
