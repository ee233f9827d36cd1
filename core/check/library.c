/*
** Checks of the library file and what loading it does: symbols, hygiene, versions, schemas.
** SPDX-License-Identifier: MIT
*/
#include <elf.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/load.h"
#include "base/file.h"
#include "check/list.h"
#include "exec/pool.h"
#include "exec/process.h"

/* ---- symbols: one export, no forbidden import ---- */

static const char *const banned[] = {"exit",
                                     "_exit",
                                     "abort",
                                     "pthread_create",
                                     "thrd_create",
                                     "rand",
                                     "srand",
                                     "random",
                                     "srandom",
                                     "setlocale",
                                     "chdir",
                                     "setenv",
                                     "putenv",
                                     "signal",
                                     "sigaction",
                                     "omp_get_num_threads",
                                     "GOMP_parallel",
                                     "__kmpc_fork_call",
                                     "cblas_sgemm",
                                     "cblas_dgemm",
                                     "sgemm_",
                                     "dgemm_",
                                     "printf",
                                     "puts",
                                     "fork",
                                     "__printf_chk",
                                     NULL};

struct symbols {
  const unsigned char *file;
  size_t bytes;
  const Elf64_Sym *symbol;
  size_t n;
  const char *names;
  size_t names_bytes;
};

static bool inside(const struct symbols *s, uint64_t offset, uint64_t bytes) {
  return offset <= s->bytes && bytes <= s->bytes - offset;
}

/* Finds .dynsym and its string table; false if this is not a 64-bit ELF library. */
static bool find_symbols(struct symbols *s) {
  const Elf64_Ehdr *head = (const void *)s->file;
  if (s->bytes < sizeof *head || memcmp(head->e_ident, ELFMAG, SELFMAG) ||
      head->e_ident[EI_CLASS] != ELFCLASS64)
    return false;
  if (!inside(s, head->e_shoff, (uint64_t)head->e_shnum * sizeof(Elf64_Shdr)) || head->e_shoff % 8)
    return false;
  const Elf64_Shdr *sections = (const void *)(s->file + head->e_shoff);
  for (int i = 0; i < head->e_shnum; i++) {
    if (sections[i].sh_type != SHT_DYNSYM || sections[i].sh_link >= head->e_shnum) continue;
    const Elf64_Shdr *names = &sections[sections[i].sh_link];
    if (!inside(s, sections[i].sh_offset, sections[i].sh_size) ||
        !inside(s, names->sh_offset, names->sh_size))
      return false;
    s->symbol = (const void *)(s->file + sections[i].sh_offset);
    s->n = sections[i].sh_size / sizeof(Elf64_Sym);
    s->names = (const char *)s->file + names->sh_offset;
    s->names_bytes = names->sh_size;
    return s->names_bytes > 0 && s->names[s->names_bytes - 1] == 0;
  }
  return false;
}

static void judge_symbol(qni_check_context *x, const struct symbols *s, const Elf64_Sym *symbol,
                         int *exports) {
  if (symbol->st_name >= s->names_bytes) return;
  const char *name = s->names + symbol->st_name;
  int binding = ELF64_ST_BIND(symbol->st_info);
  if (symbol->st_shndx != SHN_UNDEF) {
    if (binding == STB_LOCAL || symbol->st_other & 3) return;
    ++*exports;
    if (strcmp(name, "qn_plugin_entry") && strncmp(name, "__", 2))
      qni_check_find(
          x, "exports '%s'; build with -fvisibility=hidden, so that only qn_plugin_entry is seen",
          name);
    return;
  }
  for (int i = 0; banned[i]; i++)
    if (!strcmp(name, banned[i]))
      qni_check_find(
          x, "imports '%s'; the host offers threads, random numbers, errors and products instead",
          name);
}

static qn_status run_symbols(qni_check_context *x) {
  qni_file_map map;
  if (!x->path) return QN_OK;
  qn_status st = qni_file_map_open(x->path, &map);
  if (st) return st;
  struct symbols s = {.file = map.data, .bytes = map.n_bytes};
  int exports = 0;
  if (!find_symbols(&s)) qni_check_find(x, "is not a 64-bit ELF library with a symbol table");
  for (size_t i = 1; i < s.n; i++) judge_symbol(x, &s, &s.symbol[i], &exports);
  if (s.n && !exports) qni_check_find(x, "exports nothing; mark qn_plugin_entry with QN_EXPORT");
  qni_file_map_close(&map);
  return QN_OK;
}

const qni_check qni_check_symbols = {
    "symbols", "L1", "exports qn_plugin_entry alone, imports nothing that is the host's", false,
    run_symbols};

/* ---- load: nothing of the process changes but the registry ---- */

/* Why the loader refuses a plugin is one check's finding alone: by the status it gives. */
enum refusal { REFUSED_VERSION, REFUSED_SCHEMA, REFUSED_LOAD };

static enum refusal refusal_of(qn_status st) {
  return st == QN_E_VERSION ? REFUSED_VERSION : st == QN_E_FORMAT ? REFUSED_SCHEMA : REFUSED_LOAD;
}

/* ---- What the ops change, looked at in a child of the child: a crash is others' finding ---- */

static void call_and_compare(qni_check_context *x, const qn_opref *op, qni_sample *sample) {
  qni_process before, after;
  qni_result r;
  qni_process_read(&before);
  (void)!qni_check_both(op, sample, &r);
  qni_process_read(&after);
  qni_result_free(&r);
  const char *changed = qni_process_changed(&before, &after);
  if (changed)
    qni_check_find(x, "%s changes %s of the whole process", op->name, changed);
  else if (after.threads != before.threads)
    qni_check_find(x, "%s starts a thread; h->parallel has them", op->name);
  else if (after.files != before.files)
    qni_check_find(x, "%s leaves a file open", op->name);
}

static void try_ops(qni_check_context *x, const qn_plugin *entry) {
  qni_sample_options o = {.max_size = 7};
  qni_check_context few = *x;
  few.samples = 3;
  few.n_ops = 1;
  (void)!qni_pool_start(1);
  for (int32_t i = 0; i < qni_registry_op_count() && !x->text[0]; i++) {
    const qn_opref *op = qni_registry_op(i);
    few.ops = &op;
    alarm(1); /* an op that never returns is others' finding too */
    if (op->plugin->entry == entry) (void)!qni_check_each(&few, &o, call_and_compare);
  }
}

static qn_status run_ops_apart(qni_check_context *x, const qn_plugin *entry) {
  int ends[2];
  fflush(NULL);
  qni_pool_stop(); /* a fork has the calling thread alone */
  if (pipe(ends)) return qni_fail(QN_E_IO, "no pipe for a helper process");
  pid_t child = fork();
  if (child == 0) {
    try_ops(x, entry);
    (void)!write(ends[1], x->text, strlen(x->text));
    _exit(0);
  }
  close(ends[1]);
  size_t used = strlen(x->text);
  ssize_t n;
  while (child > 0 && used < QNI_CHECK_TEXT - 1 &&
         (n = read(ends[0], x->text + used, QNI_CHECK_TEXT - 1 - used)) > 0)
    used += (size_t)n;
  x->text[used] = 0;
  close(ends[0]);
  if (child > 0) waitpid(child, NULL, 0);
  return child < 0 ? qni_fail(QN_E_IO, "the helper process could not be started") : QN_OK;
}

static qn_status run_load(qni_check_context *x) {
  const qn_plugin *entry = NULL;
  qni_process before, after;
  qni_process_read(&before);
  if (x->path) {
    qn_status st = qni_load_plugin(x->path, &entry);
    if (st) return refusal_of(st) == REFUSED_LOAD ? st : QN_OK;
    qni_process_read(&after);
    if (after.threads != before.threads) qni_check_find(x, "starts a thread while it is loaded");
    if (after.files != before.files) qni_check_find(x, "leaves a file open after it was loaded");
  }
  return x->text[0] ? QN_OK : run_ops_apart(x, entry);
}

const qni_check qni_check_load = {
    "load", "L1", "neither loading nor any op touches threads, files or process state", false,
    run_load};

/* ---- versions: too new, too old, cut short: refused, never a crash ---- */

static void must_refuse(qni_check_context *x, const qn_plugin *p, const char *what) {
  qni_error_reset();
  if (!qni_load_check(x->path, p)) qni_check_find(x, "the host accepts %s", what);
}

/* Ends of the descriptor's fields: cut after each but the last, it must be refused. */
static const size_t ends[] = {
#define END(field) offsetof(qn_plugin, field) + sizeof(((qn_plugin *)0)->field)
    END(magic), END(struct_size), END(abi_major), END(abi_minor), END(abi_minor_least),
    END(build), END(id),          END(name),      END(version),   END(requires_ids),
    END(ops),   END(init),        END(fini),
#undef END
};

static void cut_short(qni_check_context *x) {
  char what[64];
  for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
    qn_plugin p;
    memset(&p, 0, sizeof p);
    memcpy(&p, x->entry, ends[i]);
    p.struct_size = (uint32_t)ends[i];
    snprintf(what, sizeof what, "a descriptor cut after %zu bytes", ends[i]);
    must_refuse(x, &p, what);
  }
}

static qn_status run_versions(qni_check_context *x) {
  if (!x->path) return QN_OK;
  qn_status st = qni_load_plugin(x->path, &x->entry);
  if (st) return refusal_of(st) == REFUSED_VERSION ? st : QN_OK;
  const qn_plugin *e = x->entry;
  qn_plugin p = *e;
  if (e->abi_minor_least > e->abi_minor)
    qni_check_find(x, "needs minor %d at least, but was built with %d", e->abi_minor_least,
                   e->abi_minor);
  if (e->reserved) qni_check_find(x, "fills .reserved with %d; leave it 0", e->reserved);
  p.abi_major = QN_ABI_MAJOR + 1;
  must_refuse(x, &p, "a plugin of the next major version");
  p = *e;
  p.abi_minor_least = QN_ABI_MINOR + 1;
  must_refuse(x, &p, "a plugin that needs a newer host");
  p = *e;
  p.magic[0] = 'X';
  must_refuse(x, &p, "a descriptor with another magic");
  cut_short(x);
  for (int32_t minor = e->abi_minor_least; minor <= QN_ABI_MINOR + 3; minor++) {
    p = *e;
    p.abi_minor = (uint16_t)minor;
    qni_error_reset();
    if (qni_load_check(x->path, &p))
      qni_check_find(x, "is refused when built with minor %d: %s", minor, qn_error_last()->what);
  }
  return QN_OK;
}

const qni_check qni_check_versions = {"versions", "L1",
                                      "its version fields make sense and wrong ones are refused",
                                      false, run_versions};

/* ---- schema: canonical form stands for itself; texts are there ---- */

static void judge_schema(qni_check_context *x, const qn_opref *op) {
  qni_schema *again = NULL;
  qni_error_reset();
  if (qni_schema_parse(op->schema->canonical, &again))
    qni_check_find(x, "%s: its canonical form does not parse: %s", op->name, qn_error_last()->what);
  else if (strcmp(again->canonical, op->schema->canonical) || again->hash != op->schema->hash)
    qni_check_find(x, "%s: its canonical form prints differently when parsed", op->name);
  qni_schema_free(again);
  if (!op->op->summary || !*op->op->summary) qni_check_find(x, "%s has no summary", op->name);
  if (op->op->det != QN_DET_BITWISE && op->op->det != QN_DET_SAME_THREADS &&
      op->op->det != QN_DET_NONE)
    qni_check_find(x, "%s: determinism class %d does not exist", op->name, op->op->det);
}

static qn_status run_schema(qni_check_context *x) {
  qn_status st = x->path ? qni_load_plugin(x->path, &x->entry) : QN_OK;
  if (st) return refusal_of(st) == REFUSED_SCHEMA ? st : QN_OK;
  for (int32_t i = 0; i < qni_registry_op_count(); i++)
    if (qni_registry_op(i)->plugin->entry == x->entry) judge_schema(x, qni_registry_op(i));
  return QN_OK;
}

const qni_check qni_check_schema = {
    "schema", "L1", "each schema parses, prints to itself and has a summary", false, run_schema};
