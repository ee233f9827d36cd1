/*
** Linear least squares by Householder reflections.
**
** Columns are brought to length one first. A column of which less than DEPENDENT is left
** after the reflections before it is dropped, so that a form with two equal columns still
** has an answer. SPDX-License-Identifier: MIT
*/
#include "least.h"

#include <math.h>

static const double DEPENDENT = 1e-13;

int64_t least_room(int64_t n, int64_t k) { return n * k + 3 * k; }

void least_open(struct least *q, int64_t n, int64_t k, double *memory) {
  *q = (struct least){.n = n, .k = k, .f = memory};
  q->scale = q->f + n * k;
  q->head = q->scale + k;
  void *last = q->head + k;
  q->column = last;
}

static double length(const double *x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
  return sqrt(sum);
}

/* Pivot r's reflection I - v v' / (|x| head), v = (head, x below), applied to y. */
static void reflect(const struct least *q, int64_t r, double *y) {
  const double *v = q->f + q->column[r] * q->n;
  double head = q->head[r], norm = fabs(v[r]) * fabs(head), dot = head * y[r];
  for (int64_t i = r + 1; i < q->n; i++) dot += v[i] * y[i];
  dot /= norm;
  y[r] -= dot * head;
  for (int64_t i = r + 1; i < q->n; i++) y[i] -= dot * v[i];
}

void least_factor(struct least *q) {
  q->rank = 0;
  for (int64_t j = 0; j < q->k; j++) {
    double *f = q->f + j * q->n, size = length(f, q->n);
    q->scale[j] = 0;
    if (!(size > 0) || !isfinite(size)) continue;
    for (int64_t i = 0; i < q->n; i++) f[i] /= size;
    for (int64_t r = 0; r < q->rank; r++) reflect(q, r, f);
    int64_t r = q->rank;
    double left = r < q->n ? length(f + r, q->n - r) : 0;
    if (left <= DEPENDENT) continue;
    double diagonal = f[r] > 0 ? -left : left;
    q->scale[j] = 1 / size;
    q->column[r] = (int32_t)j;
    q->head[r] = f[r] - diagonal;
    f[r] = diagonal;
    q->rank++;
  }
}

void least_solve(const struct least *q, double *y, double *b) {
  for (int64_t j = 0; j < q->k; j++) b[j] = 0;
  for (int64_t r = 0; r < q->rank; r++) reflect(q, r, y);
  for (int64_t r = q->rank - 1; r >= 0; r--) {
    double sum = y[r];
    for (int64_t s = r + 1; s < q->rank; s++) {
      int64_t j = q->column[s];
      sum -= q->f[j * q->n + r] * b[j] / q->scale[j];
    }
    int64_t j = q->column[r];
    b[j] = sum / q->f[j * q->n + r] * q->scale[j];
  }
  for (int64_t r = 0; r < q->rank; r++) y[r] = 0;
  for (int64_t r = q->rank - 1; r >= 0; r--) reflect(q, r, y);
}

void least_project(const struct least *q, double *v) {
  for (int64_t r = 0; r < q->rank; r++) reflect(q, r, v);
  for (int64_t r = 0; r < q->rank; r++) v[r] = 0;
  for (int64_t r = q->rank - 1; r >= 0; r--) reflect(q, r, v);
}
