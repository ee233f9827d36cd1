/*
** Recording: what one run of a step calls, forward and backward, op by op.
**
** Storage is what is tracked: a buffer is a piece of memory, a trace view a window on it.
** Ops without a forward (views) need no entry, whoever looks at a buffer brings its own
** window. Each op that runs is an entry with the views it was given and those it made.
** A gradient that arrives at a leaf becomes a sink entry and is not stored in the leaf.
** One recording at a time, on the thread that runs the step.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_RECORD_H
#define QNI_RECORD_H

#include "graph/frame.h"
#include "graph/keep.h"

enum qni_entry_kind {
  QNI_ENTRY_FORWARD,
  QNI_ENTRY_BACKWARD,
  QNI_ENTRY_COPY,      /* out[0] = in[0], with conversion */
  QNI_ENTRY_SINK,      /* in[0] is a part of a leaf's gradient */
  QNI_ENTRY_SINK_ROWS, /* the same by rows: input `slot` of the last backward */
  QNI_ENTRY_SEED       /* out[0]: what backward starts from; made by analysis */
};

enum qni_buffer_kind {
  QNI_BUFFER_FOREIGN, /* made elsewhere: constants, persistent tensors */
  QNI_BUFFER_LEAF,    /* a parameter */
  QNI_BUFFER_INPUT,   /* of the slice */
  QNI_BUFFER_OFFSETS, /* of the slice's sequences */
  QNI_BUFFER_SEED,
  QNI_BUFFER_TEMP /* written by an entry */
};

typedef struct qni_trace_buffer {
  qn_tensor *holder;   /* keeps the storage alive, without history */
  qn_tensor *leaf;     /* LEAF */
  int32_t kind, input; /* input: of INPUT, from 0 */
} qni_trace_buffer;

typedef struct qni_trace_view {
  int32_t buffer;  /* -1: a shape only */
  int32_t offsets; /* view of its offsets, or -1 */
  int64_t offset;  /* bytes from the buffer's begin */
  qn_view view;    /* data NULL */
} qni_trace_view;

/* Lists hold views, -1 where there is none. n_in and n_out are those of the forward call. */
typedef struct qni_entry {
  int32_t kind, n_in, n_out, slot;
  const qn_opref *op;
  bool backward; /* made while backward ran */
  bool again;    /* a copy or repetition that the plan put in */
  uint64_t needs;
  uint32_t instance;           /* of random ops, from the step's first */
  int32_t *in;                 /* FORWARD [n_in], BACKWARD: gradients of outputs [n_out] */
  int32_t *out;                /* FORWARD [n_out], BACKWARD: gradients of inputs [n_in] */
  int32_t *like;               /* BACKWARD: shapes of the inputs [n_in] */
  int32_t saved[QN_MAX_SAVED]; /* FORWARD: new buffers; BACKWARD: all */
  int16_t *owner;              /* [n_in] */
  qni_value *attrs;            /* [n_params] */
  int32_t forward;             /* BACKWARD: the entry that it goes back through, -1: a view */
  int32_t leaf;                /* of sinks: buffer */
  const char *source;          /* "recipe.lua:12", or "" */
} qni_entry;

typedef struct qni_trace {
  qni_trace_buffer *buffer;
  qni_trace_view *view;
  qni_entry *entry;
  int32_t n_buffers, n_views, n_entries, max_buffers, max_views, max_entries;
  uint32_t first_instance, n_instances;
  int32_t root;    /* view of what backward started from, -1: none yet */
  int32_t *output; /* views that a step without gradients returned */
  int32_t n_outputs;
  bool in_backward;
  bool watch;                            /* the step is looked at only: backward does nothing */
  bool dry;                              /* kernels do not run */
  int32_t n_forward;                     /* entries before backward was called */
  const qn_tensor *rows[QN_MAX_TENSORS]; /* of the last backward entry */
  qni_error_copy refusal;                /* status 0: none */
  qni_keep written;                      /* what outlives the step, as it was before */
  qni_arena memory;
} qni_trace;

extern _Thread_local qni_trace *qni_recorder; /* NULL: nothing is recorded */

qn_status qni_trace_new(qni_trace **trace) QNI_WARN_UNUSED;
void qni_trace_free(qni_trace *trace);
/* Announces an input of the slice before the step runs. */
qn_status qni_trace_input(qni_trace *t, qn_tensor *tensor, int32_t input) QNI_WARN_UNUSED;
/* What a step without gradients returned, before recording ends. */
qn_status qni_trace_outputs(qni_trace *t, qn_tensor *const *outputs, int32_t n) QNI_WARN_UNUSED;
/* From begin to end this thread's calls are recorded; later calls draw the same random numbers. */
void qni_record_begin(qni_trace *t);
/*
** Tensors that the step wrote and that outlive it hold again what they held before. The first thing
** that made the recording useless, if any.
*/
qn_status qni_record_end(qni_trace *t) QNI_WARN_UNUSED;

/* Reports from where things happen; the recorder must be on. Before and after a kernel runs: */
qn_status qni_record_before(const qn_call *c) QNI_WARN_UNUSED;
qn_status qni_record_forward(const qn_call *c) QNI_WARN_UNUSED;
qn_status qni_record_backward(const qn_call *c, qn_tensor *const *grads) QNI_WARN_UNUSED;
qn_status qni_record_leaf(qn_tensor *leaf, const qni_grad *grad) QNI_WARN_UNUSED;
qn_status qni_record_root(const qn_tensor *root, const qn_tensor *seed, bool plain) QNI_WARN_UNUSED;
void qni_record_root_end(void);
/* Something that a replay cannot repeat, for instance "item()"; fine when nothing is recorded. */
qn_status qni_record_escape(const char *what) QNI_WARN_UNUSED;
qn_status qni_record_refuse(const char *what, const char *hint) QNI_WARN_UNUSED;

#endif
