/*
** SHA-256 (FIPS 180-4): the message in blocks of 64 bytes, closed by a 1 bit, zeros
** and its length in bits.
** SPDX-License-Identifier: MIT
*/
#include "base/sha256.h"

#include <string.h>

#include "base/file.h"
#include "base/tick.h"

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t turn(uint32_t x, int n) { return x >> n | x << (32 - n); }

static uint32_t big_endian(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void mix_block(uint32_t state[8], const uint8_t *block) {
  uint32_t w[64], v[8];
  for (int i = 0; i < 16; i++) w[i] = big_endian(block + 4 * i);
  for (int i = 16; i < 64; i++) {
    uint32_t s0 = turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ w[i - 15] >> 3;
    uint32_t s1 = turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ w[i - 2] >> 10;
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  memcpy(v, state, sizeof v);
  for (int i = 0; i < 64; i++) {
    uint32_t a = v[0], e = v[4];
    uint32_t t1 =
        v[7] + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & v[5]) ^ (~e & v[6])) + K[i] + w[i];
    uint32_t t2 =
        (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
    memmove(v + 1, v, 7 * sizeof *v);
    v[4] += t1;
    v[0] = t1 + t2;
  }
  for (int i = 0; i < 8; i++) state[i] += v[i];
}

void qni_sha256_start(qni_sha256 *s) {
  *s = (qni_sha256){.state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
                              0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void qni_sha256_add(qni_sha256 *s, const void *data, size_t n_bytes) {
  const uint8_t *p = data;
  size_t used = (size_t)(s->n_bytes % 64);
  s->n_bytes += n_bytes;
  if (used) {
    size_t n = n_bytes < 64 - used ? n_bytes : 64 - used;
    if (n) memcpy(s->block + used, p, n);
    p += n, n_bytes -= n, used += n;
    if (used < 64) return;
    mix_block(s->state, s->block);
  }
  for (; n_bytes >= 64; p += 64, n_bytes -= 64) mix_block(s->state, p);
  if (n_bytes) memcpy(s->block, p, n_bytes);
}

void qni_sha256_end(qni_sha256 *s, uint8_t digest[32]) {
  uint64_t bits = s->n_bytes * 8;
  uint8_t tail[72] = {0x80};
  size_t used = (size_t)(s->n_bytes % 64), pad = used < 56 ? 56 - used : 120 - used;
  for (int i = 0; i < 8; i++) tail[pad + (size_t)i] = (uint8_t)(bits >> (56 - 8 * i));
  qni_sha256_add(s, tail, pad + 8);
  for (int i = 0; i < 32; i++) digest[i] = (uint8_t)(s->state[i / 4] >> (24 - 8 * (i % 4)));
}

void qni_sha256_of(const void *data, size_t n_bytes, uint8_t digest[32]) {
  qni_sha256 s;
  qni_sha256_start(&s);
  qni_sha256_add(&s, data, n_bytes);
  qni_sha256_end(&s, digest);
}

enum { PIECE = 1 << 23 }; /* bytes between two ticks */

qn_status qni_sha256_file(const char *path, uint8_t digest[32]) {
  qni_file_map map;
  qn_status st = qni_file_map_open(path, &map);
  if (st) return st;
  qni_sha256 s;
  qni_sha256_start(&s);
  for (size_t at = 0; at < map.n_bytes; at += PIECE) {
    size_t n = map.n_bytes - at < PIECE ? map.n_bytes - at : PIECE;
    qni_sha256_add(&s, (const char *)map.data + at, n);
    if (map.n_bytes > PIECE) qni_tick("checking", (int64_t)(at + n), (int64_t)map.n_bytes);
  }
  qni_sha256_end(&s, digest);
  qni_file_map_close(&map);
  return QN_OK;
}

char *qni_sha256_hex(const uint8_t digest[32], char hex[65]) {
  static const char digits[] = "0123456789abcdef";
  for (int i = 0; i < 32; i++) {
    hex[2 * i] = digits[digest[i] >> 4];
    hex[2 * i + 1] = digits[digest[i] & 15];
  }
  hex[64] = 0;
  return hex;
}
