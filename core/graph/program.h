/*
** A captured step: what recordings agree on, planned for replay in slices.
**
** Life: merge (program.c) -> analyse (separate.c, loss.c) -> plan (plan.c) -> step
** (step.c, which runs replay.c in lanes). docs/executor.md tells the whole story.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_PROGRAM_H
#define QNI_PROGRAM_H

#include "graph/affine.h"
#include "graph/record.h"

enum { QNI_LANES = 8, QNI_PIECE = 2048 /* elements that fused entries do at a time */ };

typedef struct qni_pview { /* a trace view with functions (of program->affines) for numbers */
  int32_t buffer, offsets, dtype, ndim;
  int32_t offset, origin; /* origin: the trace's view */
  int32_t shape[QN_MAX_DIMS], stride[QN_MAX_DIMS];
} qni_pview;

typedef struct qni_pbuffer {
  int32_t kind, input, bytes; /* bytes: function */
  qn_tensor *holder;          /* FOREIGN, LEAF: the memory itself; LEAF: the leaf */
  bool uniform;               /* FOREIGN of a size that follows the slice: one value everywhere */
  unsigned char value[8];     /* of uniform ones: an element, and its bytes */
  int64_t size;
  bool narrow;         /* a copy that becomes bf16 (hold.c) */
  bool persistent;     /* FOREIGN: the same tensor in all recordings */
  bool state;          /* such a one, which the step writes */
  bool loose;          /* saved for backward and nothing else: may be of any size */
  bool dynamic;        /* loose, and its size follows the data */
  bool direct;         /* a part of the gradient of `leaf`: its memory is the lane's own */
  int32_t leaf;        /* of direct ones: buffer */
  int32_t producer;    /* entry that first writes a TEMP, or SEED; -1 */
  bool live;           /* something that counts needs it */
  bool varies;         /* depends on the slice */
  bool wide;           /* depends on the batch, and is one for all slices */
  bool summed;         /* a sum over the slice's samples */
  bool crosses;        /* of the batch's size: slices look at their part of it */
  bool piece;          /* lives inside a fused run: memory for one piece */
  bool reduced;        /* slices' parts are added up when their segment ends */
  bool onto;           /* reduced, and made by an op that adds to what the lane's part holds */
  int32_t first, last; /* entries between which its memory is taken */
  int32_t from, to;    /* segments that use it; from > to: none */
  size_t place;        /* in the arena; of hoisted ones in the step's memory */
  size_t wide_place;   /* in the batch's memory */
} qni_pbuffer;

typedef struct qni_patch {  /* an integer argument that follows the slice */
  int32_t entry, param, at; /* at: in a list, -1: the value itself */
  int32_t value;            /* function */
} qni_patch;

enum qni_loss_kind {
  QNI_LOSS_SUM,     /* the loss is a sum over samples */
  QNI_LOSS_COUNT,   /* a mean; the slice's share is a number of elements */
  QNI_LOSS_WEIGHTS, /* a weighted mean; the share is a sum of weights */
  QNI_LOSS_RATIO,   /* a sum divided by another, which is the share */
  QNI_LOSS_WHOLE    /* made by what runs on the whole batch */
};

typedef struct qni_loss {
  int32_t kind;
  int32_t count;           /* COUNT: function */
  int32_t weights, labels; /* WEIGHTS: views or -1; RATIO: weights is the divisor */
  int64_t ignore;          /* label that does not count, when there are labels */
} qni_loss;

enum qni_slicing {                  /* may the batch be cut into slices? */
                   QNI_SLICES_AUTO, /* unless there are many segments */
                   QNI_SLICES_ON,
                   QNI_SLICES_OFF
};

enum qni_again { /* may cheap ops run again in backward, in place of keeping what they made? */
                 QNI_AGAIN_AUTO, /* where that brings a slice of one sample within the budget */
                 QNI_AGAIN_ON,
                 QNI_AGAIN_OFF
};

typedef struct qni_choices {
  bool unfused; /* element-wise entries run one by one */
  bool narrow;  /* what is kept for backward is kept as bf16 */
  enum qni_slicing slicing;
  enum qni_again again;
} qni_choices;

enum qni_when { QNI_WHEN_DEAD, QNI_WHEN_STEP, QNI_WHEN_SLICE, QNI_WHEN_WHOLE };

/* Even segments run slice by slice, odd ones on the whole batch. */
typedef struct qni_segment {
  const int32_t *entry;
  int32_t n;
  int32_t *run; /* [n] so many entries from here on are fused; 1: none */
} qni_segment;

typedef struct qni_program {
  qni_trace *trace[QNI_TRIALS]; /* only [0] outlives the check against the last */
  qni_affines affines;
  bool fixed_L; /* L was the same in all recordings: slices must have it too */
  qni_pview *view;
  qni_pbuffer *buffer;
  qni_patch *patch;
  int32_t n_patches, max_patches;
  qni_entry *entry;  /* trace[0]'s, with the seed entry put in */
  uint8_t *when;     /* enum qni_when, by entry */
  uint8_t *fills;    /* by entry: the life of a uniform buffer begins there */
  int32_t *segment;  /* by entry; -1: once per step */
  const char **why;  /* by entry: why it runs on the whole batch; NULL */
  qni_segment *list; /* [n_segments] */
  qni_segment once;  /* what runs once per step */
  int32_t n_segments;
  int32_t *row; /* random entries: function whose monomial tells the global row; -1 */
  int32_t n_entries, n_views, n_buffers, n_inputs, seed_entry;
  bool jagged; /* some input is */
  qni_choices choices;
  bool all_whole;            /* everything runs on the whole batch */
  int32_t n_again, n_narrow; /* tensors made twice, or kept as bf16 */
  qni_loss loss;
  int32_t root;    /* view of the loss */
  int32_t *output; /* views that the step returns; NULL: a loss */
  int32_t n_outputs;
  size_t step_bytes;            /* of what is hoisted */
  size_t batch_bytes;           /* of what crosses segments */
  int64_t (*form)[QNI_M_COUNT]; /* memory at the fullest moments: factors of monomials */
  int32_t n_forms;
  qni_arena memory;
} qni_program;

/* One program out of recordings that agree; traces are taken over, also on failure. */
qn_status qni_program_new(qni_trace *const *traces, const qni_extent *extents,
                          const qni_choices *choices, qni_program **program) QNI_WARN_UNUSED;
void qni_program_free(qni_program *p);
void qni_program_live(qni_program *p); /* plan.c: what nothing counts on is dead */
qn_status qni_program_analyse(qni_program *p) QNI_WARN_UNUSED; /* separate.c: what runs how */
/* segment.c: in which order; forced entries are given in *more, and analysis begins anew. */
qn_status qni_program_cut(qni_program *p, bool *again) QNI_WARN_UNUSED;
/* The backward entry whose rows a sink of rows takes. */
int32_t qni_program_maker(const qni_program *p, int32_t sink);
/* Has the entry run on the whole batch; false: it does so already. */
bool qni_program_force(qni_program *p, int32_t entry, const char *why, ...) QNI_PRINTF(3, 4);
qn_status
qni_program_loss(qni_program *p) QNI_WARN_UNUSED; /* loss.c: fills loss, puts in the seed entry */
qn_status qni_program_schedule(qni_program *p) QNI_WARN_UNUSED; /* plan.c: what runs, and when */

qn_status qni_program_fuse(qni_program *p, bool on) QNI_WARN_UNUSED; /* fuse.c: after schedule */
qn_status qni_program_forms(qni_program *p) QNI_WARN_UNUSED; /* plan.c: after it; memory by slice */
qn_status qni_program_replan(qni_program *p) QNI_WARN_UNUSED; /* these three, after a change */

/* Number of dimensions of a view that grow with the samples; *odd: one is more than a multiple. */
int32_t qni_view_batched(const qni_program *p, int32_t view, bool *odd);
/* "mean (recipe.lua:12)" */
const char *qni_entry_text(const qni_entry *e, char *buf, size_t size);
/* Does a forward entry write into its input i? */
bool qni_entry_writes(const qni_entry *e, int32_t i);
/* Does it put a result into the buffer? Of a backward entry the gradients are its results. */
bool qni_entry_puts(const qni_program *p, const qni_entry *e, int32_t buffer);
/* Refuses capture because of an entry. */
qn_status qni_program_refuse(const qni_entry *e, const char *hint, const char *what, ...)
    QNI_PRINTF(3, 4);

/* ---- Arena layout (plan.c) ---- */

/* Bytes that a slice of this extent needs at once. */
int64_t qni_plan_bytes(const qni_program *p, const qni_extent *e);
bool qni_plan_in_arena(const qni_pbuffer *b);
bool qni_plan_in_step(const qni_pbuffer *b);  /* hoisted */
bool qni_plan_in_batch(const qni_pbuffer *b); /* of the whole batch */
/* Places all buffers for slices up to this extent; *bytes of an arena. */
qn_status qni_plan_layout(qni_program *p, const qni_extent *most, size_t *bytes) QNI_WARN_UNUSED;
/* The same for what crosses segments, in a batch of this extent; batch_bytes is set. */
qn_status qni_plan_layout_batch(qni_program *p, const qni_extent *batch) QNI_WARN_UNUSED;

#endif
