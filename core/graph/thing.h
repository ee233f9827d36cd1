/*
** Things: objects, hooks, data sets, metrics, codecs, scorers that were made from a type.
**
** A thing owns its settings, its state (named tensors in order of names, and one text of
** JSON), and what its last function emitted. Its functions run in a call of their own
** (graph/frame.h) with the thing in it. Main thread only.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_THING_H
#define QNI_THING_H

#include "graph/call.h"
#include "registry/types.h"

typedef struct qni_state {
  char *name;
  qn_tensor *tensor;
} qni_state;

typedef struct qni_emitted {
  char *name; /* in `said` */
  double value;
} qni_emitted;

typedef struct qni_thing {
  const qni_type *type;
  qni_value setting[QN_MAX_PARAMS];
  qni_arena memory; /* of settings */
  qni_state *state;
  int32_t n_state;
  char *text;           /* NULL: "" */
  qni_emitted *emitted; /* of the last function that emits */
  int32_t n_emitted;
  qni_arena said;
  void *held;
  void (*release)(void *held);
  qn_status (*put)(void *ctx, const void *bytes, size_t n); /* where encode writes; NULL: nowhere */
  void *put_ctx;
} qni_thing;

extern const qn_store qni_store;

/* Binds settings and runs create. */
qn_status qni_thing_new(const qni_type *type, const qn_arg *args, int32_t n_args,
                        qni_thing **thing) QNI_WARN_UNUSED;
void qni_thing_free(qni_thing *t); /* NULL is fine */

/* One of its functions of the plain kind; NULL does nothing. What it emits is in t->emitted. */
qn_status qni_thing_run(qni_thing *t, qn_op_fn fn) QNI_WARN_UNUSED;
/* step, read or add. */
qn_status qni_thing_method(qni_thing *t, const qn_arg *args, int32_t n_args, qn_tensor **outs,
                           int32_t max_outs, int32_t *n_outs) QNI_WARN_UNUSED;
qn_status qni_thing_event(qni_thing *t, const qn_moment *m) QNI_WARN_UNUSED; /* if it wants it */
qn_status qni_thing_count(qni_thing *t, int64_t *n) QNI_WARN_UNUSED;
qn_status qni_thing_decode(qni_thing *t, const void *bytes, size_t n) QNI_WARN_UNUSED;
qn_status qni_thing_score(qni_thing *t, int32_t n, qn_parameter *const *list) QNI_WARN_UNUSED;

/*
** Puts back a state that qni_thing_run(t, head->save) left; tensors are copied. When load
** refuses it, the thing keeps the state it had.
*/
qn_status qni_thing_load(qni_thing *t, const char *const *names, qn_tensor *const *tensors,
                         int32_t n, const char *text) QNI_WARN_UNUSED;
/* Puts one tensor in, shared; for files to be written. */
qn_status qni_thing_put(qni_thing *t, const char *name, qn_tensor *tensor) QNI_WARN_UNUSED;
/* Text as JSON, "" included; refused if it is none. */
qn_status qni_thing_set_text(qni_thing *t, const char *text) QNI_WARN_UNUSED;

/* A setting by name; *param NULL if there is none. */
const qni_value *qni_thing_setting(const qni_thing *t, const char *name, const qni_param **param);

#endif
