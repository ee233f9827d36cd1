/*
** The Lua binding: what its files share. core/bind is all that sees lua.h.
**
** A Lua tensor is a full userdata (a box) with one reference to a qn_tensor.
** Lua errors jump, so they are raised only where no C resource is held: boxes and
** owners are made first, empty, and then filled; what they hold is released by
** their __gc. Only lua_error.c names lua_error.
**
** State: one qni_bind per Lua state, found through lua_getextraspace. Tensors live
** on the main thread of the runtime, which is the one that runs Lua.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_BIND_H
#define QNI_BIND_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>

#include "registry/registry.h"

/* ---- Boxes and scopes ---- */

/* "tensor": marks a userdata of this size as a box; other classes differ in size or here. */
#define QNI_BOX_MARK UINT64_C(0x726f736e65740071)

typedef struct qni_box {
  uint64_t mark;               /* QNI_BOX_MARK */
  qn_tensor *t;                /* NULL: freed */
  struct qni_box *prev, *next; /* in the list of a scope; NULL: in none */
} qni_box;

typedef struct qni_scope {
  qni_box list; /* sentinel of a ring */
  struct qni_scope *outer;
  bool open;
} qni_scope;

typedef struct qni_bind {
  int32_t tensor_meta;        /* registry reference of the tensors' metatable */
  qni_scope *scope;           /* innermost */
  lua_State *running;         /* the thread that called last, for source lines and hooks */
  int64_t pending, allowance; /* bytes made since the memory was last looked at; when to look */
  int64_t soft;               /* live bytes beyond which garbage is collected */
  int32_t call_error; /* registry reference of an error raised inside a callback, LUA_NOREF */
  char folder[1024];  /* of Quern's own Lua files, with / at the end; "" unknown */
} qni_bind;

static inline qni_bind *qni_bind_of(lua_State *L) { return *(qni_bind **)lua_getextraspace(L); }

/* ---- Lua's memory (lua_memory.c) ---- */

/* A state without libraries; NULL: no memory. Closed by the other. */
lua_State *qni_bind_new_state(void);
void qni_bind_close_state(lua_State *L);

/* ---- Errors (lua_error.c) ---- */

/* Raises this thread's error as a Lua error object. */
int qni_bind_raise(lua_State *L);
/* Raises if status is an error. */
void qni_bind_check(lua_State *L, qn_status status);
/* Raises an error of the binding itself; hint may be NULL. */
int qni_bind_fail(lua_State *L, qn_status status, const char *hint, const char *what, ...)
    QNI_PRINTF(4, 5);
/* The argument at `index` is not what it should be. */
int qni_bind_bad_arg(lua_State *L, int index, const char *name, const char *expected);
/* Raises the value on top of the stack. */
int qni_bind_rethrow(lua_State *L);
/* Keeps the error on top of the stack of a callback, pops it; the outer raise gives it back. */
void qni_bind_keep_error(lua_State *L);
/* The recipe's "file:line" for tape nodes, interned; NULL: unknown. */
const char *qni_bind_source(void);
void qni_bind_errors_open(lua_State *L); /* pushes nothing; makes the metatable */

/* ---- Arguments (lua_value.c) ---- */

int64_t qni_bind_int(lua_State *L, int index, const char *name); /* refuses floats */
int64_t qni_bind_opt_int(lua_State *L, int index, const char *name, int64_t otherwise);
double qni_bind_num(lua_State *L, int index, const char *name);
const char *qni_bind_str(lua_State *L, int index, const char *name);
const char *qni_bind_opt_str(lua_State *L, int index, const char *name, const char *otherwise);
bool qni_bind_bool(lua_State *L, int index, const char *name);
int32_t qni_bind_dtype(lua_State *L, int index, const char *name); /* of a string */
/* Fields of an options table at `index` (may be nil): the value or `otherwise`. */
int64_t qni_bind_field_int(lua_State *L, int index, const char *key, int64_t otherwise);
double qni_bind_field_num(lua_State *L, int index, const char *key, double otherwise);
bool qni_bind_field_bool(lua_State *L, int index, const char *key, bool otherwise);
/* Borrowed from the table. */
const char *qni_bind_field_str(lua_State *L, int index, const char *key, const char *otherwise);
/* Refuses keys that are not in the NULL-ended list. */
void qni_bind_fields(lua_State *L, int index, const char *const *known, const char *who);
void qni_bind_set_int(lua_State *L, const char *key, int64_t value); /* into the table on top */
void qni_bind_set_num(lua_State *L, const char *key, double value);
void qni_bind_set_str(lua_State *L, const char *key, const char *value);
void qni_bind_set_bool(lua_State *L, const char *key, bool value);

/* ---- Owners: C things that Lua's collector releases (lua_value.c) ---- */

typedef struct qni_owner {
  void *thing;
  void (*release)(void *thing);
} qni_owner;

/* Pushes an empty owner of a class; class NULL: a bare one for the length of a call. */
qni_owner *qni_bind_own(lua_State *L, const char *class, void (*release)(void *thing));
/* Releases now. */
void qni_bind_disown(qni_owner *owner);
/* The thing of an owner of that class; raises for others and for closed ones. */
void *qni_bind_thing(lua_State *L, int index, const char *class);
/* A class with methods; also :close() and <close>. */
void qni_bind_class(lua_State *L, const char *class, const luaL_Reg *methods);
void qni_bind_release_memory(void *thing); /* qni_mem_free */

/* ---- Tensors (lua_tensor.c) ---- */

qni_box *qni_bind_box(lua_State *L); /* pushes an empty box */
/* Puts a new reference into the box; counts its bytes; links it to the scope. */
void qni_bind_fill(lua_State *L, qni_box *box, qn_tensor *t);
/* Looks at the memory now and then and collects garbage; call when all boxes are filled. */
void qni_bind_relieve(lua_State *L);
void qni_bind_collect(lua_State *L);                            /* a full collection now */
static inline qni_box *qni_bind_test(lua_State *L, int index) { /* NULL if it is no tensor */
  qni_box *box = lua_touserdata(L, index);
  return box && lua_rawlen(L, index) == sizeof *box && box->mark == QNI_BOX_MARK ? box : NULL;
}
int qni_bind_freed(lua_State *L, const char *name); /* raises: the tensor was freed */
qn_tensor *qni_bind_tensor(lua_State *L, int index, const char *name); /* raises */
/* Raises when a step is being captured, which must not read values; `what` as "item()". */
void qni_bind_no_escape(lua_State *L, const char *what);
/* Pushes a new box with its own reference to a borrowed tensor; nil for NULL. */
void qni_bind_push_borrowed(lua_State *L, qn_tensor *t);
void qni_bind_push_element(lua_State *L, const qn_view *v, int64_t offset); /* in elements */
/* Calls an op by name for one output into a box on top of the stack. */
qn_status qni_bind_apply(qni_box *box, const char *op, const qn_arg *args,
                         int32_t n_args) QNI_WARN_UNUSED;

/* ---- Ops (lua_call.c) ---- */

enum { QNI_BIND_WORDS = 1024 };

typedef struct qni_args {
  int32_t n, n_words;
  qn_arg arg[QN_MAX_PARAMS + 1];
  union {
    int64_t i;
    double f;
    qn_tensor *t;
  } word[QNI_BIND_WORDS];
} qni_args;

/* Reads Lua arguments first..last for an op; raises on what cannot be an argument. */
void qni_args_read(lua_State *L, const qn_opref *op, int first, int last, qni_args *args);
/* Pushes a function that calls the op. */
void qni_bind_push_op(lua_State *L, const qn_opref *op);

/* ---- Parts of the module: each adds its functions to the table on top ---- */

void qni_bind_open_tensor(lua_State *L);  /* lua_tensor.c: metatable */
void qni_bind_open_scope(lua_State *L);   /* lua_scope.c */
void qni_bind_open_make(lua_State *L);    /* lua_make.c */
void qni_bind_open_access(lua_State *L);  /* lua_access.c: methods */
void qni_bind_open_call(lua_State *L);    /* lua_call.c */
void qni_bind_open_info(lua_State *L);    /* lua_info.c */
void qni_bind_open_grad(lua_State *L);    /* lua_grad.c */
void qni_bind_open_capture(lua_State *L); /* lua_capture.c */
void qni_bind_open_runtime(lua_State *L); /* lua_runtime.c */
void qni_bind_open_file(lua_State *L);    /* lua_file.c */
void qni_bind_open_json(lua_State *L);    /* lua_json.c */
void qni_bind_open_data(lua_State *L);    /* lua_data.c: interactions, data sets */
void qni_bind_open_batch(lua_State *L);   /* lua_batch.c: splits, loaders */
void qni_bind_open_images(lua_State *L);  /* lua_images.c: image files, archives, loader */
void qni_bind_open_system(lua_State *L);  /* lua_system.c */
void qni_bind_open_check(lua_State *L);   /* lua_check.c: the conformance kit */
void qni_bind_open_schema(lua_State *L);  /* lua_schema.c: schemas and plugin files */
void qni_bind_open_edit(lua_State *L);    /* lua_edit.c: lines typed at a terminal */

/* Registers functions into the table on top. */
void qni_bind_set(lua_State *L, const luaL_Reg *functions);

int luaopen_quern_core(lua_State *L); /* lua_open.c */

#endif
