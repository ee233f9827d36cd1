/*
** The host table: what a running op can ask for (abi_decls.h has the contract).
** SPDX-License-Identifier: MIT
*/
#include <math.h>
#include <string.h>

#include "exec/gemm.h"
#include "exec/pool.h"
#include "exec/rng.h"
#include "graph/frame.h"
#include "graph/packs.h"
#include "graph/thing.h"

/* ---- Tensors ---- */

static int32_t host_n_in(qn_call *c) {
  return c->phase == QNI_PHASE_FORWARD || c->phase == QNI_PHASE_INFER ? c->n_in : c->n_out;
}

static int32_t host_n_out(qn_call *c) {
  return c->phase == QNI_PHASE_FORWARD || c->phase == QNI_PHASE_INFER ? c->n_out : c->n_in;
}

static bool in_range(int32_t i, int32_t n) { return i >= 0 && i < n; }

static const qn_view *host_in(qn_call *c, int32_t i) {
  if (!in_range(i, host_n_in(c))) return NULL;
  qn_tensor *t = c->phase == QNI_PHASE_BACKWARD || c->phase == QNI_PHASE_COMPOSE ? c->grad_out[i]
                                                                                 : c->dense[i];
  return t ? &t->view : NULL;
}

/* The memory is there before backward runs; with QN_OP_ROW_GRADS it is taken here. */
static qn_view *grad_view(qn_call *c, int32_t i) {
  if (!(c->needs >> i & 1)) return NULL;
  c->written |= 1ull << i;
  qni_grad *g = &c->grad_in[i];
  if (!g->dense && !c->pending && c->replay) c->pending = qni_replay_unplanned(c, "a gradient");
  if (!g->dense && !c->pending) {
    const qn_view *like = &c->node->in_like[i];
    c->pending = qni_tensor_empty(like->dtype, like->ndim, like->shape, &g->dense);
  }
  return g->dense ? &g->dense->view : NULL;
}

static qn_view *host_out(qn_call *c, int32_t i) {
  if (!in_range(i, host_n_out(c))) return NULL;
  if (c->phase == QNI_PHASE_BACKWARD) return grad_view(c, i);
  return c->phase == QNI_PHASE_COMPOSE ? NULL : &c->out_view[i];
}

static int32_t host_adds(qn_call *c, int32_t i) {
  return in_range(i, c->n_in) && c->replay && (c->replay->adds >> i & 1);
}

static const qn_view *host_like(qn_call *c, int32_t i) {
  if (!in_range(i, c->n_in)) return NULL;
  if (c->phase == QNI_PHASE_BACKWARD || c->phase == QNI_PHASE_COMPOSE)
    return c->node->in_like[i].dtype ? &c->node->in_like[i] : NULL;
  return c->dense[i] ? &c->dense[i]->view : NULL;
}

static const int64_t *host_offsets(qn_call *c, int32_t i, int64_t *n_seq) {
  *n_seq = 0;
  if (!in_range(i, c->n_in)) return NULL;
  bool backward = c->phase == QNI_PHASE_BACKWARD || c->phase == QNI_PHASE_COMPOSE;
  qn_tensor *o = backward ? c->node->in_offsets[i] : c->input[i] ? c->input[i]->offsets : NULL;
  if (!o) return NULL;
  *n_seq = o->view.shape[0] - 1;
  return o->view.data;
}

/* ---- Arguments ---- */

static const qni_value *value_of(qn_call *c, const char *name, const qni_param **param) {
  static const qni_value absent;
  const qni_schema *s = c->op->schema;
  int32_t p = qni_schema_param(s, name);
  *param = NULL;
  if (p < 0) return c->thing ? qni_thing_setting(c->thing, name, param) : &absent;
  *param = &s->param[p];
  return s->param[p].kind == QNI_TENSOR ? &absent : &c->attrs[p];
}

static int32_t host_has_arg(qn_call *c, const char *name) {
  const qni_param *param;
  const qni_value *v = value_of(c, name, &param);
  if (!param || param->kind != QNI_TENSOR) return v->kind != QN_ARG_NIL;
  for (int32_t i = 0; i < c->n_in; i++)
    if (&c->op->schema->param[c->owner[i]] == param && host_like(c, i)) return 1;
  return 0;
}

static int64_t choice_index(const qni_param *p, const char *word) {
  for (int64_t i = 0; p->choices && p->choices[i]; i++)
    if (!strcmp(p->choices[i], word)) return i;
  return -1;
}

static int64_t host_arg_int(qn_call *c, const char *name) {
  const qni_param *param;
  const qni_value *v = value_of(c, name, &param);
  if (v->kind == QN_ARG_STR) return choice_index(param, v->v.s);
  return v->kind == QN_ARG_INT || v->kind == QN_ARG_BOOL ? v->v.i
         : v->kind == QN_ARG_NUM                         ? (int64_t)v->v.f
                                                         : 0;
}

static double host_arg_num(qn_call *c, const char *name) {
  const qni_param *param;
  const qni_value *v = value_of(c, name, &param);
  return v->kind == QN_ARG_NUM                             ? v->v.f
         : v->kind == QN_ARG_INT || v->kind == QN_ARG_BOOL ? (double)v->v.i
                                                           : 0;
}

static int32_t host_arg_bool(qn_call *c, const char *name) {
  const qni_param *param;
  return value_of(c, name, &param)->v.i != 0;
}

static const char *host_arg_str(qn_call *c, const char *name) {
  const qni_param *param;
  const qni_value *v = value_of(c, name, &param);
  return v->kind == QN_ARG_STR ? v->v.s : "";
}

static const int64_t *host_arg_ints(qn_call *c, const char *name, int32_t *count) {
  const qni_param *param;
  const qni_value *v = value_of(c, name, &param);
  *count = v->kind == QN_ARG_INTS ? v->count : 0;
  return v->kind == QN_ARG_INTS ? v->v.ints : NULL;
}

static const double *host_arg_nums(qn_call *c, const char *name, int32_t *count) {
  const qni_param *param;
  const qni_value *v = value_of(c, name, &param);
  *count = v->kind == QN_ARG_NUMS ? v->count : 0;
  return v->kind == QN_ARG_NUMS ? v->v.nums : NULL;
}

static int32_t host_needs_grad(qn_call *c, int32_t i) {
  return in_range(i, c->n_in) && (c->needs >> i & 1);
}

/* ---- Memory and saving ---- */

/* As qni_frame_hold; t, or NULL with the failure left for after the call. */
static qn_tensor *hold(qn_call *c, qn_tensor *t) {
  qn_status st = qni_frame_hold(c, t);
  if (st) c->pending = st;
  return st ? NULL : t;
}

static qn_status host_scratch(qn_call *c, int64_t bytes, void **memory) {
  *memory = bytes < 0 ? NULL : qni_arena_alloc(&c->memory, (size_t)bytes);
  if (bytes < 0) return qni_fail(QN_E_ARG, "scratch of %lld bytes was asked for", (long long)bytes);
  return *memory ? QN_OK : QN_E_NOMEM;
}

static qn_status host_local(qn_call *c, int64_t bytes, void **memory) {
  (void)c;
  *memory = bytes < 0 ? NULL : qni_pool_local((size_t)bytes);
  if (bytes < 0)
    return qni_fail(QN_E_ARG, "local memory of %lld bytes was asked for", (long long)bytes);
  return *memory ? QN_OK : QN_E_NOMEM;
}

static qn_status bad_slot(int32_t slot) {
  qni_fail(QN_E_PLUGIN, "slot %d for a saved tensor does not exist", (int)slot);
  qni_error_hint("slots count from 0 to %d", QN_MAX_SAVED - 1);
  return QN_E_PLUGIN;
}

/* Which input or output of the running forward a view pointer is; -1 elsewhere. */
static qn_tensor *viewed(qn_call *c, const qn_view *view, qni_saved *s) {
  for (int32_t i = 0; i < c->n_in; i++)
    if (c->dense[i] && view == &c->dense[i]->view) return s->input = (int16_t)i, c->dense[i];
  for (int32_t i = 0; i < c->n_out; i++)
    if (view == &c->out_view[i]) return s->output = (int16_t)i, c->output[i];
  return NULL;
}

static qn_status host_save(qn_call *c, int32_t slot, const qn_view *view) {
  if (!in_range(slot, QN_MAX_SAVED)) return bad_slot(slot);
  if (!c->node || !view) return QN_OK;
  qni_saved s = {.input = -1, .output = -1};
  qn_tensor *t = viewed(c, view, &s);
  if (!t)
    return qni_fail(QN_E_PLUGIN, "save() takes a view of this call's inputs or outputs; for other "
                                 "memory there is save_new()");
  qn_status st = qni_tensor_detach(t, &s.tensor);
  if (st) return st;
  s.version = s.tensor->storage->version;
  qni_node_save(c->node, slot, s);
  return QN_OK;
}

static qn_status host_save_new(qn_call *c, int32_t slot, int32_t dtype, int32_t ndim,
                               const int64_t *shape, qn_view **view) {
  *view = NULL;
  if (!in_range(slot, QN_MAX_SAVED)) return bad_slot(slot);
  if (c->replay) return qni_replay_save_new(c, slot, dtype, ndim, shape, view);
  qn_tensor *t;
  qn_status st = qni_tensor_empty(dtype, ndim, shape, &t);
  if (st) return st;
  if (c->node) {
    qni_node_save(c->node, slot, (qni_saved){.tensor = t, .input = -1, .output = -1});
  } else if (!hold(c, t)) { /* the kernel fills it all the same */
    return QN_E_NOMEM;
  }
  *view = &t->view;
  return QN_OK;
}

static const qn_view *host_saved(qn_call *c, int32_t slot) {
  const qni_saved *s = c->node && slot >= 0 ? qni_node_saved(c->node, slot) : NULL;
  return s ? &s->tensor->view : NULL;
}

static qn_status host_grad_rows(qn_call *c, int32_t i, int64_t n, int64_t **ids, qn_view **rows) {
  if (!in_range(i, c->n_in) || c->phase != QNI_PHASE_BACKWARD || !(c->needs >> i & 1))
    return qni_fail(QN_E_PLUGIN,
                    "grad_rows() was called for input %d, whose gradient is not asked for", (int)i);
  if (c->replay) return qni_replay_rows(c, i, n, ids, rows);
  const qn_view *like = &c->node->in_like[i];
  qni_grad *g = &c->grad_in[i];
  int64_t shape[QN_MAX_DIMS];
  memcpy(shape, like->shape, sizeof shape);
  shape[0] = n;
  qni_grad_free(g);
  qn_status st = qni_tensor_empty(QN_I64, 1, &n, &g->ids);
  if (!st) st = qni_tensor_zeros(like->dtype, like->ndim, shape, &g->rows);
  if (st) {
    qni_grad_free(g);
    return st;
  }
  *ids = g->ids->view.data;
  *rows = &g->rows->view;
  return QN_OK;
}

/* ---- Execution ---- */

static qn_status host_parallel(qn_call *c, int64_t n, int64_t grain, qn_range_fn fn, void *ctx) {
  (void)c;
  return qni_pool_run(n, grain, fn, ctx);
}

static qn_status host_gemm_beside(qn_call *c, const qn_gemm *g, void *z, const void *residual) {
  const void *panels = c->replay ? qni_packs_find(c->replay->packs, g) : NULL;
  return qni_gemm_beside(g, panels, z, residual);
}

static qn_status host_gemm(qn_call *c, const qn_gemm *g) {
  return host_gemm_beside(c, g, NULL, NULL);
}

static void host_random(qn_call *c, uint32_t stream, int64_t row, int64_t col, int64_t n,
                        uint32_t *out) {
  qni_rng_key key = {.seed = c->seed, .step = c->step, .instance = c->instance, .stream = stream};
  qni_rng_fill(&key, row < 0 ? row : c->first_row + row, col, n, out);
}

static qn_status host_fail(qn_call *c, qn_status status, const char *format, ...) {
  (void)c;
  va_list args;
  va_start(args, format);
  qni_failv(status, format, args);
  va_end(args);
  return status;
}

/* ---- Composing ---- */

/* A saved input or output with its place in the graph. */
static qn_tensor *with_history(qn_call *c, const qni_saved *s) {
  qn_tensor *t;
  const qni_edge *e = s->input >= 0 ? &c->node->edge[s->input] : NULL;
  if (e && e->leaf) {
    if (e->leaf->view.dtype == s->tensor->view.dtype) return hold(c, qn_tensor_retain(e->leaf));
    qn_arg args[] = {
        {.kind = QN_ARG_TENSOR, .v.tensor = e->leaf}, /* bf16, seen as f32 */
        {.name = "dtype", .kind = QN_ARG_STR, .v.s = qni_dtype_name(s->tensor->view.dtype)}};
    c->pending = qni_call_named("cast", args, 2, &t, 1);
    return c->pending ? NULL : hold(c, t);
  }
  if ((c->pending = qni_tensor_detach(s->tensor, &t))) return NULL;
  qni_node *maker = s->output >= 0 ? c->node : e ? e->node : NULL;
  if (maker) {
    t->node = qni_node_retain(maker);
    t->node_out = s->output >= 0 ? s->output : e->output;
    t->requires_grad = true;
  }
  return hold(c, t);
}

static qn_tensor *host_ref_saved(qn_call *c, int32_t slot) {
  const qni_saved *s = !c->pending && slot >= 0 ? qni_node_saved(c->node, slot) : NULL;
  return s ? with_history(c, s) : NULL;
}

static qn_tensor *host_ref_grad(qn_call *c, int32_t i) {
  return in_range(i, c->n_out) ? c->grad_out[i] : NULL;
}

static qn_status host_apply(qn_call *c, const char *op, const qn_arg *args, int32_t n_args,
                            qn_tensor **outs, int32_t n_outs) {
  if (c->phase != QNI_PHASE_COMPOSE)
    return qni_fail(QN_E_PLUGIN, "apply() was called outside compose");
  if (c->pending) return c->pending;
  qn_status st = qni_call_named(op, args, n_args, outs, n_outs);
  for (int32_t i = 0; !st && i < n_outs; i++)
    if (!hold(c, outs[i])) st = QN_E_NOMEM, outs[i] = NULL;
  return st;
}

static qn_status host_set_grad(qn_call *c, int32_t i, qn_tensor *grad) {
  if (!in_range(i, c->n_in))
    return qni_fail(QN_E_PLUGIN, "set_grad() names input %d of %d", (int)i, (int)c->n_in);
  if (!grad || !(c->needs >> i & 1)) return QN_OK;
  qni_grad_free(&c->grad_in[i]);
  c->grad_in[i].dense = qn_tensor_retain(grad);
  return QN_OK;
}

const qn_host qni_host = {
    .struct_size = sizeof(qn_host),
    .abi_major = QN_ABI_MAJOR,
    .abi_minor = QN_ABI_MINOR,
    .n_in = host_n_in,
    .n_out = host_n_out,
    .in = host_in,
    .out = host_out,
    .like = host_like,
    .offsets = host_offsets,
    .has_arg = host_has_arg,
    .arg_int = host_arg_int,
    .arg_num = host_arg_num,
    .arg_bool = host_arg_bool,
    .arg_str = host_arg_str,
    .arg_ints = host_arg_ints,
    .arg_nums = host_arg_nums,
    .needs_grad = host_needs_grad,
    .scratch = host_scratch,
    .local = host_local,
    .save = host_save,
    .save_new = host_save_new,
    .saved = host_saved,
    .grad_rows = host_grad_rows,
    .parallel = host_parallel,
    .gemm = host_gemm,
    .random = host_random,
    .fail = host_fail,
    .ref_saved = host_ref_saved,
    .ref_grad = host_ref_grad,
    .apply = host_apply,
    .set_grad = host_set_grad,
    .query = qni_interface,
    .adds = host_adds,
    .gemm_beside = host_gemm_beside,
};
