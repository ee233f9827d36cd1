/*
** What the files that make up captures see of one.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_CAPTURE_OWN_H
#define QNI_CAPTURE_OWN_H

#include "graph/capture.h"

typedef struct qni_aside { /* a leaf's gradient before a check */
  qn_tensor *grad, *ids, *rows;
} qni_aside;

struct qni_capture {
  int32_t n;
  bool *shared;
  qn_view *like; /* [n] the inputs of the first batch; data NULL */
  bool *jagged;
  qn_tensor **trial[QNI_TRIALS]; /* [n] */
  qni_extent extent[QNI_TRIALS];
  qni_trace *trace[QNI_TRIALS];
  qni_extent one; /* the longest sample of the first batch */
  int64_t budget;
  qni_choices choices;
  qni_program *program;
  qni_runner runner;
  bool started;
  qni_aside *aside;            /* [leaves] while a check is under way */
  qni_aside *eager, *replayed; /* [leaves] gradients to be judged; NULL: none */
  double *noise;               /* [leaves] how far rounding moves the eager ones */
  qni_keep leaves;             /* parameters, while they are moved by it */
  uint32_t instance;           /* where random numbers stood when the check began */
  qn_tensor *loss;             /* handed out, used again */
  double divisor;              /* of the gradients that the lanes hold; 0: they hold none */
  qni_keep state; /* what the step writes and outlives it, as it was when the check began */
  qni_arena memory;
};

/* A step: gradients are left in the lanes. */
qn_status qni_capture_batch(qni_capture *c, qn_tensor *const *inputs, int32_t n, double *loss,
                            double *divisor) QNI_WARN_UNUSED;
/* Keeps what the step writes and outlives it (verify.c). */
qn_status qni_capture_keep(const qni_capture *c, qni_keep *keep) QNI_WARN_UNUSED;
/* Gives back what a check has not (verify.c). */
void qni_capture_forget(qni_capture *c);

#endif
