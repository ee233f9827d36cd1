/* The kernels of optim.h for one type. Needs REAL, FN(name), SQRT. SPDX-License-Identifier: MIT */

struct FN(adam) { /* the job's numbers in this type */
  REAL rate, decay, l2, scale, beta1, rest1, beta2, rest2, root, eps;
};

static inline struct FN(adam) FN(adam_numbers)(const qni_optim_job *j) {
  return (struct FN(adam)){
      (REAL)j->rate,        (REAL)j->decay, (REAL)j->l2,          (REAL)j->scale, (REAL)j->beta1,
      (REAL)(1 - j->beta1), (REAL)j->beta2, (REAL)(1 - j->beta2), (REAL)j->root,  (REAL)j->eps};
}

/* ---- SGD ---- */

static inline void FN(sgd_plain)(const qni_optim_job *j, int64_t n, REAL *restrict w,
                                 const REAL *restrict g) {
  const REAL rate = (REAL)j->rate, decay = (REAL)j->decay, l2 = (REAL)j->l2, scale = (REAL)j->scale;
  for (int64_t i = 0; i < n; i++) w[i] = decay * w[i] - rate * (scale * g[i] + l2 * w[i]);
}

static inline void FN(sgd_momentum)(const qni_optim_job *j, int64_t n, REAL *restrict w,
                                    REAL *restrict m, const REAL *restrict g) {
  const REAL rate = (REAL)j->rate, decay = (REAL)j->decay, l2 = (REAL)j->l2, scale = (REAL)j->scale;
  const REAL mu = (REAL)j->beta1, now = j->nesterov ? 1 : 0, past = j->nesterov ? mu : 1;
  for (int64_t i = 0; i < n; i++) {
    const REAL d = scale * g[i] + l2 * w[i];
    m[i] = mu * m[i] + d;
    w[i] = decay * w[i] - rate * (now * d + past * m[i]);
  }
}

static inline void FN(sgd_masked)(const qni_optim_job *j, int64_t n, REAL *restrict w,
                                  REAL *restrict m, const REAL *restrict g,
                                  const uint8_t *restrict mask) {
  for (int64_t i = 0; i < n; i++) {
    if (!mask[i]) continue;
    if (m)
      FN(sgd_momentum)(j, 1, w + i, m + i, g + i);
    else
      FN(sgd_plain)(j, 1, w + i, g + i);
  }
}

static qn_status FN(sgd)(void *ctx, int64_t begin, int64_t end) {
  const qni_optim_job *j = ctx;
  REAL *w = (REAL *)j->w + begin, *m = j->m ? (REAL *)j->m + begin : NULL;
  const REAL *g = (const REAL *)j->g + begin;
  if (j->mask)
    FN(sgd_masked)(j, end - begin, w, m, g, j->mask + begin);
  else if (m)
    FN(sgd_momentum)(j, end - begin, w, m, g);
  else
    FN(sgd_plain)(j, end - begin, w, g);
  return QN_OK;
}

/* ---- Adam ---- */

static inline void FN(adam_run)(const struct FN(adam) a, int64_t n, REAL *restrict w,
                                REAL *restrict m, REAL *restrict v, const REAL *restrict g) {
  for (int64_t i = 0; i < n; i++) {
    const REAL d = a.scale * g[i] + a.l2 * w[i];
    m[i] = a.beta1 * m[i] + a.rest1 * d;
    v[i] = a.beta2 * v[i] + a.rest2 * (d * d);
    w[i] = a.decay * w[i] - a.rate * m[i] / (a.root * SQRT(v[i]) + a.eps);
  }
}

/* Computes all and keeps what the mask freezes: free where memory is the limit. */
static inline void FN(adam_masked)(const struct FN(adam) a, int64_t n, REAL *restrict w,
                                   REAL *restrict m, REAL *restrict v, const REAL *restrict g,
                                   const uint8_t *restrict mask) {
  for (int64_t i = 0; i < n; i++) {
    const REAL d = a.scale * g[i] + a.l2 * w[i];
    const REAL mi = a.beta1 * m[i] + a.rest1 * d, vi = a.beta2 * v[i] + a.rest2 * (d * d);
    const REAL wi = a.decay * w[i] - a.rate * mi / (a.root * SQRT(vi) + a.eps);
    m[i] = mask[i] ? mi : m[i];
    v[i] = mask[i] ? vi : v[i];
    w[i] = mask[i] ? wi : w[i];
  }
}

static qn_status FN(adam)(void *ctx, int64_t begin, int64_t end) {
  const qni_optim_job *j = ctx;
  const struct FN(adam) a = FN(adam_numbers)(j);
  REAL *w = (REAL *)j->w + begin, *m = (REAL *)j->m + begin, *v = (REAL *)j->v + begin;
  const REAL *g = (const REAL *)j->g + begin;
  if (j->mask)
    FN(adam_masked)(a, end - begin, w, m, v, g, j->mask + begin);
  else
    FN(adam_run)(a, end - begin, w, m, v, g);
  return QN_OK;
}

static qn_status FN(adam_rows)(void *ctx, int64_t begin, int64_t end) {
  const qni_optim_job *j = ctx;
  const struct FN(adam) a = FN(adam_numbers)(j);
  const int64_t D = j->width;
  for (int64_t r = begin; r < end; r++) {
    const int64_t at = (j->ids ? j->ids[r] : r) * D;
    FN(adam_run)
    (a, D, (REAL *)j->w + at, (REAL *)j->m + at, (REAL *)j->v + at, (const REAL *)j->g + r * D);
  }
  return QN_OK;
}

/* ---- One second moment for each row ---- */

/* Mean of g'^2 over a row, in LANES running sums folded in a fixed order. */
static inline REAL FN(mean_square)(const qni_optim_job *j, int64_t n, const REAL *restrict w,
                                   const REAL *restrict g) {
  const REAL l2 = (REAL)j->l2, scale = (REAL)j->scale;
  REAL s[LANES] = {0};
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int l = 0; l < LANES; l++) {
      const REAL d = scale * g[i + l] + l2 * w[i + l];
      s[l] += d * d;
    }
  for (int l = 0; i < n; i++, l++) s[l] += (scale * g[i] + l2 * w[i]) * (scale * g[i] + l2 * w[i]);
  for (int half = LANES / 2; half; half /= 2)
    for (int l = 0; l < half; l++) s[l] += s[l + half];
  return n ? s[0] / (REAL)n : 0;
}

static qn_status FN(rowwise_rows)(void *ctx, int64_t begin, int64_t end) {
  const qni_optim_job *j = ctx;
  const struct FN(adam) a = FN(adam_numbers)(j);
  const int64_t D = j->width;
  for (int64_t r = begin; r < end; r++) {
    const int64_t row = j->ids ? j->ids[r] : r;
    const REAL *restrict g = (const REAL *)j->g + r * D;
    REAL *restrict w = (REAL *)j->w + row * D, *restrict m = (REAL *)j->m + row * D,
                   *v = (REAL *)j->v + row;
    *v = a.beta2 * *v + a.rest2 * FN(mean_square)(j, D, w, g);
    const REAL step = a.rate / (a.root * SQRT(*v) + a.eps);
    for (int64_t i = 0; i < D; i++) {
      m[i] = a.beta1 * m[i] + a.rest1 * (a.scale * g[i] + a.l2 * w[i]);
      w[i] = a.decay * w[i] - step * m[i];
    }
  }
  return QN_OK;
}

static qn_status FN(adagrad_rows)(void *ctx, int64_t begin, int64_t end) {
  const qni_optim_job *j = ctx;
  const struct FN(adam) a = FN(adam_numbers)(j);
  const int64_t D = j->width;
  for (int64_t r = begin; r < end; r++) {
    const int64_t row = j->ids ? j->ids[r] : r;
    const REAL *restrict g = (const REAL *)j->g + r * D;
    REAL *restrict w = (REAL *)j->w + row * D, *v = (REAL *)j->v + row;
    *v += FN(mean_square)(j, D, w, g);
    const REAL root = SQRT(*v) + a.eps,
               step = root > 0 ? a.rate / root : 0; /* no gradient yet: no step */
    for (int64_t i = 0; i < D; i++) w[i] = a.decay * w[i] - step * (a.scale * g[i] + a.l2 * w[i]);
  }
  return QN_OK;
}

/* ---- Norms ---- */

static double FN(sum_square)(int64_t n, const void *xv) {
  const REAL *x = xv;
  double s[LANES] = {0};
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int l = 0; l < LANES; l++) s[l] += (double)x[i + l] * (double)x[i + l];
  for (int l = 0; i < n; i++, l++) s[l] += (double)x[i] * (double)x[i];
  for (int half = LANES / 2; half; half /= 2)
    for (int l = 0; l < half; l++) s[l] += s[l + half];
  return s[0];
}
