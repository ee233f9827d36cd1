/*
** pgm: grey images of the netpbm family, "P5" with 8 bits; the tensor image is u8[height,width].
** SPDX-License-Identifier: MIT
*/
#include <stdio.h>
#include <string.h>

#include "toolbox.h"

static int32_t sniff(const void *bytes, int64_t n) { return n >= 2 && !memcmp(bytes, "P5", 2); }

/* A number after blanks and comments, 0 to 65535; -1: none. *at moves behind it. */
static int64_t number(const unsigned char *b, int64_t n, int64_t *at) {
  int64_t value = -1;
  for (; *at < n; ++*at) {
    if (b[*at] == '#')
      while (*at < n && b[*at] != '\n') ++*at;
    else if (b[*at] != ' ' && b[*at] != '\n' && b[*at] != '\t' && b[*at] != '\r')
      break;
  }
  for (; *at < n && b[*at] >= '0' && b[*at] <= '9' && value <= 65535; ++*at)
    value = (value < 0 ? 0 : value) * 10 + (b[*at] - '0');
  return value > 65535 ? -1 : value;
}

static qn_status decode(const qn_host *h, qn_call *c, const void *bytes, int64_t n) {
  int64_t at = 2, width, height, most;
  qn_view *image;
  if (!sniff(bytes, n)) return h->fail(c, QN_E_FORMAT, "it does not begin with P5");
  width = number(bytes, n, &at);
  height = number(bytes, n, &at);
  most = number(bytes, n, &at);
  if (width < 1 || height < 1 || most < 1 || most > 255)
    return h->fail(c, QN_E_FORMAT, "its sizes are %lld x %lld with values to %lld",
                   (long long)width, (long long)height, (long long)most);
  if (n - at - 1 != width * height)
    return h->fail(c, QN_E_FORMAT, "it has %lld bytes of pixels, not %lld", (long long)(n - at - 1),
                   (long long)(width * height));
  qn_status st = store_of(h)->make(c, "image", QN_U8, 2, (int64_t[]){height, width}, &image);
  if (!st) memcpy(image->data, (const char *)bytes + at + 1, (size_t)(width * height));
  return st;
}

static qn_status encode(const qn_host *h, qn_call *c) {
  const qn_store *s = store_of(h);
  const qn_view *image = s->find(c, "image");
  char head[64];
  if (!image || s->count(c) != 1 || image->dtype != QN_U8 || image->ndim != 2)
    return h->fail(c, QN_E_UNSUPPORTED, "a PGM file holds one tensor image of u8[height,width]");
  int n = snprintf(head, sizeof head, "P5\n%lld %lld\n255\n", (long long)image->shape[1],
                   (long long)image->shape[0]);
  qn_status st = s->put(c, head, n);
  return st ? st : s->put(c, image->data, count_of(image));
}

const qn_codec toolbox_pgm = {
    .head = {.struct_size = sizeof(qn_codec),
             .settings = "pgm()",
             .summary = "Grey images.",
             .doc = "The P5 form with 8 bits; the tensor is image, u8[height,width].",
             .example = "print(quern.codec('pgm').name) --> pgm"},
    .suffixes = (const char *const[]){".pgm", NULL},
    .sniff = sniff,
    .decode = decode,
    .encode = encode,
};
