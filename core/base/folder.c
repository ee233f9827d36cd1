/*
** Folders: making, listing, removing; paths.
** SPDX-License-Identifier: MIT
*/
#include "base/folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

/* ---- Paths ---- */

char *qni_path_format(const char *format, ...) {
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, format, args);
  char *path = n < 0 ? NULL : qni_mem_alloc((size_t)n + 1);
  if (path) vsnprintf(path, (size_t)n + 1, format, again);
  va_end(again);
  va_end(args);
  return path;
}

char *qni_path_join(const char *folder, const char *name) {
  size_t n = strlen(folder);
  if (n == 0 || name[0] == '/') return qni_mem_strdup(name);
  return qni_path_format(folder[n - 1] == '/' ? "%s%s" : "%s/%s", folder, name);
}

char *qni_path_folder(const char *path) {
  size_t n = strlen(path);
  while (n > 1 && path[n - 1] == '/') n--; /* "a/b/" is in "a" */
  while (n > 0 && path[n - 1] != '/') n--;
  if (n == 0) return qni_mem_strdup(".");
  while (n > 1 && path[n - 1] == '/') n--;
  return qni_path_format("%.*s", (int)n, path);
}

/* ---- Making ---- */

static bool is_folder(const char *path) {
  struct stat info;
  return !stat(path, &info) && S_ISDIR(info.st_mode);
}

static qn_status make_one(const char *path) {
  if (!mkdir(path, 0777)) {
    char *parent = qni_path_folder(path);
    qn_status st = parent ? qni_file_sync_folder(parent) : QN_E_NOMEM;
    qni_mem_free(parent);
    return st;
  }
  if (errno == EEXIST && is_folder(path)) return QN_OK;
  return qni_file_error("make folder", path);
}

qn_status qni_folder_make(const char *path) {
  if (is_folder(path)) return QN_OK;
  char *part = qni_mem_strdup(path);
  if (!part) return QN_E_NOMEM;
  qn_status st = QN_OK;
  for (char *p = part + 1; !st && *part && *p; p++)
    if (*p == '/' && p[-1] != '/') {
      *p = 0;
      if (!is_folder(part)) st = make_one(part);
      *p = '/';
    }
  if (!st) st = make_one(part);
  qni_mem_free(part);
  return st;
}

/* ---- Listing ---- */

static int by_bytes(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static qn_status add_name(qni_folder_list *list, int64_t *room, const char *name) {
  if (list->n == *room) {
    int64_t more = *room ? 2 * *room : 16;
    char **names = qni_mem_realloc(list->names, (size_t)more * sizeof *names);
    if (!names) return QN_E_NOMEM;
    list->names = names;
    *room = more;
  }
  char *copy = qni_mem_strdup(name);
  if (!copy) return QN_E_NOMEM;
  list->names[list->n++] = copy;
  return QN_OK;
}

qn_status qni_folder_read(const char *path, qni_folder_list *list) {
  *list = (qni_folder_list){0};
  DIR *dir = opendir(path);
  if (!dir) return qni_file_error("read folder", path);
  int64_t room = 0;
  qn_status st = QN_OK;
  for (struct dirent *e; !st && (errno = 0, e = readdir(dir));)
    if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) st = add_name(list, &room, e->d_name);
  if (!st && errno) st = qni_file_error("read folder", path);
  closedir(dir);
  if (st)
    qni_folder_list_free(list);
  else if (list->n)
    qsort(list->names, (size_t)list->n, sizeof *list->names, by_bytes);
  return st;
}

void qni_folder_list_free(qni_folder_list *list) {
  for (int64_t i = 0; i < list->n; i++) qni_mem_free(list->names[i]);
  qni_mem_free(list->names);
  *list = (qni_folder_list){0};
}

/* ---- Removing ---- */

static qn_status remove_inside(const char *path) {
  qni_folder_list list;
  qn_status st = qni_folder_read(path, &list);
  if (st) return st;
  for (int64_t i = 0; !st && i < list.n; i++) {
    char *child = qni_path_join(path, list.names[i]);
    st = child ? qni_folder_remove(child) : QN_E_NOMEM;
    qni_mem_free(child);
  }
  qni_folder_list_free(&list);
  return st;
}

qn_status qni_folder_remove(const char *path) {
  struct stat info;
  if (lstat(path, &info)) return errno == ENOENT ? QN_OK : qni_file_error("remove", path);
  if (!S_ISDIR(info.st_mode)) return qni_file_remove(path);
  qn_status st = remove_inside(path);
  if (!st && rmdir(path) && errno != ENOENT) st = qni_file_error("remove folder", path);
  return st;
}
