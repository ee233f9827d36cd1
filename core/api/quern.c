/*
** The embedding API: start and stop, tensors, ops by name, threads, random state.
** SPDX-License-Identifier: MIT
*/
#include <stdlib.h>
#include <string.h>

#include "exec/cpu.h"
#include "exec/gemm.h"
#include "exec/pool.h"
#include "exec/rng.h"
#include "graph/call.h"

#define VERSION "0.1.0"

const char *qn_version(void) { return VERSION; }

/* ---- The runtime ---- */

static bool started;

static const char *setting(const char *given, const char *variable) {
  const char *value = given ? given : getenv(variable);
  return value && *value ? value : NULL;
}

static qn_status thread_count(const qn_config *config, int32_t *threads) {
  *threads = config->threads;
  const char *text = *threads ? NULL : setting(NULL, "QUERN_THREADS");
  if (!text) return QN_OK;
  char *end;
  long n = strtol(text, &end, 10);
  if (*end || n < 1 || n > 1024) {
    qni_fail(QN_E_ARG, "QUERN_THREADS is '%s'", text);
    qni_error_hint("set it to a number from 1 to 1024, or unset it for one per core");
    return QN_E_ARG;
  }
  *threads = (int32_t)n;
  return QN_OK;
}

static qn_status choose_pages(void) {
  const char *text = setting(NULL, "QUERN_HUGE_PAGES");
  if (!text || !strcmp(text, "on") || !strcmp(text, "off")) {
    qni_mem_huge_pages(!text || strcmp(text, "off") != 0);
    return QN_OK;
  }
  qni_fail(QN_E_ARG, "QUERN_HUGE_PAGES is '%s'", text);
  qni_error_hint("set it to on or off");
  return QN_E_ARG;
}

qn_status qn_start(const qn_config *config) {
  qn_config c = {.struct_size = sizeof c};
  int32_t threads = 0;
  qni_error_reset();
  if (started) return QN_OK;
  if (config) memcpy(&c, config, config->struct_size < sizeof c ? config->struct_size : sizeof c);
  qn_status st = thread_count(&c, &threads);
  if (!st) st = choose_pages();
  if (!st) st = qni_cpu_start(setting(c.isa, "QUERN_ISA"));
  if (!st) st = qni_pool_start(threads);
  if (!st) st = qni_blas_start(setting(c.blas, "QUERN_BLAS"));
  if (!st) st = qni_registry_start();
  started = !st;
  if (st) qni_pool_stop();
  return st;
}

void qn_stop(void) {
  if (!started) return;
  for (int32_t i = 0; i < qni_registry_plugin_count(); i++) {
    const qn_plugin *entry = qni_registry_plugin(i)->entry;
    if (entry && entry->fini) entry->fini();
  }
  qni_pool_stop();
  qni_registry_stop();
  qni_mem_trim();
  started = false;
}

qn_status qn_threads_set(int32_t threads) {
  qni_error_reset();
  if (threads < 1 || threads > 1024)
    return qni_fail(QN_E_ARG, "%d threads were asked for; allowed are 1 to 1024", (int)threads);
  return qni_pool_resize(threads);
}

int32_t qn_threads(void) { return qni_pool_threads(); }

void qn_random_seed(uint64_t seed) { qni_rng_seed(seed); }

void qn_random_step(uint64_t step) { qni_rng_step(step); }

/* ---- Ops ---- */

const qn_opref *qn_op_find(const char *name) {
  qni_error_reset();
  return qni_registry_find(name);
}

const qn_op *qn_op_info(const qn_opref *op) { return op->op; }
const char *qn_op_name(const qn_opref *op) { return op->name; }
const char *qn_op_schema(const qn_opref *op) { return op->schema->canonical; }
int32_t qn_op_count(void) { return qni_registry_op_count(); }
const qn_opref *qn_op_at(int32_t i) { return qni_registry_op(i); }

qn_status qn_op_call(const qn_opref *op, const qn_arg *args, int32_t n_args, qn_tensor **outs,
                     int32_t max_outs, int32_t *n_outs) {
  qni_error_reset();
  return qni_call(op, args, n_args, outs, max_outs, n_outs);
}
