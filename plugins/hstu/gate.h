/* One row of the gate, for norm_gate and hstu_mixer; see gate.c. SPDX-License-Identifier: MIT */
#ifndef HSTU_GATE_H
#define HSTU_GATE_H

#include "hstu.h"

struct hstu_gate {
  int64_t D;     /* row length of u and y */
  int32_t parts; /* 1: u yhat, or yhat without u; 3: u, yhat, u yhat */
  double eps, dropout;
};

/* Rows of `u` may lie apart; u NULL: no gate. keep [parts * D] of a row, or NULL. */
void hstu_gate_forward_f32(const struct hstu_gate *g, const float *u, const float *y,
                           const uint8_t *keep, float *z);
void hstu_gate_forward_f64(const struct hstu_gate *g, const double *u, const double *y,
                           const uint8_t *keep, double *z);
/* dz is read, du and dy are written; du, dy may be NULL. room: [2 D] elements. */
void hstu_gate_backward_f32(const struct hstu_gate *g, const float *u, const float *y,
                            const uint8_t *keep, const float *dz, float *du, float *dy,
                            float *room);
void hstu_gate_backward_f64(const struct hstu_gate *g, const double *u, const double *y,
                            const uint8_t *keep, const double *dz, double *du, double *dy,
                            double *room);

#endif
