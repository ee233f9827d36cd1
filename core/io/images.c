/*
** Image batches: rows of an image set, augmented, as normalised floats, made ahead.
** SPDX-License-Identifier: MIT
*/
#include "io/images.h"

#include <inttypes.h>
#include <string.h>

#include "io/mix.h"

enum { ORDER = 3, LOOK = 4 }; /* purposes of random streams; 1 and 2 are the loader's */

struct qni_images {
  qn_tensor *images, *labels;
  qni_images_options options;
  int64_t n, C, H, W;
  const int64_t *rows; /* n of them, or NULL: all */
  qn_tensor *rows_held;
  int64_t order_epoch;
  int64_t *order; /* of order_epoch under options.seed; the maker's, like both */
  float value[QNI_IMAGE_CHANNELS][256]; /* of a byte, normalised */
  qni_ahead *ahead;
};

/* How an image looks in an epoch: where the crop begins, and whether it is mirrored. */
struct look {
  int64_t dy, dx;
  bool mirror;
};

static struct look look_of(const qni_images *l, int64_t epoch, int64_t row) {
  const qni_images_options *o = &l->options;
  struct look look = {0};
  if (!o->pad && !o->flip) return look;
  qni_mix mix = qni_mix_start(o->seed ^ (uint64_t)epoch << 32, LOOK, (uint64_t)row);
  look.dy = qni_mix_below(&mix, 2 * (int64_t)o->pad + 1) - o->pad;
  look.dx = qni_mix_below(&mix, 2 * (int64_t)o->pad + 1) - o->pad;
  look.mirror = o->flip && qni_mix_next(&mix) >> 63;
  return look;
}

/* One channel [H,W] to floats `step` apart. */
static void fill_plane(const qni_images *l, const uint8_t *plane, const float *value,
                       struct look look, float *to, int64_t step) {
  for (int64_t y = 0; y < l->H; y++) {
    int64_t sy = y + look.dy;
    const uint8_t *line = sy >= 0 && sy < l->H ? plane + sy * l->W : NULL;
    for (int64_t x = 0; x < l->W; x++, to += step) {
      int64_t sx = (look.mirror ? l->W - 1 - x : x) + look.dx;
      *to = value[line && sx >= 0 && sx < l->W ? line[sx] : 0];
    }
  }
}

static void fill_image(const qni_images *l, int64_t row, int64_t epoch, float *to) {
  int64_t plane = l->H * l->W;
  const uint8_t *from = (const uint8_t *)l->images->view.data + row * l->C * plane;
  struct look look = look_of(l, epoch, row);
  bool planes = l->options.layout != QNI_LAYOUT_NHWC;
  for (int64_t c = 0; c < l->C; c++)
    fill_plane(l, from + c * plane, l->value[c], look, to + (planes ? c * plane : c),
               planes ? 1 : l->C);
}

/* ---- Batches ---- */

void qni_image_batch_free(qni_image_batch *b) {
  if (!b) return;
  qn_tensor_free(b->x);
  qn_tensor_free(b->y);
  qn_tensor_free(b->rows);
  qni_mem_free(b);
}

static void drop(void *batch) { qni_image_batch_free(batch); }

static qn_status allocate(const qni_images *l, int64_t n, qni_image_batch *b) {
  int64_t flat[2] = {n, l->C * l->H * l->W}, nchw[4] = {n, l->C, l->H, l->W},
          nhwc[4] = {n, l->H, l->W, l->C};
  int32_t layout = l->options.layout;
  const int64_t *shape = layout == QNI_LAYOUT_FLAT ? flat : layout == QNI_LAYOUT_NHWC ? nhwc : nchw;
  qn_status st = qni_tensor_empty(QN_F32, layout == QNI_LAYOUT_FLAT ? 2 : 4, shape, &b->x);
  if (!st) st = qni_tensor_empty(QN_I64, 1, &n, &b->y);
  if (!st) st = qni_tensor_empty(QN_I64, 1, &n, &b->rows);
  return st;
}

static void order_of(qni_images *l, uint64_t seed, int64_t epoch) {
  if (l->order_epoch == epoch && l->options.seed == seed) return;
  l->options.seed = seed;
  for (int64_t i = 0; i < l->n; i++) l->order[i] = l->rows ? l->rows[i] : i;
  if (l->options.shuffle) {
    qni_mix mix = qni_mix_start(seed, ORDER, (uint64_t)epoch);
    qni_mix_shuffle(&mix, l->order, l->n);
  }
  l->order_epoch = epoch;
}

static qn_status make(void *ctx, const qni_position *at, void **batch) {
  qni_images *l = ctx;
  order_of(l, at->seed, at->epoch);
  int64_t begin = at->index * l->options.batch, n = l->n - begin;
  if (n > l->options.batch) n = l->options.batch;
  qni_image_batch *b = qni_mem_zalloc(1, sizeof *b);
  if (!b) return QN_E_NOMEM;
  qn_status st = allocate(l, n, b);
  if (st) {
    qni_image_batch_free(b);
    return st;
  }
  b->n = n, b->epoch = at->epoch, b->index = at->index;
  const int64_t *labels = l->labels->view.data;
  for (int64_t i = 0; i < n; i++) {
    int64_t row = l->order[begin + i];
    fill_image(l, row, at->epoch, (float *)b->x->view.data + i * l->C * l->H * l->W);
    ((int64_t *)b->y->view.data)[i] = labels[row];
    ((int64_t *)b->rows->view.data)[i] = row;
  }
  *batch = b;
  return QN_OK;
}

/* ---- Setting up ---- */

static qn_status check_tensors(const qn_tensor *images, const qn_tensor *labels,
                               const qn_tensor *rows) {
  const qn_view *v = &images->view;
  if (v->dtype != QN_U8 || v->ndim != 4 || !qni_view_contiguous(v) ||
      v->shape[1] > QNI_IMAGE_CHANNELS)
    return qni_fail(QN_E_SHAPE, "images must be a contiguous u8[N,C,H,W] with at most %d channels",
                    QNI_IMAGE_CHANNELS);
  if (labels->view.dtype != QN_I64 || labels->view.ndim != 1 ||
      !qni_view_contiguous(&labels->view) || labels->view.shape[0] != v->shape[0])
    return qni_fail(QN_E_SHAPE, "labels must be a contiguous i64[%" PRId64 "], one for each image",
                    v->shape[0]);
  if (!rows) return QN_OK;
  if (rows->view.dtype != QN_I64 || rows->view.ndim != 1 || !qni_view_contiguous(&rows->view))
    return qni_fail(QN_E_SHAPE, "rows must be a contiguous i64 vector");
  const int64_t *r = rows->view.data;
  for (int64_t i = 0; i < rows->view.shape[0]; i++)
    if (r[i] < 0 || r[i] >= v->shape[0])
      return qni_fail(QN_E_ARG, "row %" PRId64 " of the set; its rows are 0 to %" PRId64, r[i],
                      v->shape[0] - 1);
  return QN_OK;
}

static qn_status check_options(const qni_images_options *o, const qn_view *v) {
  if (o->batch < 1)
    return qni_fail(QN_E_ARG, "a batch of %" PRId64 " images cannot be made", o->batch);
  if (o->pad < 0 || o->pad > v->shape[2] || o->pad > v->shape[3])
    return qni_fail(QN_E_ARG, "crop is %d, but must be from 0 to the image's size", (int)o->pad);
  for (int64_t c = 0; c < v->shape[1]; c++)
    if (!(o->std[c] > 0))
      return qni_fail(QN_E_ARG, "std of channel %d is not positive", (int)c + 1);
  return QN_OK;
}

static void fill_values(qni_images *l) {
  for (int64_t c = 0; c < l->C; c++)
    for (int i = 0; i < 256; i++)
      l->value[c][i] = (float)((i / 255.0 - l->options.mean[c]) / l->options.std[c]);
}

static void hold(qni_images *l, qn_tensor *images, qn_tensor *labels, qn_tensor *rows) {
  qn_tensor_retain(l->images = images);
  qn_tensor_retain(l->labels = labels);
  if (rows) qn_tensor_retain(l->rows_held = rows);
  l->rows = rows ? rows->view.data : NULL;
  l->n = rows ? rows->view.shape[0] : images->view.shape[0];
  l->C = images->view.shape[1], l->H = images->view.shape[2], l->W = images->view.shape[3];
}

qn_status qni_images_new(qn_tensor *images, qn_tensor *labels, qn_tensor *rows,
                         const qni_images_options *options, qni_images **loader) {
  *loader = NULL;
  qn_status st = check_tensors(images, labels, rows);
  if (!st) st = check_options(options, &images->view);
  if (st) return st;
  qni_images *l = qni_mem_zalloc(1, sizeof *l);
  if (!l) return QN_E_NOMEM;
  l->options = *options, l->order_epoch = -1;
  hold(l, images, labels, rows);
  fill_values(l);
  l->order = qni_mem_alloc((size_t)l->n * sizeof *l->order);
  const qni_ahead_source source = {.make = make,
                                   .drop = drop,
                                   .ctx = l,
                                   .seed = options->seed,
                                   .n_batches =
                                       qni_ahead_count(l->n, options->batch, options->drop_last),
                                   .prefetch = options->prefetch};
  st = l->order ? qni_ahead_new(&source, &l->ahead) : QN_E_NOMEM;
  if (st)
    qni_images_free(l);
  else
    *loader = l;
  return st;
}

void qni_images_free(qni_images *l) {
  if (!l) return;
  qni_ahead_free(l->ahead);
  qn_tensor_free(l->images);
  qn_tensor_free(l->labels);
  qn_tensor_free(l->rows_held);
  qni_mem_free(l->order);
  qni_mem_free(l);
}

/* ---- The reader's side ---- */

qni_ahead *qni_images_ahead(qni_images *l) { return l->ahead; }

qn_status qni_images_next(qni_images *l, qni_image_batch **batch) {
  void *made;
  qn_status st = qni_ahead_next(l->ahead, &made);
  *batch = made;
  return st;
}
