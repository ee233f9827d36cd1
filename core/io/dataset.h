/*
** Datasets: interactions behind a memory-mapped cache file.
**
** The cache remembers size, time and SHA-256 of its source and the options it was
** read with. It is used when they agree (equal size and time; or equal size and
** hash), its checksum is right and its indices are in range; otherwise it is built
** again. A cache that cannot be written costs a line, not the dataset.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_DATASET_H
#define QNI_DATASET_H

#include <stdbool.h>

#include "io/interactions.h"

typedef struct qni_dataset qni_dataset;

/*
** cache: the file; NULL: one named by the source's path in $QUERN_CACHE, else
** $XDG_CACHE_HOME/quern, else ~/.cache/quern; "": none.
*/
qn_status qni_dataset_open(const char *source, const char *cache,
                           const qni_interactions_options *options,
                           qni_dataset **dataset) QNI_WARN_UNUSED;
void qni_dataset_close(qni_dataset *dataset);
const qni_interactions *
qni_dataset_interactions(const qni_dataset *dataset);     /* lives as long as dataset */
const char *qni_dataset_path(const qni_dataset *dataset); /* of the cache; "" if none */
bool qni_dataset_from_cache(const qni_dataset *dataset);
/* A line worth saying (a damaged cache was rebuilt, none could be written), else "". */
const char *qni_dataset_notice(const qni_dataset *dataset);
const uint8_t *qni_dataset_sha256(const qni_dataset *dataset); /* [32], of the source */

#endif
