/*
** Linear least squares by Householder reflections, small and column-major.
** SPDX-License-Identifier: MIT
*/
#ifndef PERFLAW_LEAST_H
#define PERFLAW_LEAST_H

#include <stdbool.h>
#include <stdint.h>

/* min |y - F b|: F is [n,k], column j at f + j * n; `rank` columns carry a reflection. */
struct least {
  int64_t n, k, rank;
  double *f;       /* [k][n] columns; afterwards reflections below, R on and above the diagonal */
  double *scale;   /* [k] 1 / length of a column; 0 where it was dropped */
  double *head;    /* [k] first element of the reflection vector of pivot r */
  int32_t *column; /* [k] of pivot r */
};

/* Memory for [n,k], in doubles; least_open lays it out. */
int64_t least_room(int64_t n, int64_t k);
void least_open(struct least *q, int64_t n, int64_t k, double *memory);

/* Factors f. Columns that the ones before them span are dropped: their coefficients are 0. */
void least_factor(struct least *q);

/* b [k] and the residual in place of y [n]. */
void least_solve(const struct least *q, double *y, double *b);

/* v [n] less its part in the span of F. */
void least_project(const struct least *q, double *v);

#endif
