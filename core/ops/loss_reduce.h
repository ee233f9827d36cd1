/*
** From losses of rows to what a loss op returns, and back.
**
**   none   y_n = w_n l_n
**   sum    y = sum w_n l_n
**   mean   y = sum w_n l_n / W, W = sum w_n over the rows that count; 0 when W is 0
**
** w is 1 where no weights are given; rows marked in skip do not count. Sums run in
** double precision in order of rows.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_LOSS_REDUCE_H
#define QNI_LOSS_REDUCE_H

#include "quern/abi.h"

enum qni_reduction { QNI_REDUCE_MEAN, QNI_REDUCE_SUM, QNI_REDUCE_NONE };

typedef struct qni_loss_rows {
  int64_t n;
  int32_t reduction;
  const qn_view *w;    /* [n] or NULL */
  const uint8_t *skip; /* or NULL */
} qni_loss_rows;

/* infer: a scalar, or [n] under "none". */
qn_status qni_loss_infer_rows(const qn_host *h, qn_call *c);
/* infer: a scalar, or the shape of input 0 under "none". */
qn_status qni_loss_infer_like(const qn_host *h, qn_call *c);

/* Rows whose label is ignore_index (saved as u8 in `slot`); *skip NULL if there is no such argument. */
qn_status qni_loss_skip(const qn_host *h, qn_call *c, const qn_view *target, int32_t slot,
                        const uint8_t **skip);
/* Labels of the rows that count lie in 0..limit-1. */
qn_status qni_loss_check_labels(const qn_host *h, qn_call *c, const char *name,
                                const qn_view *target, int64_t limit, const uint8_t *skip);

/* dtype is f32 or f64 throughout. loss [n] -> y */
void qni_loss_reduce(const qni_loss_rows *r, int32_t dtype, const void *loss, qn_view *y);
/* coef[n] = d y_n / d l_n under "none", d y / d l_n otherwise; 0 for rows that do not count. */
void qni_loss_factors(const qni_loss_rows *r, int32_t dtype, void *coef);
/* coef[n] *= dy, of each row under "none". */
void qni_loss_flow(const qni_loss_rows *r, const qn_view *dy, int32_t dtype, void *coef);
/* Gradient of the weights. */
void qni_loss_weight_grad(const qni_loss_rows *r, const void *loss, const qn_view *dy, qn_view *dw);

#endif
