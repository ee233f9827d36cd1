/*
** dropout: zeroes elements at random and scales the others up.
**
**   y = keep x / (1 - p);  dx = keep dy / (1 - p)
**
** Random numbers are a function of (seed, step, op instance, row, column). A row is an index of the
** first dimension, so a slice of the batch drops what the whole batch drops. Forward keeps one bit
** an element where a gradient follows, so that backward need not draw again.
** SPDX-License-Identifier: MIT
*/
#include "elementwise_table.h"
#include "kernels/dropout.h"
#include "network.h"

#include <string.h>

enum { BLOCK = 1024, WORK = 16384 };

struct job {
  const qn_host *h;
  qn_call *c;
  const void *x;
  void *y;
  uint8_t *kept; /* [rows][bytes], or NULL */
  int64_t cols, size, bytes;
  uint64_t below;
  double scale;
  int is64;
};

static qn_status drop_rows(void *ctx, int64_t begin, int64_t end) {
  const struct job *j = ctx;
  uint32_t random[BLOCK];
  for (int64_t r = begin; r < end; r++)
    for (int64_t at = 0; at < j->cols; at += BLOCK) {
      const int64_t n = j->cols - at < BLOCK ? j->cols - at : BLOCK, e = r * j->cols + at;
      j->h->random(j->c, 0, r, at, n, random);
      qni_dropout()->apply[j->is64](n, random, j->below, j->scale, qni_net_at(j->x, e, j->size),
                                    qni_net_at(j->y, e, j->size),
                                    j->kept ? j->kept + r * j->bytes + at / 8 : NULL);
    }
  return QN_OK;
}

static qn_status drop_again(void *ctx, int64_t begin, int64_t end) {
  const struct job *j = ctx;
  for (int64_t r = begin; r < end; r++)
    qni_dropout()->again[j->is64](j->cols, j->kept + r * j->bytes, j->scale,
                                  qni_net_at(j->x, r * j->cols, j->size),
                                  qni_net_at(j->y, r * j->cols, j->size));
  return QN_OK;
}

/* kept: from forward, or NULL in forward, which leaves it where a gradient follows. */
static qn_status run(const qn_host *h, qn_call *c, const qn_view *x, qn_view *y,
                     const qn_view *kept) {
  const double p = h->arg_num(c, "p");
  const int64_t count = qni_net_count(x), rows = x->ndim ? x->shape[0] : 1;
  if (count == 0) return QN_OK;
  if (!h->arg_bool(c, "training") || p <= 0) {
    memcpy(y->data, x->data, (size_t)(count * qni_net_size(x)));
    return QN_OK;
  }
  if (p >= 1) return qni_net_fill_zero(y), QN_OK;
  struct job j = {.h = h,
                  .c = c,
                  .x = x->data,
                  .y = y->data,
                  .cols = count / rows,
                  .size = qni_net_size(x),
                  .bytes = (count / rows + 7) / 8,
                  .kept = kept ? kept->data : NULL,
                  .below = (uint64_t)(p * 4294967296.0),
                  .scale = 1 / (1 - p),
                  .is64 = qni_net_is64(x)};
  const int64_t grain = qni_net_grain(j.cols, WORK);
  if (kept) return h->parallel(c, rows, grain, drop_again, &j);
  if (h->needs_grad(c, 0)) {
    qn_view *bits;
    qn_status st = h->save_new(c, 0, QN_U8, 2, (int64_t[]){rows, j.bytes}, &bits);
    if (st) return st;
    j.kept = bits->data;
  }
  return h->parallel(c, rows, grain, drop_rows, &j);
}

static qn_status forward(const qn_host *h, qn_call *c) {
  return run(h, c, h->in(c, 0), h->out(c, 0), NULL);
}

static qn_status backward(const qn_host *h, qn_call *c) {
  qn_view *dx = h->out(c, 0);
  return dx ? run(h, c, h->in(c, 0), dx, h->saved(c, 0)) : QN_OK;
}

QNI_OP(dropout_op, QN_BATCH_ROWS,
       "dropout(x: f[...], *, p: num{0..1} = 0.5, training: bool = true) -> y: f[...]",
       "Zeroes each element with probability p and divides the others by 1 - p.",
       "y = keep x / (1 - p) with keep drawn for each element; dx = keep dy / (1 - p), the same "
       "draw.\n"
       "training = false gives x. p = 1 gives zeros.",
       "print(quern.dropout(quern.tensor{1,2,3,4}, {p = 0.5}))", .cite = "Srivastava et al. 2014",
       .flags = QN_OP_RANDOM | QN_OP_NAN_STOPS, .forward = forward, .backward = backward);

extern const qn_op *const qni_ops_dropout[];
const qn_op *const qni_ops_dropout[] = {&dropout_op, NULL};
