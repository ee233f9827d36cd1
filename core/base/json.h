/*
** JSON: typed helpers on jansson.
**
** Texts are capped in size and depth, duplicate keys are refused, and errors give
** line and column. The canonical form (sorted keys, no white space) is what gets
** hashed. jansson's memory comes from mem.c.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_JSON_H
#define QNI_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "base/status.h"

enum { QNI_JSON_DEPTH = 64 };
enum { QNI_JSON_BYTES = 256 << 20 };

/* Gives jansson our memory; whoever makes values with json_* calls it first. */
void qni_json_start(void);

/* `origin` names the text in errors (a path, "metadata"). Release with json_decref. */
qn_status qni_json_parse(const char *text, size_t n_bytes, const char *origin,
                         json_t **out) QNI_WARN_UNUSED;
qn_status qni_json_load(const char *path, json_t **out) QNI_WARN_UNUSED;

/* Text, freed with qni_mem_free; NULL with QN_E_NOMEM. */
char *qni_json_dump(const json_t *value);        /* canonical: sorted keys, compact, 17 digits */
char *qni_json_dump_pretty(const json_t *value); /* sorted keys, two spaces, ends in \n */
/* Crash-safe writing of the pretty form. */
qn_status qni_json_save(const char *path, const json_t *value) QNI_WARN_UNUSED;
/* SHA-256 of the canonical form. */
qn_status qni_json_hash(const json_t *value, uint8_t digest[32]) QNI_WARN_UNUSED;

/*
** Fields of an object, by type. A missing field or one of another type is
** QN_E_FORMAT naming `origin`, the key, what was found. Values are borrowed.
*/
qn_status qni_json_string(const json_t *object, const char *origin, const char *key,
                          const char **value) QNI_WARN_UNUSED;
qn_status qni_json_int(const json_t *object, const char *origin, const char *key,
                       int64_t *value) QNI_WARN_UNUSED;
qn_status qni_json_number(const json_t *object, const char *origin, const char *key,
                          double *value) QNI_WARN_UNUSED;
qn_status qni_json_bool(const json_t *object, const char *origin, const char *key,
                        bool *value) QNI_WARN_UNUSED;
qn_status qni_json_object(const json_t *object, const char *origin, const char *key,
                          json_t **value) QNI_WARN_UNUSED;
qn_status qni_json_array(const json_t *object, const char *origin, const char *key,
                         json_t **value) QNI_WARN_UNUSED;
const char *qni_json_type(const json_t *value); /* "a string", "nothing", ... for messages */

#endif
