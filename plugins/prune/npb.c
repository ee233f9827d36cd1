/*
** npb_kernels: how many weights each kernel of a layer keeps, balancing nodes and paths
** (Pham et al. 2023, "node-path balancing").
**
**   maximise  alpha nodes / (I + O) + (1 - alpha) sum_i P_i sum_o M_io / most + beta kernels / n
**   over M_io in 0..cap with sum M = n
**
** P_i counts the paths that arrive at input i, nodes the inputs and outputs with a weight,
** kernels the pairs with one, `most` is the largest path sum that n weights can have. The
** gain of one more weight never rises while weights are added, so the greedy choice needs a
** heap whose top is looked at again before it is taken. SPDX-License-Identifier: MIT
*/
#include "prune.h"

struct entry {
  double gain;
  int64_t kernel; /* i O + o */
};

struct search {
  const double *paths;
  int64_t I, O, n, cap;
  double alpha, beta, most;
  int64_t *m;                  /* [I,O] */
  uint8_t *in_used, *out_used; /* has the node a weight? */
  struct entry *heap;
  int64_t size;
};

static double gain_of(const struct search *s, int64_t kernel) {
  const int64_t i = kernel / s->O, o = kernel % s->O;
  const double nodes = !s->in_used[i] + !s->out_used[o];
  double g = s->alpha * nodes / (double)(s->I + s->O);
  if (s->most > 0) g += (1 - s->alpha) * s->paths[i] / s->most;
  return s->m[kernel] ? g : g + s->beta / (double)s->n;
}

/* The larger gain first, of equal ones the lower kernel. */
static bool before(const struct entry *a, const struct entry *b) {
  return a->gain != b->gain ? a->gain > b->gain : a->kernel < b->kernel;
}

static void sink(struct search *s, int64_t at) {
  for (int64_t child; (child = 2 * at + 1) < s->size; at = child) {
    if (child + 1 < s->size && before(&s->heap[child + 1], &s->heap[child])) child++;
    if (!before(&s->heap[child], &s->heap[at])) return;
    const struct entry t = s->heap[at];
    s->heap[at] = s->heap[child];
    s->heap[child] = t;
  }
}

static void take(struct search *s, int64_t kernel) {
  s->m[kernel]++;
  s->in_used[kernel / s->O] = s->out_used[kernel % s->O] = 1;
}

static void greedy(struct search *s) {
  for (int64_t k = 0; k < s->I * s->O; k++) s->heap[k] = (struct entry){gain_of(s, k), k};
  s->size = s->I * s->O;
  for (int64_t k = s->size / 2 - 1; k >= 0; k--) sink(s, k);
  for (int64_t taken = 0; taken < s->n;) {
    struct entry *top = &s->heap[0];
    const double now = gain_of(s, top->kernel);
    if (now < top->gain) { /* less than when it was last looked at */
      top->gain = now;
      sink(s, 0);
      continue;
    }
    take(s, top->kernel);
    taken++;
    if (s->m[top->kernel] == s->cap)
      *top = s->heap[--s->size];
    else
      top->gain = gain_of(s, top->kernel);
    sink(s, 0);
  }
}

/* The largest path sum of n weights: inputs with many paths first, O cap weights each. */
static double most_paths(const struct search *s, double *sorted) {
  memcpy(sorted, s->paths, (size_t)s->I * sizeof *sorted);
  double sum = 0;
  int64_t left = s->n;
  for (int64_t k = 0; k < s->I && left > 0; k++) {
    int64_t best = k;
    for (int64_t i = k + 1; i < s->I; i++)
      if (sorted[i] > sorted[best]) best = i;
    const double p = sorted[best];
    const int64_t weights = least(left, s->O * s->cap);
    sorted[best] = sorted[k];
    sum += p * (double)weights;
    left -= weights;
  }
  return sum;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  const qn_view *paths = h->in(c, 0);
  struct search s = {.paths = paths->data,
                     .I = paths->shape[0],
                     .O = h->arg_int(c, "outputs"),
                     .n = h->arg_int(c, "budget"),
                     .cap = h->arg_int(c, "cap"),
                     .alpha = h->arg_num(c, "alpha"),
                     .beta = h->arg_num(c, "beta"),
                     .m = h->out(c, 0)->data};
  const int64_t kernels = s.I * s.O;
  memset(s.m, 0, (size_t)kernels * sizeof *s.m);
  for (int64_t i = 0; i < s.I; i++)
    if (!(s.paths[i] >= 0 && isfinite(s.paths[i])))
      return h->fail(c, QN_E_NUMERIC, "paths[%lld] is %g", (long long)i + 1, s.paths[i]);
  if (s.n == 0) return QN_OK;
  if (kernels == 0 || (s.n - 1) / kernels >= s.cap)
    return h->fail(c, QN_E_ARG, "budget is %lld, %lld kernels of %lld hold less", (long long)s.n,
                   (long long)kernels, (long long)s.cap);
  void *nodes, *heap, *sorted;
  qn_status st = h->scratch(c, s.I + s.O, &nodes);
  if (!st) st = h->scratch(c, kernels * (int64_t)sizeof(struct entry), &heap);
  if (!st) st = h->scratch(c, s.I * (int64_t)sizeof(double), &sorted);
  if (st) return st;
  memset(nodes, 0, (size_t)(s.I + s.O));
  s.in_used = nodes;
  s.out_used = s.in_used + s.I;
  s.heap = heap;
  s.most = most_paths(&s, sorted);
  greedy(&s);
  return QN_OK;
}

const qn_op prune_npb_kernels_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_COUPLED,
    .flags = QN_OP_NO_GRAD | QN_OP_NAN_STOPS,
    .schema = "npb_kernels(paths: f64[I]{0..}, *, outputs: int{1..}, budget: int{0..}, cap: "
              "int{1..} = 1, alpha: num{0..1} = 0.01, beta: num{0..} = 1) -> m: i64[I,outputs]",
    .summary = "Weights kept by each kernel of a layer, balancing nodes and paths.",
    .doc = "Greedy maximum of alpha nodes / (I + outputs) + (1 - alpha) sum_i paths_i sum_o m_io / "
           "most + beta kernels / budget, 0 <= m <= cap, sum m = budget; most is the largest path "
           "sum possible.",
    .cite = "Pham et al. 2023, Towards Data-Agnostic Pruning At Initialization: What Makes a Good "
            "Sparse Mask?",
    .example = "print(quern.npb_kernels(quern.ones({3}, 'f64'), {outputs = 2, budget = 3}))",
    .forward = forward,
};
