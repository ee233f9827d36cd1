/*
** sequence_last: the last row of each sequence, y_b = x_{o_{b+1} - 1}.
**
**   dx_t = dy_b where t is the last of sequence b, else 0
** SPDX-License-Identifier: MIT
*/
#include "hstu.h"

struct last { /* one call */
  const int64_t *offsets;
  char *x, *y;
  size_t row; /* bytes */
};

static qn_status take_last(void *ctx, int64_t begin, int64_t end) {
  const struct last *s = ctx;
  for (int64_t b = begin; b < end; b++)
    memcpy(s->y + (size_t)b * s->row, s->x + (size_t)(s->offsets[b + 1] - 1) * s->row, s->row);
  return QN_OK;
}

static qn_status put_last(void *ctx, int64_t begin, int64_t end) {
  const struct last *s = ctx;
  for (int64_t b = begin; b < end; b++) {
    int64_t n = s->offsets[b + 1] - s->offsets[b];
    char *to = s->x + (size_t)s->offsets[b] * s->row;
    memset(to, 0, (size_t)(n - 1) * s->row);
    memcpy(to + (size_t)(n - 1) * s->row, s->y + (size_t)b * s->row, s->row);
  }
  return QN_OK;
}

static qn_status run(const qn_host *h, qn_call *c, qn_view *x, qn_view *y, qn_range_fn fn) {
  struct last s = {.x = x->data,
                   .y = y->data,
                   .row =
                       (size_t)x->shape[1] * (x->dtype == QN_F64 ? sizeof(double) : sizeof(float))};
  int64_t n_seq;
  qn_status st = hstu_offsets(h, c, x->shape[0], &s.offsets, &n_seq);
  return st ? st : h->parallel(c, n_seq, 16, fn, &s);
}

static qn_status forward(const qn_host *h, qn_call *c) {
  return run(h, c, (qn_view *)(uintptr_t)h->in(c, 0), h->out(c, 0), take_last);
}

static qn_status backward(const qn_host *h, qn_call *c) {
  return run(h, c, h->out(c, 0), (qn_view *)(uintptr_t)h->in(c, 0), put_last);
}

const qn_op hstu_sequence_last_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_SEQUENCES,
    .schema = "sequence_last(x: f[T@B,D]) -> y: f[B,D]",
    .summary = "The last row of each sequence.",
    .doc = "y[b] is the last row of sequence b. Gradient: dy[b] goes to that row.",
    .cite = "Kang and McAuley 2018, section 3.6: the last position predicts the next item",
    .example = "print(quern.sequence_last(quern.jagged(quern.ones(3, 2), {0, 1, 3})))",
    .forward = forward,
    .backward = backward,
};
