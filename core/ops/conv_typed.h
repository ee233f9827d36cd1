/*
** Image to columns and back, per element type (REAL, FN).
**
**   channels first   col[(c,i,j), (y,x)]      channels last   col[(y,x), (i,j,c)]
**   = image[c, y sh + i dh - ph, x sw + j dw - pw], 0 outside
** SPDX-License-Identifier: MIT
*/

/* Rows (c,i,j) of a channels-first image that begins with the group's first channel. */
static void FN(planes_to_columns)(const qni_window *w, int64_t channels, const REAL *image,
                                  REAL *col) {
  for (int64_t c = 0; c < channels; c++)
    for (int64_t i = 0; i < w->kh; i++)
      for (int64_t j = 0; j < w->kw; j++)
        for (int64_t y = 0; y < w->OH; y++) {
          int64_t row = y * w->sh + i * w->dh - w->ph;
          bool inside = row >= 0 && row < w->H;
          for (int64_t x = 0; x < w->OW; x++) {
            int64_t column = x * w->sw + j * w->dw - w->pw;
            *col++ = inside && column >= 0 && column < w->W
                         ? image[(c * w->H + row) * w->W + column]
                         : 0;
          }
        }
}

/* The pixel that tap (i, j) of result pixel (y, x) sees, or -1 outside. */
static int64_t FN(pixel)(const qni_window *w, int64_t y, int64_t x, int64_t i, int64_t j) {
  const int64_t row = y * w->sh + i * w->dh - w->ph, column = x * w->sw + j * w->dw - w->pw;
  return row < 0 || row >= w->H || column < 0 || column >= w->W ? -1 : row * w->W + column;
}

static void FN(pixels_to_columns)(const qni_window *w, int64_t channels, const REAL *image,
                                  REAL *col) {
  for (int64_t y = 0; y < w->OH; y++)
    for (int64_t x = 0; x < w->OW; x++)
      for (int64_t i = 0; i < w->kh; i++)
        for (int64_t j = 0; j < w->kw; j++, col += channels) {
          const int64_t p = FN(pixel)(w, y, x, i, j);
          if (p < 0)
            memset(col, 0, (size_t)channels * sizeof *col);
          else
            memcpy(col, image + p * w->C, (size_t)channels * sizeof *col);
        }
}

static void FN(image_to_columns)(const qni_window *w, int64_t channels, const REAL *image,
                                 REAL *col) {
  if (w->last)
    FN(pixels_to_columns)(w, channels, image, col);
  else
    FN(planes_to_columns)(w, channels, image, col);
}

/* The adjoint: adds each column entry to the pixel it came from; the group is zeroed first. */
static void FN(columns_to_planes)(const qni_window *w, int64_t channels, const REAL *col,
                                  REAL *image) {
  memset(image, 0, (size_t)(channels * w->H * w->W) * sizeof *image);
  for (int64_t c = 0; c < channels; c++)
    for (int64_t i = 0; i < w->kh; i++)
      for (int64_t j = 0; j < w->kw; j++)
        for (int64_t y = 0; y < w->OH; y++) {
          int64_t row = y * w->sh + i * w->dh - w->ph;
          bool inside = row >= 0 && row < w->H;
          for (int64_t x = 0; x < w->OW; x++, col++) {
            int64_t column = x * w->sw + j * w->dw - w->pw;
            if (inside && column >= 0 && column < w->W)
              image[(c * w->H + row) * w->W + column] += *col;
          }
        }
}

static void FN(columns_to_pixels)(const qni_window *w, int64_t channels, const REAL *col,
                                  REAL *image) {
  for (int64_t p = 0; p < w->H * w->W; p++)
    memset(image + p * w->C, 0, (size_t)channels * sizeof *image);
  for (int64_t y = 0; y < w->OH; y++)
    for (int64_t x = 0; x < w->OW; x++)
      for (int64_t i = 0; i < w->kh; i++)
        for (int64_t j = 0; j < w->kw; j++, col += channels) {
          const int64_t p = FN(pixel)(w, y, x, i, j);
          if (p < 0) continue;
          for (int64_t c = 0; c < channels; c++) image[p * w->C + c] += col[c];
        }
}

static void FN(columns_to_image)(const qni_window *w, int64_t channels, const REAL *col,
                                 REAL *image) {
  if (w->last)
    FN(columns_to_pixels)(w, channels, col, image);
  else
    FN(columns_to_planes)(w, channels, col, image);
}

/* ---- Kernels and bias ---- */

static void FN(reorder)(int64_t groups, int64_t og, int64_t cg, int64_t taps, const REAL *from,
                        REAL *to, bool back) {
  for (int64_t g = 0; g < groups; g++)
    for (int64_t o = 0; o < og; o++)
      for (int64_t i = 0; i < cg; i++)
        for (int64_t t = 0; t < taps; t++) {
          const int64_t kernel = ((g * og + o) * cg + i) * taps + t,
                        ordered = ((g * taps + t) * cg + i) * og + o;
          if (back)
            to[kernel] = from[ordered];
          else
            to[ordered] = from[kernel];
        }
}

static void FN(bias)(const qni_window *w, int64_t O, int64_t P, const REAL *bias, REAL *y) {
  for (int64_t i = 0; i < (w->last ? P : O); i++)
    for (int64_t j = 0; j < (w->last ? O : P); j++) *y++ += bias[w->last ? j : i];
}

static void FN(add_partials)(int64_t n_parts, int64_t n, const REAL *parts, REAL *out) {
  for (int64_t i = 0; i < n; i++) {
    double sum = 0;
    for (int64_t p = 0; p < n_parts; p++) sum += (double)parts[p * n + i];
    out[i] = (REAL)sum;
  }
}

static void FN(bias_gradient)(int64_t N, int64_t O, int64_t P, const REAL *g, REAL *db) {
  for (int64_t o = 0; o < O; o++) {
    double sum = 0;
    for (int64_t n = 0; n < N; n++)
      for (int64_t p = 0; p < P; p++) sum += (double)g[(n * O + o) * P + p];
    db[o] = (REAL)sum;
  }
}
