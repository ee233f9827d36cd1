/* A slice's share in a mean (loss.c has the formulas). SPDX-License-Identifier: MIT */
#ifndef QNI_SHARE_H
#define QNI_SHARE_H

#include "graph/program.h"

/* D_s; values of the program's functions, weights and labels as the loss has them, or NULL. */
double qni_loss_share(const qni_loss *loss, const int64_t *value, const qn_view *weights,
                      const qn_view *labels);

#endif
