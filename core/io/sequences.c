/*
** Sequences: leave-one-out splits of interactions.
**
** A split is a list of users per phase; where a sequence begins and ends follows from
** the user's offsets, so nothing is copied until a batch is made.
** SPDX-License-Identifier: MIT
*/
#include "io/sequences.h"

#include <inttypes.h>
#include <string.h>

enum { N_PHASES = 3 };

struct qni_split {
  const qni_interactions *x;
  qni_split_options options;
  int64_t *users[N_PHASES];
  int64_t n_rows[N_PHASES], n_tokens[N_PHASES], longest[N_PHASES];
  int64_t n_dropped;
};

/* How many of L events are inputs; below 1: none in this phase. */
static int64_t inputs(int32_t protocol, int32_t phase, int64_t L) {
  static const int32_t held_out[3][N_PHASES] = {
      [QNI_PROTOCOL_STANDARD] = {3, 2, 1},
      [QNI_PROTOCOL_META] = {2, INT32_MAX, 1},
      [QNI_PROTOCOL_WHOLE] = {1, 1, 1},
  };
  return L - held_out[protocol][phase];
}

qni_row qni_split_row(const qni_split *s, int32_t phase, int64_t row) {
  int64_t user = s->users[phase][row], begin = s->x->offsets[user];
  int64_t n = inputs(s->options.protocol, phase, s->x->offsets[user + 1] - begin);
  int64_t keep = s->options.max_len && n > s->options.max_len ? s->options.max_len : n;
  return (qni_row){.user = user, .begin = begin + n - keep, .end = begin + n};
}

static qn_status check_options(const qni_interactions *x, qni_split_options *o) {
  int64_t least = o->protocol == QNI_PROTOCOL_WHOLE ? 2 : 3;
  if (o->protocol < 0 || o->protocol > QNI_PROTOCOL_WHOLE)
    return qni_fail(QN_E_ARG, "there is no split protocol %d", (int)o->protocol);
  if (o->max_len < 0)
    return qni_fail(QN_E_ARG, "the most inputs of a sequence cannot be %" PRId64, o->max_len);
  if (!o->user_end) o->user_end = x->n_users;
  if (o->user_begin < 0 || o->user_end > x->n_users || o->user_begin > o->user_end) {
    qni_fail(QN_E_ARG, "users %" PRId64 " to %" PRId64 " do not exist", o->user_begin + 1,
             o->user_end);
    qni_error_detail("there are %" PRId64, x->n_users);
    return QN_E_ARG;
  }
  if (o->min_events < least) o->min_events = least;
  return QN_OK;
}

static void add_row(qni_split *s, int32_t phase, int64_t user) {
  s->users[phase][s->n_rows[phase]++] = user;
  qni_row row = qni_split_row(s, phase, s->n_rows[phase] - 1);
  int64_t n = row.end - row.begin;
  s->n_tokens[phase] += n;
  if (n > s->longest[phase]) s->longest[phase] = n;
}

static void add_users(qni_split *s) {
  for (int64_t u = s->options.user_begin; u < s->options.user_end; u++) {
    int64_t L = s->x->offsets[u + 1] - s->x->offsets[u];
    if (L < s->options.min_events) {
      s->n_dropped++;
      continue;
    }
    for (int32_t phase = 0; phase < N_PHASES; phase++)
      if (inputs(s->options.protocol, phase, L) > 0) add_row(s, phase, u);
  }
}

static qn_status no_users(const qni_split *s) {
  qni_fail(QN_E_FORMAT, "no user has the %" PRId64 " events that this split needs",
           s->options.min_events);
  qni_error_detail("users: %" PRId64, s->options.user_end - s->options.user_begin);
  qni_error_hint("check that the columns for user and item are the right ones");
  return QN_E_FORMAT;
}

qn_status qni_split_new(const qni_interactions *x, const qni_split_options *options,
                        qni_split **split) {
  *split = NULL;
  qni_split *s = qni_mem_zalloc(1, sizeof *s);
  if (!s) return QN_E_NOMEM;
  s->x = x;
  if (options) s->options = *options;
  qn_status st = check_options(x, &s->options);
  for (int32_t p = 0; p < N_PHASES && !st; p++) {
    int64_t n = s->options.user_end - s->options.user_begin;
    if (!(s->users[p] = qni_mem_alloc((size_t)n * sizeof *s->users[p]))) st = QN_E_NOMEM;
  }
  if (!st) add_users(s);
  if (!st && !s->n_rows[QNI_PHASE_TEST]) st = no_users(s);
  if (st)
    qni_split_free(s);
  else
    *split = s;
  return st;
}

void qni_split_free(qni_split *s) {
  if (!s) return;
  for (int32_t p = 0; p < N_PHASES; p++) qni_mem_free(s->users[p]);
  qni_mem_free(s);
}

int64_t qni_split_rows(const qni_split *s, int32_t phase) { return s->n_rows[phase]; }
int64_t qni_split_tokens(const qni_split *s, int32_t phase) { return s->n_tokens[phase]; }
int64_t qni_split_longest(const qni_split *s, int32_t phase) { return s->longest[phase]; }
int64_t qni_split_dropped(const qni_split *s) { return s->n_dropped; }
const qni_interactions *qni_split_interactions(const qni_split *s) { return s->x; }

static int32_t parse_word(const char *name, const char *const words[3]) {
  for (int32_t i = 0; i < 3; i++)
    if (!strcmp(name, words[i])) return i;
  return -1;
}

int32_t qni_protocol_parse(const char *name) {
  return parse_word(name, (const char *const[]){"standard", "meta", "whole"});
}

int32_t qni_phase_parse(const char *name) {
  return parse_word(name, (const char *const[]){"train", "valid", "test"});
}
