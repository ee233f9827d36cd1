/*
** Embedding Quern: make tensors, call any op by name, run backward, load
** plugins, save and load. Like abi_decls.h, which must be read first, this file
** has no preprocessor line, so that LuaJIT reads it as it stands.
**
** Unless marked [any], call these from the thread that called qn_start.
** "new" results belong to the caller and are released with qn_tensor_free.
** Every qn_status other than QN_OK leaves its text in qn_error_last.
*/

/* ---- Errors -------------------------------------------------------------- */

/* The last error of this thread, in parts; strings are never NULL, may be "". */
typedef struct qn_error {
  qn_status status;
  const char *what;   /* what happened */
  const char *detail; /* values and shapes, lines joined by \n */
  const char *hint;   /* what to try */
  const char *op;     /* schema of the op, if one was running */
  const char *plugin; /* id and version of the op's plugin, if not the core's */
} qn_error;

const qn_error *qn_error_last(void);          /* [any] */
const char *qn_status_name(qn_status status); /* [any] "shape", "nomem", ... */
const char *qn_version(void);                 /* [any] */

/* ---- The runtime --------------------------------------------------------- */

typedef struct qn_config {
  uint32_t struct_size;
  int32_t threads;  /* 0: QUERN_THREADS, else one per core */
  const char *blas; /* path; NULL: QUERN_BLAS, else the system's; "none": own kernels only */
  const char *isa;  /* "avx512", "avx2", "plain"; NULL: QUERN_ISA, else the best */
} qn_config;

qn_status qn_start(const qn_config *config); /* NULL: all defaults; again: no effect */
void qn_stop(void);
qn_status qn_threads_set(int32_t threads);
int32_t qn_threads(void);

/* ---- Tensors ------------------------------------------------------------- */

qn_status qn_tensor_new(int32_t dtype, int32_t ndim, const int64_t *shape,
                        qn_tensor **t); /* zeros */
/* A tensor that shares `data`, which must outlive it and all its views. */
qn_status qn_tensor_wrap(int32_t dtype, int32_t ndim, const int64_t *shape, void *data,
                         qn_tensor **t);
/* values [N,...] with offsets i64[B+1]; shares both. */
qn_status qn_tensor_jagged(qn_tensor *values, qn_tensor *offsets, qn_tensor **t);
qn_tensor *qn_tensor_retain(qn_tensor *t);         /* [any] */
void qn_tensor_free(qn_tensor *t);                 /* [any] NULL is fine */
const qn_view *qn_tensor_view(const qn_tensor *t); /* [any] data, shape, strides, dtype */
qn_tensor *qn_tensor_offsets(const qn_tensor *t);  /* [any] borrowed; NULL: not jagged */

/* ---- Gradients ------------------------------------------------------------ */

qn_status qn_tensor_require_grad(qn_tensor *t, int32_t on); /* leaves of floating type only */
int32_t qn_tensor_requires_grad(const qn_tensor *t);
qn_tensor *qn_tensor_grad(const qn_tensor *t); /* borrowed; NULL: none, or by rows */
/* Row-sparse gradient: sorted distinct ids i64[n] and rows [n,...]; borrowed. 0: none. */
int32_t qn_tensor_grad_rows(const qn_tensor *t, qn_tensor **ids, qn_tensor **rows);
void qn_tensor_clear_grad(qn_tensor *t);

enum qn_backward_flags {
  QN_BACKWARD_KEEP = 1,  /* keep the graph for another backward */
  QN_BACKWARD_CREATE = 2 /* record backward itself, for second order */
};
/* Adds d root / d leaf to the gradient of every leaf. seed NULL: 1, root must have one element. */
qn_status qn_backward(qn_tensor *root, qn_tensor *seed, int32_t flags);
/* d root / d inputs, returned (new, NULL where none) and not stored. */
qn_status qn_grad(qn_tensor *root, qn_tensor *seed, qn_tensor *const *inputs, int32_t n,
                  int32_t flags, qn_tensor **grads);
int32_t qn_grad_enable(int32_t on); /* records the tape or not; returns the former */

/* ---- Ops ------------------------------------------------------------------ */

typedef struct qn_opref qn_opref;

/* "name", or "plugin.name" where two plugins define one name; NULL with an error. */
const qn_opref *qn_op_find(const char *name);
const qn_op *qn_op_info(const qn_opref *op);
const char *qn_op_name(const qn_opref *op);
const char *qn_op_schema(const qn_opref *op); /* canonical */
int32_t qn_op_count(void);
const qn_opref *qn_op_at(int32_t i); /* sorted by name */
/* Runs op; outs gets n_outs new tensors. */
qn_status qn_op_call(const qn_opref *op, const qn_arg *args, int32_t n_args, qn_tensor **outs,
                     int32_t max_outs, int32_t *n_outs);

/* ---- Random numbers -------------------------------------------------------- */

void qn_random_seed(uint64_t seed); /* step and op instance restart at 0 */
void qn_random_step(uint64_t step); /* op instances restart at 0 */

/* ---- Plugins --------------------------------------------------------------- */

/* A folder with plugin.lua's fields already read, or a .so file; published whole or not at all. */
qn_status qn_plugin_load(const char *path);

/* ---- Files ------------------------------------------------------------------ */

/* Writes a safetensors file: temporary, fsync, rename, fsync folder. meta: JSON object text or NULL. */
qn_status qn_save(const char *path, const char *const *names, qn_tensor *const *tensors, int32_t n,
                  const char *meta);

typedef struct qn_archive qn_archive; /* an open safetensors file, mapped */
qn_status qn_archive_open(const char *path, qn_archive **archive);
void qn_archive_close(qn_archive *archive);
int32_t qn_archive_count(const qn_archive *archive);
const char *qn_archive_name(const qn_archive *archive, int32_t i);
const char *qn_archive_meta(const qn_archive *archive); /* JSON text, "{}" if none */
qn_status qn_archive_read(qn_archive *archive, const char *name, qn_tensor **t); /* a copy */

/* ---- Memory ------------------------------------------------------------------ */

typedef struct qn_memory {
  int64_t live, peak, cached, limit; /* bytes of tensors and work memory */
} qn_memory;
void qn_memory_stats(qn_memory *m); /* [any] */
void qn_memory_reset_peak(void);    /* [any] */
