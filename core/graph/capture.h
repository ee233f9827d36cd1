/*
** Captured steps: the door for bindings (lua/quern/capture.lua shows the order of calls).
**
**   qni_capture_new       from a first batch: inputs, which of them are shared
**   per trial:            inputs = qni_capture_inputs; begin; the step, run eagerly; end
**   qni_capture_build     program out of the recordings, checked against the last of them
**   first batch:          check_begin; the step, run eagerly; check_end compares a replay with it
**   where that is in doubt: noise_begin; the step, run eagerly; noise_end, some times; judge
**   then, it too:                qni_capture_step
** Main thread only.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_CAPTURE_H
#define QNI_CAPTURE_H

#include "graph/step.h"
#include "graph/update.h"

typedef struct qni_capture qni_capture;

/* shared[i]: input i is not cut (those without dimensions never are). budget 0: the usual one. */
qn_status qni_capture_new(qn_tensor *const *inputs, const bool *shared, int32_t n, int64_t budget,
                          qni_capture **capture) QNI_WARN_UNUSED;
void qni_capture_choose(qni_capture *c, const qni_choices *choices); /* before build */
void qni_capture_free(qni_capture *c);
/* Inputs of a trial slice, borrowed, and its sizes. */
qn_tensor *const *qni_capture_inputs(const qni_capture *c, int32_t trial, qni_extent *extent);
qn_status qni_capture_begin(qni_capture *c, int32_t trial) QNI_WARN_UNUSED;
/* loss: what the step returned; NULL: it failed, only stops recording. */
qn_status qni_capture_end(qni_capture *c, int32_t trial, const qn_tensor *loss) QNI_WARN_UNUSED;
/* The same for a step without gradients, which returns tensors. */
qn_status qni_capture_end_outputs(qni_capture *c, int32_t trial, qn_tensor *const *outputs,
                                  int32_t n) QNI_WARN_UNUSED;
qn_status qni_capture_build(qni_capture *c) QNI_WARN_UNUSED;
/* After the check: what was chosen to be kept as bf16 is so from now on. */
qn_status qni_capture_narrow(qni_capture *c) QNI_WARN_UNUSED;

/* ---- The check against an eager step (verify.c) ---- */

/* Sets the leaves' gradients aside, so that an eager step leaves its own alone. */
qn_status qni_capture_check_begin(qni_capture *c) QNI_WARN_UNUSED;
/*
** Replays the batch and compares with the eager step. Puts gradients, random numbers and what the
** step writes back to where they were at check_begin. loss NULL: the eager step failed, only puts
** back. *doubt: gradients differ by more than usual; noise_begin, the step again and noise_end,
** QNI_NOISE_TURNS times, then judge says whether rounding can be the reason.
*/
qn_status qni_capture_check_end(qni_capture *c, qn_tensor *const *inputs, int32_t n,
                                const qn_tensor *loss, bool *doubt) QNI_WARN_UNUSED;
enum { QNI_NOISE_TURNS = 3 };
qn_status qni_capture_noise_begin(qni_capture *c, int32_t turn) QNI_WARN_UNUSED;
void qni_capture_noise_end(qni_capture *c);
qn_status qni_capture_judge(qni_capture *c) QNI_WARN_UNUSED;

/*
** Before a step: between begin and end the step's function is called on the inputs of trial 0.
** *same false: what it does is not what was captured, *why is a line; capture it again.
** results: the loss, or the outputs; none: the function failed.
*/
qn_status qni_capture_watch_begin(qni_capture *c) QNI_WARN_UNUSED;
qn_status qni_capture_watch_end(qni_capture *c, qn_tensor *const *results, int32_t n, bool *same,
                                qni_error_copy *why) QNI_WARN_UNUSED;

/*
** One step: gradients are added to the leaves; *loss is a new reference to a number, a mean
** over *mean_over (rows, or a sum of weights); 0: a sum.
*/
qn_status qni_capture_step(qni_capture *c, qn_tensor *const *inputs, int32_t n, qn_tensor **loss,
                           double *mean_over) QNI_WARN_UNUSED;

/*
** The two halves of a step: run leaves the gradients in the lanes, deliver gives them to the
** leaves. Or update, in place of it, hands them to the optimizer; *done false: it cannot, and
** they were delivered. *norm: of all gradients before clipping, when it was asked for.
*/
qn_status qni_capture_run(qni_capture *c, qn_tensor *const *inputs, int32_t n, qn_tensor **loss,
                          double *mean_over) QNI_WARN_UNUSED;
qn_status qni_capture_deliver(qni_capture *c) QNI_WARN_UNUSED;
qn_status qni_capture_update(qni_capture *c, const qni_update *updates, int32_t n, double *norm,
                             bool *done) QNI_WARN_UNUSED;

/* ---- Steps without gradients ---- */

int32_t qni_capture_n_outputs(const qni_capture *c);
/* The outputs for a batch, new references. */
qn_status qni_capture_infer(qni_capture *c, qn_tensor *const *inputs, int32_t n,
                            qn_tensor **outputs) QNI_WARN_UNUSED;
/* Are they those of an eager call? */
qn_status qni_capture_check_outputs(qn_tensor *const *eager, qn_tensor *const *replayed,
                                    int32_t n) QNI_WARN_UNUSED;

typedef struct qni_capture_info {
  int64_t entries, hoisted, dropped, whole, segments, fused, batch_bytes, arena_bytes, step_bytes,
      packed_bytes, slices, lanes, parameters, budget, again, narrow;
  int32_t loss_kind;
} qni_capture_info;
void qni_capture_describe(const qni_capture *c, qni_capture_info *info);

typedef struct qni_capture_entry {
  const char *when;         /* "dropped", "step", "slice", "batch" */
  int32_t segment;          /* -1: none */
  char what[200];           /* "linear (recipe.lua:12)" */
  char shape[160];          /* of its first result, "f32[N,64]"; "" */
  const char *why;          /* it runs on the whole batch; NULL */
  int64_t flops;            /* in the last batch; 0: not known */
  int32_t n_from, from[16]; /* entries whose results it reads */
} qni_capture_entry;
/* Entry i; false when there is none. */
bool qni_capture_entry_at(const qni_capture *c, int64_t i, qni_capture_entry *entry);

#endif
