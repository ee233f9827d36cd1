/*
** Suggestions for mistyped names, by Damerau's edit distance.
** SPDX-License-Identifier: MIT
*/
#include "base/text.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

enum { LETTERS = 64 };

static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

static int32_t length(const char *word) {
  size_t n = strlen(word);
  return n < LETTERS ? (int32_t)n : LETTERS - 1;
}

static int letter(const char *word, int32_t i) { return tolower((unsigned char)word[i]); }

int32_t qni_edit_distance(const char *a, const char *b) {
  int32_t n = length(a), m = length(b), row[3][LETTERS]; /* rows i-2, i-1, i by turns */
  for (int32_t j = 0; j <= m; j++) row[0][j] = j;
  for (int32_t i = 1; i <= n; i++) {
    int32_t *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];
    now[0] = i;
    for (int32_t j = 1; j <= m; j++) {
      int32_t change = last[j - 1] + (letter(a, i - 1) != letter(b, j - 1));
      now[j] = least(change, least(last[j], now[j - 1]) + 1);
      if (i > 1 && j > 1 && letter(a, i - 1) == letter(b, j - 2) &&
          letter(a, i - 2) == letter(b, j - 1))
        now[j] = least(now[j], before[j - 2] + 1);
    }
  }
  return row[n % 3][m];
}

int32_t qni_near(const char *a, const char *b) {
  int32_t n = length(a), m = length(b), d = qni_edit_distance(a, b);
  int32_t longer = n > m ? n : m, allowed = longer < 3 ? 1 : longer / 3 > 1 ? longer / 3 : 1;
  if (d <= allowed && d < longer) return d;
  return n >= 3 && m > n && !strncmp(a, b, (size_t)n) ? allowed + 1 : -1; /* a beginning of it */
}

const char *qni_nearest(const char *word, const char *const *known, int32_t n) {
  const char *best = NULL;
  int32_t best_distance = 0;
  for (int32_t i = 0; i < n; i++) {
    int32_t d = qni_near(word, known[i]);
    if (d < 0 || (best && d >= best_distance)) continue;
    best = known[i];
    best_distance = d;
  }
  return best;
}
