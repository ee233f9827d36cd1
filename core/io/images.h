/*
** Image batches: rows of an image set, augmented, as normalised floats, made ahead.
**
**   y = (x / 255 - mean_c) / std_c        x of the u8 image, padding counts as x = 0
**
** Augmentation: a crop of the image padded by `pad` on all sides, at (dx, dy) in 0..2 pad,
** and a mirror image half of the time. Order and augmentation are functions of (seed,
** epoch, row) alone: neither the batch size, nor prefetching, nor a resume changes what an
** image looks like in an epoch.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_IMAGES_H
#define QNI_IMAGES_H

#include "io/ahead.h"
#include "tensor/tensor.h"

enum { QNI_IMAGE_CHANNELS = 4 };
enum qni_image_layout { QNI_LAYOUT_NHWC, QNI_LAYOUT_NCHW, QNI_LAYOUT_FLAT }; /* FLAT: [B,C*H*W] */

typedef struct qni_images_options {
  int64_t batch; /* > 0 */
  uint64_t seed;
  bool shuffle, drop_last;
  int32_t prefetch; /* batches made ahead; 0: no thread */
  int32_t layout;   /* enum qni_image_layout */
  int32_t pad;      /* of the random crop; 0: none */
  bool flip;
  double mean[QNI_IMAGE_CHANNELS], std[QNI_IMAGE_CHANNELS]; /* by channel, of x / 255 */
} qni_images_options;

typedef struct qni_image_batch {
  qn_tensor *x;    /* f32 in the layout */
  qn_tensor *y;    /* i64[B] labels */
  qn_tensor *rows; /* i64[B] rows of the set, from 0 */
  int64_t n, epoch, index;
} qni_image_batch;

typedef struct qni_images qni_images;

/*
** images u8[N,C,H,W], C at most 4; labels i64[N]; rows i64[M]: those that are used, NULL for
** all. All three are retained.
*/
qn_status qni_images_new(qn_tensor *images, qn_tensor *labels, qn_tensor *rows,
                         const qni_images_options *options, qni_images **loader) QNI_WARN_UNUSED;
void qni_images_free(qni_images *loader);
/* Its position. */
qni_ahead *qni_images_ahead(qni_images *loader);
/* The next batch, the caller's; NULL once at the end of each epoch, then the next begins. */
qn_status qni_images_next(qni_images *loader, qni_image_batch **batch) QNI_WARN_UNUSED;
void qni_image_batch_free(qni_image_batch *batch);

#endif
