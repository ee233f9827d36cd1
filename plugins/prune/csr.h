/*
** Products with a sparse matrix by rows (CSR), a tile of tokens at a time.
**
**   Y[t,o] = sum_p values[p] X[t, cols[p]],   p = rows[o] .. rows[o+1]-1
**
** A tile of tokens is turned so that a column of X is contiguous; a row of the matrix then
** is a chain of vector FMAs whose accumulators stay in registers. Every Y[t,o] is one chain
** over p from the first on, whatever tile it falls into. SPDX-License-Identifier: MIT
*/
#ifndef PRUNE_CSR_H
#define PRUNE_CSR_H

#include "act.h"
#include "prune.h"

struct csr {
  int64_t O, I; /* rows and columns of the dense matrix */
  const int64_t *rows;
  const int32_t *cols; /* one of the two */
  const uint16_t *cols16;
  const void *values;
};

/*
** Tokens in a tile; rows of the turned tile are this long. Outputs in a block: sums for as many are
** made before they are turned back, for a row of y may begin on a page of its own.
*/
enum { CSR_TILE_f32 = 64, CSR_TILE_f64 = 32, CSR_BLOCK_f32 = 64, CSR_BLOCK_f64 = 32 };

/*
** x [n,I] with rows x_row apart, as xt [I,TILE], n <= TILE. Tokens from n on are 0, as far as
** the products read: to the end of the first vector if n fits one, else of the tile.
*/
void csr_turn_f32(int64_t n, int64_t I, const float *x, int64_t x_row, float *xt);
void csr_turn_f64(int64_t n, int64_t I, const double *x, int64_t x_row, double *xt);

/* What comes after the product: b [O] or NULL, and an activation. */
struct csr_after {
  const void *bias;
  const qn_math *math;
  int32_t act;
};

/* y [n,O] with rows y_row apart = act(xt' W' + b). room: [BLOCK,TILE]. */
void csr_tile_f32(const struct csr *w, int64_t n, const float *xt, const struct csr_after *after,
                  float *y, int64_t y_row, float *room);
void csr_tile_f64(const struct csr *w, int64_t n, const double *xt, const struct csr_after *after,
                  double *y, int64_t y_row, double *room);

/* sum[p] += <gt[o], xt[cols[p]]> over n tokens, for each kept weight p of row o. */
void csr_pattern_f32(const struct csr *w, int64_t n, const float *gt, const float *xt, float *sum);
void csr_pattern_f64(const struct csr *w, int64_t n, const double *gt, const double *xt,
                     double *sum);

/* Numbers of room that csr_tile needs. */
enum { CSR_ROOM = 64 * 64 };

#endif
