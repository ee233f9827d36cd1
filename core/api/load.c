/*
** Loading a plugin: read its file, open, look, check, publish; or refuse and leave all as it was.
**
** A folder stands for the best build in it: NAME.avx512.so, NAME.avx2.so,
** NAME.plain.so or NAME.so, NAME being the folder's, or that of the one library in it. Process state that a library's
** constructors may disturb is compared and restored. Libraries are never closed.
** SPDX-License-Identifier: MIT
*/
#include <dirent.h>
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "api/load.h"
#include "base/sha256.h"
#include "exec/cpu.h"
#include "exec/process.h"
#include "graph/call.h"

enum { PATH_ROOM = 4096 };

/* ---- Finding the file ---- */

static bool is_file(const char *path) {
  struct stat s;
  return !stat(path, &s) && S_ISREG(s.st_mode);
}

static bool is_folder(const char *path) {
  struct stat s;
  return !stat(path, &s) && S_ISDIR(s.st_mode);
}

static const char *const builds[] = {".avx512.so", ".avx2.so", ".plain.so", ".so"};
enum { N_BUILDS = 4 };

/* The best build of folder/stem for this CPU. */
static bool best_of(const char *folder, const char *stem, char *file, size_t room) {
  int32_t best = qni_cpu_isa() == QNI_ISA_AVX512 ? 0 : qni_cpu_isa() == QNI_ISA_AVX2 ? 1 : 2;
  for (int32_t i = best; i < N_BUILDS; i++) {
    int n = snprintf(file, room, "%s/%s%s", folder, stem, builds[i]);
    if (n > 0 && (size_t)n < room && is_file(file)) return true;
  }
  return false;
}

/* A file's name without the ending of a build; false if it has none. */
static bool stem_of(const char *name, char *stem, size_t room) {
  for (int32_t i = 0; i < N_BUILDS; i++) {
    size_t n = strlen(name), end = strlen(builds[i]);
    if (n <= end || n - end >= room || strcmp(name + n - end, builds[i])) continue;
    memcpy(stem, name, n - end);
    stem[n - end] = 0;
    return true;
  }
  return false;
}

/* The one library that lies in a folder of another name; false if there is none, or several. */
static bool only_library(const char *folder, char *stem, size_t room) {
  char other[256] = "";
  int32_t n = 0;
  DIR *d = opendir(folder);
  for (struct dirent *e; d && (e = readdir(d));) {
    if (!stem_of(e->d_name, n ? other : stem, n ? sizeof other : room)) continue;
    if (n && strcmp(other, stem)) n++;
    if (!n) n = 1;
  }
  if (d) closedir(d);
  return n == 1;
}

static qn_status choose_build(const char *given, char *file, size_t room) {
  char folder[PATH_ROOM], stem[256];
  if (!realpath(given, folder)) return qni_fail(QN_E_NOT_FOUND, "there is no folder %s", given);
  const char *base = strrchr(folder, '/') + 1;
  if (best_of(given, base, file, room)) return QN_OK;
  if (only_library(folder, stem, sizeof stem) && best_of(given, stem, file, room)) return QN_OK;
  qni_fail(QN_E_NOT_FOUND, "no plugin library lies in %s", given);
  qni_error_detail("looked for %s.so and its builds for this CPU, or a single library", base);
  qni_error_hint("build the plugin first; the library is named after its folder");
  return QN_E_NOT_FOUND;
}

qn_status qni_load_find(const char *path, char *file, size_t room) {
  if (strlen(path) >= room)
    return qni_fail(QN_E_ARG, "the plugin's path is longer than %zu bytes", room - 1);
  if (is_folder(path)) return choose_build(path, file, room);
  if (!is_file(path)) return qni_fail(QN_E_NOT_FOUND, "there is no plugin at %s", path);
  int n = snprintf(file, room, "%s%s", strchr(path, '/') ? "" : "./",
                   path); /* dlopen looks elsewhere */
  return n > 0 && (size_t)n < room ? QN_OK : qni_fail(QN_E_ARG, "the plugin's path is too long");
}

/* ---- Opening ---- */

static qn_status open_library(const char *file, void **library) {
  qni_process before;
  qni_process_read(&before);
  *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  const char *changed = qni_process_restore(&before);
  if (!*library) {
    qni_fail(QN_E_PLUGIN, "the system's loader refuses %s", file);
    qni_error_detail("%s", dlerror());
    return QN_E_PLUGIN;
  }
  if (!changed) return QN_OK;
  qni_fail(QN_E_PLUGIN, "loading %s changed %s of the whole process", file, changed);
  qni_error_hint("build the plugin without -Ofast or -ffast-math, and without constructors that "
                 "touch process state");
  return QN_E_PLUGIN;
}

/* ---- The descriptor ---- */

static qn_status check_versions(const char *file, const qn_plugin *p) {
  if (p->abi_major != QN_ABI_MAJOR) {
    qni_fail(QN_E_VERSION, "%s was built for plugin ABI %d, this host has %d.%d", file,
             p->abi_major, QN_ABI_MAJOR, QN_ABI_MINOR);
    qni_error_hint(p->abi_major < QN_ABI_MAJOR ? "get a newer release of the plugin, or rebuild it"
                                               : "get a newer release of Quern");
    return QN_E_VERSION;
  }
  if (p->abi_minor_least > QN_ABI_MINOR) {
    qni_fail(QN_E_VERSION, "%s needs plugin ABI %d.%d or later, this host has %d.%d", file,
             p->abi_major, p->abi_minor_least, QN_ABI_MAJOR, QN_ABI_MINOR);
    qni_error_hint("get a newer release of Quern, or an older one of the plugin");
    return QN_E_VERSION;
  }
  return QN_OK;
}

static qn_status check_needs(const char *file, const qn_plugin *p) {
  qn_status st = QN_OK;
  for (const char *const *id = p->requires_ids; id && *id; id++) {
    if (qni_interface(*id)) continue;
    if (!st) st = qni_fail(QN_E_VERSION, "%s needs interfaces that this host does not have", file);
    qni_error_detail("missing: %s", *id);
  }
  if (st) qni_error_hint("get a newer release of Quern, or an older one of the plugin");
  return st;
}

qn_status qni_load_check(const char *file, const qn_plugin *p) {
  const size_t first_release = QN_SIZE_TO(qn_plugin, query);
  if (memcmp(p->magic, QN_MAGIC, sizeof p->magic) || p->struct_size < first_release) {
    qni_fail(QN_E_PLUGIN, "%s is not a Quern plugin", file);
    qni_error_detail("its descriptor begins with '%.7s' and says it is %u bytes long; expected "
                     "'%s' and %zu or more",
                     p->magic, p->struct_size, QN_MAGIC, first_release);
    qni_error_hint("fill .magic with QN_MAGIC and .struct_size with sizeof(qn_plugin) of an "
                   "installed <quern/abi.h>");
    return QN_E_PLUGIN;
  }
  qn_status st = check_versions(file, p);
  if (!st && (!p->id || !p->name || !p->version))
    st = qni_fail(QN_E_PLUGIN, "%s has no id, name or version in its descriptor", file);
  return st ? st : check_needs(file, p);
}

/* ---- Reading without running ---- */

static qn_status check_schemas(const char *file, const qni_scan *scan) {
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && i < scan->n_ops; i++) {
    qni_schema *schema = NULL;
    if (scan->op[i].schema)
      st = qni_schema_parse(scan->op[i].schema, &schema);
    else
      st = qni_fail(QN_E_PLUGIN, "op %d of %s has no schema", (int)i + 1, file);
    qni_schema_free(schema);
    if (st) qni_error_place(scan->op[i].schema, scan->head.id);
  }
  return st;
}

qn_status qni_load_read(const char *file, qni_scan **scan) {
  qn_status st = qni_scan_open(file, scan);
  if (st) return st;
  st = qni_load_check(file, &(*scan)->head);
  if (!st) st = check_schemas(file, *scan);
  if (!st) return QN_OK;
  qni_scan_close(*scan);
  *scan = NULL;
  return st;
}

/* What is refused for what it says is refused before any of it runs. */
static qn_status read_first(const char *file) {
  qni_scan *scan;
  qn_status st = qni_load_read(file, &scan);
  if (!st) qni_scan_close(scan);
  if (st != QN_E_UNSUPPORTED) return st;
  qni_error_reset();
  return QN_OK;
}

/* ---- Loading ---- */

/* A plugin of this id that is there already: fine if it is the same file. */
static qn_status already(const char *file, const qn_plugin *p, const char *sha256, bool *loaded) {
  for (int32_t i = 0; i < qni_registry_plugin_count(); i++) {
    const qni_plugin *q = qni_registry_plugin(i);
    if (strcmp(q->id, p->id)) continue;
    if (!strcmp(q->sha256, sha256)) return *loaded = true, QN_OK;
    qni_fail(QN_E_STATE, "plugin %s is loaded already, from another file", p->id);
    qni_error_detail("loaded: %s %s\nrefused: %s %s", q->path, q->version, file, p->version);
    qni_error_hint("libraries are never unloaded: start a new process for the other one");
    return QN_E_STATE;
  }
  return QN_OK;
}

static qn_status publish(const char *file, const qn_plugin *p, const char *sha256) {
  static const qn_op *const none[] = {NULL};
  qni_plugin record = {.id = (char *)(uintptr_t)p->id,
                       .name = (char *)(uintptr_t)p->name,
                       .version = (char *)(uintptr_t)p->version,
                       .path = (char *)(uintptr_t)file,
                       .build = (char *)(uintptr_t)(p->build ? p->build : ""),
                       .entry = p};
  snprintf(record.sha256, sizeof record.sha256, "%s", sha256);
  qn_status st = p->init ? p->init(&qni_host) : QN_OK;
  if (st) return qni_fail(st, "plugin %s could not start", p->id);
  return qni_registry_publish(&record, p->ops ? p->ops : none);
}

qn_status qni_load_plugin(const char *path, const qn_plugin **entry) {
  char file[PATH_ROOM], sha256[65];
  uint8_t digest[32];
  void *library;
  bool loaded = false;
  *entry = NULL;
  qn_status st = qni_load_find(path, file, sizeof file);
  if (!st) st = read_first(file);
  if (!st) st = qni_sha256_file(file, digest);
  if (!st) st = open_library(file, &library);
  if (st) return st;
  qni_sha256_hex(digest, sha256);
  const qn_plugin *p = dlsym(library, "qn_plugin_entry");
  if (!p) {
    qni_fail(QN_E_PLUGIN, "%s does not export qn_plugin_entry", file);
    qni_error_hint("mark it: QN_EXPORT const qn_plugin qn_plugin_entry = {...};");
    return QN_E_PLUGIN;
  }
  st = qni_load_check(file, p);
  if (!st) st = already(file, p, sha256, &loaded);
  if (!st && !loaded) st = publish(file, p, sha256);
  if (!st) *entry = p;
  return st;
}

qn_status qn_plugin_load(const char *path) {
  const qn_plugin *entry;
  qni_error_reset();
  return qni_load_plugin(path, &entry);
}
