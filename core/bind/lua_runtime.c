/*
** The runtime from Lua: seed and step, threads, memory, profiler, machine.
** SPDX-License-Identifier: MIT
*/
#include <stdio.h>

#include "bind/bind.h"
#include "exec/cpu.h"
#include "exec/gemm.h"
#include "exec/pool.h"
#include "exec/prof.h"
#include "exec/rng.h"
#include "graph/call.h"
#include "graph/witness.h"

/* seed(n): step and op instances restart at 0. */
static int seed(lua_State *L) {
  qn_random_seed((uint64_t)qni_bind_int(L, 1, "seed"));
  return 0;
}

/* step(n); step() gives the current one. */
static int step(lua_State *L) {
  if (lua_isnoneornil(L, 1)) {
    lua_pushinteger(L, (lua_Integer)qni_rng_current_step());
    return 1;
  }
  qn_random_step((uint64_t)qni_bind_int(L, 1, "step"));
  return 0;
}

/* threads([n]): sets, and returns how many there are. */
static int threads(lua_State *L) {
  if (!lua_isnoneornil(L, 1)) {
    int64_t n = qni_bind_int(L, 1, "threads");
    qni_bind_check(L, qn_threads_set(n < 0 || n > 100000 ? 0 : (int32_t)n));
  }
  lua_pushinteger(L, qn_threads());
  return 1;
}

static int memory(lua_State *L) {
  qn_memory m;
  qn_memory_stats(&m);
  lua_createtable(L, 0, 5);
  qni_bind_set_int(L, "live", m.live);
  qni_bind_set_int(L, "peak", m.peak);
  qni_bind_set_int(L, "cached", m.cached);
  qni_bind_set_int(L, "limit", m.limit);
  qni_bind_set_int(L, "lua",
                   (int64_t)lua_gc(L, LUA_GCCOUNT, 0) * 1024 + lua_gc(L, LUA_GCCOUNTB, 0));
  return 1;
}

static int memory_reset_peak(lua_State *L) {
  (void)L;
  qn_memory_reset_peak();
  return 0;
}

/* memory_limit(bytes): tensors beyond it are refused; 0: no limit. */
static int memory_limit(lua_State *L) {
  int64_t bytes = qni_bind_int(L, 1, "bytes");
  if (bytes < 0) return qni_bind_bad_arg(L, 1, "bytes", "a number of bytes, 0 for no limit");
  qni_mem_limit(bytes);
  return 0;
}

static int memory_trim(lua_State *L) {
  qni_bind_collect(L);
  qni_mem_trim();
  return 0;
}

/* check_finite(on): ops that make a NaN or infinity fail. */
static int finite(lua_State *L) {
  qni_call_check_finite(qni_bind_bool(L, 1, "on"));
  return 0;
}

/* ---- Witness ---- */

/* witness(on): from now on each op call's results are hashed; witness_reset(): nothing seen yet. */
static int witness(lua_State *L) {
  qni_error_reset();
  qni_bind_check(L, qni_witness_start(qni_bind_bool(L, 1, "on")));
  return 0;
}

static int witness_reset(lua_State *L) {
  (void)L;
  qni_witness_reset();
  return 0;
}

/* witness_seen(): a list of "op:hash", or "op':hash" of a backward call, in their order. */
static int witness_seen(lua_State *L) {
  qni_witnessed w;
  lua_newtable(L);
  for (int32_t i = 0; qni_witness_at(i, &w); i++) {
    lua_pushfstring(L, "%s%s:", w.op, w.backward ? "'" : "");
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)w.hash);
    lua_pushstring(L, hash);
    lua_concat(L, 2);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* ---- Profiler ---- */

static int profile_start(lua_State *L) {
  static const char *const known[] = {"trace", NULL};
  qni_bind_fields(L, 1, known, "profile.start");
  qni_error_reset();
  qni_bind_check(L, qni_prof_start(qni_bind_field_bool(L, 1, "trace", false)));
  return 0;
}

static int profile_stop(lua_State *L) {
  (void)L;
  qni_prof_stop();
  return 0;
}

/* profile.rows([most]): by falling time. */
static int profile_rows(lua_State *L) {
  enum { MOST = 1024 };
  int64_t most = qni_bind_opt_int(L, 1, "most", MOST);
  if (most < 0 || most > MOST) most = MOST;
  qni_owner *owner = qni_bind_own(L, NULL, qni_bind_release_memory);
  qni_error_reset();
  qni_prof_row *rows = owner->thing = qni_mem_zalloc(MOST, sizeof *rows);
  if (!rows) qni_bind_check(L, QN_E_NOMEM);
  int32_t n = qni_prof_rows(rows, (int32_t)most);
  if (n > most) n = (int32_t)most;
  lua_createtable(L, n, 0);
  for (int32_t i = 0; i < n; i++) {
    lua_createtable(L, 0, 6);
    qni_bind_set_str(L, "name", rows[i].name);
    qni_bind_set_bool(L, "backward", rows[i].backward);
    qni_bind_set_int(L, "calls", rows[i].calls);
    qni_bind_set_num(L, "seconds", (double)rows[i].nanoseconds * 1e-9);
    qni_bind_set_int(L, "bytes", rows[i].bytes);
    qni_bind_set_int(L, "flops", rows[i].flops);
    lua_rawseti(L, -2, i + 1);
  }
  qni_bind_disown(owner);
  return 1;
}

static int profile_trace(lua_State *L) {
  qni_error_reset();
  qni_bind_check(L, qni_prof_trace(qni_bind_str(L, 1, "path")));
  return 0;
}

/* ---- The machine ---- */

static int version(lua_State *L) {
  lua_pushstring(L, qn_version());
  return 1;
}

static int machine(lua_State *L) {
  double own = 0;
  lua_createtable(L, 0, 16);
  qni_bind_set_str(L, "version", qn_version());
  qni_bind_set_str(L, "build", QN_BUILD);
  qni_bind_set_str(L, "isa", qni_cpu_isa_name());
  qni_bind_set_str(L, "cpu", qni_cpu_model());
  qni_bind_set_str(L, "features", qni_cpu_features());
  qni_bind_set_int(L, "cores", qni_cpu_cores());
  qni_bind_set_int(L, "threads", qn_threads());
  qni_bind_set_int(L, "l1d", qni_cpu_l1d());
  qni_bind_set_int(L, "l2", qni_cpu_l2());
  qni_bind_set_str(L, "blas", qni_blas_path());
  qni_bind_set_str(L, "blas_config", qni_blas_config());
  qni_bind_set_str(L, "blas_core", qni_blas_core());
  qni_bind_set_str(L, "blas_warning", qni_blas_warning());
  qni_bind_set_num(L, "blas_speed", qni_blas_speed(&own));
  qni_bind_set_num(L, "own_speed", own);
  return 1;
}

void qni_bind_open_runtime(lua_State *L) {
  static const luaL_Reg functions[] = {{"seed", seed},
                                       {"step", step},
                                       {"threads", threads},
                                       {"memory", memory},
                                       {"witness", witness},
                                       {"witness_reset", witness_reset},
                                       {"witness_seen", witness_seen},
                                       {"memory_reset_peak", memory_reset_peak},
                                       {"memory_limit", memory_limit},
                                       {"memory_trim", memory_trim},
                                       {"check_finite", finite},
                                       {"system", machine},
                                       {"version", version},
                                       {NULL, NULL}};
  static const luaL_Reg profile[] = {{"start", profile_start},
                                     {"stop", profile_stop},
                                     {"rows", profile_rows},
                                     {"trace", profile_trace},
                                     {NULL, NULL}};
  qni_bind_set(L, functions);
  lua_newtable(L);
  qni_bind_set(L, profile);
  lua_setfield(L, -2, "profile");
}
