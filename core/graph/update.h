/*
** The end of a captured step in one pass: lanes summed, clipped, and taken by the optimizer.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_UPDATE_H
#define QNI_UPDATE_H

#include "graph/lanes.h"
#include "ops/optim.h"

enum qni_update_kind {
  QNI_UPDATE_SGD,
  QNI_UPDATE_ADAM,
  QNI_UPDATE_ADAM_ROWS,
  QNI_UPDATE_ADAGRAD_ROWS
};

/* What happens to one parameter: the arguments of the optimizer's op. */
typedef struct qni_update {
  int32_t kind;
  qn_tensor *w, *m, *v, *mask; /* as in the op; v: also Adagrad's h; NULL: none */
  qn_tensor *master;           /* f32, of a w that is bf16; NULL: w is rounded stochastically */
  qni_optim_settings with;
  uint32_t salt; /* of rounding, where m, v or w are bf16: salt, salt + 1, salt + 2 */
} qni_update;

/*
** Can these updates take the place of delivering gradients and calling the ops? Not when a leaf
** holds a gradient already, is not among them, or gets another kind of gradient than the
** update takes. clip: rows cannot be clipped in passing.
*/
bool qni_update_possible(const qni_lanes *l, const qni_update *u, int32_t n, bool clip);
/*
** Updates every parameter that got a gradient, each element by its op's kernel from
** scale * (lane_0 + lane_1 + ...). max_norm > 0: all are clipped, and *norm_sq is the sum of
** squares of their gradients; if that is not finite, nothing is updated. The same bits as
** qni_lanes_deliver, grad_norm_sq and the ops.
*/
qn_status qni_update_run(qni_lanes *l, int64_t n_slices, double scale, const qni_update *u,
                         int32_t n, double *norm_sq) QNI_WARN_UNUSED;

#endif
