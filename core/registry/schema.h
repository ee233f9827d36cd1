/*
** The op schema: parsed once, then it checks arguments, infers shapes, prints help
** and makes random inputs. docs/schema.md is the language's manual.
**
**   linear(x: f[...,I], w: f[O,I], b: f[O]? = nil, *, act: enum{none|relu} = none) -> y: f[...,O]
**   hstu_attention(q: f[T@B,H,D], k: like q, v: f[T@B,H,E], *, scale: num = 1) -> o: f[T@B,H,E]
**   add(a: f[~...], b: f[~...]) -> y: f[...]
**   concat(xs: t[?]*, *, dim: int = 1) -> y: t[?]
**   relu_(x!: f[...]) -> x
**   reshape(x: t[?] strided, *, shape: [int]) -> y&x: t[?]
**   unfold(x: f[N,C,L], *, k: int{1..}) -> y: f[N,C,k,L-k+1] where L >= k
**   nll(x: f[N,C], y: i64[N]{0..C-1}) -> l: f[]
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_SCHEMA_H
#define QNI_SCHEMA_H

#include <stdbool.h>
#include "tensor/tensor.h"

enum {
  QNI_SCHEMA_DIMS = 32,
  QNI_EXPR_NODES = 96,
  QNI_NAME = 48,         /* of a name, with its NUL */
  QNI_SCHEMA_TEXT = 8192 /* longest text and canonical form, with its NUL */
};

/* Dimension arithmetic, as a tree in schema->expr; index -1 is "none". */
enum qni_expr_op {
  QNI_EX_CONST,
  QNI_EX_DIM,
  QNI_EX_PARAM,
  QNI_EX_ADD,
  QNI_EX_SUB,
  QNI_EX_MUL,
  QNI_EX_DIV,
  QNI_EX_LT,
  QNI_EX_LE,
  QNI_EX_EQ,
  QNI_EX_GE,
  QNI_EX_GT
};
typedef struct qni_expr {
  int16_t op, left, right;
  int64_t value; /* constant; index of the dimension; index of the parameter */
} qni_expr;

/* dtype classes of a tensor parameter, beside the concrete enum qn_dtype values. */
enum qni_dtype_class {
  QNI_DT_F = 100,  /* f: f32, f64, bf16, all `f` of a call equal */
  QNI_DT_I = 101,  /* i: i32 or i64, all `i` equal */
  QNI_DT_T = 102,  /* t: any type, all `t` equal */
  QNI_DT_ANY = 103 /* any: any type, independent of the others */
};

/* What stands before, after or between the named dimensions. */
enum qni_lead {
  QNI_LEAD_NONE,      /* [A,B] */
  QNI_LEAD_SHARED,    /* [...,A]: the leading part shared by all */
  QNI_LEAD_BROADCAST, /* [~...]: may be broadcast to the shared part */
  QNI_LEAD_ANY        /* [?]: any shape; in an output: infer decides */
};

typedef struct qni_tensor_type {
  int16_t dtype;            /* enum qn_dtype or qni_dtype_class */
  int16_t lead;             /* enum qni_lead */
  int16_t lead_at;          /* dimensions written before the lead: [N,...] has 1 */
  int16_t n_dims;           /* named or computed dimensions beside the lead */
  int16_t dim[QN_MAX_DIMS]; /* expr index of each */
  int16_t jagged;           /* T@B: dimension index of B, else -1; T is dim[0] */
  int16_t like;             /* parameter whose shape and dtype it repeats (never one that is
                                    itself `like`; the other fields are copied from it), else -1 */
  int16_t low, high;        /* element range {low..high} as exprs, else -1 */
  bool strided;             /* kernel takes it as it lies */
  bool plain;               /* all dimensions are names or constants */
} qni_tensor_type;

enum qni_kind { QNI_TENSOR, QNI_INT, QNI_NUM, QNI_BOOL, QNI_STR, QNI_ENUM, QNI_INTS, QNI_NUMS };

typedef struct qni_value { /* an attribute's value */
  int32_t kind;            /* enum qn_arg_kind; NIL: absent */
  int32_t count;
  union {
    int64_t i;
    double f;
    const char *s;
    const int64_t *ints;
    const double *nums;
  } v;
} qni_value;

typedef struct qni_param {
  char name[QNI_NAME];
  int16_t kind;  /* enum qni_kind */
  bool optional; /* '?' */
  bool variadic; /* '*', tensors only, at most one and the last tensor */
  bool written;  /* '!' written in place */
  bool reusable; /* '~' the buffer may serve the output */
  bool keyword;  /* after '*' */
  bool has_default;
  qni_tensor_type tensor;
  double low, high;           /* range of a number; +-INFINITY when open */
  const char *const *choices; /* enum: NULL-ended */
  qni_value value;            /* the default */
} qni_param;

typedef struct qni_output {
  char name[QNI_NAME];
  int16_t alias; /* input parameter it is a view of (&) or is itself (-> x), else -1 */
  bool same;     /* it is that input */
  qni_tensor_type tensor;
  int16_t n_with, with_dim[QN_MAX_DIMS], with_expr[QN_MAX_DIMS]; /* like x with N=k */
} qni_output;

typedef struct qni_schema {
  char name[QNI_NAME];
  int32_t n_params, n_tensors; /* tensor parameters come first or last, in order of writing */
  qni_param param[QN_MAX_PARAMS];
  int32_t n_outputs;
  qni_output output[8];
  int32_t n_dims; /* dimension names, in order of first use */
  char dim_name[QNI_SCHEMA_DIMS][QNI_NAME];
  int32_t n_expr;
  qni_expr expr[QNI_EXPR_NODES];
  int32_t n_where;
  int16_t where[8];
  char *canonical;  /* printed form; parses to the same */
  uint64_t hash;    /* of the canonical form: the op's identity in records */
  qni_arena memory; /* strings, choices, list defaults */
} qni_schema;

/*
** Parses text; on error QN_E_FORMAT with a caret under the column in the detail. *schema belongs
** to the caller.
*/
qn_status qni_schema_parse(const char *text, qni_schema **schema) QNI_WARN_UNUSED;
void qni_schema_free(qni_schema *schema);
/* Parameter by name, or -1. */
int32_t qni_schema_param(const qni_schema *schema, const char *name);

/* Does the schema leave the shape of output o open, so that infer must give it? */
bool qni_schema_open(const qni_schema *schema, int32_t o);
/* Written forms, as in the canonical text: of a type, an expression, a parameter's kind. */
char *qni_schema_type_text(const qni_schema *schema, const qni_tensor_type *type, char *buf,
                           size_t size);
char *qni_schema_expr_text(const qni_schema *schema, int32_t expr, char *buf, size_t size);
char *qni_schema_kind_text(const qni_schema *schema, int32_t param, char *buf, size_t size);

/* What unification of a call found. */
typedef struct qni_binding {
  int64_t dim[QNI_SCHEMA_DIMS];      /* -1: not bound yet */
  int32_t dtype_f, dtype_i, dtype_t; /* 0: not bound */
  int32_t n_lead;                    /* the shared leading part */
  int64_t lead[QN_MAX_DIMS];
} qni_binding;

/*
** Checks inputs and attributes of a call and finds all dimensions.
**   inputs[n_inputs]  one view per input after variadics are spread; NULL: optional, absent
**   owner[n_inputs]   the parameter each belongs to
**   n_seq[n_inputs]   sequences of a jagged input, -1 if dense
**   attrs[n_params]   values of the other parameters, defaults filled in
** Errors name the parameter, dimension and both values ("dim T is 128 in q and 64 in k").
*/
qn_status qni_schema_unify(const qni_schema *schema, int32_t n_inputs, const qn_view *const *inputs,
                           const int16_t *owner, const int64_t *n_seq, const qni_value *attrs,
                           qni_binding *binding) QNI_WARN_UNUSED;
/*
** Shape and dtype of output o, dense. *decided false: infer must fill the shape; dtype is set,
** and of an output that is not [?] the sizes that are known, -1 elsewhere.
*/
qn_status qni_schema_output(const qni_schema *schema, int32_t o, const qni_binding *binding,
                            const qn_view *const *inputs, const int16_t *owner, int32_t n_inputs,
                            const qni_value *attrs, qn_view *out, bool *decided) QNI_WARN_UNUSED;
/* Value range check of one attribute; text names it. */
qn_status qni_schema_check_attr(const qni_schema *schema, int32_t param,
                                const qni_value *value) QNI_WARN_UNUSED;

/* ---- Random valid calls, for the checker (registry/sample.c) ---- */

typedef struct qni_sample_options {
  uint64_t seed;    /* equal seeds, equal samples */
  int32_t dtype;    /* of the `f` inputs; 0: random among those admitted */
  int32_t layout;   /* enum qni_layout */
  int64_t max_size; /* sizes are drawn from 0,1,2,3,7,16,33 up to this */
  bool allow_empty; /* size 0 */
  int32_t values;   /* 0: normal; 1: also NaN, infinities, denormals, largest */
} qni_sample_options;
enum qni_layout {
  QNI_LAYOUT_CONTIGUOUS,
  QNI_LAYOUT_TRANSPOSED,
  QNI_LAYOUT_OFFSET,
  QNI_LAYOUT_STEPPED,
  QNI_LAYOUT_BROADCAST
};

typedef struct qni_sample {
  int32_t n_args;
  qn_arg arg[QN_MAX_PARAMS]; /* tensors and strings belong to the sample */
  qn_tensor *held[QN_MAX_TENSORS];
  int32_t n_held;
  qni_arena memory;
} qni_sample;

qn_status qni_schema_sample(const qni_schema *schema, const qni_sample_options *options,
                            qni_sample *sample) QNI_WARN_UNUSED;
void qni_sample_free(qni_sample *sample);

#endif
