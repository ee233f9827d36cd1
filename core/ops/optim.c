/*
** Optimizer steps on dense gradients, in place; and the norm that clipping needs.
** Formulas: kernels/optim.h.
**
** Clipping needs no number to leave the tensors: grad_norm_sq gives the square of the
** norm, the steps take it with max_norm and scale by min(1, max_norm / (norm + 1e-6)).
** Where mask is 0, weight and state stay as they are (pruned or frozen elements).
** SPDX-License-Identifier: MIT
*/
#include "ops/optim.h"

#include <math.h>
#include <stddef.h>

#include "kernels/bf16.h"

enum { GRAIN = QNI_OPTIM_GRAIN };

static void *data_of(const qn_host *h, qn_call *c, int32_t i) {
  const qn_view *v = h->in(c, i);
  return v ? v->data : NULL;
}

static int64_t count(const qn_view *v) {
  int64_t n = 1;
  for (int32_t i = 0; i < v->ndim; i++) n *= v->shape[i];
  return n;
}

void qni_optim_numbers(const qni_optim_settings *s, double norm_sq, qni_optim_job *job) {
  job->rate = s->lr;
  job->decay = s->decoupled ? 1 - s->lr * s->weight_decay : 1;
  job->l2 = s->decoupled ? 0 : s->weight_decay;
  job->scale = s->scale;
  if (!(s->max_norm > 0)) return;
  double clip = s->max_norm / (sqrt(norm_sq) * fabs(s->scale) + 1e-6);
  if (!(clip >= 1)) job->scale *= clip; /* a norm that is NaN stays visible */
}

void qni_optim_moments(const qni_optim_settings *s, qni_optim_job *job) {
  double t = (double)s->step;
  job->beta1 = s->beta1;
  job->beta2 = s->beta2;
  job->eps = s->eps;
  double kept1 = 1 - pow(job->beta1, t), kept2 = 1 - pow(job->beta2, t);
  job->rate = kept1 > 0 ? job->rate / kept1 : 0; /* beta1 = 1: m never moves */
  job->root = kept2 > 0 ? 1 / sqrt(kept2) : 1;
}

qn_status qni_optim_common(const qn_host *h, qn_call *c, int32_t norm_input, qni_optim_job *job) {
  qni_optim_settings s = {.lr = h->arg_num(c, "lr"),
                          .weight_decay = h->arg_num(c, "weight_decay"),
                          .scale = h->arg_num(c, "scale"),
                          .max_norm = h->arg_num(c, "max_norm"),
                          .decoupled = h->arg_bool(c, "decoupled")};
  const double *norm_sq = data_of(h, c, norm_input);
  if (!isfinite(s.lr)) return h->fail(c, QN_E_ARG, "lr is %g, expected a finite number", s.lr);
  if (s.max_norm > 0 && !norm_sq)
    return h->fail(c, QN_E_ARG, "max_norm is %g, but norm_sq is not given", s.max_norm);
  qni_optim_numbers(&s, norm_sq ? *norm_sq : 0, job);
  return QN_OK;
}

void qni_optim_adam_arguments(const qn_host *h, qn_call *c, qni_optim_job *job) {
  qni_optim_moments(&(qni_optim_settings){.step = h->arg_int(c, "step"),
                                          .beta1 = h->arg_num(c, "beta1"),
                                          .beta2 = h->arg_num(c, "beta2"),
                                          .eps = h->arg_num(c, "eps")},
                    job);
}

/* Inputs w, g, m, then for Adam v, then mask and norm_sq. */
static qn_status sgd(const qn_host *h, qn_call *c) {
  const qn_view *w = h->in(c, 0);
  qni_optim_job job = {
      .w = w->data, .g = data_of(h, c, 1), .m = data_of(h, c, 2), .mask = data_of(h, c, 3)};
  qn_status st = qni_optim_common(h, c, 4, &job);
  if (st) return st;
  job.beta1 = h->arg_num(c, "momentum");
  job.nesterov = h->arg_bool(c, "nesterov");
  if (!job.m && job.beta1 > 0)
    return h->fail(c, QN_E_ARG, "momentum is %g, but m is not given", job.beta1);
  return h->parallel(c, count(w), GRAIN, qni_optim()->sgd[w->dtype == QN_F64], &job);
}

static qn_status adam(const qn_host *h, qn_call *c) {
  const qn_view *w = h->in(c, 0);
  qni_optim_job job = {.w = w->data,
                       .g = data_of(h, c, 1),
                       .m = data_of(h, c, 2),
                       .v = data_of(h, c, 3),
                       .mask = data_of(h, c, 4)};
  qn_status st = qni_optim_common(h, c, 5, &job);
  if (st) return st;
  qni_optim_adam_arguments(h, c, &job);
  return h->parallel(c, count(w), GRAIN, qni_optim()->adam[w->dtype == QN_F64], &job);
}

/* ---- The norm ---- */

struct norm {
  double (*sum_square)(int64_t n, const void *x);
  const char *x;
  int64_t n, size; /* elements, bytes of one */
  double *part;    /* of each chunk */
};

static qn_status norm_chunk(void *ctx, int64_t begin, int64_t end) {
  const struct norm *s = ctx;
  for (int64_t k = begin; k < end; k++) {
    int64_t left = s->n - k * GRAIN;
    s->part[k] = s->sum_square(left < GRAIN ? left : GRAIN, s->x + k * GRAIN * s->size);
  }
  return QN_OK;
}

/* Partial sums of fixed chunks, added in order, tensor by tensor. */
static qn_status norm_sq(const qn_host *h, qn_call *c) {
  double sum = 0;
  for (int32_t i = 0; i < h->n_in(c); i++) {
    const qn_view *x = h->in(c, i);
    int32_t wide = x->dtype == QN_F64;
    struct norm s = {.sum_square = qni_optim()->sum_square[wide],
                     .x = x->data,
                     .n = count(x),
                     .size = wide ? 8 : 4};
    int64_t chunks = (s.n + GRAIN - 1) / GRAIN;
    void *memory = NULL;
    qn_status st = h->scratch(c, chunks * (int64_t)sizeof(double), &memory);
    s.part = memory;
    if (!st) st = h->parallel(c, chunks, 1, norm_chunk, &s);
    if (st) return st;
    for (int64_t k = 0; k < chunks; k++) sum += s.part[k];
  }
  *(double *)h->out(c, 0)->data = sum;
  return QN_OK;
}

/* ---- Table ---- */

static const qn_op sgd_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .flags = QN_OP_NO_GRAD | QN_OP_NAN_STOPS,
    .schema =
        "sgd_step_(w!: f[...], g: f[...], m!: f[...]? = nil, *, mask: bool[...]? = nil, norm_sq: "
        "f64[]{0..}? = nil, "
        "lr: num, momentum: num{0..1} = 0, nesterov: bool = false, weight_decay: num{0..} = 0, "
        "decoupled: bool = false, scale: num = 1, max_norm: num{0..} = 0) -> w",
    .summary = "One step of gradient descent, in place, with momentum if m is given.",
    .doc =
        "g' = scale g + weight_decay w;  m = momentum m + g';  w = w - lr m.\n"
        "nesterov uses g' + momentum m in place of m. decoupled applies the decay to w directly.\n"
        "Elements with mask 0 stay as they are. max_norm with norm_sq (of grad_norm_sq) clips.",
    .cite =
        "Sutskever et al. 2013, On the importance of initialization and momentum in deep learning",
    .example = "quern.sgd_step_(quern.ones(3), quern.ones(3), {lr = 0.1})",
    .forward = sgd,
};

static const qn_op adam_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .flags = QN_OP_NO_GRAD | QN_OP_NAN_STOPS,
    .schema =
        "adam_step_(w!: f[...], g: f[...], m!: f[...], v!: f[...]{0..}, *, mask: bool[...]? = nil, "
        "norm_sq: f64[]{0..}? = nil, step: int{1..}, lr: num, beta1: num{0..1} = 0.9, beta2: "
        "num{0..1} = 0.999, "
        "eps: num{0..} = 1e-8, weight_decay: num{0..} = 0, decoupled: bool = true, scale: num = 1, "
        "max_norm: num{0..} = 0) -> w",
    .summary = "One step of Adam or AdamW, in place, every element moved.",
    .doc =
        "m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;\n"
        "w = w - lr mh / (sqrt(vh) + eps), mh = m / (1 - beta1^step), vh = v / (1 - beta2^step).\n"
        "decoupled (AdamW): w is multiplied by 1 - lr weight_decay first; else weight_decay w is "
        "added to g.\n"
        "Elements with mask 0 stay as they are. max_norm with norm_sq (of grad_norm_sq) clips.",
    .cite = "Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019, algorithm 2",
    .example = "quern.adam_step_(quern.ones(3), quern.ones(3), quern.zeros(3), quern.zeros(3), "
               "{step = 1, lr = 0.1})",
    .forward = adam,
};

static const qn_op norm_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .flags = QN_OP_NO_GRAD,
    .schema = "grad_norm_sq(xs: f[?]*) -> s: f64[]",
    .summary = "Sum of the squares of all elements of all tensors, in double.",
    .doc =
        "Summed in chunks of fixed size, added in order: the same bits for any number of workers.",
    .cite = "Pascanu et al. 2013, On the difficulty of training recurrent neural networks",
    .example = "print(quern.grad_norm_sq({quern.ones(3), quern.ones(2, 2)}))",
    .forward = norm_sq,
};

/* ---- bf16 storage ---- */

struct rounding {
  const float *x;
  uint16_t *y;
  uint32_t seed;
};

static qn_status round_range(void *ctx, int64_t begin, int64_t end) {
  const struct rounding *s = ctx;
  qni_bf16()->stochastic(end - begin, s->x + begin, s->y + begin, begin, s->seed);
  return QN_OK;
}

static qn_status round_bf16(const qn_host *h, qn_call *c) {
  const qn_view *y = h->in(c, 0), *x = h->in(c, 1);
  if (y->dtype != QN_BF16 || x->dtype != QN_F32)
    return h->fail(c, QN_E_DTYPE, "y must be bf16 and x f32");
  struct rounding s = {.x = x->data,
                       .y = y->data,
                       .seed =
                           qni_bf16_seed(h->arg_int(c, "step"), (uint32_t)h->arg_int(c, "salt"))};
  return h->parallel(c, count(y), GRAIN, round_range, &s);
}

static const qn_op round_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .flags = QN_OP_NO_GRAD,
    .schema =
        "round_bf16_(y!: any[...], x: f[...], *, step: int{0..} = 0, salt: int{0..} = 0) -> y",
    .summary = "Numbers of f32 into bf16, rounded up or down at random so that they are right on "
               "average.",
    .doc =
        "Goes up with the probability of the part that is cut off, so that small changes of a "
        "moment are not lost. The random bits of element i follow from (i, step, salt). NaN stays "
        "NaN.",
    .cite = "Gupta et al. 2015, Deep learning with limited numerical precision, section 3",
    .example = "print(quern.round_bf16_(quern.zeros({3}, \"bf16\"), quern.tensor{1, 1.003, -2}))",
    .forward = round_bf16,
};

struct following {
  const uint16_t *stored;
  float *master;
};

static qn_status follow_range(void *ctx, int64_t begin, int64_t end) {
  const struct following *s = ctx;
  qni_bf16()->follow(end - begin, s->stored + begin, s->master + begin);
  return QN_OK;
}

static qn_status follow_bf16(const qn_host *h, qn_call *c) {
  const qn_view *master = h->in(c, 0), *w = h->in(c, 1);
  if (master->dtype != QN_F32 || w->dtype != QN_BF16)
    return h->fail(c, QN_E_DTYPE, "master must be f32 and w bf16");
  struct following s = {.stored = w->data, .master = master->data};
  return h->parallel(c, count(w), GRAIN, follow_range, &s);
}

static const qn_op follow_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .flags = QN_OP_NO_GRAD | QN_OP_NAN_STOPS,
    .schema = "follow_bf16_(master!: f[...], w: any[...]) -> master",
    .summary = "The f32 master of a bf16 tensor goes along with what others wrote into that.",
    .doc = "Where master does not round (to the nearest) to w, somebody changed w, and master "
           "becomes w; elsewhere it keeps its digits. An optimizer then steps on master and rounds "
           "it into w.",
    .cite = "Micikevicius et al. 2018, Mixed precision training, section 3.1",
    .example = "print(quern.follow_bf16_(quern.tensor{1.001, 2.001}, "
               "quern.cast(quern.tensor{1, 3}, \"bf16\")))",
    .forward = follow_bf16,
};

const qn_op *const qni_ops_optim[] = {&sgd_op, &adam_op, &norm_op, &round_op, &follow_op, NULL};
