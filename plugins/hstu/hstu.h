/*
** What the files of this plugin share: its op tables, sizes, small helpers.
**
** Ops are written once for both element types: a file NAME_typed.h is included by
** NAME.c with REAL and FN(name) set for float, then again for double. hstu_real.h
** is the switch between the two. SPDX-License-Identifier: MIT
*/
#ifndef HSTU_H
#define HSTU_H

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "quern/abi.h"

extern const qn_op hstu_time_bucket_op, hstu_attention_op, hstu_mixer_op, hstu_norm_gate_op;
extern const qn_op hstu_sampled_softmax_op, hstu_sampled_bce_op, hstu_rank_targets_op;
extern const qn_op hstu_rank_scores_op, hstu_sequence_embedding_op, hstu_extend_attention_op;
extern const qn_op hstu_stochastic_length_op, hstu_pooled_embedding_op;
extern const qn_op hstu_sequence_places_op, hstu_age_bucket_op, hstu_sequence_last_op;

enum { BUCKETS = 129, BUCKET_ROOM = 256 }; /* rows of a time bias; room for any byte */

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* Elements of a row of `n` when rows start on 64-byte lines. */
static inline int64_t padded(int64_t n, size_t element) {
  int64_t lane = 64 / (int64_t)element;
  return (n + lane - 1) / lane * lane;
}

/* The same for rows that are walked down a column: steps of 1 KiB would share cache sets. */
static inline int64_t padded_walk(int64_t n, size_t element) {
  int64_t row = padded(n, element);
  return row * (int64_t)element % 1024 ? row : row + 64 / (int64_t)element;
}

/* ---- Dropout: one 16-bit draw per element, keep where draw >= round(p 2^16) ---- */

static inline uint32_t drop_below(double p) { return (uint32_t)(p * 65536 + 0.5); }

/* keep[0..n-1] of a row from column `col` (even) on. */
void hstu_keep(const qn_host *h, qn_call *c, uint32_t stream, int64_t row, int64_t col, int64_t n,
               uint32_t below, uint8_t *keep);

/* ---- Cutting sequences into chunks of about equal cost ---- */

enum { MAX_CHUNKS = 64 };

struct hstu_cut { /* chunk i is units first[i] .. first[i+1]-1 */
  int64_t n_chunks;
  int64_t first[MAX_CHUNKS + 1];
};

/* `heads` units per sequence, each costing length^2; a function of the lengths alone. */
void hstu_cut_units(const int64_t *offsets, int64_t n_seq, int64_t heads, struct hstu_cut *cut);

/* ---- Time buckets: see bucket.c ---- */

enum { BUCKET_PARTS = 65 * 8 }; /* eighths of octaves from 2^0 to 2^64 */

struct hstu_buckets {
  int32_t base[BUCKET_PARTS]; /* bucket of the first float of a part */
  float step[BUCKETS];        /* where the next bucket begins */
};

void hstu_bucket_table(struct hstu_buckets *table);
/* row[j] = bucket(query - key[j]) for j < n. */
void hstu_bucket_row(const struct hstu_buckets *table, int64_t query, const int64_t *key, int64_t n,
                     uint8_t *row);

/* ---- Checks, sorting ---- */

/* Offsets of jagged input 0, checked to rise from 0 to `rows` without empty sequences. */
qn_status hstu_offsets(const qn_host *h, qn_call *c, int64_t rows, const int64_t **offsets,
                       int64_t *n_seq);

/* f32 or f64, else an error that names the op's element type. */
qn_status hstu_real_dtype(const qn_host *h, qn_call *c, int32_t dtype);

/* p in [0, 1). */
qn_status hstu_check_dropout(const qn_host *h, qn_call *c, double p);

/* Rising order, in place. */
void hstu_sort(int64_t *x, int64_t n);

#endif
