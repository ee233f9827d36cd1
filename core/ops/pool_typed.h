/*
** Pooling of one item, per element type (REAL, FN): a channel's plane (lanes = 1), or an image
** with its channels last (lanes = C). Windows run over pixels, the inner loops over lanes.
** SPDX-License-Identifier: MIT
*/
/* One window's pixel joins: y = max, at[] the winner's number within the window. NaN wins. */
static inline void FN(max_join)(int64_t lanes, const REAL *restrict x, REAL *restrict y,
                                int32_t *restrict at, int32_t tap) {
  for (int64_t l = 0; l < lanes; l++) {
    const int wins = (x[l] > y[l]) | ((x[l] != x[l]) & (y[l] == y[l])); /* no branch: vectors */
    y[l] = wins ? x[l] : y[l];
    at[l] = wins ? tap : at[l];
  }
}

/* Padding never wins. */
static void FN(max_item)(const qni_window *w, int64_t lanes, const REAL *x, REAL *y, int32_t *at) {
  for (int64_t oy = 0; oy < w->OH; oy++)
    for (int64_t ox = 0; ox < w->OW; ox++, y += lanes, at += lanes) {
      bool first = true;
      for (int64_t i = 0; i < w->kh; i++)
        for (int64_t j = 0; j < w->kw; j++) {
          const int64_t row = oy * w->sh + i * w->dh - w->ph, col = ox * w->sw + j * w->dw - w->pw;
          if (row < 0 || row >= w->H || col < 0 || col >= w->W) continue;
          const REAL *from = x + (row * w->W + col) * lanes;
          const int32_t tap = (int32_t)(i * w->kw + j);
          if (!first) {
            FN(max_join)(lanes, from, y, at, tap);
            continue;
          }
          memcpy(y, from, (size_t)lanes * sizeof *y);
          for (int64_t l = 0; l < lanes; l++) at[l] = tap;
          first = false;
        }
    }
}

static inline void FN(max_leave)(int64_t lanes, const REAL *restrict dy, const int32_t *restrict at,
                                 int32_t tap, REAL *restrict dx) {
  for (int64_t l = 0; l < lanes; l++) {
    const REAL g = dy[l]; /* read in any case: no branch */
    dx[l] += at[l] == tap ? g : 0;
  }
}

static void FN(max_item_back)(const qni_window *w, int64_t lanes, const REAL *dy, const int32_t *at,
                              REAL *dx) {
  memset(dx, 0, (size_t)(w->H * w->W * lanes) * sizeof *dx);
  for (int64_t oy = 0; oy < w->OH; oy++)
    for (int64_t ox = 0; ox < w->OW; ox++, dy += lanes, at += lanes)
      for (int64_t i = 0; i < w->kh; i++)
        for (int64_t j = 0; j < w->kw; j++) {
          const int64_t row = oy * w->sh + i * w->dh - w->ph, col = ox * w->sw + j * w->dw - w->pw;
          if (row < 0 || row >= w->H || col < 0 || col >= w->W) continue;
          FN(max_leave)(lanes, dy, at, (int32_t)(i * w->kw + j), dx + (row * w->W + col) * lanes);
        }
}

/* Mean over the window's pixels inside the image; adaptive windows come with their own bounds. */
static void FN(mean_item)(const qni_window *w, const struct spans *s, int64_t lanes, const REAL *x,
                          REAL *y) {
  for (int64_t oy = 0; oy < w->OH; oy++)
    for (int64_t ox = 0; ox < w->OW; ox++, y += lanes) {
      const REAL n = (REAL)((s->bottom[oy] - s->top[oy]) * (s->right[ox] - s->left[ox]));
      for (int64_t l = 0; l < lanes; l++) y[l] = 0;
      for (int64_t row = s->top[oy]; row < s->bottom[oy]; row++)
        for (int64_t col = s->left[ox]; col < s->right[ox]; col++)
          for (int64_t l = 0; l < lanes; l++) y[l] += x[(row * w->W + col) * lanes + l];
      for (int64_t l = 0; l < lanes; l++) y[l] /= n;
    }
}

static void FN(mean_item_back)(const qni_window *w, const struct spans *s, int64_t lanes,
                               const REAL *dy, REAL *dx) {
  memset(dx, 0, (size_t)(w->H * w->W * lanes) * sizeof *dx);
  for (int64_t oy = 0; oy < w->OH; oy++)
    for (int64_t ox = 0; ox < w->OW; ox++, dy += lanes) {
      const REAL n = (REAL)((s->bottom[oy] - s->top[oy]) * (s->right[ox] - s->left[ox]));
      for (int64_t row = s->top[oy]; row < s->bottom[oy]; row++)
        for (int64_t col = s->left[ox]; col < s->right[ox]; col++)
          for (int64_t l = 0; l < lanes; l++) dx[(row * w->W + col) * lanes + l] += dy[l] / n;
    }
}
