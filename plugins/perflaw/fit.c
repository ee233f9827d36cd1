/*
** law_fit: least squares of the Performance Law's forms by variable projection.
**
**   y_i = sum_k b_{k,g(i)} phi(x_ik; a_k, p_k) + sum_l c_l z_il         x = ln of N, d, D
**   repo    phi = -a x - exp(-a x) / p     paper  phi = x + p exp(-a x)     power  phi = exp(-a x)
** For given exponents a the rest is linear and solved by reflections (least.c); what is left
** to search are at most three exponents (Golub and Pereyra 1973, Kaufman's Jacobian
** -P (d phi / d a) b, P the projection off the columns). Starts: a grid of sizes of both
** signs (power: positive ones) on each axis; the best POLISHED of each combination of
** signs go to MINPACK's Levenberg-Marquardt, with ln |a| = ln low + ln(high / low) sigmoid(t),
** so that a keeps its sign and |a| (max x - min x) stays within the guard: beyond it the law
** degenerates to a spike at one point of the grid.
**
** Huber's loss is reached by reweighting. Rows of y are fitted apart from each other.
** SPDX-License-Identifier: MIT
*/
#include <cminpack-1/cminpack.h>

#include "least.h"
#include "perflaw.h"

enum { MOST_AXES = 3, SIZES = 7, POLISHED = 5, REWEIGHTS = 30, MOST_CALLS = 400 };
enum { REPO, PAPER, POWER };

static const double FIRST_STEP = .1; /* of the trust region: longer ones end at the bounds */
static const double SIZE[SIZES] = {.08, .15, .25, .4, .6, 1, 2};

struct fit { /* one call */
  const qn_host *h;
  qn_call *c;
  int64_t R, n, A, L, split, columns;
  int form;
  double guard, huber;
  const double *x, *z, *y, *w, *p, *start;
  const int64_t *group;
  double *theta, *beta, *sse;
  int64_t *optima;
};

struct work { /* one row of y, on one worker */
  const struct fit *s;
  struct least q;
  double low[MOST_AXES], high[MOST_AXES], sign[MOST_AXES]; /* bounds of |a| and signs */
  const double *y;
  double *beta, *weight;       /* [columns]; [n] square roots of weights */
  double *residual, *jacobian; /* [n], [A][n] */
  double *minpack;             /* work of lmder */
};

struct candidate {
  double a[MOST_AXES], sse;
};

/* ---- The model for given exponents ---- */

static double phi(const struct fit *s, int64_t axis, double x, double a) {
  double e = exp(-a * x), p = s->p[axis];
  return s->form == REPO ? -a * x - e / p : s->form == PAPER ? x + p * e : e;
}

static double phi_slope(const struct fit *s, int64_t axis, double x, double a) { /* d phi / d a */
  double e = exp(-a * x), p = s->p[axis];
  return s->form == REPO ? x * (e / p - 1) : s->form == PAPER ? -p * x * e : -x * e;
}

static int64_t column_of(const struct fit *s, int64_t axis, int64_t i) {
  return axis * s->split + (s->group ? s->group[i] : 0);
}

/* Solves the linear part: beta and residual; returns the weighted sum of squares. */
static double solve(struct work *t, const double *a) {
  const struct fit *s = t->s;
  double sum = 0, *f = t->q.f, *linear = f + s->A * s->split * s->n;
  memset(f, 0, (size_t)(s->A * s->split * s->n) * sizeof *f);
  for (int64_t k = 0; k < s->A; k++)
    for (int64_t i = 0; i < s->n; i++)
      f[column_of(s, k, i) * s->n + i] = t->weight[i] * phi(s, k, s->x[i * s->A + k], a[k]);
  for (int64_t l = 0; l < s->L; l++)
    for (int64_t i = 0; i < s->n; i++) linear[l * s->n + i] = t->weight[i] * s->z[i * s->L + l];
  least_factor(&t->q);
  for (int64_t i = 0; i < s->n; i++) t->residual[i] = t->weight[i] * t->y[i];
  least_solve(&t->q, t->residual, t->beta);
  for (int64_t i = 0; i < s->n; i++) sum += t->residual[i] * t->residual[i];
  return sum;
}

/* The exponent at t, and its slope; place() is the inverse. */
static double exponent(const struct work *t, int64_t k, double at, double *slope) {
  double u = 1 / (1 + exp(-at)), span = log(t->high[k] / t->low[k]);
  double a = t->sign[k] * t->low[k] * exp(span * u);
  if (slope) *slope = a * span * u * (1 - u);
  return a;
}

static double place(const struct work *t, int64_t k, double a) {
  double u = log(fabs(a) / t->low[k]) / log(t->high[k] / t->low[k]);
  u = fmin(fmax(u, 1e-6), 1 - 1e-6);
  return log(u / (1 - u));
}

static int residuals(void *ctx, int n, int A, const double *at, double *r, double *jacobian, int ld,
                     int what) {
  struct work *t = ctx;
  const struct fit *s = t->s;
  double a[MOST_AXES] = {0}, slope[MOST_AXES];
  for (int64_t k = 0; k < A; k++) a[k] = exponent(t, k, at[k], &slope[k]);
  solve(t, a);
  if (what == 1) memcpy(r, t->residual, (size_t)n * sizeof *r);
  for (int64_t k = 0; what == 2 && k < A; k++) {
    double *j = jacobian + k * ld;
    for (int64_t i = 0; i < n; i++)
      j[i] = -slope[k] * t->beta[column_of(s, k, i)] * t->weight[i] *
             phi_slope(s, k, s->x[i * s->A + k], a[k]);
    least_project(&t->q, j);
  }
  return 0;
}

/* ---- The search ---- */

static void polish(struct work *t, struct candidate *best) {
  const struct fit *s = t->s;
  double at[MOST_AXES], qtf[MOST_AXES], diag[MOST_AXES], wa[3][MOST_AXES];
  int calls, slopes, pivot[MOST_AXES], n = (int)s->n, A = (int)s->A;
  if (!A || s->n < A) return;
  for (int64_t k = 0; k < A; k++) {
    t->sign[k] = best->a[k] < 0 ? -1 : 1;
    at[k] = place(t, k, best->a[k]);
  }
  lmder(residuals, t, n, A, at, t->minpack, t->jacobian, n, 1e-14, 1e-12, 0, MOST_CALLS, diag, 1,
        FIRST_STEP, 0, &calls, &slopes, pivot, qtf, wa[0], wa[1], wa[2], t->minpack + n);
  struct candidate end;
  for (int64_t k = 0; k < A; k++) end.a[k] = exponent(t, k, at[k], NULL);
  end.sse = solve(t, end.a);
  if (end.sse <= best->sse) *best = end;
}

/* Keeps the best POLISHED, best first. */
static void keep(struct candidate *list, int *count, const struct candidate *new) {
  int i = *count;
  if (i == POLISHED && !(new->sse < list[i - 1].sse)) return;
  if (i < POLISHED)
    ++*count;
  else
    i--;
  for (; i > 0 && new->sse < list[i - 1].sse; i--) list[i] = list[i - 1];
  list[i] = *new;
}

/* Exponent of grid point g on an axis, of the given sign; sizes beyond the guard stand at it. */
static double grid_exponent(const struct work *t, int64_t k, int64_t g, bool negative) {
  double size = fmin(fmax(SIZE[g], t->low[k]), t->high[k] * .98);
  return negative ? -size : size;
}

static bool same_place(const struct candidate *a, const struct candidate *b, int64_t A) {
  bool same = true;
  for (int64_t k = 0; k < A; k++)
    same = same && fabs(a->a[k] - b->a[k]) <= 1e-3 * fmax(fabs(a->a[k]), fabs(b->a[k]));
  return same;
}

/* All sign combinations; the best of all in *best, how many places they ended in returned. */
static int64_t search(struct work *t, struct candidate *best) {
  const struct fit *s = t->s;
  struct candidate ends[POLISHED << MOST_AXES];
  int64_t n_ends = 0, cells = 1, signs = s->form == POWER ? 1 : (int64_t)1 << s->A;
  for (int64_t k = 0; k < s->A; k++) cells *= SIZES;
  best->sse = INFINITY;
  for (int64_t q = 0; q < signs; q++) {
    struct candidate list[POLISHED];
    int count = 0;
    for (int64_t cell = 0; cell < cells; cell++) {
      struct candidate new;
      for (int64_t k = 0, rest = cell; k < s->A; k++, rest /= SIZES)
        new.a[k] = grid_exponent(t, k, rest % SIZES, (q >> k) & 1);
      new.sse = solve(t, new.a);
      keep(list, &count, &new);
    }
    for (int i = 0; i < count; i++) {
      bool seen = false;
      polish(t, &list[i]);
      for (int64_t e = 0; e < n_ends; e++) seen = seen || same_place(&ends[e], &list[i], s->A);
      if (!seen) ends[n_ends++] = list[i];
      if (list[i].sse < best->sse) *best = list[i];
    }
  }
  return n_ends;
}

static int64_t minimum(struct work *t, struct candidate *best, bool warm) {
  if (!warm) return search(t, best);
  best->sse = solve(t, best->a);
  polish(t, best);
  return 1;
}

/* Huber's loss: residuals beyond the bound weigh bound / |residual|. */
static void reweight(struct work *t, struct candidate *best) {
  const struct fit *s = t->s;
  for (int round = 0; round < REWEIGHTS; round++) {
    double moved = 0;
    solve(t, best->a);
    for (int64_t i = 0; i < s->n; i++) {
      double own = s->w ? sqrt(s->w[i]) : 1, old = t->weight[i];
      double r = old > 0 ? fabs(t->residual[i] / old) * own : 0;
      t->weight[i] = own * (r > s->huber ? sqrt(s->huber / r) : 1);
      moved = fmax(moved, fabs(t->weight[i] - old));
    }
    if (moved < 1e-10) return;
    minimum(t, best, true);
  }
}

/* ---- The op ---- */

static void bound_axes(struct work *t) {
  const struct fit *s = t->s;
  for (int64_t k = 0; k < s->A; k++) {
    double least = INFINITY, most = -INFINITY;
    for (int64_t i = 0; i < s->n; i++) {
      least = fmin(least, s->x[i * s->A + k]);
      most = fmax(most, s->x[i * s->A + k]);
    }
    t->high[k] = most > least ? s->guard / (most - least) : SIZE[SIZES - 1];
    t->low[k] = fmin(1e-3, t->high[k] / 100);
  }
}

static bool finite_row(const struct fit *s, const double *y) {
  bool finite = true;
  for (int64_t i = 0; i < s->n; i++)
    finite = finite && isfinite(y[i]) && !(s->w && !isfinite(s->w[i]));
  for (int64_t i = 0; i < s->n * s->A; i++) finite = finite && isfinite(s->x[i]);
  for (int64_t i = 0; i < s->n * s->L; i++) finite = finite && isfinite(s->z[i]);
  return finite;
}

static void fit_row(struct work *t, int64_t row) {
  const struct fit *s = t->s;
  struct candidate best = {{0}, NAN};
  t->y = s->y + row * s->n;
  for (int64_t k = 0; k < s->A; k++) best.a[k] = s->start ? s->start[k] : NAN;
  bool finite = finite_row(s, t->y);
  for (int64_t i = 0; i < s->n; i++) t->weight[i] = s->w ? sqrt(s->w[i]) : 1;
  s->optima[row] = finite ? minimum(t, &best, s->start != NULL) : 0;
  if (finite && s->huber > 0) reweight(t, &best);
  if (finite) best.sse = solve(t, best.a);
  for (int64_t k = 0; k < s->A; k++) s->theta[row * s->A + k] = best.a[k];
  for (int64_t j = 0; j < s->columns; j++)
    s->beta[row * s->columns + j] = finite ? t->beta[j] : (double)NAN;
  s->sse[row] = best.sse;
}

static qn_status fit_rows(void *ctx, int64_t begin, int64_t end) {
  const struct fit *s = ctx;
  struct work t = {.s = s};
  void *memory;
  int64_t doubles = least_room(s->n, s->columns) + s->columns + s->n * (4 + s->A) + s->n;
  qn_status st = s->h->local(s->c, doubles * (int64_t)sizeof(double), &memory);
  if (st) return st;
  least_open(&t.q, s->n, s->columns, memory);
  t.beta = (double *)memory + least_room(s->n, s->columns);
  t.weight = t.beta + s->columns;
  t.residual = t.weight + s->n;
  t.jacobian = t.residual + s->n;
  t.minpack = t.jacobian + s->n * s->A;
  bound_axes(&t);
  for (int64_t r = begin; r < end; r++) fit_row(&t, r);
  return QN_OK;
}

static qn_status check(const struct fit *s) {
  const qn_host *h = s->h;
  if (s->A > MOST_AXES)
    return h->fail(s->c, QN_E_SHAPE, "x has %lld axes; %d are the most", (long long)s->A,
                   MOST_AXES);
  if (s->n > 1 << 24) return h->fail(s->c, QN_E_SHAPE, "%lld points are too many", (long long)s->n);
  for (int64_t i = 0; s->group && i < s->n; i++)
    if (s->group[i] < 0 || s->group[i] >= s->split)
      return h->fail(s->c, QN_E_ARG, "group[%lld] is %lld, not in 0..%lld", (long long)(i + 1),
                     (long long)s->group[i], (long long)(s->split - 1));
  for (int64_t i = 0; s->w && i < s->n; i++)
    if (s->w[i] < 0)
      return h->fail(s->c, QN_E_ARG, "weight[%lld] is %g; weights are at least 0",
                     (long long)(i + 1), s->w[i]);
  return QN_OK;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0), *z = h->in(c, 1), *y = h->in(c, 2), *p = h->in(c, 3),
                *w = h->in(c, 4), *group = h->in(c, 5), *start = h->in(c, 6);
  struct fit s = {.h = h,
                  .c = c,
                  .R = y->shape[0],
                  .n = y->shape[1],
                  .A = x->shape[1],
                  .L = z->shape[1],
                  .split = h->arg_int(c, "split"),
                  .form = (int)h->arg_int(c, "form"),
                  .guard = h->arg_num(c, "guard"),
                  .huber = h->arg_num(c, "huber"),
                  .x = x->data,
                  .z = z->data,
                  .y = y->data,
                  .p = p->data,
                  .w = w ? w->data : NULL,
                  .group = group ? group->data : NULL,
                  .start = start ? start->data : NULL,
                  .theta = h->out(c, 0)->data,
                  .beta = h->out(c, 1)->data,
                  .sse = h->out(c, 2)->data,
                  .optima = h->out(c, 3)->data};
  s.columns = s.A * s.split + s.L;
  qn_status st = check(&s);
  return st ? st : h->parallel(c, s.R, s.start ? 32 : 1, fit_rows, &s);
}

const qn_op perflaw_law_fit_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_COUPLED,
    .flags = QN_OP_NO_GRAD | QN_OP_DOMAIN,
    .schema = "law_fit(x: f64[N,A], z: f64[N,L], y: f64[R,N], p: f64[A]{1..16}, "
              "w: f64[N]{0..}? = nil, group: i64[N]{0..split-1}? = nil, start: f64[A]? = nil, *, "
              "form: enum{repo|paper|power} = repo, split: int{1..8} = 1, guard: num{0.01..} = 6, "
              "huber: num{0..} = 0) -> theta: f64[R,A], beta: f64[R,A*split+L], sse: f64[R], "
              "optima: i64[R] where A <= 3",
    .summary = "Fits each row of y by the Performance Law or a power law, over x = ln N, ln d, ...",
    .doc =
        "y_i = sum_k b[k,group_i] phi(x_ik; a_k, p_k) + sum_l c_l z_il. repo: phi = -a x - "
        "exp(-a x)/p; paper: x + p exp(-a x); power: exp(-a x), a > 0. theta holds a, beta "
        "first b ([A,split]), then c. All signs of a are searched, or only near start where "
        "it is given; |a| (max x - min x) <= guard. w weighs squares; huber > 0 is the bound "
        "beyond which residuals count by their size. optima: different places the search ended in. "
        "Rows with a value that is not finite give NaN.",
    .cite = "Shen et al. 2024 (arXiv 2412.00430); Golub and Pereyra 1973",
    .example = "local a = quern.law_fit(quern.f64{{0}, {1}, {2}}, quern.f64{{1}, {1}, {1}}, "
               "quern.f64{{3, 2, 1.5}}, quern.f64{1}, {form = 'power'}); "
               "print(('%.3f'):format(a:item())) --> 0.693",
    .forward = forward,
};
