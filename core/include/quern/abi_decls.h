/*
** The plugin contract of Quern, ABI 1.0.
**
** This file has no preprocessor line: C and C++ read it through abi.h, and
** LuaJIT's ffi.cdef reads it as it stands. Nothing in it is removed or
** reordered within major version 1; structs with a struct_size grow at their
** end only, the others are frozen.
**
** Where a function may be called:
**   [main]  the thread that owns the runtime
**   [any]   any thread
**   [call]  only inside a running op, from any of its threads
*/

/* ---- Status ----------------------------------------------------------- */

typedef int32_t qn_status;

enum qn_status_code {
  QN_OK = 0,
  QN_E_ARG = -1,          /* an argument's value is not allowed */
  QN_E_SHAPE = -2,        /* shapes do not fit together */
  QN_E_DTYPE = -3,        /* element types do not fit together */
  QN_E_NOMEM = -4,        /* memory could not be had; the process goes on */
  QN_E_IO = -5,           /* the operating system refused a file or socket */
  QN_E_FORMAT = -6,       /* a file or text is malformed */
  QN_E_NOT_FOUND = -7,    /* no such op, file, plugin, name */
  QN_E_VERSION = -8,      /* made for another version */
  QN_E_STATE = -9,        /* not possible in this state */
  QN_E_NUMERIC = -10,     /* NaN or infinity where there must be none */
  QN_E_CANCELLED = -11,   /* stopped on request */
  QN_E_UNSUPPORTED = -12, /* not offered by this op, build or machine */
  QN_E_PLUGIN = -13,      /* a plugin broke the contract */
  QN_E_INTERNAL = -14     /* a bug in Quern itself */
};

/* ---- Tensors as kernels see them -------------------------------------- */

enum qn_dtype {
  QN_F32 = 1,
  QN_F64 = 2,
  QN_BF16 = 3,
  QN_I64 = 4,
  QN_I32 = 5,
  QN_U8 = 6,
  QN_BOOL = 7 /* one byte, 0 or 1 */
};

enum qn_limits {
  QN_MAX_DIMS = 8,
  QN_MAX_TENSORS = 64, /* tensors in, or out, of one op call */
  QN_MAX_PARAMS = 32,  /* parameters in one schema */
  QN_MAX_SAVED = 16    /* slots for save() */
};

enum qn_view_flags {
  QN_VIEW_DEVICE = 255 /* low eight bits: the device; 0 is the CPU */
};

/* A strided window on memory that the host owns. Frozen. */
typedef struct qn_view {
  void *data;
  int64_t shape[8];
  int64_t stride[8]; /* in elements, not bytes */
  int32_t ndim;
  int32_t dtype;  /* enum qn_dtype */
  uint32_t flags; /* enum qn_view_flags */
  uint32_t reserved;
} qn_view;

/* A tensor with its history; opaque to plugins. */
typedef struct qn_tensor qn_tensor;
/* One running op call; opaque. */
typedef struct qn_call qn_call;

/* ---- Arguments of an op call ------------------------------------------ */

enum qn_arg_kind {
  QN_ARG_NIL = 0, /* absent: the default, or nothing if optional */
  QN_ARG_TENSOR = 1,
  QN_ARG_INT = 2, /* also accepted for a num or a tensor parameter */
  QN_ARG_NUM = 3, /* also accepted for a tensor parameter: 0-d constant */
  QN_ARG_BOOL = 4,
  QN_ARG_STR = 5,
  QN_ARG_INTS = 6,
  QN_ARG_NUMS = 7,
  QN_ARG_TENSORS = 8 /* for a variadic parameter */
};

/* One argument. name NULL: by position. Pointers are borrowed for the call. */
typedef struct qn_arg {
  const char *name;
  int32_t kind;  /* enum qn_arg_kind */
  int32_t count; /* of INTS, NUMS, TENSORS */
  union {
    qn_tensor *tensor;
    int64_t i; /* INT, and BOOL as 0 or 1 */
    double f;
    const char *s;
    const int64_t *ints;
    const double *nums;
    qn_tensor *const *tensors;
  } v;
} qn_arg;

/* ---- What the host offers a running op --------------------------------- */

/* Work on items begin..end-1 of a parallel loop. */
typedef qn_status (*qn_range_fn)(void *ctx, int64_t begin, int64_t end);

enum qn_act { QN_ACT_NONE = 0, QN_ACT_RELU = 1, QN_ACT_SILU = 2, QN_ACT_GELU = 3 };

/*
** C[m,n] = act(alpha * A[m,k] x B[k,n] + beta * C + bias[n]), for each of
** `batch` items. Strides count elements; a transposed operand is a swap of its
** strides. beta 0 does not read C. All of one dtype, f32 or f64. Frozen.
*/
typedef struct qn_gemm {
  int64_t m, n, k, batch;
  const void *a, *b;
  void *c;
  const void *bias; /* [n], or NULL */
  int64_t a_row, a_col, a_batch;
  int64_t b_row, b_col, b_batch;
  int64_t c_row, c_batch; /* columns of C are adjacent */
  double alpha, beta;
  int32_t dtype;
  int32_t act; /* enum qn_act */
} qn_gemm;

/* The host's functions. Grows at its end only; test with QN_HAS. */
typedef struct qn_host {
  uint32_t struct_size;
  uint16_t abi_major, abi_minor;

  /*
  ** Tensors of the call. [call]
  **   forward:  in(i) is input i, out(i) is output i, shaped already.
  **   backward: in(i) is the gradient of output i (zeros if none flowed),
  **             out(i) the gradient of input i to be written in full, or NULL
  **             when nobody asks for it, and only then: its memory is there
  **             before backward runs, except with QN_OP_ROW_GRADS.
  **   infer:    in(i) is input i (its data may be read only by ops flagged
  **             QN_OP_READS_DATA); out(i) is to be given ndim and shape.
  ** Variadic parameters count as several inputs. An optional input that was
  ** not given is NULL. Views arrive contiguous unless the schema says strided.
  ** In backward, ask for out(i) before a parallel range, not inside it.
  */
  int32_t (*n_in)(qn_call *c);
  int32_t (*n_out)(qn_call *c);
  const qn_view *(*in)(qn_call *c, int32_t i);
  qn_view *(*out)(qn_call *c, int32_t i);
  /* Shape and dtype of forward input i, in both phases; data is NULL. [call] */
  const qn_view *(*like)(qn_call *c, int32_t i);
  /* Offsets i64[B+1] of a jagged forward input, or NULL; n_seq gets B. [call] */
  const int64_t *(*offsets)(qn_call *c, int32_t i, int64_t *n_seq);

  /* Arguments by name; a missing optional gives has_arg 0 and a zero. [call] */
  int32_t (*has_arg)(qn_call *c, const char *name);
  int64_t (*arg_int)(qn_call *c, const char *name); /* int; enum as its index from 0 */
  double (*arg_num)(qn_call *c, const char *name);
  int32_t (*arg_bool)(qn_call *c, const char *name);
  const char *(*arg_str)(qn_call *c, const char *name); /* str, enum */
  const int64_t *(*arg_ints)(qn_call *c, const char *name, int32_t *count);
  const double *(*arg_nums)(qn_call *c, const char *name, int32_t *count);

  /* Will the gradient of input i be asked for? In forward: may it be? [call] */
  int32_t (*needs_grad)(qn_call *c, int32_t input);

  /* Memory of the call, 64-byte aligned, freed on return. Not from inside a parallel range. [call] */
  qn_status (*scratch)(qn_call *c, int64_t bytes, void **memory);
  /* The same, private to the worker that runs this range; valid until the range returns. [call] */
  qn_status (*local)(qn_call *c, int64_t bytes, void **memory);

  /* Keep input or output view for backward, by reference. [call, forward] */
  qn_status (*save)(qn_call *c, int32_t slot, const qn_view *view);
  /* Keep a new buffer for backward; view->data is to be filled. [call, forward] */
  qn_status (*save_new)(qn_call *c, int32_t slot, int32_t dtype, int32_t ndim, const int64_t *shape,
                        qn_view **view);
  /* What was saved; NULL if the slot is empty. [call, backward] */
  const qn_view *(*saved)(qn_call *c, int32_t slot);

  /*
  ** Gradient of input i as n rows of a table: ids (i64[n], may repeat) and
  ** rows ([n, row size], zeroed) are to be filled. Takes the place of out(i). [call, backward]
  */
  qn_status (*grad_rows)(qn_call *c, int32_t input, int64_t n, int64_t **ids, qn_view **rows);

  /*
  ** Runs fn over 0..n-1 in chunks of `grain` (the last may be shorter). The cut
  ** depends on n and grain alone; which worker runs a chunk is not determined.
  ** Inside a range it runs inline. The error of the lowest chunk is returned. [call]
  */
  qn_status (*parallel)(qn_call *c, int64_t n, int64_t grain, qn_range_fn fn, void *ctx);
  /* The one door to matrix products; splits itself over the workers outside a range. [call] */
  qn_status (*gemm)(qn_call *c, const qn_gemm *g);
  /*
  ** Random bits: a function of (run seed, step, op instance, stream, row, column).
  ** row counts along the batch dimension, col inside a row; the host shifts row
  ** when it runs a slice of the batch, but not a negative one, which belongs to the call as a
  ** whole: the same numbers in every slice. Fills out[0..n-1] for columns col..col+n-1. [call]
  */
  void (*random)(qn_call *c, uint32_t stream, int64_t row, int64_t col, int64_t n, uint32_t *out);
  /* Reports an error: returns `status`, keeps the sentence. [call] */
  qn_status (*fail)(qn_call *c, qn_status status, const char *format, ...);

  /*
  ** Building a differentiable backward from registered ops. [call, compose]
  ** The tensors belong to the call.
  */
  qn_tensor *(*ref_saved)(qn_call *c, int32_t slot);  /* NULL if empty */
  qn_tensor *(*ref_grad)(qn_call *c, int32_t output); /* NULL if none flowed */
  qn_status (*apply)(qn_call *c, const char *op, const qn_arg *args, int32_t n_args,
                     qn_tensor **outs, int32_t n_outs);
  qn_status (*set_grad)(qn_call *c, int32_t input, qn_tensor *grad);

  /* An interface by id, such as "qn.math/1"; NULL if this host has none. [any] */
  const void *(*query)(const char *interface_id);

  /*
  ** Nonzero: out(i) holds a sum to which the gradient of input i is to be added, instead of being
  ** written in full. Asked by ops with QN_OP_ADDS_GRADS only; others never meet it. [call, backward]
  */
  int32_t (*adds)(qn_call *c, int32_t input);

  /*
  ** gemm with what may stand beside it, laid out as C but not C itself, or NULL: z gets what act is
  ** given, residual is added after act. [call]
  */
  qn_status (*gemm_beside)(qn_call *c, const qn_gemm *g, void *z, const void *residual);
} qn_host;

/* ---- Ops --------------------------------------------------------------- */

enum qn_det {
  QN_DET_NONE = 0,
  QN_DET_SAME_THREADS = 1, /* equal bits for equal worker counts */
  QN_DET_BITWISE = 2       /* equal bits for any worker count */
};

/* How results for one sample depend on the other samples of the batch. */
enum qn_batch {
  QN_BATCH_COUPLED = 0,   /* they do: the op cuts a captured graph */
  QN_BATCH_ROWS = 1,      /* row i of the outputs needs row i of the batched inputs only */
  QN_BATCH_SEQUENCES = 2, /* rows of one jagged sequence need each other only */
  QN_BATCH_SUM = 3        /* the output is a sum over rows, the loss being the usual one */
};

enum qn_op_flags {
  QN_OP_RANDOM = 1,      /* draws random numbers */
  QN_OP_READS_DATA = 2,  /* infer looks at element values */
  QN_OP_NAN_STOPS = 4,   /* NaN in need not give NaN out */
  QN_OP_NO_GRAD = 8,     /* outputs carry no gradient, on purpose */
  QN_OP_DOMAIN = 16,     /* some finite inputs have no finite result: log, sqrt, ... */
  QN_OP_ROW_GRADS = 32,  /* may call grad_rows: backward takes memory when out(i) is called, which
                                is NULL then if memory is short; return QN_OK, the host knows */
  QN_OP_ADDS_GRADS = 64, /* backward asks adds(i) for each gradient that it gives */
  QN_OP_POINTWISE = 128, /* for inputs of one shape (or one element), forward and backward go
                            element by element: any part of the elements may be done by itself */
  QN_OP_CHEAP = 256      /* forward costs little more than reading its inputs and writing its
                            one output: a captured step may run it again in place of keeping that */
};

typedef qn_status (*qn_op_fn)(const qn_host *h, qn_call *c);

/* One op. Grows at its end only. */
typedef struct qn_op {
  uint32_t struct_size;
  int32_t det;         /* enum qn_det */
  int32_t batch;       /* enum qn_batch */
  uint32_t flags;      /* enum qn_op_flags; unknown bits are refused */
  const char *schema;  /* see docs/schema.md */
  const char *summary; /* one line */
  const char *doc;     /* formula, arguments, errors; may be NULL */
  const char *cite;    /* paper and equation; may be NULL */
  const char *example; /* one Lua statement that runs; may be NULL */
  qn_op_fn infer;      /* NULL: the schema gives all output shapes */
  qn_op_fn forward;    /* NULL only for views */
  qn_op_fn backward;   /* fast backward; NULL: compose, or not differentiable */
  qn_op_fn compose;    /* backward made of registered ops; NULL: no second order */
  int64_t (*flops)(const qn_host *h, qn_call *c); /* of forward; NULL: not counted */
  qn_op_fn kink; /* QN_E_NUMERIC when inputs lie at a non-smooth point; NULL: smooth.
                                Called as forward is, but out(i)->data is not to be touched. */
} qn_op;

/* What a plugin exports, as `const qn_plugin qn_plugin_entry`. Grows at its end only. */
typedef struct qn_plugin {
  char magic[8]; /* "QUERNPL" */
  uint32_t struct_size;
  uint16_t abi_major, abi_minor; /* of the header it was built with */
  uint16_t abi_minor_least;      /* oldest host minor it can live with */
  uint16_t reserved;
  const char *build; /* compiler and flags: a diagnostic, never a gate */
  const char *id, *name, *version;
  const char *const *requires_ids;     /* interface ids it cannot do without; NULL-ended, or NULL */
  const qn_op *const *ops;             /* NULL-ended, or NULL */
  qn_status (*init)(const qn_host *h); /* [main] may be called again; may be NULL */
  void (*fini)(void);                  /* [main] at exit only; may be NULL */
  const void *(*query)(const char *interface_id); /* [any] objects, data sets, ...; may be NULL */
} qn_plugin;

/* ---- Interface "qn.math/1": the host's vector kernels ------------------- */

/*
** All work on contiguous arrays of n elements, in the instruction level that
** was chosen at start; y may be x. At most 2 ulp; slopes of silu at most 6, and 1.5e-7
** near their zero. [any]
*/
typedef struct qn_math {
  uint32_t struct_size;
  const char *isa; /* "avx512", "avx2" or "plain" */
  void (*exp)(int64_t n, const float *x, float *y);
  void (*log)(int64_t n, const float *x, float *y);
  void (*tanh)(int64_t n, const float *x, float *y);
  void (*erf)(int64_t n, const float *x, float *y);
  void (*sigmoid)(int64_t n, const float *x, float *y);
  void (*silu)(int64_t n, const float *x, float *y);                        /* x sigmoid(x) */
  void (*silu_grad)(int64_t n, const float *x, const float *dy, float *dx); /* dx = dy silu'(x) */
  void (*silu_both)(int64_t n, const float *x, float *y, float *slope);     /* silu and silu' */
  float (*dot)(int64_t n, const float *x, const float *y);
  void (*axpy)(int64_t n, float a, const float *x, float *y); /* y += a x */
  float (*sum)(int64_t n, const float *x);
  float (*max)(int64_t n, const float *x);                     /* -inf for n = 0 */
  void (*scale)(int64_t n, float a, const float *x, float *y); /* y = a x */
  void (*add)(int64_t n, const float *x, const float *z, float *y);
  void (*mul)(int64_t n, const float *x, const float *z, float *y);
  /*
  ** C[m,n] (+)= alpha A[m,k] x B[k,n] on the calling thread, f32; for tiles.
  ** Any strides; add != 0 accumulates.
  */
  void (*gemm)(int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t a_row,
               int64_t a_col, const float *b, int64_t b_row, int64_t b_col, float *c, int64_t c_row,
               int32_t add);
} qn_math;

/* ---- Things beside ops --------------------------------------------------- */

/*
** Optimizers, samplers, hooks, data sets, metrics, file formats, scorers of weights: a plugin
** offers them through qn_plugin.query, which gives for an interface's id a NULL-ended array of
** pointers to descriptors, that live as long as the process:
**
**   "qn.object/1"   const qn_object *const *     has state and a step: optimizers, samplers, pruners
**   "qn.hook/1"     const qn_hook *const *       looks on, and in, while a model is trained
**   "qn.dataset/1"  const qn_dataset *const *    records by number
**   "qn.metric/1"   const qn_metric *const *     adds up batches, then says numbers
**   "qn.codec/1"    const qn_codec *const *      files to named tensors and back
**   "qn.scorer/1"   const qn_scorer *const *     how much each weight matters
**
** They are read once, when the plugin is loaded; a bad one refuses the whole plugin. A thing is
** made from settings, arguments by a schema such as "lion(*, lr: num{0..} = 1e-4)", whose name
** is the thing's name. Every function gets a call like an op's: scratch, parallel, gemm, random
** and fail work as there, has_arg and arg_... look at the function's own arguments first and then
** at the settings. Things run on the main thread, never in a captured step.
**
** What a thing keeps between its calls belongs to the host: named tensors and one text of JSON,
** reached by "qn.store/1". A checkpoint has just these, and can be read without the plugin.
*/
enum qn_thing_flags {
  QN_THING_RANDOM = 1 /* draws random numbers: each call takes an op instance */
};

/* What the descriptors of all kinds begin with. Frozen. */
typedef struct qn_thing {
  uint32_t struct_size; /* of the whole descriptor */
  uint32_t flags;       /* enum qn_thing_flags; unknown bits are refused */
  const char *settings; /* a schema without tensors and outputs */
  const char *summary;  /* one line */
  const char *doc;      /* what it does, errors; may be NULL */
  const char *cite;     /* paper and equation; may be NULL */
  const char *example;  /* one Lua statement that runs; may be NULL */
  qn_op_fn create;      /* [main] makes the state of a new thing; NULL: none yet */
  qn_op_fn save; /* [main] before state is taken: brings tensors and text up to date; or NULL */
  qn_op_fn
      load; /* [main] after state was put back: must refuse what it cannot go on from; or NULL */
  qn_op_fn describe; /* [main] tells numbers about itself by emit; or NULL */
} qn_thing;

/*
** Interface "qn.store/1", for functions of things: their state. Names are those of a safetensors
** file, at most 200 bytes. Views live until the tensor is dropped or the thing is. [call, main]
*/
typedef struct qn_store {
  uint32_t struct_size;
  /* The tensor of that name: as it is if it has this type and shape, else new, and zero. */
  qn_status (*make)(qn_call *c, const char *name, int32_t dtype, int32_t ndim, const int64_t *shape,
                    qn_view **view);
  qn_view *(*find)(qn_call *c, const char *name); /* NULL: none */
  void (*drop)(qn_call *c, const char *name);
  int32_t (*count)(qn_call *c);
  const char *(*at)(qn_call *c, int32_t i, qn_view **view); /* in order of names */
  const char *(*text)(qn_call *c);                          /* "" at first */
  qn_status (*text_set)(qn_call *c, const char *json);      /* JSON, or it is refused */
  /* A number by name, of metrics' results and of describe. */
  qn_status (*emit)(qn_call *c, const char *name, double value);
  /* Bytes of the file that encode writes, in order. */
  qn_status (*put)(qn_call *c, const void *bytes, int64_t n);
  /* One pointer to what the thing keeps elsewhere, as a library's handle; released with the thing. */
  qn_status (*hold)(qn_call *c, void *pointer, void (*release)(void *pointer));
  void *(*held)(qn_call *c);
} qn_store;

/*
** An object: step is an op of its own with any schema, such as
** "step(w!: f[?], g: like w) -> w", that sees the object's settings and state too.
*/
typedef struct qn_object {
  qn_thing head;
  const qn_op *step; /* backward and compose are not used: no gradient flows through it */
} qn_object;

/* One named parameter of a model, as hooks and scorers see it. Grows at its end only. */
typedef struct qn_parameter {
  uint32_t struct_size;
  const char *name, *role; /* "layer1.w"; "weight.linear", "embedding", ... */
  qn_view *value;          /* hooks may write it */
  qn_view *grad;           /* dense, f32 or f64 as value; NULL: none; hooks may write it */
  const qn_view *mask;     /* bool, 0: pruned; NULL: none */
  qn_view *score;          /* scorers: f32 of value's shape, to be filled; else NULL */
} qn_parameter;

enum qn_event {
  QN_BEFORE_EPOCH = 0,
  QN_BEFORE_STEP = 1,
  QN_AFTER_BACKWARD = 2, /* gradients are there, the update is not made yet */
  QN_AFTER_STEP = 3,
  QN_AFTER_EPOCH = 4,
  QN_AT_CHECKPOINT = 5, /* before state is saved */
  QN_AT_FINISH = 6
};

/* When a hook is called. Grows at its end only. */
typedef struct qn_moment {
  uint32_t struct_size;
  int32_t event;       /* enum qn_event */
  int64_t epoch, step; /* done so far */
  double loss;         /* of the last batch; NaN: none yet */
  int32_t n_parameters, reserved;
  qn_parameter *const *parameter; /* value and grad are contiguous */
} qn_moment;

typedef struct qn_hook {
  qn_thing head;
  uint32_t events; /* 1 << event of those it wants; unknown bits are refused */
  uint32_t reserved;
  qn_status (*run)(const qn_host *h, qn_call *c, const qn_moment *m);
} qn_hook;

/*
** A data set. read is an op whose first input is the list of records wanted, counted from 0:
** "read(records: i64[B]) -> items: i64[?], items_offsets: i64[?]". Outputs X and X_offsets
** become one jagged tensor X.
*/
typedef struct qn_dataset {
  qn_thing head;
  qn_status (*count)(const qn_host *h, qn_call *c, int64_t *n); /* records */
  const qn_op *read;
} qn_dataset;

/* A metric: add is an op without outputs, "add(p: f[N], y: f[N])"; result emits numbers. */
typedef struct qn_metric {
  qn_thing head;
  const qn_op *add;
  qn_op_fn result;
} qn_metric;

/*
** A file format; one thing is made for each file. Reading, decode makes tensors and text (its
** metadata) in the store; writing, they are there when encode is called, contiguous.
*/
typedef struct qn_codec {
  qn_thing head;
  const char *const *suffixes; /* ".npy"; NULL-ended */
  /* Does a file that begins with these bytes look like it? NULL: suffixes decide. [any] */
  int32_t (*sniff)(const void *bytes, int64_t n);
  qn_status (*decode)(const qn_host *h, qn_call *c, const void *bytes, int64_t n); /* or NULL */
  qn_op_fn encode;                                                                 /* or NULL */
} qn_codec;

enum qn_scorer_reads {
  QN_SCORE_GRAD = 1, /* needs gradients of the loss */
  QN_SCORE_MASK = 2  /* looks at masks */
};

/*
** Scores: the higher, the more the weight matters. Called with one or more parameters at once;
** values are f32 or f64 and contiguous. Scores of masked weights are not looked at.
*/
typedef struct qn_scorer {
  qn_thing head;
  uint32_t reads; /* enum qn_scorer_reads; unknown bits are refused */
  uint32_t reserved;
  qn_status (*score)(const qn_host *h, qn_call *c, int32_t n, qn_parameter *const *parameter);
} qn_scorer;
