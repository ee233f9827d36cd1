/*
** What the deliberately broken plugins share: one op, y = 2 x, right in all but what
** its file breaks on purpose.
** SPDX-License-Identifier: MIT
*/
#ifndef BAD_H
#define BAD_H

#include <string.h>

#include <quern/abi.h>

static inline int64_t bad_count(const qn_view *v) {
  int64_t n = 1;
  for (int32_t d = 0; d < v->ndim; d++) n *= v->shape[d];
  return n;
}

static inline double bad_get(const qn_view *v, int64_t i) {
  return v->dtype == QN_F32 ? (double)((const float *)v->data)[i] : ((const double *)v->data)[i];
}

static inline void bad_put(const qn_view *v, int64_t i, double value) {
  if (v->dtype == QN_F32)
    ((float *)v->data)[i] = (float)value;
  else
    ((double *)v->data)[i] = value;
}

/* y = factor x */
static inline qn_status bad_scale(const qn_host *h, qn_call *c, const qn_view *x, const qn_view *y,
                                  double factor) {
  if (x->dtype == QN_BF16)
    return h->fail(c, QN_E_DTYPE, "bf16 is not offered; convert to f32 first");
  for (int64_t i = 0; i < bad_count(x); i++) bad_put(y, i, factor * bad_get(x, i));
  return QN_OK;
}

static inline qn_status bad_forward(const qn_host *h, qn_call *c) {
  return bad_scale(h, c, h->in(c, 0), h->out(c, 0), 2);
}

static inline qn_status bad_backward(const qn_host *h, qn_call *c) {
  return h->out(c, 0) ? bad_scale(h, c, h->in(c, 0), h->out(c, 0), 2) : QN_OK;
}

#define BAD_DOCS .doc = "y = 2 x", .example = "print(quern.tensor{1.5}:mul(2):item()) --> 3.0"
/* The plugin NAME with one op; the rest are fields of it. */
#define BAD_OP(...)                                                                                \
  static const qn_op op = {.struct_size = sizeof(qn_op),                                           \
                           .det = QN_DET_BITWISE,                                                  \
                           .batch = QN_BATCH_ROWS,                                                 \
                           .summary = "Twice x.",                                                  \
                           BAD_DOCS,                                                               \
                           __VA_ARGS__};                                                           \
  static const qn_op *const ops[] = {&op, NULL}
#define BAD_SCHEMA "twice(x: f[...]) -> y: f[...]"
#define BAD_PLUGIN(word, ...)                                                                      \
  QN_EXPORT const qn_plugin qn_plugin_entry = {.magic = QN_MAGIC,                                  \
                                               .struct_size = sizeof(qn_plugin),                   \
                                               .abi_major = QN_ABI_MAJOR,                          \
                                               .abi_minor = QN_ABI_MINOR,                          \
                                               .build = QN_BUILD,                                  \
                                               .id = "bad." word,                                  \
                                               .name = word,                                       \
                                               .version = "1.0.0",                                 \
                                               .ops = ops,                                         \
                                               __VA_ARGS__}

#endif
