/*
** Folders: making, listing, removing; paths.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_FOLDER_H
#define QNI_FOLDER_H

#include <stdbool.h>

#include "base/status.h"

/* Like mkdir -p; an existing folder is fine. The parents of new folders are synced. */
qn_status qni_folder_make(const char *path) QNI_WARN_UNUSED;

typedef struct qni_folder_list {
  char **names; /* sorted by bytes, without . and .. */
  int64_t n;
} qni_folder_list;

qn_status qni_folder_read(const char *path, qni_folder_list *list) QNI_WARN_UNUSED;
void qni_folder_list_free(qni_folder_list *list);

/* The folder with all in it, links not followed; an absent one is no error. */
qn_status qni_folder_remove(const char *path) QNI_WARN_UNUSED;

/* New strings, freed with qni_mem_free; NULL with QN_E_NOMEM. */
char *qni_path_join(const char *folder, const char *name);
char *qni_path_folder(const char *path); /* "a" of "a/b", "." of "b", "/" of "/b" */
char *qni_path_format(const char *format, ...) QNI_PRINTF(1, 2);

#endif
