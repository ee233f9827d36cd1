/*
** Checks of the library file and what loading it does: symbols, hygiene, versions, schemas.
** SPDX-License-Identifier: MIT
*/
#include <dirent.h>
#include <elf.h>
#include <string.h>

#include "api/load.h"
#include "base/file.h"
#include "check/list.h"

/* ---- symbols: one export, no forbidden import ---- */

static const char *const banned[] = {
    "exit", "_exit", "abort", "pthread_create", "thrd_create", "rand", "srand", "random", "srandom", "setlocale",
    "chdir", "setenv", "putenv", "signal", "sigaction", "omp_get_num_threads", "GOMP_parallel", "__kmpc_fork_call",
    "cblas_sgemm", "cblas_dgemm", "sgemm_", "dgemm_", "printf", "puts", "fork", "__printf_chk", NULL};

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
  if (s->bytes < sizeof *head || memcmp(head->e_ident, ELFMAG, SELFMAG) || head->e_ident[EI_CLASS] != ELFCLASS64) return false;
  if (!inside(s, head->e_shoff, (uint64_t)head->e_shnum * sizeof(Elf64_Shdr)) || head->e_shoff % 8) return false;
  const Elf64_Shdr *sections = (const void *)(s->file + head->e_shoff);
  for (int i = 0; i < head->e_shnum; i++) {
    if (sections[i].sh_type != SHT_DYNSYM || sections[i].sh_link >= head->e_shnum) continue;
    const Elf64_Shdr *names = &sections[sections[i].sh_link];
    if (!inside(s, sections[i].sh_offset, sections[i].sh_size) || !inside(s, names->sh_offset, names->sh_size)) return false;
    s->symbol = (const void *)(s->file + sections[i].sh_offset);
    s->n = sections[i].sh_size / sizeof(Elf64_Sym);
    s->names = (const char *)s->file + names->sh_offset;
    s->names_bytes = names->sh_size;
    return s->names_bytes > 0 && s->names[s->names_bytes - 1] == 0;
  }
  return false;
}

static void judge_symbol(qni_check_context *x, const struct symbols *s, const Elf64_Sym *symbol, int *exports) {
  if (symbol->st_name >= s->names_bytes) return;
  const char *name = s->names + symbol->st_name;
  int binding = ELF64_ST_BIND(symbol->st_info);
  if (symbol->st_shndx != SHN_UNDEF) {
    if (binding == STB_LOCAL || symbol->st_other & 3) return;
    ++*exports;
    if (strcmp(name, "qn_plugin_entry") && strncmp(name, "__", 2))
      qni_check_find(x, "exports '%s'; build with -fvisibility=hidden, so that only qn_plugin_entry is seen", name);
    return;
  }
  for (int i = 0; banned[i]; i++)
    if (!strcmp(name, banned[i])) qni_check_find(x, "imports '%s'; the host offers threads, random numbers, errors and products instead", name);
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

const qni_check qni_check_symbols = {"symbols", "L1", "exports qn_plugin_entry alone, imports nothing that is the host's", false, run_symbols};

/* ---- load: nothing of the process changes but the registry ---- */

/* Why the loader refuses a plugin is one check's finding alone: by the status it gives. */
enum refusal { REFUSED_VERSION, REFUSED_SCHEMA, REFUSED_LOAD };

static enum refusal refusal_of(qn_status st) {
  return st == QN_E_VERSION ? REFUSED_VERSION : st == QN_E_FORMAT ? REFUSED_SCHEMA : REFUSED_LOAD;
}

static int entries_of(const char *folder) {
  int n = 0;
  DIR *d = opendir(folder);
  while (d && readdir(d)) n++;
  if (d) closedir(d);
  return n;
}

static qn_status run_load(qni_check_context *x) {
  const qn_plugin *entry;
  int threads = entries_of("/proc/self/task"), files = entries_of("/proc/self/fd");
  if (!x->path) return QN_OK;
  qn_status st = qni_load_plugin(x->path, &entry);
  if (st) return refusal_of(st) == REFUSED_LOAD ? st : QN_OK;
  if (entries_of("/proc/self/task") != threads) qni_check_find(x, "starts a thread while it is loaded");
  if (entries_of("/proc/self/fd") != files) qni_check_find(x, "leaves a file open after it was loaded");
  return QN_OK; /* control register, locale, signals, umask and folder: the loader refuses a change by name */
}

const qni_check qni_check_load = {"load", "L1", "loads without touching threads, files or process state", false, run_load};

/* ---- versions: too new, too old, cut short: refused, never a crash ---- */

static void must_refuse(qni_check_context *x, const qn_plugin *p, const char *what) {
  qni_error_reset();
  if (!qni_load_check(x->path, p)) qni_check_find(x, "the host accepts %s", what);
}

static qn_status run_versions(qni_check_context *x) {
  if (!x->path) return QN_OK;
  qn_status st = qni_load_plugin(x->path, &x->entry);
  if (st) return refusal_of(st) == REFUSED_VERSION ? st : QN_OK;
  qn_plugin p = *x->entry;
  if (p.abi_minor_least > p.abi_minor) qni_check_find(x, "needs minor %d at least, but was built with %d", p.abi_minor_least, p.abi_minor);
  p.abi_major = QN_ABI_MAJOR + 1;
  must_refuse(x, &p, "a plugin of the next major version");
  p = *x->entry;
  p.abi_minor_least = QN_ABI_MINOR + 1;
  must_refuse(x, &p, "a plugin that needs a newer host");
  p = *x->entry;
  p.struct_size = (uint32_t)offsetof(qn_plugin, query);
  must_refuse(x, &p, "a descriptor that is cut short");
  p = *x->entry;
  p.magic[0] = 'X';
  must_refuse(x, &p, "a descriptor with another magic");
  return QN_OK;
}

const qni_check qni_check_versions = {"versions", "L1", "its version fields make sense and wrong ones are refused", false, run_versions};

/* ---- schema: canonical form stands for itself; texts are there ---- */

static void judge_schema(qni_check_context *x, const qn_opref *op) {
  qni_schema *again = NULL;
  qni_error_reset();
  if (qni_schema_parse(op->schema->canonical, &again)) qni_check_find(x, "%s: its canonical form does not parse: %s", op->name, qn_error_last()->what);
  else if (strcmp(again->canonical, op->schema->canonical) || again->hash != op->schema->hash)
    qni_check_find(x, "%s: its canonical form prints differently when parsed", op->name);
  qni_schema_free(again);
  if (!op->op->summary || !*op->op->summary) qni_check_find(x, "%s has no summary", op->name);
  if (op->op->det != QN_DET_BITWISE && op->op->det != QN_DET_SAME_THREADS && op->op->det != QN_DET_NONE)
    qni_check_find(x, "%s: determinism class %d does not exist", op->name, op->op->det);
}

static qn_status run_schema(qni_check_context *x) {
  qn_status st = x->path ? qni_load_plugin(x->path, &x->entry) : QN_OK;
  if (st) return refusal_of(st) == REFUSED_SCHEMA ? st : QN_OK;
  for (int32_t i = 0; i < qni_registry_op_count(); i++)
    if (qni_registry_op(i)->plugin->entry == x->entry) judge_schema(x, qni_registry_op(i));
  return QN_OK;
}

const qni_check qni_check_schema = {"schema", "L1", "each schema parses, prints to itself and has a summary", false, run_schema};
