/*
** Captured steps from Lua: thin methods over graph/capture.h; lua/quern/capture.lua calls them in
** the right order.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "bind/bind.h"
#include "graph/capture.h"

enum { MOST_INPUTS = 64 };
static const char class[] = "quern.capture";

static void release(void *thing) { qni_capture_free(thing); }

static qni_capture *self(lua_State *L) { return qni_bind_thing(L, 1, class); }

/* The tensors of a list, anchored by it. */
static int32_t read_list(lua_State *L, int index, qn_tensor **list) {
  if (!lua_istable(L, index)) qni_bind_bad_arg(L, index, "inputs", "a list of tensors");
  int64_t n = (int64_t)lua_rawlen(L, index);
  if (n < 1 || n > MOST_INPUTS)
    qni_bind_fail(L, QN_E_ARG, NULL, "a captured step takes 1 to %d tensors, not %lld", MOST_INPUTS,
                  (long long)n);
  for (int64_t i = 0; i < n; i++) {
    lua_rawgeti(L, index, (lua_Integer)i + 1);
    list[i] = qni_bind_tensor(L, -1, "inputs");
    lua_pop(L, 1);
  }
  return (int32_t)n;
}

_Static_assert((int)QNI_SLICES_ON == (int)QNI_AGAIN_ON && (int)QNI_SLICES_OFF == (int)QNI_AGAIN_OFF,
               "choices are numbered alike");

/* A choice that is left open (nil), on or off. */
static int choice_at(lua_State *L, int index) {
  return lua_isnoneornil(L, index) ? QNI_SLICES_AUTO
         : lua_toboolean(L, index) ? QNI_SLICES_ON
                                   : QNI_SLICES_OFF;
}

/* capture_new(inputs, shared, bytes, fuse, slices, again, narrow): a capture; shared is a list of booleans. */
static int capture_new(lua_State *L) {
  qn_tensor *inputs[MOST_INPUTS];
  bool shared[MOST_INPUTS];
  int32_t n = read_list(L, 1, inputs);
  for (int32_t i = 0; i < n; i++) {
    lua_rawgeti(L, 2, i + 1);
    shared[i] = lua_toboolean(L, -1) != 0;
    lua_pop(L, 1);
  }
  int64_t budget = qni_bind_int(L, 3, "bytes");
  qni_owner *owner = qni_bind_own(L, class, release);
  qni_capture *made;
  qni_error_reset();
  qni_bind_check(L, qni_capture_new(inputs, shared, n, budget, &made));
  owner->thing = made;
  qni_choices choices = {.unfused = !lua_isnoneornil(L, 4) && !lua_toboolean(L, 4),
                         .slicing = (enum qni_slicing)choice_at(L, 5),
                         .again = (enum qni_again)choice_at(L, 6),
                         .narrow = lua_toboolean(L, 7) != 0};
  qni_capture_choose(made, &choices);
  return 1;
}

static int32_t trial(lua_State *L) {
  int64_t t = qni_bind_int(L, 2, "trial");
  if (t < 1 || t > QNI_TRIALS) qni_bind_bad_arg(L, 2, "trial", "1, 2 or 3");
  return (int32_t)t - 1;
}

/* c:inputs(trial, n): the tensors of a trial slice; its samples, rows, longest sequence. */
static int inputs(lua_State *L) {
  qni_extent extent;
  qn_tensor *const *list = qni_capture_inputs(self(L), trial(L), &extent);
  int64_t n = qni_bind_int(L, 3, "n");
  lua_createtable(L, (int)n, 0);
  for (int64_t i = 0; i < n; i++) {
    qni_bind_push_borrowed(L, list[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_pushinteger(L, (lua_Integer)extent.B);
  lua_pushinteger(L, (lua_Integer)extent.N);
  lua_pushinteger(L, (lua_Integer)extent.L);
  return 4;
}

static int begin(lua_State *L) {
  qni_error_reset();
  qni_bind_of(L)->running = L;
  qni_bind_check(L, qni_capture_begin(self(L), trial(L)));
  return 0;
}

static qn_tensor *optional_tensor(lua_State *L, int index, const char *name) {
  return lua_isnoneornil(L, index) ? NULL : qni_bind_tensor(L, index, name);
}

/* c:finish(trial, loss): stops recording; loss nil: the step failed; a list: what it returned. */
static int finish(lua_State *L) {
  qn_tensor *list[MOST_INPUTS];
  int32_t n = lua_istable(L, 3) ? read_list(L, 3, list) : 0;
  qn_tensor *loss = n ? NULL : optional_tensor(L, 3, "loss");
  qni_error_reset();
  qn_status st = n ? qni_capture_end_outputs(self(L), trial(L), list, n)
                   : qni_capture_end(self(L), trial(L), loss);
  if (n || loss) qni_bind_check(L, st);
  return 0;
}

static int build(lua_State *L) {
  qni_error_reset();
  qni_bind_check(L, qni_capture_build(self(L)));
  return 0;
}

static int narrow(lua_State *L) {
  qni_error_reset();
  qni_bind_check(L, qni_capture_narrow(self(L)));
  return 0;
}

static int check_begin(lua_State *L) {
  qni_error_reset();
  qni_bind_check(L, qni_capture_check_begin(self(L)));
  return 0;
}

/*
** c:check_end(inputs, loss): loss nil: the eager step failed. How often the step is to be run between
** noise_begin and noise_end before judge() can tell; 0: all is well.
*/
static int check_end(lua_State *L) {
  qn_tensor *list[MOST_INPUTS];
  int32_t n = read_list(L, 2, list);
  qni_error_reset();
  bool doubt;
  qni_bind_check(L, qni_capture_check_end(self(L), list, n, optional_tensor(L, 3, "loss"), &doubt));
  lua_pushinteger(L, doubt ? QNI_NOISE_TURNS : 0);
  return 1;
}

static int noise_begin(lua_State *L) {
  qni_error_reset();
  qni_bind_check(L, qni_capture_noise_begin(self(L), (int32_t)qni_bind_int(L, 2, "turn")));
  return 0;
}

static int noise_end(lua_State *L) {
  qni_capture_noise_end(self(L));
  return 0;
}

/* c:judge(): raises if rounding does not explain how gradients differ. */
static int judge(lua_State *L) {
  qni_error_reset();
  qni_bind_check(L, qni_capture_judge(self(L)));
  return 0;
}

static int watch_begin(lua_State *L) {
  qni_error_reset();
  qni_bind_of(L)->running = L;
  qni_bind_check(L, qni_capture_watch_begin(self(L)));
  return 0;
}

/* c:watch_end(results): raises what is not as captured; an empty list: the function failed. */
static int watch_end(lua_State *L) {
  bool same;
  qni_error_copy why = {0};
  qn_tensor *list[MOST_INPUTS];
  int32_t n = lua_istable(L, 2) ? read_list(L, 2, list) : 0;
  qni_error_reset();
  qn_status st = qni_capture_watch_end(self(L), list, n, &same, &why);
  if (!st && n && !same) {
    qni_error_give(&why);
    st = why.status;
  }
  qni_bind_check(L, st);
  return 0;
}

/* c:run(inputs): the loss, and what it is a mean over (nil: it is a sum). Gradients are held. */
static int run(lua_State *L) {
  qn_tensor *list[MOST_INPUTS], *loss;
  double mean_over;
  int32_t n = read_list(L, 2, list);
  qni_box *box = qni_bind_box(L);
  qni_error_reset();
  qni_bind_of(L)->running = L;
  qni_bind_check(L, qni_capture_run(self(L), list, n, &loss, &mean_over));
  qni_bind_fill(L, box, loss);
  qni_bind_relieve(L);
  if (mean_over > 0)
    lua_pushnumber(L, mean_over);
  else
    lua_pushnil(L);
  return 2;
}

static void push_tensors(lua_State *L, qn_tensor **list, int32_t n) {
  lua_createtable(L, n, 0);
  for (int32_t i = 0; i < n; i++) {
    qni_box *box = qni_bind_box(L);
    qni_bind_fill(L, box, list[i]);
    lua_rawseti(L, -2, i + 1);
  }
}

/* c:infer(inputs): the outputs, as a list. */
static int infer(lua_State *L) {
  qn_tensor *list[MOST_INPUTS], *out[MOST_INPUTS];
  int32_t n = read_list(L, 2, list);
  qni_error_reset();
  qni_bind_of(L)->running = L;
  qni_bind_check(L, qni_capture_infer(self(L), list, n, out));
  push_tensors(L, out, qni_capture_n_outputs(self(L)));
  qni_bind_relieve(L);
  return 1;
}

/* c:check_outputs(eager, replayed): raises where they differ. */
static int check_outputs(lua_State *L) {
  qn_tensor *eager[MOST_INPUTS], *replayed[MOST_INPUTS];
  int32_t n = read_list(L, 2, eager);
  if (read_list(L, 3, replayed) != n) qni_bind_bad_arg(L, 3, "replayed", "as many tensors");
  qni_error_reset();
  qni_bind_check(L, qni_capture_check_outputs(eager, replayed, n));
  return 0;
}

/* c:deliver(): held gradients are added to the parameters. */
static int deliver(lua_State *L) {
  qni_error_reset();
  qni_bind_check(L, qni_capture_deliver(self(L)));
  return 0;
}

/* ---- The optimizer's part ---- */

static double number_at(lua_State *L, const char *name, double otherwise) {
  double x = lua_getfield(L, -1, name) == LUA_TNIL ? otherwise : lua_tonumber(L, -1);
  lua_pop(L, 1);
  return x;
}

static bool flag_at(lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  bool on = lua_toboolean(L, -1) != 0;
  lua_pop(L, 1);
  return on;
}

/* Anchored by the table. */
static qn_tensor *tensor_at(lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  qn_tensor *t = lua_isnil(L, -1) ? NULL : qni_bind_tensor(L, -1, name);
  lua_pop(L, 1);
  return t;
}

static int32_t kind_at(lua_State *L) {
  static const char *const names[] = {"sgd", "adam", "adam_rows", "adagrad_rows"};
  lua_getfield(L, -1, "kind");
  const char *name = lua_tostring(L, -1);
  int32_t kind = -1;
  for (int32_t k = 0; name && k < 4; k++)
    if (!strcmp(name, names[k])) kind = k;
  lua_pop(L, 1);
  if (kind < 0) qni_bind_bad_arg(L, 2, "kind", "sgd, adam, adam_rows or adagrad_rows");
  return kind;
}

static qni_update update_at(lua_State *L) {
  if (!lua_istable(L, -1)) qni_bind_bad_arg(L, 2, "updates", "a list of tables");
  qni_update u = {.kind = kind_at(L),
                  .w = tensor_at(L, "w"),
                  .m = tensor_at(L, "m"),
                  .v = tensor_at(L, "v"),
                  .mask = tensor_at(L, "mask"),
                  .master = tensor_at(L, "master")};
  if (!u.w) qni_bind_bad_arg(L, 2, "w", "a parameter");
  u.with = (qni_optim_settings){.lr = number_at(L, "lr", 0),
                                .weight_decay = number_at(L, "weight_decay", 0),
                                .scale = number_at(L, "scale", 1),
                                .max_norm = number_at(L, "max_norm", 0),
                                .momentum = number_at(L, "momentum", 0),
                                .beta1 = number_at(L, "beta1", 0.9),
                                .beta2 = number_at(L, "beta2", 0.999),
                                .eps = number_at(L, "eps", 1e-8),
                                .step = (int64_t)number_at(L, "step", 1),
                                .decoupled = flag_at(L, "decoupled"),
                                .nesterov = flag_at(L, "nesterov")};
  u.salt = (uint32_t)(int64_t)number_at(L, "salt", 0);
  return u;
}

/* c:update(list): true and the gradients' norm, or false: they were delivered. */
static int update(lua_State *L) {
  if (!lua_istable(L, 2)) qni_bind_bad_arg(L, 2, "updates", "a list of tables");
  int32_t n = (int32_t)lua_rawlen(L, 2);
  qni_update *list = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof *list, 0);
  for (int32_t i = 0; i < n; i++) {
    lua_rawgeti(L, 2, i + 1);
    list[i] = update_at(L);
    lua_pop(L, 1);
  }
  double norm;
  bool done;
  qni_error_reset();
  qni_bind_check(L, qni_capture_update(self(L), list, n, &norm, &done));
  lua_pushboolean(L, done);
  lua_pushnumber(L, norm);
  return 2;
}

/* ---- In words ---- */

static int describe(lua_State *L) {
  static const char *const kinds[] = {"sum", "mean", "weighted mean", "ratio of sums",
                                      "of the whole batch"};
  qni_capture_info info;
  qni_capture_describe(self(L), &info);
  lua_createtable(L, 0, 10);
  qni_bind_set_int(L, "entries", info.entries);
  qni_bind_set_int(L, "hoisted", info.hoisted);
  qni_bind_set_int(L, "dropped", info.dropped);
  qni_bind_set_int(L, "whole", info.whole);
  qni_bind_set_int(L, "segments", info.segments);
  qni_bind_set_int(L, "fused", info.fused);
  qni_bind_set_int(L, "batch_bytes", info.batch_bytes);
  qni_bind_set_int(L, "arena_bytes", info.arena_bytes);
  qni_bind_set_int(L, "step_bytes", info.step_bytes);
  qni_bind_set_int(L, "packed_bytes", info.packed_bytes);
  qni_bind_set_int(L, "slices", info.slices);
  qni_bind_set_int(L, "lanes", info.lanes);
  qni_bind_set_int(L, "again", info.again);
  qni_bind_set_int(L, "narrow", info.narrow);
  qni_bind_set_int(L, "parameters", info.parameters);
  qni_bind_set_int(L, "budget", info.budget);
  qni_bind_set_str(L, "loss", kinds[info.loss_kind]);
  return 1;
}

/* c:entry(i): entry i as a table, or nil. */
static int entry(lua_State *L) {
  qni_capture_entry x;
  if (!qni_capture_entry_at(self(L), qni_bind_int(L, 2, "i") - 1, &x)) return lua_pushnil(L), 1;
  lua_createtable(L, 0, 7);
  qni_bind_set_str(L, "when", x.when);
  qni_bind_set_str(L, "what", x.what);
  if (x.segment >= 0) qni_bind_set_int(L, "segment", x.segment + 1);
  if (x.shape[0]) qni_bind_set_str(L, "shape", x.shape);
  if (x.why) qni_bind_set_str(L, "why", x.why);
  qni_bind_set_int(L, "flops", x.flops);
  lua_createtable(L, x.n_from, 0);
  for (int32_t k = 0; k < x.n_from; k++) {
    lua_pushinteger(L, x.from[k] + 1);
    lua_rawseti(L, -2, k + 1);
  }
  lua_setfield(L, -2, "from");
  return 1;
}

void qni_bind_no_escape(lua_State *L, const char *what) {
  if (!qni_recorder) return;
  qni_error_reset();
  qni_bind_of(L)->running = L;
  qni_bind_check(L, qni_record_escape(what));
}

void qni_bind_open_capture(lua_State *L) {
  static const luaL_Reg methods[] = {{"inputs", inputs},
                                     {"begin", begin},
                                     {"finish", finish},
                                     {"build", build},
                                     {"narrow", narrow},
                                     {"check_begin", check_begin},
                                     {"check_end", check_end},
                                     {"noise_begin", noise_begin},
                                     {"noise_end", noise_end},
                                     {"judge", judge},
                                     {"watch_begin", watch_begin},
                                     {"watch_end", watch_end},
                                     {"run", run},
                                     {"deliver", deliver},
                                     {"infer", infer},
                                     {"check_outputs", check_outputs},
                                     {"update", update},
                                     {"describe", describe},
                                     {"entry", entry},
                                     {NULL, NULL}};
  static const luaL_Reg functions[] = {{"capture_new", capture_new}, {NULL, NULL}};
  qni_bind_class(L, class, methods);
  qni_bind_set(L, functions);
}
