/*
** rope: rotary position embedding.
**
**   (y_2k, y_2k+1) = R(pos theta^(-2k/D)) (x_2k, x_2k+1),   k = 0 .. D/2 - 1
**
** Neighbouring elements form a pair. A rotation's gradient is the rotation back.
** Angles are taken in double precision, once for each position.
** SPDX-License-Identifier: MIT
*/
#include "elementwise_compose.h"
#include "elementwise_table.h"
#include "kernels/dropout.h"
#include "network.h"

#include <math.h>

enum { WORK = 8192 };

struct layout {
  int64_t rows, heads, width, positions;
  int64_t *position; /* of each row; NULL: row % positions */
};

static qn_status jagged_layout(const qn_host *h, qn_call *c, const qn_view *x,
                               const int64_t *offsets, int64_t B, struct layout *l) {
  void *memory;
  l->rows = x->shape[0];
  l->heads = 1;
  for (int32_t d = 1; d + 1 < x->ndim; d++) l->heads *= x->shape[d];
  l->positions = 0;
  qn_status st = h->scratch(c, l->rows * 8, &memory);
  if (st) return st;
  l->position = memory;
  for (int64_t b = 0; b < B; b++)
    for (int64_t r = offsets[b]; r < offsets[b + 1]; r++) {
      l->position[r] = r - offsets[b];
      if (l->position[r] >= l->positions) l->positions = l->position[r] + 1;
    }
  return QN_OK;
}

static qn_status find_layout(const qn_host *h, qn_call *c, const qn_view *x, struct layout *l) {
  int64_t B;
  const int64_t *offsets = h->offsets(c, 0, &B);
  char text[160];
  if (x->ndim < 2 || x->shape[x->ndim - 1] % 2)
    return h->fail(
        c, QN_E_SHAPE,
        "x has the shape %s, but rope turns pairs of [...,T,D] or jagged [T,H,D] with an even D",
        qni_net_shape_text(x, text, sizeof text));
  *l = (struct layout){.width = x->shape[x->ndim - 1]};
  if (offsets) return jagged_layout(h, c, x, offsets, B, l);
  l->positions = x->shape[x->ndim - 2];
  l->rows = qni_net_rows(x);
  l->heads = 1;
  return QN_OK;
}

static qn_status angles(const qn_host *h, qn_call *c, const struct layout *l, int64_t size,
                        void **cosine, void **sine) {
  const int64_t half = l->width / 2;
  const double theta = h->arg_num(c, "theta"), first = (double)h->arg_int(c, "offset");
  qn_status st = h->scratch(c, l->positions * half * size, cosine);
  if (!st) st = h->scratch(c, l->positions * half * size, sine);
  for (int64_t k = 0; !st && k < half; k++) {
    const double slope = pow(theta, -2.0 * (double)k / (double)l->width);
    for (int64_t t = 0; t < l->positions; t++) {
      const double a = (first + (double)t) * slope;
      if (size == 8)
        ((double *)*cosine)[t * half + k] = cos(a), ((double *)*sine)[t * half + k] = sin(a);
      else
        ((float *)*cosine)[t * half + k] = (float)cos(a),
                                      ((float *)*sine)[t * half + k] = (float)sin(a);
    }
  }
  return st;
}

static qn_status run(const qn_host *h, qn_call *c, const qn_view *x, qn_view *y, int32_t back) {
  struct layout l = {0};
  void *cosine, *sine;
  qn_status st = find_layout(h, c, x, &l);
  if (st || qni_net_count(x) == 0) return st;
  if ((st = angles(h, c, &l, qni_net_size(x), &cosine, &sine))) return st;
  qni_rotate_job j = {.x = x->data,
                      .y = y->data,
                      .cosine = cosine,
                      .sine = sine,
                      .position = l.position,
                      .period = l.positions,
                      .heads = l.heads,
                      .width = l.width,
                      .back = back};
  return h->parallel(c, l.rows, qni_net_grain(l.heads * l.width, WORK),
                     qni_dropout()->rotate[qni_net_is64(x)], &j);
}

static qn_status forward(const qn_host *h, qn_call *c) {
  return run(h, c, h->in(c, 0), h->out(c, 0), h->arg_bool(c, "inverse"));
}

static qn_status backward(const qn_host *h, qn_call *c) {
  qn_view *dx = h->out(c, 0);
  return dx ? run(h, c, h->in(c, 0), dx, !h->arg_bool(c, "inverse")) : QN_OK;
}

static qn_status compose(const qn_host *h, qn_call *c) {
  int64_t B;
  if (h->offsets(c, 0, &B))
    return h->fail(c, QN_E_UNSUPPORTED, "rope of a jagged tensor has no second order");
  qni_build b = qni_build_start(h, c);
  qn_tensor *dx = qni_build_op(&b, "rope", 4,
                               (qn_arg[]){qni_arg_tensor(qni_build_flow(&b)),
                                          qni_arg_named("theta", h->arg_num(c, "theta")),
                                          qni_arg_int("offset", h->arg_int(c, "offset")),
                                          qni_arg_bool("inverse", !h->arg_bool(c, "inverse"))});
  qni_build_set(&b, 0, dx);
  return b.status;
}

static int64_t flops(const qn_host *h, qn_call *c) { return 3 * qni_net_count(h->like(c, 0)); }

QNI_OP(rope_op, QN_BATCH_SEQUENCES,
       "rope(x: f[?], *, theta: num = 10000, offset: int = 0, inverse: bool = false) -> y: like x",
       "Rotary position embedding: turns pairs of neighbouring elements by their position.",
       "(y_2k, y_2k+1) is (x_2k, x_2k+1) turned by (offset + t) theta^(-2k/D), t the position from "
       "0.\n"
       "x is [...,T,D], or jagged [T,D] or [T,H,D], where positions count from each sequence's "
       "start.\n"
       "inverse turns back, which is also the gradient.",
       "print(quern.rope(quern.tensor{{1,0},{1,0}}))", .cite = "Su et al. 2021, eq. 34",
       .forward = forward, .backward = backward, .compose = compose, .flops = flops);

extern const qn_op *const qni_ops_rope[];
const qn_op *const qni_ops_rope[] = {&rope_op, NULL};
