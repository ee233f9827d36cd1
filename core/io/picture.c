/*
** Pictures: one PNG or JPEG file as pixels, through libpng and libjpeg-turbo.
**
** Both are used through their interfaces that return errors instead of jumping: png_image
** and TurboJPEG. Pixels arrive interleaved and are laid out in planes.
** SPDX-License-Identifier: MIT
*/
#include "io/picture.h"

#include <png.h>
#include <string.h>
#include <turbojpeg.h>

static qn_status damaged(const char *origin, const char *kind, const char *reason) {
  qni_fail(QN_E_FORMAT, "%s: cannot decode it as %s", origin, kind);
  qni_error_detail("%s", reason);
  qni_error_hint("get the file again, or leave it out");
  return QN_E_FORMAT;
}

static qn_status check_size(const char *origin, int64_t width, int64_t height) {
  if (width >= 1 && height >= 1 && width <= QNI_PICTURE_PIXELS / height) return QN_OK;
  qni_fail(QN_E_FORMAT, "%s: a picture of %lld x %lld pixels", origin, (long long)width,
           (long long)height);
  qni_error_hint("at most %d pixels are read", QNI_PICTURE_PIXELS);
  return QN_E_FORMAT;
}

/* Interleaved [H,W,C] into planes [C,H,W]. */
static qn_status planes(const uint8_t *from, int64_t channels, int64_t height, int64_t width,
                        qn_tensor **t) {
  int64_t shape[3] = {channels, height, width}, n = height * width;
  qn_status st = qni_tensor_empty(QN_U8, 3, shape, t);
  if (st) return st;
  uint8_t *to = (*t)->view.data;
  for (int64_t c = 0; c < channels; c++)
    for (int64_t i = 0; i < n; i++) to[c * n + i] = from[i * channels + c];
  return QN_OK;
}

static qn_status decode_png(const void *data, size_t n_bytes, const char *origin, int32_t channels,
                            qn_tensor **t) {
  png_image image = {.version = PNG_IMAGE_VERSION};
  qn_status st = QN_OK;
  uint8_t *pixels = NULL;
  if (!png_image_begin_read_from_memory(&image, data, n_bytes))
    st = damaged(origin, "PNG", image.message);
  if (!st) st = check_size(origin, image.width, image.height);
  if (!channels) channels = image.format & PNG_FORMAT_FLAG_COLOR ? 3 : 1;
  image.format = channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  if (!st && !(pixels = qni_mem_zalloc(PNG_IMAGE_SIZE(image), 1))) st = QN_E_NOMEM;
  if (!st && !png_image_finish_read(&image, &(png_color){0, 0, 0}, pixels, 0, NULL))
    st = damaged(origin, "PNG", image.message);
  if (!st) st = planes(pixels, channels, image.height, image.width, t);
  png_image_free(&image);
  qni_mem_free(pixels);
  return st;
}

static qn_status decode_with(tjhandle jpeg, const void *data, size_t n_bytes, const char *origin,
                             int32_t channels, qn_tensor **t) {
  int width, height, sampling, space;
  if (tjDecompressHeader3(jpeg, data, n_bytes, &width, &height, &sampling, &space))
    return damaged(origin, "JPEG", tjGetErrorStr2(jpeg));
  qn_status st = check_size(origin, width, height);
  if (st) return st;
  if (space == TJCS_CMYK || space == TJCS_YCCK)
    return damaged(origin, "JPEG", "its colours are CMYK, not grey or RGB");
  if (!channels) channels = space == TJCS_GRAY ? 1 : 3;
  uint8_t *pixels = qni_mem_alloc((size_t)width * (size_t)height * (size_t)channels);
  if (!pixels) return QN_E_NOMEM;
  int flags = TJFLAG_ACCURATEDCT | TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS;
  if (tjDecompress2(jpeg, data, n_bytes, pixels, width, 0, height,
                    channels == 3 ? TJPF_RGB : TJPF_GRAY, flags))
    st = damaged(origin, "JPEG", tjGetErrorStr2(jpeg));
  if (!st) st = planes(pixels, channels, height, width, t);
  qni_mem_free(pixels);
  return st;
}

static qn_status decode_jpeg(const void *data, size_t n_bytes, const char *origin, int32_t channels,
                             qn_tensor **t) {
  tjhandle jpeg = tjInitDecompress();
  if (!jpeg) return qni_fail(QN_E_NOMEM, "out of memory");
  qn_status st = decode_with(jpeg, data, n_bytes, origin, channels, t);
  tjDestroy(jpeg);
  return st;
}

qn_status qni_picture_parse(const void *data, size_t n_bytes, const char *origin, int32_t channels,
                            qn_tensor **t) {
  const uint8_t *b = data;
  *t = NULL;
  if (channels != 0 && channels != 1 && channels != 3)
    return qni_fail(QN_E_ARG, "a picture has 1 or 3 channels, not %d", (int)channels);
  if (n_bytes >= 8 && !memcmp(b, "\x89PNG\r\n\x1a\n", 8))
    return decode_png(data, n_bytes, origin, channels, t);
  if (n_bytes >= 3 && b[0] == 0xff && b[1] == 0xd8 && b[2] == 0xff)
    return decode_jpeg(data, n_bytes, origin, channels, t);
  qni_fail(QN_E_FORMAT, "%s is neither PNG nor JPEG", origin);
  if (n_bytes >= 4) qni_error_detail("it begins with %02x %02x %02x %02x", b[0], b[1], b[2], b[3]);
  qni_error_hint("convert it to one of the two");
  return QN_E_FORMAT;
}
