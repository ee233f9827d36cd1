/*
** One channel of batch normalisation, per element type (REAL, FN): N images of P pixels,
** `step` elements from one image's channel to the next. Sums are kept in double.
** SPDX-License-Identifier: MIT
*/
static void FN(channel_stats)(const struct channel *k, const REAL *x, double *mean, double *var) {
  double sum = 0, square = 0, count = (double)(k->N * k->P);
  for (int64_t n = 0; n < k->N; n++)
    for (int64_t p = 0; p < k->P; p++) sum += (double)x[n * k->step + p];
  *mean = sum / count;
  for (int64_t n = 0; n < k->N; n++)
    for (int64_t p = 0; p < k->P; p++) {
      double d = (double)x[n * k->step + p] - *mean;
      square += d * d;
    }
  *var = square / count;
}

static void FN(channel_apply)(const struct channel *k, const REAL *x, double mean, double rstd,
                              double w, double b, REAL *y) {
  REAL scale = (REAL)(w * rstd), shift = (REAL)(b - mean * w * rstd);
  for (int64_t n = 0; n < k->N; n++)
    for (int64_t p = 0; p < k->P; p++) y[n * k->step + p] = x[n * k->step + p] * scale + shift;
}

/* sum dy and sum dy xhat */
static void FN(channel_sums)(const struct channel *k, const REAL *x, const REAL *dy, double mean,
                             double rstd, double *db, double *dw) {
  double a = 0, b = 0;
  for (int64_t n = 0; n < k->N; n++)
    for (int64_t p = 0; p < k->P; p++) {
      double g = (double)dy[n * k->step + p];
      a += g;
      b += g * ((double)x[n * k->step + p] - mean) * rstd;
    }
  *db = a;
  *dw = b;
}

/* dx = w rstd (dy - u - xhat v) + m + q (x - mean); u and v are zero in evaluation */
static void FN(channel_back)(const struct channel *k, const struct slopes *t, const REAL *x,
                             const REAL *dy, REAL *dx) {
  for (int64_t n = 0; n < k->N; n++)
    for (int64_t p = 0; p < k->P; p++) {
      double centred = (double)x[n * k->step + p] - t->mean;
      dx[n * k->step + p] =
          (REAL)(t->scale * ((double)dy[n * k->step + p] - t->u - centred * t->rstd * t->v) + t->m +
                 t->q * centred);
    }
}
