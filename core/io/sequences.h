/*
** Sequences: leave-one-out splits of interactions, and jagged batches of them.
**
** A user with L events e_1..e_L gives, by protocol and phase, inputs e_1..e_k and the
** final target e_{k+1}, with k:
**                train   valid   test
**   standard     L-3     L-2     L-1
**   meta         L-2     -       L-1
**   whole        L-1     L-1     L-1     (streams whose users are split, not their events)
** Of the inputs the most recent max_len stay. Position i predicts event i+1, so the
** targets are the inputs moved on by one, with the final target at the end. Users
** with fewer than min_events are dropped and counted; one whose k is 0 is skipped.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_SEQUENCES_H
#define QNI_SEQUENCES_H

#include "io/interactions.h"
#include "tensor/tensor.h"

enum qni_protocol { QNI_PROTOCOL_STANDARD = 0, QNI_PROTOCOL_META = 1, QNI_PROTOCOL_WHOLE = 2 };
enum qni_phase { QNI_PHASE_TRAIN = 0, QNI_PHASE_VALID = 1, QNI_PHASE_TEST = 2 };

typedef struct qni_split_options { /* zero: all defaults */
  int32_t protocol;                /* enum qni_protocol */
  int64_t max_len;                 /* most inputs; 0: no limit */
  int64_t min_events;              /* 0: 3 (whole: 2); not less */
  int64_t user_begin, user_end;    /* users begin .. end-1; end 0: all */
} qni_split_options;

typedef struct qni_split qni_split;

/* `x` must outlive the split. */
qn_status qni_split_new(const qni_interactions *x, const qni_split_options *options,
                        qni_split **split) QNI_WARN_UNUSED;
void qni_split_free(qni_split *split);
int64_t qni_split_rows(const qni_split *split, int32_t phase); /* sequences of a phase */
/* Inputs of a phase, after truncation. */
int64_t qni_split_tokens(const qni_split *split, int32_t phase);
int64_t qni_split_longest(const qni_split *split, int32_t phase);
int64_t qni_split_dropped(const qni_split *split); /* users with too few events */
const qni_interactions *qni_split_interactions(const qni_split *split);
int32_t qni_protocol_parse(const char *name); /* "standard", "meta", "whole"; -1 unknown */
int32_t qni_phase_parse(const char *name);    /* "train", "valid", "test"; -1 unknown */

/* One sequence: events begin .. end-1 are its inputs, event `end` is its final target. */
typedef struct qni_row {
  int64_t user; /* from 0 */
  int64_t begin, end;
} qni_row;

qni_row qni_split_row(const qni_split *split, int32_t phase, int64_t row);

/* Jagged tensors of a batch of B sequences and T tokens; all i64 but the ratings. */
typedef struct qni_batch {
  qn_tensor *items;                          /* jagged [T] */
  qn_tensor *targets;                        /* jagged [T], same offsets */
  qn_tensor *times;                          /* jagged [T], same offsets; NULL without times */
  qn_tensor *next_times;                     /* jagged [T]: the time of each target */
  qn_tensor *all_times;                      /* jagged [T+B]: L+1 per sequence, the target's last */
  qn_tensor *ratings, *target_ratings;       /* f32 jagged [T]; NULL without ratings */
  qn_tensor *behaviours, *target_behaviours; /* i64 jagged [T]; NULL without behaviours */
  qn_tensor *users;                          /* [B], from 1 as the dense ids */
  qn_tensor *last_targets;                   /* [B]: the final target of each sequence */
  int64_t n_sequences, n_tokens, longest;
  int64_t epoch, index; /* which batch of which epoch */
} qni_batch;

/* Batch of the given rows, in this order. */
qn_status qni_batch_new(const qni_split *split, int32_t phase, const int64_t *rows, int64_t n,
                        qni_batch **batch) QNI_WARN_UNUSED;
void qni_batch_free(qni_batch *batch); /* releases its tensors; NULL is fine */

#endif
