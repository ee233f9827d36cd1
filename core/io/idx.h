/*
** Image sets in the formats they are published in: idx (MNIST and its kin) and the binary
** records of CIFAR-10 and CIFAR-100. Images become u8 [N,C,H,W], labels i64 [N].
**
** idx: big-endian u32 magic 0x000008DD, DD the number of dimensions, that many u32 sizes, bytes.
** CIFAR: records of 1 label byte (CIFAR-100: coarse, fine) and three 32x32 planes R, G, B.
** What does not fit is refused: wrong magic, sizes that differ from the file's, labels beyond
** the classes, a Git LFS pointer in place of the data.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_IDX_H
#define QNI_IDX_H

#include "tensor/tensor.h"

/* u8 of the file's own shape, 1 to 4 dimensions. `data` unpacked; `origin` names it in errors. */
qn_status qni_idx_parse(const void *data, size_t n_bytes, const char *origin,
                        qn_tensor **t) QNI_WARN_UNUSED;

enum { QNI_CIFAR_PIXELS = 3 * 32 * 32 };
/*
** Records with n_labels label bytes (1 or 2) below classes[i]; images u8 [N,3,32,32],
** labels[i] i64 [N].
*/
qn_status qni_cifar_parse(const void *data, size_t n_bytes, const char *origin, int32_t n_labels,
                          const int32_t *classes, qn_tensor **images,
                          qn_tensor **labels) QNI_WARN_UNUSED;

/* Writes such records, crash-safe: images u8[N,3,32,32], n_labels label tensors i64[N] in 0..255. */
qn_status qni_cifar_write(const char *path, const qn_tensor *images, int32_t n_labels,
                          qn_tensor *const *labels) QNI_WARN_UNUSED;
/* Writes u8 of 1 to 4 dimensions as idx, crash-safe. */
qn_status qni_idx_write(const char *path, const qn_tensor *t) QNI_WARN_UNUSED;

#endif
