/*
** Pooling of one channel's plane, per element type (REAL, FN).
** SPDX-License-Identifier: MIT
*/
/* y = max over the window, at[] the winning pixel's position; padding never wins. NaN wins. */
static void FN(max_plane)(const qni_window *w, const REAL *x, REAL *y, int64_t *at) {
  for (int64_t oy = 0; oy < w->OH; oy++)
    for (int64_t ox = 0; ox < w->OW; ox++) {
      int64_t best = -1;
      for (int64_t i = 0; i < w->kh; i++)
        for (int64_t j = 0; j < w->kw; j++) {
          int64_t row = oy * w->sh + i * w->dh - w->ph, col = ox * w->sw + j * w->dw - w->pw,
                  p = row * w->W + col;
          if (row < 0 || row >= w->H || col < 0 || col >= w->W) continue;
          if (best < 0 || x[p] > x[best] || (isnan(x[p]) && !isnan(x[best]))) best = p;
        }
      y[oy * w->OW + ox] = x[best];
      at[oy * w->OW + ox] = best;
    }
}

static void FN(max_plane_back)(const qni_window *w, const REAL *dy, const int64_t *at, REAL *dx) {
  memset(dx, 0, (size_t)(w->H * w->W) * sizeof *dx);
  for (int64_t i = 0; i < w->OH * w->OW; i++) dx[at[i]] += dy[i];
}

/* Mean over the window's pixels inside the image; adaptive windows come with their own bounds. */
static void FN(mean_plane)(const qni_window *w, const struct spans *s, const REAL *x, REAL *y) {
  for (int64_t oy = 0; oy < w->OH; oy++)
    for (int64_t ox = 0; ox < w->OW; ox++) {
      double sum = 0;
      for (int64_t row = s->top[oy]; row < s->bottom[oy]; row++)
        for (int64_t col = s->left[ox]; col < s->right[ox]; col++)
          sum += (double)x[row * w->W + col];
      y[oy * w->OW + ox] =
          (REAL)(sum / (double)((s->bottom[oy] - s->top[oy]) * (s->right[ox] - s->left[ox])));
    }
}

static void FN(mean_plane_back)(const qni_window *w, const struct spans *s, const REAL *dy,
                                REAL *dx) {
  memset(dx, 0, (size_t)(w->H * w->W) * sizeof *dx);
  for (int64_t oy = 0; oy < w->OH; oy++)
    for (int64_t ox = 0; ox < w->OW; ox++) {
      REAL share =
          dy[oy * w->OW + ox] / (REAL)((s->bottom[oy] - s->top[oy]) * (s->right[ox] - s->left[ox]));
      for (int64_t row = s->top[oy]; row < s->bottom[oy]; row++)
        for (int64_t col = s->left[ox]; col < s->right[ox]; col++) dx[row * w->W + col] += share;
    }
}
