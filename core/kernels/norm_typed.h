/* The kernels of norm.h for one type. Included with REAL, FN(name). SPDX-License-Identifier: MIT */

static void FN(statistics)(const qni_norm_job *j, const REAL *x, REAL *mean, REAL *scale) {
  const int64_t C = j->cols;
  *mean = j->kind == QNI_NORM_LAYER ? FN(sum)(C, x) / (REAL)C : 0;
  const REAL square = FN(sum_square_off)(C, x, *mean);
  if (j->kind == QNI_NORM_L2) {
    const REAL norm = SQRT1(square);
    *scale = 1 / (norm > (REAL)j->eps ? norm : (REAL)j->eps);
  } else {
    *scale = 1 / SQRT1(square / (REAL)C + (REAL)j->eps);
  }
}

static qn_status FN(forward)(void *ctx, int64_t begin, int64_t end) {
  const qni_norm_job *j = ctx;
  const int64_t C = j->cols;
  const REAL *w = j->w, *b = j->b;
  REAL *means = j->mean, *scales = j->scale;
  for (int64_t r = begin; r < end; r++) {
    const REAL *x = (const REAL *)j->x + r * C;
    REAL *restrict y = (REAL *)j->y + r * C, mean, scale;
    FN(statistics)(j, x, &mean, &scale);
    if (means) means[r] = mean;
    if (scales) scales[r] = scale;
    if (w && b)
      for (int64_t c = 0; c < C; c++) y[c] = (x[c] - mean) * scale * w[c] + b[c];
    else if (w)
      for (int64_t c = 0; c < C; c++) y[c] = (x[c] - mean) * scale * w[c];
    else if (b)
      for (int64_t c = 0; c < C; c++) y[c] = (x[c] - mean) * scale + b[c];
    else
      for (int64_t c = 0; c < C; c++) y[c] = (x[c] - mean) * scale;
  }
  return QN_OK;
}

/* sum g and sum g xh over one row */
static void FN(row_sums)(int64_t C, const REAL *x, const REAL *dy, const REAL *w, REAL mean,
                         REAL scale, REAL *sum_g, REAL *sum_gx) {
  REAL s[LANES] = {0}, t[LANES] = {0};
  int64_t c = 0;
  for (; c + LANES <= C; c += LANES)
    for (int l = 0; l < LANES; l++) {
      const REAL g = w ? dy[c + l] * w[c + l] : dy[c + l];
      s[l] += g;
      t[l] += g * ((x[c + l] - mean) * scale);
    }
  for (int l = 0; c < C; c++, l++) {
    const REAL g = w ? dy[c] * w[c] : dy[c];
    s[l] += g;
    t[l] += g * ((x[c] - mean) * scale);
  }
  *sum_g = FN(fold)(s);
  *sum_gx = FN(fold)(t);
}

static void FN(backward_row)(const qni_norm_job *j, int64_t r, REAL mean, REAL scale) {
  const int64_t C = j->cols;
  const REAL *x = (const REAL *)j->x + r * C, *dy = (const REAL *)j->dy + r * C, *w = j->w;
  REAL *restrict dx = (REAL *)j->dx + r * C, sum_g, sum_gx;
  FN(row_sums)(C, x, dy, w, mean, scale, &sum_g, &sum_gx);
  REAL off = j->kind == QNI_NORM_LAYER ? sum_g / (REAL)C : 0;
  REAL slope = j->kind == QNI_NORM_L2 ? sum_gx : sum_gx / (REAL)C;
  if (j->kind == QNI_NORM_L2 && scale >= 1 / (REAL)j->eps) slope = 0; /* the divisor is eps */
  if (w)
    for (int64_t c = 0; c < C; c++)
      dx[c] = scale * (dy[c] * w[c] - off - (x[c] - mean) * scale * slope);
  else
    for (int64_t c = 0; c < C; c++) dx[c] = scale * (dy[c] - off - (x[c] - mean) * scale * slope);
}

static void FN(backward_chunk)(const qni_norm_job *j, int64_t chunk) {
  const int64_t C = j->cols, first = chunk * QNI_NORM_CHUNK;
  const int64_t last = first + QNI_NORM_CHUNK < j->rows ? first + QNI_NORM_CHUNK : j->rows;
  const REAL *means = j->mean, *scales = j->scale;
  REAL *restrict dw = j->dw ? (REAL *)j->dw + chunk * C : NULL;
  REAL *restrict db = j->db ? (REAL *)j->db + chunk * C : NULL;
  for (int64_t c = 0; c < C && dw; c++) dw[c] = 0;
  for (int64_t c = 0; c < C && db; c++) db[c] = 0;
  for (int64_t r = first; r < last; r++) {
    const REAL *x = (const REAL *)j->x + r * C, *dy = (const REAL *)j->dy + r * C;
    const REAL mean = means ? means[r] : 0, scale = scales[r];
    if (j->dx) FN(backward_row)(j, r, mean, scale);
    if (dw)
      for (int64_t c = 0; c < C; c++) dw[c] += dy[c] * ((x[c] - mean) * scale);
    if (db)
      for (int64_t c = 0; c < C; c++) db[c] += dy[c];
  }
}

static qn_status FN(backward)(void *ctx, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++) FN(backward_chunk)(ctx, i);
  return QN_OK;
}

static qn_status FN(column_chunks)(void *ctx, int64_t begin, int64_t end) {
  const qni_column_job *j = ctx;
  const int64_t C = j->cols;
  for (int64_t i = begin; i < end; i++) {
    REAL *restrict sum = (REAL *)j->out + i * C;
    for (int64_t c = 0; c < C; c++) sum[c] = 0;
    const int64_t last = (i + 1) * j->chunk < j->rows ? (i + 1) * j->chunk : j->rows;
    for (int64_t r = i * j->chunk; r < last; r++) {
      const REAL *x = (const REAL *)j->x + r * j->stride;
      for (int64_t c = 0; c < C; c++) sum[c] += x[c];
    }
  }
  return QN_OK;
}

static qn_status FN(column_fold)(void *ctx, int64_t begin, int64_t end) {
  const qni_column_job *j = ctx;
  REAL *restrict sum = j->out;
  for (int64_t c = begin; c < end; c++) sum[c] = 0;
  for (int64_t r = 0; r < j->rows; r++) {
    const REAL *x = (const REAL *)j->x + r * j->stride;
    for (int64_t c = begin; c < end; c++) sum[c] += x[c];
  }
  return QN_OK;
}
