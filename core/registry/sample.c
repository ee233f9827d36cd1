/*
** Random valid calls, from the schema alone.
**
** Sizes and attributes are drawn together and drawn anew until every condition holds,
** every computed size is at least 0 and every element range of a tensor that is not
** empty has a member; later tries draw from smaller sizes. Enums count through their
** words with the seed, so that a run of seeds visits every combination.
** Equal seeds give equal samples.
** SPDX-License-Identifier: MIT
*/
#include <float.h>
#include <math.h>
#include <string.h>

#include "registry/schema_internal.h"

enum { TRIES = 400, MOST_ELEMENTS = 20000 };

struct draw {
  const qni_schema *s;
  const qni_sample_options *o;
  qni_sample *out;
  uint64_t state;
  int64_t dim[QNI_SCHEMA_DIMS];
  int64_t lead[2], any[3];
  int32_t n_lead, n_any, f, i, t; /* element types of the classes */
  qni_value attr[QN_MAX_PARAMS];
  bool given[QN_MAX_PARAMS];
};

/* ---- Random numbers (splitmix64) ---- */

static uint64_t bits(struct draw *d) {
  uint64_t z = d->state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

static int64_t below(struct draw *d, int64_t n) { return (int64_t)(bits(d) % (uint64_t)n); }
static bool chance(struct draw *d, int32_t percent) { return below(d, 100) < percent; }
static double unit(struct draw *d) { return (double)(bits(d) >> 11) * 0x1p-53; }
static double normal(struct draw *d) {
  return unit(d) + unit(d) + unit(d) + unit(d) - unit(d) - unit(d) - unit(d) - unit(d);
}

/* A number in low..high, near the end that is closed when one is open. */
static double number_in(struct draw *d, double low, double high) {
  if (isinf(low) && isinf(high)) return normal(d);
  if (isinf(high)) return low + fabs(normal(d));
  if (isinf(low)) return high - fabs(normal(d));
  double at = unit(d);
  return low * (1 - at) + high * at;
}

/* A whole number in low..high, among the `many` + 1 nearest to the closed end. */
static int64_t int_in(struct draw *d, double low, double high, double many) {
  if (isinf(low)) low = isinf(high) ? -floor(many / 2) : high - many;
  if (isinf(high) || high - low > many) high = low + many;
  low = fmin(fmax(ceil(low), -9e18), 9e18);
  high = fmin(fmax(floor(high), low), 9e18);
  return (int64_t)low + below(d, (int64_t)(high - low) + 1);
}

/* ---- Attributes ---- */

static bool draw_list(struct draw *d, const qni_param *p, qni_value *v) {
  bool whole = p->kind == QNI_INTS;
  int32_t n = 1 + (int32_t)below(d, 3);
  void *list = qni_arena_alloc(&d->out->memory, 8 * (size_t)n);
  if (!list) return false;
  *v = (qni_value){.kind = whole ? QN_ARG_INTS : QN_ARG_NUMS, .count = n};
  for (int32_t k = 0; k < n; k++) {
    if (whole)
      ((int64_t *)list)[k] = int_in(d, p->low, p->high, 4);
    else
      ((double *)list)[k] = number_in(d, p->low, p->high);
  }
  if (whole)
    v->v.ints = list;
  else
    v->v.nums = list;
  return true;
}

static bool draw_attr(struct draw *d, int32_t i, uint64_t *choices) {
  const qni_param *p = &d->s->param[i];
  qni_value *v = &d->attr[i];
  int32_t n = 0;
  d->given[i] = !p->has_default || chance(d, 25);
  if (p->kind == QNI_ENUM) { /* nil of an optional one counts as a word */
    while (p->choices[n]) n++;
    uint64_t word = *choices % (uint64_t)(n + p->optional);
    *choices /= (uint64_t)(n + p->optional);
    d->given[i] = word < (uint64_t)n;
    *v = d->given[i] ? (qni_value){.kind = QN_ARG_STR, .v.s = p->choices[word]} : p->value;
    return true;
  }
  *v = p->value;
  if (!d->given[i]) return true;
  switch (p->kind) {
  case QNI_INT: *v = (qni_value){.kind = QN_ARG_INT, .v.i = int_in(d, p->low, p->high, 4)}; break;
  case QNI_NUM: *v = (qni_value){.kind = QN_ARG_NUM, .v.f = number_in(d, p->low, p->high)}; break;
  case QNI_BOOL: *v = (qni_value){.kind = QN_ARG_BOOL, .v.i = below(d, 2)}; break;
  case QNI_STR:
    if (p->has_default)
      d->given[i] = false; /* which strings mean something only the op knows */
    else
      *v = (qni_value){.kind = QN_ARG_STR, .v.s = strcmp(p->name, "dtype") ? "a" : "f32"};
    break;
  default: return draw_list(d, p, v);
  }
  return true;
}

/* ---- Sizes ---- */

static int64_t draw_size(struct draw *d, int32_t try) {
  static const int64_t sizes[] = {0, 1, 2, 3, 7, 16, 33};
  int64_t n = 7, first = d->o->allow_empty && !chance(d, 50) ? 0 : 1;
  int64_t most = try < TRIES / 4 ? d->o->max_size : try < TRIES / 2 ? 7 : 3;
  if (most > d->o->max_size) most = d->o->max_size;
  while (n > first + 1 && sizes[n - 1] > most) n--;
  return sizes[first + below(d, n - first)];
}

/* A dimension that counts sequences: without sequences there are no rows. */
static void settle_jagged(struct draw *d) {
  for (int32_t i = 0; i < d->s->n_params; i++) {
    const qni_tensor_type *t = &d->s->param[i].tensor;
    if (d->s->param[i].kind != QNI_TENSOR || t->jagged < 0 || d->dim[t->jagged]) continue;
    d->dim[d->s->expr[t->dim[0]].value] = 0;
  }
}

static bool names_dims(const qni_param *p) {
  return (p->kind == QNI_INT || p->kind == QNI_INTS) &&
         (!strcmp(p->name, "dim") || !strcmp(p->name, "dims"));
}

/* Arguments called dim or dims name dimensions of [?]: from 1, or from -1 at the end. */
static void settle_dims(struct draw *d) {
  for (int32_t i = 0; i < d->s->n_params; i++) {
    if (!names_dims(&d->s->param[i])) continue;
    if (!d->n_any) d->n_any = 1;
    int64_t at = 1 + below(d, d->n_any);
    if (chance(d, 50)) at = -at;
    qni_value v = {.kind = QN_ARG_INT, .v.i = at};
    if (d->given[i] && d->attr[i].kind == QN_ARG_INTS) {
      d->attr[i].count = 1;
      ((int64_t *)(uintptr_t)d->attr[i].v.ints)[0] = at;
    } else if (d->given[i] && qni_schema_value_fits(&d->s->param[i], &v)) {
      d->attr[i] = v;
    }
  }
}

static bool draw_all(struct draw *d, int32_t try) {
  uint64_t choices = d->o->seed;
  for (int32_t i = 0; i < d->s->n_params; i++) {
    const qni_param *p = &d->s->param[i];
    if (p->kind == QNI_TENSOR)
      d->given[i] = !p->optional || chance(d, 50);
    else if (!draw_attr(d, i, &choices))
      return false;
  }
  for (int32_t k = 0; k < d->s->n_dims; k++) d->dim[k] = draw_size(d, try);
  d->n_lead = (int32_t)below(d, 3);
  d->n_any = (int32_t)below(d, 4);
  for (int32_t k = 0; k < 2; k++) d->lead[k] = draw_size(d, try);
  for (int32_t k = 0; k < 3; k++) d->any[k] = draw_size(d, try > TRIES / 8 ? TRIES : TRIES / 4);
  settle_dims(d);
  settle_jagged(d);
  return true;
}

/* The size an expression has; -1 if it has none. */
static int64_t size_of(const struct draw *d, int32_t expr) {
  int64_t size;
  return qni_schema_eval(d->s, expr, d->dim, d->attr, &size) ? -1 : size;
}

/* Shape of a type, or -1. A broadcast part is cut and thinned by `thin`, which may be NULL. */
static int32_t shape_of(const struct draw *d, const qni_tensor_type *t, struct draw *thin,
                        int64_t *shape) {
  int32_t n_lead = d->n_lead, cut = 0, n = 0;
  if (t->lead == QNI_LEAD_ANY) {
    memcpy(shape, d->any, sizeof d->any);
    return d->n_any;
  }
  if (t->lead == QNI_LEAD_NONE) n_lead = 0;
  if (t->lead == QNI_LEAD_BROADCAST && thin) cut = (int32_t)below(thin, n_lead + 1);
  if (t->n_dims + n_lead > QN_MAX_DIMS) return -1;
  for (int32_t j = 0; j <= t->n_dims; j++) {
    if (j == t->lead_at)
      for (int32_t k = cut; k < n_lead; k++)
        shape[n++] = t->lead == QNI_LEAD_BROADCAST && thin && chance(thin, 25) ? 1 : d->lead[k];
    if (j == t->n_dims) break;
    shape[n] = size_of(d, t->dim[j]);
    if (shape[n++] < 0) return -1;
  }
  return n;
}

/* Bounds of the elements of a type; false if there is no number between them. */
static bool element_bounds(const struct draw *d, const qni_tensor_type *t, double *low,
                           double *high) {
  int64_t value;
  *low = -INFINITY;
  *high = INFINITY;
  if (t->low >= 0 && !qni_schema_eval(d->s, t->low, d->dim, d->attr, &value)) *low = (double)value;
  if (t->high >= 0 && !qni_schema_eval(d->s, t->high, d->dim, d->attr, &value))
    *high = (double)value;
  return *low <= *high;
}

/* Elements of the storage, a size 0 counting as 1; MOST_ELEMENTS + 1 for all that is more. */
static int64_t room(int32_t n, const int64_t *shape) {
  int64_t product = 1;
  for (int32_t k = 0; k < n; k++) {
    if (shape[k] > MOST_ELEMENTS / product) return MOST_ELEMENTS + 1;
    if (shape[k]) product *= shape[k];
  }
  return product;
}

static bool inputs_possible(const struct draw *d) {
  for (int32_t i = 0; i < d->s->n_params; i++) {
    int64_t shape[QN_MAX_DIMS];
    double low, high;
    if (d->s->param[i].kind != QNI_TENSOR || !d->given[i]) continue;
    int32_t n = shape_of(d, &d->s->param[i].tensor, NULL, shape);
    if (n < 0) return false;
    if (room(n, shape) > MOST_ELEMENTS) return false;
    if (qni_shape_count(n, shape) && !element_bounds(d, &d->s->param[i].tensor, &low, &high))
      return false;
  }
  return true;
}

static bool outputs_possible(const struct draw *d) {
  for (int32_t o = 0; o < d->s->n_outputs; o++) {
    const qni_output *y = &d->s->output[o];
    int64_t size;
    for (int32_t j = 0; j < y->n_with; j++)
      if (!qni_schema_eval(d->s, y->with_expr[j], d->dim, d->attr, &size) && size < 0) return false;
    for (int32_t j = 0; j < y->tensor.n_dims; j++) {
      enum qni_fault fault = qni_schema_eval(d->s, y->tensor.dim[j], d->dim, d->attr, &size);
      if (fault > QNI_FAULT_ABSENT || (!fault && size < 0)) return false;
    }
  }
  return true;
}

static bool possible(const struct draw *d) {
  for (int32_t i = 0; i < d->s->n_where; i++) {
    int64_t holds;
    enum qni_fault fault = qni_schema_eval(d->s, d->s->where[i], d->dim, d->attr, &holds);
    if (fault > QNI_FAULT_ABSENT || (!fault && !holds)) return false;
  }
  return inputs_possible(d) && outputs_possible(d);
}

/* ---- Tensors ---- */

static int32_t dtype_of(struct draw *d, int16_t class) {
  static const int32_t all[] = {QN_F32, QN_F64, QN_BF16, QN_I64, QN_I32, QN_U8, QN_BOOL};
  switch (class) {
  case QNI_DT_F: return d->f;
  case QNI_DT_I: return d->i;
  case QNI_DT_T: return d->t;
  case QNI_DT_ANY: return all[below(d, 7)];
  case QN_BOOL: return chance(d, 30) ? QN_U8 : QN_BOOL;
  default: return class;
  }
}

static double extreme(struct draw *d, int32_t dtype) {
  bool wide = dtype == QN_F64;
  const double values[] = {NAN,
                           INFINITY,
                           -INFINITY,
                           -0.0,
                           wide ? DBL_MAX : (double)FLT_MAX,
                           wide ? -DBL_MAX : -(double)FLT_MAX,
                           wide ? 4e-320 : 1e-40,
                           wide ? DBL_MIN : (double)FLT_MIN};
  return values[below(d, 8)];
}

static void store_int(int32_t dtype, void *at, int64_t value) {
  if (dtype == QN_I64)
    *(int64_t *)at = value;
  else if (dtype == QN_I32)
    *(int32_t *)at = (int32_t)value;
  else
    *(uint8_t *)at = (uint8_t)value;
}

static void fill_element(struct draw *d, const qni_tensor_type *t, int32_t dtype, void *at) {
  double low, high;
  element_bounds(d, t, &low, &high);
  bool bounded = !isinf(low) || !isinf(high);
  if (qni_dtype_floating(dtype)) {
    qni_dtype_store(dtype, at,
                    !bounded && d->o->values && chance(d, 25) ? extreme(d, dtype)
                                                              : number_in(d, low, high));
    return;
  }
  if (!bounded && d->o->values && dtype <= QN_I32 && chance(d, 25)) {
    int64_t most = dtype == QN_I64 ? INT64_MAX : INT32_MAX;
    return store_int(dtype, at, chance(d, 50) ? most : -most - 1);
  }
  double least = dtype == QN_I64 ? -9e18 : dtype == QN_I32 ? INT32_MIN : 0;
  double most = dtype == QN_I64                         ? 9e18
                : dtype == QN_I32                       ? INT32_MAX
                : dtype == QN_U8 && t->dtype != QN_BOOL ? 255
                                                        : 1;
  if (isinf(low) && isinf(high)) low = fmax(least, -4);
  if (!isinf(low)) low = fmin(fmax(low, least), most);
  if (!isinf(high)) high = fmin(fmax(high, least), most);
  store_int(dtype, at, int_in(d, low, fmin(high, most), t->high >= 0 && t->low >= 0 ? 1e9 : 8));
}

/* Lays the view out on new storage of *count elements, the first at *start. */
static void lay_out(struct draw *d, int32_t layout, qn_view *v, int64_t *count, int64_t *start) {
  int64_t step = layout == QNI_LAYOUT_STEPPED ? 2 : 1;
  *start = layout == QNI_LAYOUT_OFFSET ? 3 : 0;
  for (int32_t k = 0; k < v->ndim; k++) { /* transposed: the first dimension runs fastest */
    int32_t at = layout == QNI_LAYOUT_TRANSPOSED ? k : v->ndim - 1 - k;
    v->stride[at] = step;
    step *= v->shape[at] ? v->shape[at] : 1;
  }
  *count = step + *start;
  if (layout == QNI_LAYOUT_BROADCAST && v->ndim) v->stride[below(d, v->ndim)] = 0;
}

static void fill_view(struct draw *d, const qni_tensor_type *t, const qn_view *v) {
  int64_t n = qni_view_count(v), at[QN_MAX_DIMS] = {0};
  size_t size = qni_dtype_size(v->dtype);
  for (int64_t k = 0; k < n; k++) {
    int64_t place = 0;
    for (int32_t j = 0; j < v->ndim; j++) place += at[j] * v->stride[j];
    fill_element(d, t, v->dtype, (char *)v->data + place * (int64_t)size);
    for (int32_t j = v->ndim - 1; j >= 0 && ++at[j] == v->shape[j]; j--) at[j] = 0;
  }
}

static qn_status hold(qni_sample *out, qn_tensor *t) {
  if (out->n_held < QN_MAX_TENSORS) return out->held[out->n_held++] = t, QN_OK;
  qn_tensor_free(t);
  return qni_fail(QN_E_INTERNAL, "a sample has more than %d tensors", QN_MAX_TENSORS);
}

static qn_status make_values(struct draw *d, const qni_param *p, int32_t dtype, int32_t ndim,
                             const int64_t *shape, qn_tensor **t) {
  qn_view v;
  qn_tensor *base;
  int64_t count, start;
  bool plain = d->o->layout == QNI_LAYOUT_BROADCAST && p->written;
  qni_view_dense(&v, NULL, dtype, ndim, shape);
  lay_out(d, plain ? QNI_LAYOUT_CONTIGUOUS : d->o->layout, &v, &count, &start);
  qn_status st = qni_tensor_zeros(dtype, 1, &count, &base);
  if (st) return st;
  v.data = (char *)base->view.data + start * (int64_t)qni_dtype_size(dtype);
  fill_view(d, &p->tensor, &v);
  st = qni_tensor_alias(base, &v, t);
  qn_tensor_free(base);
  return st;
}

/* Cuts T rows into B sequences; the same for all tensors with this T and B. */
static qn_status make_offsets(struct draw *d, int64_t n_rows, int64_t n_seq, qn_tensor **t) {
  struct draw cut = {.state = d->o->seed ^ (uint64_t)(n_rows * 131 + n_seq)};
  qn_status st = qni_tensor_zeros(QN_I64, 1, &(int64_t){n_seq + 1}, t);
  if (st) return st;
  int64_t *at = (*t)->view.data;
  for (int64_t b = 1; b <= n_seq; b++) { /* insertion sort of random cuts; repeats are empty rows */
    int64_t value = b == n_seq ? n_rows : below(&cut, n_rows + 1), k = b;
    for (; k > 1 && at[k - 1] > value; k--) at[k] = at[k - 1];
    at[k] = value;
  }
  return QN_OK;
}

static qn_status make_tensor(struct draw *d, const qni_param *p, int32_t dtype, int32_t ndim,
                             const int64_t *shape) {
  qn_tensor *values, *offsets, *jagged;
  qn_status st = make_values(d, p, dtype, ndim, shape, &values);
  if (!st) st = hold(d->out, values);
  if (st || p->tensor.jagged < 0) return st;
  st = make_offsets(d, shape[0], d->dim[p->tensor.jagged], &offsets);
  if (!st) st = hold(d->out, offsets);
  if (!st) st = qn_tensor_jagged(values, offsets, &jagged);
  return st ? st : hold(d->out, jagged);
}

static qn_tensor *sampled(const struct draw *d, int32_t param) {
  for (int32_t i = 0; i < d->out->n_args; i++)
    if (!strcmp(d->out->arg[i].name, d->s->param[param].name)) return d->out->arg[i].v.tensor;
  return NULL;
}

static qn_status draw_tensor(struct draw *d, int32_t i) {
  const qni_param *p = &d->s->param[i];
  qn_arg *arg = &d->out->arg[d->out->n_args];
  const qn_tensor *like = p->tensor.like >= 0 ? sampled(d, p->tensor.like) : NULL;
  int32_t n = p->variadic ? 1 + (int32_t)below(d, 3) : 1,
          dtype = like ? like->view.dtype : dtype_of(d, p->tensor.dtype);
  qn_tensor **list = qni_arena_alloc(&d->out->memory, (size_t)n * sizeof *list);
  if (!list) return QN_E_NOMEM;
  for (int32_t k = 0; k < n; k++) {
    int64_t shape[QN_MAX_DIMS];
    int32_t ndim = shape_of(d, &p->tensor, d, shape);
    if (like) memcpy(shape, like->view.shape, sizeof shape), ndim = like->view.ndim;
    qn_status st = make_tensor(d, p, dtype, ndim, shape);
    if (st) return st;
    list[k] = d->out->held[d->out->n_held - 1];
  }
  *arg =
      (qn_arg){.name = p->name, .kind = p->variadic ? QN_ARG_TENSORS : QN_ARG_TENSOR, .count = n};
  if (p->variadic)
    arg->v.tensors = list;
  else
    arg->v.tensor = list[0];
  d->out->n_args++;
  return QN_OK;
}

static void give_attr(struct draw *d, int32_t i) {
  const qni_value *v = &d->attr[i];
  qn_arg *arg = &d->out->arg[d->out->n_args++];
  *arg = (qn_arg){.name = d->s->param[i].name, .kind = v->kind, .count = v->count};
  memcpy(&arg->v, &v->v, sizeof v->v);
  _Static_assert(sizeof arg->v == sizeof v->v, "attributes travel as they are");
}

static qn_status draw_args(struct draw *d) {
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && i < d->s->n_params; i++) {
    if (!d->given[i]) continue;
    if (d->s->param[i].kind == QNI_TENSOR)
      st = draw_tensor(d, i);
    else
      give_attr(d, i);
  }
  return st;
}

static void draw_dtypes(struct draw *d) {
  static const int32_t floats[] = {QN_F32, QN_F64, QN_F32, QN_F64, QN_BF16};
  static const int32_t all[] = {QN_F32, QN_F64, QN_BF16, QN_I64, QN_I32, QN_U8, QN_BOOL};
  d->f = d->o->dtype ? d->o->dtype : floats[below(d, 5)];
  d->i = chance(d, 50) ? QN_I64 : QN_I32;
  d->t = all[below(d, 7)];
}

qn_status qni_schema_sample(const qni_schema *s, const qni_sample_options *o, qni_sample *out) {
  struct draw d = {.s = s, .o = o, .out = out, .state = o->seed * 0x2545f4914f6cdd1du + 1};
  bool found = false;
  memset(out, 0, sizeof *out);
  draw_dtypes(&d);
  for (int32_t try = 0; try < TRIES && !found; try++) {
    if (!draw_all(&d, try)) {
      qni_sample_free(out);
      return QN_E_NOMEM;
    }
    found = possible(&d);
  }
  qn_status st = found
                     ? draw_args(&d)
                     : qni_fail(QN_E_UNSUPPORTED,
                                "no valid arguments for %s were found in %d tries", s->name, TRIES);
  if (!found) qni_error_detail("%s", s->canonical);
  if (st) qni_sample_free(out);
  return st;
}

void qni_sample_free(qni_sample *sample) {
  for (int32_t i = 0; i < sample->n_held; i++) qn_tensor_free(sample->held[i]);
  qni_arena_free(&sample->memory);
  memset(sample, 0, sizeof *sample);
}
