/*
** Pictures: one PNG or JPEG file as pixels, through libpng and libjpeg-turbo.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_PICTURE_H
#define QNI_PICTURE_H

#include "tensor/tensor.h"

enum { QNI_PICTURE_PIXELS = 1 << 26 }; /* larger pictures are refused before they are decoded */

/*
** u8 [C,H,W]; channels 1 (grey), 3 (R, G, B) or 0 (as the file has it). Transparent parts
** become black; 16-bit PNG is brought to 8 bits. Truncated or damaged data is an error.
*/
qn_status qni_picture_parse(const void *data, size_t n_bytes, const char *origin, int32_t channels,
                            qn_tensor **t) QNI_WARN_UNUSED;

#endif
