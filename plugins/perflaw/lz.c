/*
** lz_entropy: the entropy rate of each sequence from the lengths of new substrings.
**
**   S = n ln n / sum_i L_i   in nats; 0 for n <= 1
** repo     L_i: length of the shortest substring from i that is not in the dictionary yet,
**          which then takes in that substring; if the whole rest is known, its length + 1.
**          The dictionary is closed under prefixes, so it is a trie.
** classic  L_i: length of the shortest substring from i that does not lie inside
**          u_1..u_{i-1}; if the whole rest does, its length + 1 (Kontoyiannis 1998). Held
**          in a suffix automaton that takes in one id after the other: the match at i + 1
**          is at least that at i less one, so the walk is linear in n.
** Trie and automaton keep their edges in one hash table keyed by (state, id).
** SPDX-License-Identifier: MIT
*/
#include "perflaw.h"

/* ---- Edges ---- */

struct edge {
  int64_t id;
  int32_t from, to; /* from 0: a free slot, as states count from 1 */
  int32_t next;     /* the next edge of `from`, as slot + 1 */
};

struct machine {
  struct edge *edge;
  uint64_t mask;
  int32_t *newest;        /* [state] its last made edge, as slot + 1 */
  int32_t *link, *length; /* [state] of the suffix automaton */
  int32_t n_states;
};

/* A sequence of n ids makes at most 2n + 1 states and 3n + 1 edges (n + 1 and n in a trie). */
static uint64_t edge_slots(int64_t n) {
  uint64_t slots = 8;
  while (slots < 4 * (uint64_t)n) slots *= 2;
  return slots;
}

static int64_t states_of(int64_t n) { return 2 * n + 2; }

static int64_t machine_room(int64_t n) {
  return (int64_t)(edge_slots(n) * sizeof(struct edge)) +
         3 * states_of(n) * (int64_t)sizeof(int32_t);
}

static void machine_open(struct machine *a, int64_t n, void *memory) {
  uint64_t slots = edge_slots(n);
  a->edge = memory;
  a->mask = slots - 1;
  void *rest = a->edge + slots;
  a->newest = rest;
  a->link = a->newest + states_of(n);
  a->length = a->link + states_of(n);
  a->n_states = 0;
  memset(a->edge, 0, slots * sizeof *a->edge);
}

static int32_t new_state(struct machine *a, int32_t length) {
  int32_t state = ++a->n_states;
  a->newest[state] = 0;
  a->link[state] = 0;
  a->length[state] = length;
  return state;
}

/* The slot of an edge, or the free one where it belongs. */
static struct edge *find_edge(const struct machine *a, int32_t from, int64_t id) {
  uint64_t h = ((uint64_t)id ^ (uint64_t)from << 40) * 0x9E3779B97F4A7C15u;
  h = (h ^ (h >> 29)) * 0xBF58476D1CE4E5B9u;
  h ^= h >> 32;
  for (uint64_t s = h & a->mask;; s = (s + 1) & a->mask) {
    struct edge *e = &a->edge[s];
    if (!e->from || (e->from == from && e->id == id)) return e;
  }
}

static int32_t follow(const struct machine *a, int32_t from, int64_t id) {
  return find_edge(a, from, id)->to; /* 0 where there is none */
}

static void set_edge(struct machine *a, int32_t from, int64_t id, int32_t to) {
  struct edge *e = find_edge(a, from, id);
  if (!e->from) {
    *e = (struct edge){.id = id, .from = from, .next = a->newest[from]};
    a->newest[from] = (int32_t)(e - a->edge) + 1;
  }
  e->to = to;
}

/* ---- The repository's dictionary ---- */

static int64_t trie_lengths(const int64_t *u, int64_t n, void *memory) {
  struct machine a;
  int64_t sum = 0;
  machine_open(&a, n, memory);
  int32_t root = new_state(&a, 0);
  for (int64_t i = 0; i < n; i++) {
    int32_t state = root, next;
    int64_t k = i;
    while (k < n && (next = follow(&a, state, u[k]))) {
      state = next;
      k++;
    }
    if (k < n) set_edge(&a, state, u[k], new_state(&a, 0));
    sum += k - i + 1; /* the new substring, or the whole rest and one more */
  }
  return sum;
}

/* ---- The suffix automaton (Blumer et al. 1985) ---- */

/* A copy of q for its strings of at most `length` ids. */
static int32_t split_state(struct machine *a, int32_t q, int32_t length) {
  int32_t copy = new_state(a, length);
  for (int32_t e = a->newest[q]; e; e = a->edge[e - 1].next)
    set_edge(a, copy, a->edge[e - 1].id, a->edge[e - 1].to);
  a->link[copy] = a->link[q];
  a->link[q] = copy;
  return copy;
}

/* Takes in the next id; `last` is the state of the whole text, the new one is returned. */
static int32_t take_in(struct machine *a, int32_t root, int32_t last, int64_t id) {
  int32_t now = new_state(a, a->length[last] + 1), p = last, q = 0;
  for (; p && !(q = follow(a, p, id)); p = a->link[p]) set_edge(a, p, id, now);
  if (!p) {
    a->link[now] = root;
  } else if (a->length[q] == a->length[p] + 1) {
    a->link[now] = q;
  } else {
    int32_t copy = split_state(a, q, a->length[p] + 1);
    for (; p && follow(a, p, id) == q; p = a->link[p]) set_edge(a, p, id, copy);
    a->link[now] = copy;
  }
  return now;
}

static int64_t automaton_lengths(const int64_t *u, int64_t n, void *memory) {
  struct machine a;
  int64_t sum = 0, matched = 0; /* ids from i on that lie inside u[0..i-1] */
  machine_open(&a, n, memory);
  int32_t root = new_state(&a, 0), last = root, state = root;
  for (int64_t i = 0; i < n; i++) {
    int32_t next;
    while (i + matched < n && (next = follow(&a, state, u[i + matched]))) {
      state = next;
      matched++;
    }
    sum += matched + 1;
    last = take_in(&a, root, last, u[i]);
    if (matched) matched--; /* the match loses its first id; a split may have moved it, too */
    if (!matched) state = root;
    while (state != root && matched <= a.length[a.link[state]]) state = a.link[state];
  }
  return sum;
}

/* ---- The op ---- */

struct lz { /* one call */
  const qn_host *h;
  qn_call *c;
  const int64_t *items, *offsets;
  bool classic;
  double *s;
  int64_t *total;
};

static qn_status lz_sequences(void *ctx, int64_t begin, int64_t end) {
  const struct lz *z = ctx;
  void *memory;
  int64_t longest = perflaw_longest(z->offsets, begin, end);
  qn_status st = z->h->local(z->c, machine_room(longest), &memory);
  for (int64_t b = begin; !st && b < end; b++) {
    const int64_t *u = z->items + z->offsets[b];
    int64_t n = z->offsets[b + 1] - z->offsets[b];
    z->total[b] = z->classic ? automaton_lengths(u, n, memory) : trie_lengths(u, n, memory);
    z->s[b] = n > 1 ? (double)n * log((double)n) / (double)z->total[b] : 0;
  }
  return st;
}

static qn_status lz_forward(const qn_host *h, qn_call *c) {
  int64_t n_seq;
  struct lz z = {.h = h,
                 .c = c,
                 .items = h->in(c, 0)->data,
                 .classic = h->arg_int(c, "variant") == 1,
                 .s = h->out(c, 0)->data,
                 .total = h->out(c, 1)->data};
  qn_status st = perflaw_offsets(h, c, &z.offsets, &n_seq);
  return st ? st : h->parallel(c, n_seq, 4, lz_sequences, &z);
}

const qn_op perflaw_lz_entropy_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_COUPLED,
    .flags = QN_OP_NO_GRAD,
    .schema = "lz_entropy(items: i64[T@B], *, variant: enum{repo|classic} = repo) -> s: f64[B], "
              "total: i64[B]",
    .summary = "Lempel-Ziv estimate of each sequence's entropy rate, in nats.",
    .doc = "s = n ln n / total, total being the sum over starts i of the length of the shortest "
           "substring from i that is new: not in the dictionary of such substrings (repo), or "
           "not inside what came before i (classic). A rest that is not new counts its length "
           "and one more. Sequences of at most one id give 0.",
    .cite = "Kontoyiannis et al. 1998; Shen et al. 2025 (P-Law), real entropy",
    .example = "print(quern.lz_entropy(quern.jagged({{1,2,1,2,3}}, \"i64\")))",
    .forward = lz_forward,
};
