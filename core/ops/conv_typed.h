/*
** Image to columns and back, per element type (REAL, FN).
**
**   col[(c, i, j), (y, x)] = image[c, y sh + i dh - ph, x sw + j dw - pw], 0 outside
** SPDX-License-Identifier: MIT
*/
static void FN(image_to_columns)(const qni_window *w, int64_t channels, const REAL *image,
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

/* The adjoint: adds each column entry to the pixel it came from; image is zeroed first. */
static void FN(columns_to_image)(const qni_window *w, int64_t channels, const REAL *col,
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
