/*
** What the benchmarks in C share: the machine's measured limits, timing, one form of output.
**
** Every benchmark begins with its limits of this run: the rate of multiply-adds on
** registers and the rate of copying, on one thread and on all. A row compares a time with its
** floor (FLOPs at that rate, or bytes at that rate) and with peers timed in turns with us.
** --json prints a line of JSON for each row; a name limits the rows to those that contain it.
** SPDX-License-Identifier: MIT
*/
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stdint.h>

enum { BENCH_PEERS = 4 };

/* GF/s and GB/s; copy counts bytes read and written, update those of a pass in place, l2 reads. */
struct bench_limits {
  double peak_1t, peak_nt, copy_1t, copy_nt, update_nt, l2_nt;
};

struct bench {
  const char *name, *filter;
  bool json, brief; /* brief: limits only, quickly (--limits) */
  int32_t rounds;   /* 3; with --brief 2 */
  int32_t threads;
  struct bench_limits limits;
};

/* One line of a table: times in ms; 0 means not measured. */
struct bench_row {
  const char *name;
  int32_t threads;
  double ms, flops, bytes;
  struct {
    const char *name;
    double ms;
  } peer[BENCH_PEERS];
};

/* Starts CPU level, pool and BLAS, measures the limits and prints them. False: could not start. */
bool bench_open(struct bench *b, const char *name, int argc, char **argv);
bool bench_wants(const struct bench *b, const char *row);
void bench_print(const struct bench *b, const struct bench_row *row);
void bench_close(const struct bench *b); /* prints the program's peak of memory */

struct bench_limits bench_measure(int32_t threads);
/* `enough`: on a busy machine, tried longer while the rate stays below it. */
double bench_peak(int32_t threads, double enough);
double bench_copy(bool in_place);
double bench_l2(int32_t threads);

/* Wall time in ns; on one thread its own CPU time, so that other work counts less. */
int64_t bench_now(void);
/* The best of repeated calls within about `seconds`, in ms; short ones are timed many at a time. */
double bench_best(void (*run)(void *ctx), void *ctx, double seconds);

#endif
