/* Suggestions for mistyped names. SPDX-License-Identifier: MIT */
#ifndef QNI_TEXT_H
#define QNI_TEXT_H

#include <stdint.h>

/*
** Edit distance of two words: letters inserted, dropped, changed, or two neighbours
** swapped, regardless of case; words beyond 63 letters are cut.
*/
int32_t qni_edit_distance(const char *a, const char *b);
/* Is b near enough to a to be suggested for it? Smaller is nearer; -1: no. */
int32_t qni_near(const char *a, const char *b);
/* The known word that `word` was likely meant to be, the first of equals; NULL if none is near. */
const char *qni_nearest(const char *word, const char *const *known, int32_t n);

#endif
