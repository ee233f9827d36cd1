/*
** csr_linear and csr_embedding: layers whose matrix is kept by rows without its zeros.
**
**   z[t,o] = b[o] + sum_p values[p] x[t, cols[p]],  p = rows[o] .. rows[o+1]-1;   y = act(z)
**   g = dy act'(z):  dx = g W (the same kernel on W'),  dvalues[p] = sum_t g[t,o] x[t, cols[p]]
**
** The tokens are cut into tiles (csr.h); which worker takes a tile does not matter. Sums over
** tokens are made for each of at most MOST_PARTS fixed parts and added in their order.
** SPDX-License-Identifier: MIT
*/
#include "csr.h"

enum { MOST_PARTS = 8, SAVED_X = 0, SAVED_VALUES, SAVED_ROWS, SAVED_COLS, SAVED_COLS16, SAVED_Z };
enum { IN_X, IN_VALUES, IN_ROWS, IN_COLS, IN_COLS16, IN_BIAS };

/* One call: the matrix and the tokens. */
struct job {
  const qn_host *h;
  qn_call *c;
  struct csr w;
  int64_t n; /* tokens */
  bool wide; /* double */
  const void *x;
  struct csr_after after;
  void *y;
  const void *g; /* backward: [n,O] */
  void *sums;    /* [parts,P] */
  int64_t parts;
};

static int64_t tile_of(const struct job *j) { return j->wide ? CSR_TILE_f64 : CSR_TILE_f32; }
static int64_t size_of(const struct job *j) { return j->wide ? 8 : 4; }

/* ---- The matrix ---- */

static qn_status check_matrix(const qn_host *h, qn_call *c, const struct csr *w, int64_t P) {
  if ((w->cols != NULL) == (w->cols16 != NULL))
    return h->fail(c, QN_E_ARG, "give either cols or cols16");
  int64_t at = w->rows[0];
  bool rising = at == 0;
  for (int64_t o = 0; o < w->O; o++) rising = rising && w->rows[o] <= w->rows[o + 1];
  if (!rising || w->rows[w->O] != P)
    return h->fail(c, QN_E_ARG, "rows must rise from 0 to the %lld values", (long long)P);
  int64_t low = 0, high = -1;
  for (int64_t p = 0; p < P; p++) {
    const int64_t col = w->cols16 ? w->cols16[p] : w->cols[p];
    if (col < low) low = col;
    if (col > high) high = col;
  }
  if (low < 0 || high >= w->I)
    return h->fail(c, QN_E_ARG, "column %lld is outside 0..%lld", (long long)(low < 0 ? low : high),
                   (long long)w->I - 1);
  return QN_OK;
}

static const void *data_of(const qn_view *v) { return v ? v->data : NULL; }

static qn_status open_matrix(const qn_host *h, qn_call *c, const qn_view *values,
                             const qn_view *rows, const qn_view *cols, const qn_view *cols16,
                             int64_t O, int64_t I, struct csr *w) {
  *w = (struct csr){.O = O,
                    .I = I,
                    .rows = rows->data,
                    .cols = data_of(cols),
                    .cols16 = data_of(cols16),
                    .values = values->data};
  return check_matrix(h, c, w, values->shape[0]);
}

/* W' as a matrix by rows, from counting; `from` says which value of W each is. */
static qn_status transpose(const struct job *j, struct csr *t) {
  const struct csr *w = &j->w;
  const int64_t P = w->rows[w->O];
  void *rows, *cols, *values;
  qn_status st = j->h->scratch(j->c, (w->I + 2) * 8, &rows);
  if (!st) st = j->h->scratch(j->c, P * 4, &cols);
  if (!st) st = j->h->scratch(j->c, P * size_of(j), &values);
  if (st) return st;
  int64_t *at = (int64_t *)rows + 1;
  memset(rows, 0, (size_t)(w->I + 2) * 8);
  for (int64_t p = 0; p < P; p++) at[(w->cols16 ? w->cols16[p] : w->cols[p]) + 1]++;
  for (int64_t i = 0; i < w->I; i++) at[i + 1] += at[i];
  /* at[i] is where row i begins; after the walk it is where it ends, which is rows[i + 1] */
  for (int64_t o = 0; o < w->O; o++)
    for (int64_t p = w->rows[o]; p < w->rows[o + 1]; p++) {
      const int64_t to = at[w->cols16 ? w->cols16[p] : w->cols[p]]++;
      ((int32_t *)cols)[to] = (int32_t)o;
      if (j->wide)
        ((double *)values)[to] = ((const double *)w->values)[p];
      else
        ((float *)values)[to] = ((const float *)w->values)[p];
    }
  *t = (struct csr){.O = w->I, .I = w->O, .rows = rows, .cols = cols, .values = values};
  return QN_OK;
}

/* ---- Forward ---- */

/* Tiles begin..end-1 of y = x W' + b. */
static qn_status product_tiles(void *ctx, int64_t begin, int64_t end) {
  const struct job *j = ctx;
  const int64_t T = tile_of(j), I = j->w.I, O = j->w.O;
  void *memory;
  qn_status st = j->h->local(j->c, (I * T + CSR_ROOM) * size_of(j), &memory);
  if (st) return st;
  for (int64_t k = begin; k < end; k++) {
    const int64_t t = k * T, n = least(T, j->n - t);
    if (j->wide) {
      double *xt = memory;
      csr_turn_f64(n, I, (const double *)j->x + t * I, I, xt);
      csr_tile_f64(&j->w, n, xt, &j->after, (double *)j->y + t * O, O, xt + I * T);
    } else {
      float *xt = memory;
      csr_turn_f32(n, I, (const float *)j->x + t * I, I, xt);
      csr_tile_f32(&j->w, n, xt, &j->after, (float *)j->y + t * O, O, xt + I * T);
    }
  }
  return QN_OK;
}

static qn_status product(struct job *j) {
  const int64_t T = tile_of(j);
  return j->h->parallel(j->c, (j->n + T - 1) / T, 1, product_tiles, j);
}

static qn_status open_job(const qn_host *h, qn_call *c, const qn_view *x, const qn_view *values,
                          const qn_view *rows, const qn_view *cols, const qn_view *cols16,
                          int64_t O, struct job *j) {
  const int64_t I = x->shape[x->ndim - 1];
  *j = (struct job){.h = h, .c = c, .wide = x->dtype == QN_F64, .x = x->data};
  j->n = I ? count_of(x) / I : count_of(h->like(c, IN_X));
  return open_matrix(h, c, values, rows, cols, cols16, O, I, &j->w);
}

static bool any_gradient(const qn_host *h, qn_call *c) {
  return h->needs_grad(c, IN_X) || h->needs_grad(c, IN_VALUES) || h->needs_grad(c, IN_BIAS);
}

static qn_status save_inputs(const qn_host *h, qn_call *c) {
  qn_status st = QN_OK;
  for (int32_t i = IN_X; i <= IN_COLS16 && !st; i++)
    if (h->in(c, i)) st = h->save(c, i, h->in(c, i));
  return st;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  qn_view *y = h->out(c, 0), *z = NULL;
  struct job j;
  qn_status st = open_job(h, c, h->in(c, IN_X), h->in(c, IN_VALUES), h->in(c, IN_ROWS),
                          h->in(c, IN_COLS), h->in(c, IN_COLS16), h->arg_int(c, "outputs"), &j);
  if (st || (st = save_inputs(h, c)) || count_of(y) == 0) return st;
  const int32_t act = (int32_t)h->arg_int(c, "act");
  if (act != ACT_NONE && any_gradient(h, c))
    st = h->save_new(c, SAVED_Z, y->dtype, y->ndim, y->shape, &z);
  j.after = (struct csr_after){
      .bias = data_of(h->in(c, IN_BIAS)), .math = h->query("qn.math/1"), .act = z ? ACT_NONE : act};
  j.y = z ? z->data : y->data;
  if (!st) st = product(&j);
  return st || !z ? st : prune_act(h, c, act, count_of(y), y->dtype, j.y, y->data);
}

/* ---- Backward ---- */

/* Parts begin..end-1 of the tokens: gradients of the kept values. */
static qn_status pattern_parts(void *ctx, int64_t begin, int64_t end) {
  const struct job *j = ctx;
  const int64_t T = tile_of(j), I = j->w.I, O = j->w.O, P = j->w.rows[O];
  const int64_t tiles = (j->n + T - 1) / T, each = (tiles + j->parts - 1) / j->parts;
  void *memory;
  qn_status st = j->h->local(j->c, (I + O) * T * size_of(j), &memory);
  if (st) return st;
  for (int64_t part = begin; part < end; part++) {
    char *sum = (char *)j->sums + part * P * size_of(j);
    memset(sum, 0, (size_t)(P * size_of(j)));
    for (int64_t k = part * each; k < least(tiles, (part + 1) * each); k++) {
      const int64_t t = k * T, n = least(T, j->n - t);
      if (j->wide) {
        double *xt = memory, *gt = xt + I * T;
        csr_turn_f64(n, I, (const double *)j->x + t * I, I, xt);
        csr_turn_f64(n, O, (const double *)j->g + t * O, O, gt);
        csr_pattern_f64(&j->w, n, gt, xt, (double *)(void *)sum);
      } else {
        float *xt = memory, *gt = xt + I * T;
        csr_turn_f32(n, I, (const float *)j->x + t * I, I, xt);
        csr_turn_f32(n, O, (const float *)j->g + t * O, O, gt);
        csr_pattern_f32(&j->w, n, gt, xt, (float *)(void *)sum);
      }
    }
  }
  return QN_OK;
}

static qn_status values_gradient(struct job *j, void *out) {
  const int64_t T = tile_of(j), tiles = (j->n + T - 1) / T, P = j->w.rows[j->w.O];
  j->parts = least(MOST_PARTS, tiles);
  memset(out, 0, (size_t)(P * size_of(j)));
  if (j->parts == 0) return QN_OK;
  qn_status st = j->h->scratch(j->c, j->parts * P * size_of(j), &j->sums);
  if (!st) st = j->h->parallel(j->c, j->parts, 1, pattern_parts, j);
  for (int64_t part = 0; part < j->parts && !st; part++)
    for (int64_t p = 0; p < P; p++) {
      if (j->wide)
        ((double *)out)[p] += ((const double *)j->sums)[part * P + p];
      else
        ((float *)out)[p] += ((const float *)j->sums)[part * P + p];
    }
  return st;
}

static void bias_gradient(const struct job *j, void *out) {
  const int64_t O = j->w.O;
  memset(out, 0, (size_t)(O * size_of(j)));
  for (int64_t t = 0; t < j->n; t++)
    for (int64_t o = 0; o < O; o++) {
      if (j->wide)
        ((double *)out)[o] += ((const double *)j->g)[t * O + o];
      else
        ((float *)out)[o] += ((const float *)j->g)[t * O + o];
    }
}

static qn_status input_gradient(struct job *j, void *out) {
  struct job back = *j;
  qn_status st = transpose(j, &back.w);
  back.x = j->g;
  back.after = (struct csr_after){.act = ACT_NONE};
  back.y = out;
  return st ? st : product(&back);
}

/* g = dy act'(z) */
static qn_status slope(const qn_host *h, qn_call *c, const struct job *j, const void **g) {
  const qn_view *dy = h->in(c, 0);
  const int32_t act = (int32_t)h->arg_int(c, "act");
  void *memory;
  *g = dy->data;
  if (act == ACT_NONE || count_of(dy) == 0) return QN_OK;
  qn_status st = h->scratch(c, count_of(dy) * size_of(j), &memory);
  *g = memory;
  return st ? st
            : prune_act_grad(h, c, act, count_of(dy), dy->dtype, h->saved(c, SAVED_Z)->data,
                             dy->data, memory);
}

static qn_status backward(const qn_host *h, qn_call *c) {
  qn_view *dx = h->out(c, IN_X), *dv = h->out(c, IN_VALUES), *db = h->out(c, IN_BIAS);
  struct job j;
  qn_status st =
      open_job(h, c, h->saved(c, SAVED_X), h->saved(c, SAVED_VALUES), h->saved(c, SAVED_ROWS),
               h->saved(c, SAVED_COLS), h->saved(c, SAVED_COLS16), h->arg_int(c, "outputs"), &j);
  if (!st) st = slope(h, c, &j, &j.g);
  if (!st && dv) st = values_gradient(&j, dv->data);
  if (!st && db) bias_gradient(&j, db->data);
  if (!st && dx && count_of(dx)) st = input_gradient(&j, dx->data);
  return st;
}

static int64_t flops(const qn_host *h, qn_call *c) {
  const qn_view *x = h->like(c, IN_X);
  const int64_t I = x->shape[x->ndim - 1];
  return I ? 2 * (count_of(x) / I) * h->like(c, IN_VALUES)->shape[0] : 0;
}

static qn_status kink(const qn_host *h, qn_call *c) {
  return h->arg_int(c, "act") == ACT_RELU ? QN_E_NUMERIC : QN_OK;
}

const qn_op prune_csr_linear_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_ROWS,
    .flags = QN_OP_NAN_STOPS,
    .schema = "csr_linear(x: f[...,I], values: f[P], rows: i64[outputs+1]{0..P}, cols: "
              "i32[P]{0..I-1}? = nil, cols16: u8[P,2]? = nil, b: f[outputs]? = nil, *, outputs: "
              "int{1..}, act: enum{none|relu|silu} = none) -> y: f[...,outputs]",
    .summary = "Affine map by a matrix without its zeros, kept by rows, with an activation.",
    .doc =
        "Row o of the matrix has values[p] in columns cols[p], p = rows[o] .. rows[o+1]-1; rows "
        "rises from 0 to P. Columns count from 0; cols16 holds them in two bytes, low one first, "
        "for I <= 65536.\n"
        "y = act(x W' + b). Gradients: of x, of the kept values, of b.",
    .example = "print(quern.csr_linear(quern.tensor{{1,2,3}}, quern.tensor{10,20}, "
               "quern.i64{0,1,2}, quern.i32{2,0}, nil, nil, {outputs = 2}))",
    .forward = forward,
    .backward = backward,
    .flops = flops,
    .kink = kink,
};

/* ---- Embedding ---- */

struct rows_job {
  struct csr w;
  int64_t D;
  const int64_t *ids;
  char *y;
  int64_t size;
};

static qn_status spread_rows(void *ctx, int64_t begin, int64_t end) {
  const struct rows_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    char *y = j->y + i * j->D * j->size;
    memset(y, 0, (size_t)(j->D * j->size));
    for (int64_t p = j->w.rows[j->ids[i]]; p < j->w.rows[j->ids[i] + 1]; p++) {
      const int64_t col = j->w.cols16 ? j->w.cols16[p] : j->w.cols[p];
      memcpy(y + col * j->size, (const char *)j->w.values + p * j->size, (size_t)j->size);
    }
  }
  return QN_OK;
}

static qn_status check_ids(const qn_host *h, qn_call *c, const int64_t *ids, int64_t n,
                           int64_t rows) {
  for (int64_t i = 0; i < n; i++)
    if (ids[i] < 0 || ids[i] >= rows)
      return h->fail(c, QN_E_ARG, "id %lld is outside 0..%lld", (long long)ids[i],
                     (long long)rows - 1);
  return QN_OK;
}

static qn_status embedding_forward(const qn_host *h, qn_call *c) {
  const qn_view *ids = h->in(c, 0), *values = h->in(c, 1), *rows = h->in(c, 2);
  struct rows_job j = {.D = h->arg_int(c, "dim"),
                       .ids = ids->data,
                       .y = h->out(c, 0)->data,
                       .size = values->dtype == QN_F64 ? 8 : 4};
  qn_status st =
      open_matrix(h, c, values, rows, h->in(c, 3), h->in(c, 4), rows->shape[0] - 1, j.D, &j.w);
  if (!st) st = check_ids(h, c, j.ids, count_of(ids), j.w.O);
  for (int32_t i = 0; i < 5 && !st; i++)
    if (h->in(c, i)) st = h->save(c, i, h->in(c, i));
  return st ? st : h->parallel(c, count_of(ids), 256, spread_rows, &j);
}

/* Ids may repeat, so their rows are added one after the other. */
static qn_status embedding_backward(const qn_host *h, qn_call *c) {
  const qn_view *ids = h->saved(c, 0), *values = h->saved(c, 1), *rows = h->saved(c, 2);
  qn_view *dv = h->out(c, 1);
  struct csr w;
  const int64_t D = h->arg_int(c, "dim"), *id = ids->data;
  if (!dv) return QN_OK;
  qn_status st =
      open_matrix(h, c, values, rows, h->saved(c, 3), h->saved(c, 4), rows->shape[0] - 1, D, &w);
  if (st) return st;
  const void *dy = h->in(c, 0)->data;
  memset(dv->data, 0, (size_t)(count_of(dv) * (dv->dtype == QN_F64 ? 8 : 4)));
  for (int64_t i = 0; i < count_of(ids); i++)
    for (int64_t p = w.rows[id[i]]; p < w.rows[id[i] + 1]; p++) {
      const int64_t at = i * D + (w.cols16 ? w.cols16[p] : w.cols[p]);
      if (dv->dtype == QN_F64)
        ((double *)dv->data)[p] += ((const double *)dy)[at];
      else
        ((float *)dv->data)[p] += ((const float *)dy)[at];
    }
  return QN_OK;
}

const qn_op prune_csr_embedding_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_ROWS,
    .flags = QN_OP_NAN_STOPS,
    .schema = "csr_embedding(ids: i64[...]{0..R-2}, values: f[P], rows: i64[R]{0..P}, cols: "
              "i32[P]{0..dim-1}? = nil, cols16: u8[P,2]? = nil, *, dim: int{1..}) -> y: "
              "f[...,dim] where R > 0",
    .summary = "Rows by id of a table without its zeros.",
    .doc = "The table is kept as csr_linear keeps its matrix; y is dense. Gradient: of the kept "
           "values.",
    .example = "print(quern.csr_embedding(quern.i64{1,0}, quern.tensor{10,20}, quern.i64{0,1,2}, "
               "quern.i32{2,0}, {dim = 3}))",
    .forward = embedding_forward,
    .backward = embedding_backward,
};
