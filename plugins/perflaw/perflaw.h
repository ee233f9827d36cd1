/*
** What the files of this plugin share. SPDX-License-Identifier: MIT
*/
#ifndef PERFLAW_H
#define PERFLAW_H

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "quern/abi.h"

extern const qn_op perflaw_apen_op, perflaw_gram_entropy_op, perflaw_lz_entropy_op;
extern const qn_op perflaw_block_entropy_op, perflaw_law_fit_op;

/* ---- Jagged input 0 ---- */

/* Its offsets, checked to rise from 0 to its rows. */
qn_status perflaw_offsets(const qn_host *h, qn_call *c, const int64_t **offsets, int64_t *n_seq);

/* The longest of sequences begin..end-1. */
int64_t perflaw_longest(const int64_t *offsets, int64_t begin, int64_t end);

/* ---- Grams: runs of m ids (grams.c) ---- */

/*
** Counts equal grams by open addressing. room() says how much memory a counter for n
** grams takes; open() lays it out. first[i] of a counted gram is the place of the first
** equal one, and count[first[i]] how often it occurs.
*/
struct gram_counter {
  int32_t *slot; /* place + 1 of a first gram; 0: free */
  int32_t *first, *count;
  uint64_t mask;
};
enum { MOST_GRAMS = 1 << 30 };

int64_t perflaw_gram_room(int64_t n);
void perflaw_gram_open(struct gram_counter *g, int64_t n, void *memory);
void perflaw_gram_add(struct gram_counter *g, const int64_t *ids, int64_t place, int64_t m);

#endif
