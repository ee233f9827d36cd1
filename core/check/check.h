/*
** The conformance kit: what every op of a plugin must do, judged on the shipped
** library from its schemas alone.
**
** Each check runs in a process of its own (child.h), so that a crash or an endless
** loop is a result. Inside it, qni_check_run judges one op set and writes what
** is wrong. Inputs come from the schema's sampler and the printed seed.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_CHECK_H
#define QNI_CHECK_H

#include <stdbool.h>

#include "registry/registry.h"

enum { QNI_CHECK_TEXT = 16384, QNI_CHECK_SAMPLES = 24, QNI_CHECK_QUICK = 6 };

typedef struct qni_check_context {
  const char *path;           /* of the .so; NULL for the core's own ops */
  const qn_plugin *entry;     /* NULL for the core */
  const qn_opref *const *ops; /* the plugin's, n_ops of them */
  int32_t n_ops;
  uint64_t seed;
  int32_t samples;      /* random calls of each op and property */
  bool quick;           /* fewer repetitions, for everyday tests */
  double seconds;       /* that fuzz lasts at least */
  const char *recorded; /* "op=2.5 ...": speed in the manifest; NULL: none */
  char *text;           /* [QNI_CHECK_TEXT] findings, one a line */
  char *notes;          /* [QNI_CHECK_TEXT] what is told but is no failure */
  int64_t n_judged;     /* calls that gave something to look at */
} qni_check_context;

typedef struct qni_check {
  const char *name;
  const char *level;   /* "L1" loads, "L2" correct, "L3" robust, "L4" documented */
  const char *promise; /* one line */
  bool loads;          /* the plugin is loaded before it runs */
  qn_status (*run)(qni_check_context *x); /* an error is a finding too */
} qni_check;

/* NULL-ended, in the order they are run. */
extern const qni_check *const qni_checks[];

typedef struct qni_check_options {
  uint64_t seed;
  bool quick;
  double seconds;       /* of fuzz, at least */
  const char *recorded; /* as above */
} qni_check_options;

/*
** Runs one check on a plugin (folder or .so; "core" for the core); *passed and text tell, notes has
** what is no failure. An error: it could not run, for one that needs the plugin loaded when the
** loader refuses it.
*/
qn_status qni_check_run(const char *path, const char *name, const qni_check_options *options,
                        char *text, char *notes, bool *passed) QNI_WARN_UNUSED;
/* Adds a finding; a note. */
void qni_check_find(qni_check_context *x, const char *format, ...) QNI_PRINTF(2, 3);
void qni_check_note(qni_check_context *x, const char *format, ...) QNI_PRINTF(2, 3);
/* The multiple of a plain loop recorded for an op; 0: none. */
double qni_check_recorded(const qni_check_context *x, const char *op);

/* ---- What checks share (check/samples.c) ---- */

/* The outputs of one call; call free when done. */
typedef struct qni_outputs {
  qn_tensor *t[QN_MAX_TENSORS];
  int32_t n;
} qni_outputs;

/* Calls op on a sample with the random state reset, so that equal calls draw equal numbers. */
qn_status qni_check_call(const qn_opref *op, const qni_sample *sample,
                         qni_outputs *out) QNI_WARN_UNUSED;
void qni_outputs_free(qni_outputs *out);
/* Outputs, and the gradients of all floating inputs where the op has some. */
typedef struct qni_result {
  qni_outputs out;
  qn_tensor *grad[QN_MAX_TENSORS];
  int32_t n_grads;
} qni_result;
/* Forward and backward; the gradient of each output is the output itself. */
qn_status qni_check_both(const qn_opref *op, qni_sample *sample, qni_result *r) QNI_WARN_UNUSED;
void qni_result_free(qni_result *r);
/* Do two tensors have equal bits? */
bool qni_check_equal(const qn_tensor *a, const qn_tensor *b);
/* Largest |a - b| / max(1, |a|, |b|) over finite pairs; infinity when one is NaN and the other is not. */
double qni_check_distance(const qn_tensor *a, const qn_tensor *b);
/* Floating tensors among a sample's arguments; fills at most max. */
int32_t qni_check_floats(const qni_sample *sample, qn_tensor **tensors, int32_t max);
/* Is the op differentiable, and does it write in place? */
bool qni_check_differentiable(const qn_opref *op);
bool qni_check_writes(const qn_opref *op);
/* Text of a sample's shapes, for findings. */
const char *qni_check_describe(const qn_opref *op, const qni_sample *sample, char *text,
                               size_t room);
/* Calls body for x->samples random valid samples of each op; stops at the op's first finding. */
typedef void (*qni_sample_body)(qni_check_context *x, const qn_opref *op, qni_sample *sample);
qn_status qni_check_each(qni_check_context *x, const qni_sample_options *options,
                         qni_sample_body body) QNI_WARN_UNUSED;

#endif
