/*
** Tar: the files of a POSIX ustar archive in memory, one after the other.
**
** A header has 512 bytes: name 0..99, size 124..135 (octal, or base 256 with the high bit
** set), checksum 148..155, type 156, magic "ustar" 257, prefix 345..499. Data follow, padded
** to 512. The archive ends with zero blocks.
** SPDX-License-Identifier: MIT
*/
#include "io/tar.h"

#include <stdio.h>
#include <string.h>

enum { BLOCK = 512, NAME = 100, SIZE = 124, SUM = 148, TYPE = 156, MAGIC = 257, PREFIX = 345 };

static size_t text_length(const char *text, size_t most) { return strnlen(text, most); }

/* An octal field; false for anything else. */
static bool octal(const char *field, size_t n, uint64_t *value) {
  size_t i = 0;
  *value = 0;
  while (i < n && field[i] == ' ') i++;
  size_t first = i;
  for (; i < n && field[i] >= '0' && field[i] <= '7'; i++)
    *value = *value * 8 + (uint64_t)(field[i] - '0');
  return i > first && (i == n || field[i] == 0 || field[i] == ' ');
}

static bool file_size(const char *header, uint64_t *value) {
  const uint8_t *field = (const uint8_t *)header + SIZE;
  if (!(field[0] & 0x80)) return octal(header + SIZE, 12, value);
  *value = 0;
  for (int i = 4; i < 12; i++) *value = *value << 8 | field[i];
  return field[0] == 0x80 && field[1] == 0 && field[2] == 0 && field[3] == 0;
}

/* The sum of a header's bytes, those of the sum itself counted as blanks. */
static bool sum_fits(const char *header) {
  uint64_t stated, sum = 0;
  if (!octal(header + SUM, 8, &stated)) return false;
  for (int i = 0; i < BLOCK; i++) sum += i >= SUM && i < SUM + 8 ? ' ' : (uint8_t)header[i];
  return sum == stated;
}

static bool all_zero(const char *header) {
  for (int i = 0; i < BLOCK; i++)
    if (header[i]) return false;
  return true;
}

bool qni_tar_is(const void *data, size_t n_bytes) {
  return n_bytes >= BLOCK && !memcmp((const char *)data + MAGIC, "ustar", 5) && sum_fits(data);
}

static qn_status bad(const qni_tar *tar, const char *what) {
  qni_fail(QN_E_FORMAT, "%s: %s at byte %zu", tar->origin, what, tar->at);
  qni_error_hint("get the archive again");
  return QN_E_FORMAT;
}

static void header_name(const char *header, char *name, size_t size) {
  size_t n_prefix = memcmp(header + MAGIC, "ustar", 5) ? 0 : text_length(header + PREFIX, 155);
  int n = (int)text_length(header, NAME);
  snprintf(name, size, "%.*s%s%.*s", (int)n_prefix, header + PREFIX, n_prefix ? "/" : "", n,
           header);
}

/* The path of a pax header: lines "LENGTH KEY=VALUE\n". */
static void pax_path(const char *data, size_t n, char *name, size_t size) {
  size_t at = 0;
  while (at < n) {
    size_t length = 0, i = at;
    while (i < n && data[i] >= '0' && data[i] <= '9' && length < n)
      length = length * 10 + (size_t)(data[i++] - '0');
    if (length < 1 || length > n - at || i >= n || data[i] != ' ' || i + 1 > at + length) return;
    const char *text = data + i + 1, *end = data + at + length;
    if (end - text > 6 && !memcmp(text, "path=", 5))
      snprintf(name, size, "%.*s", (int)(end - text - 6 < 4096 ? end - text - 6 : 4096), text + 5);
    at += length;
  }
}

/* The header at tar->at, its data's length; false in *more at the archive's end. */
static qn_status header_here(qni_tar *tar, const char **header, size_t *n_data, bool *more) {
  uint64_t size;
  *more = false;
  if (tar->at == tar->n_bytes) return QN_OK; /* without zero blocks */
  if (tar->n_bytes - tar->at < BLOCK) return bad(tar, "unexpected end of archive");
  *header = tar->data + tar->at;
  if (all_zero(*header)) return QN_OK;
  if (!sum_fits(*header)) return bad(tar, "a damaged tar header");
  if (!file_size(*header, &size)) return bad(tar, "a file without a size");
  if (size > tar->n_bytes - tar->at - BLOCK) {
    tar->at = tar->n_bytes;
    return bad(tar, "unexpected end of archive");
  }
  *n_data = (size_t)size, *more = true;
  return QN_OK;
}

qn_status qni_tar_next(qni_tar *tar, qni_tar_file *file, bool *found) {
  char longer[sizeof file->name] = "";
  const char *header;
  size_t n;
  *found = false;
  for (;;) {
    bool more;
    qn_status st = header_here(tar, &header, &n, &more);
    if (st || !more) return st;
    const char *data = tar->data + tar->at + BLOCK;
    size_t padded = (n + BLOCK - 1) / BLOCK * BLOCK, left = tar->n_bytes - tar->at - BLOCK;
    tar->at += BLOCK + (padded < left ? padded : left);
    char type = header[TYPE];
    if (type == 'x') pax_path(data, n, longer, sizeof longer);
    if (type == 'L') snprintf(longer, sizeof longer, "%.*s", (int)(n < 4096 ? n : 4096), data);
    if (type == 'x' || type == 'L') continue;
    if (type == 0 || type == '0') {
      header_name(header, file->name, sizeof file->name);
      if (*longer) strcpy(file->name, longer);
      file->data = data, file->n_bytes = n, *found = true;
      return QN_OK;
    }
    *longer = 0;
  }
}
