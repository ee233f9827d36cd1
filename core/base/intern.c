/*
** Texts that are kept once: a table of chains that is never taken down.
** SPDX-License-Identifier: MIT
*/
#include "base/intern.h"

#include <stdint.h>
#include <string.h>

#include "base/mem.h"

struct kept {
  struct kept *next;
  char text[];
};

enum { CHAINS = 1024 };
static struct kept *chain[CHAINS];

/* FNV-1a. */
static uint32_t hash(const char *text) {
  uint32_t h = 2166136261u;
  for (; *text; text++) h = (h ^ (unsigned char)*text) * 16777619u;
  return h;
}

const char *qni_intern(const char *text) {
  struct kept **head = &chain[hash(text) % CHAINS];
  for (const struct kept *k = *head; k; k = k->next)
    if (!strcmp(k->text, text)) return k->text;
  size_t bytes = strlen(text) + 1;
  struct kept *k = qni_mem_alloc(sizeof *k + bytes);
  if (!k) return NULL;
  memcpy(k->text, text, bytes);
  k->next = *head;
  *head = k;
  return k->text;
}
