/*
** Where and when the events of a sequence stand: indices of input embeddings.
**
**   sequence_places   i, or L - 1 - i counted from the end, at most `most` - 1
**   age_bucket        min(trunc(sqrt(max(query_L - t_i, 0) / unit)), buckets - 1)
** query_L is the last event's query time: the moment of the request. The product form of HSTU
** indexes its inputs by places from the end and by ages. SPDX-License-Identifier: MIT
*/
#include "hstu.h"

struct recency { /* one call */
  const int64_t *offsets, *time, *query;
  int64_t *out;
  int64_t most;
  bool from_end;
  double unit;
};

static qn_status place_sequences(void *ctx, int64_t begin, int64_t end) {
  const struct recency *s = ctx;
  for (int64_t b = begin; b < end; b++) {
    int64_t first = s->offsets[b], last = s->offsets[b + 1] - 1;
    for (int64_t t = first; t <= last; t++)
      s->out[t] = least(s->from_end ? last - t : t - first, s->most - 1);
  }
  return QN_OK;
}

static qn_status places_forward(const qn_host *h, qn_call *c) {
  struct recency s = {.out = h->out(c, 0)->data,
                      .most = h->arg_int(c, "most"),
                      .from_end = h->arg_bool(c, "from_end")};
  int64_t n_seq;
  qn_status st = hstu_offsets(h, c, h->in(c, 0)->shape[0], &s.offsets, &n_seq);
  return st ? st : h->parallel(c, n_seq, 16, place_sequences, &s);
}

static qn_status age_sequences(void *ctx, int64_t begin, int64_t end) {
  const struct recency *s = ctx;
  for (int64_t b = begin; b < end; b++) {
    double now = (double)s->query[s->offsets[b + 1] - 1];
    for (int64_t t = s->offsets[b]; t < s->offsets[b + 1]; t++) {
      double root = sqrt(fmax(now - (double)s->time[t], 0) / s->unit);
      s->out[t] = root < (double)s->most ? (int64_t)root : s->most - 1;
    }
  }
  return QN_OK;
}

static qn_status age_forward(const qn_host *h, qn_call *c) {
  struct recency s = {.time = h->in(c, 0)->data,
                      .query = h->in(c, 1)->data,
                      .out = h->out(c, 0)->data,
                      .most = h->arg_int(c, "buckets"),
                      .unit = h->arg_num(c, "unit")};
  int64_t n_seq;
  if (!(s.unit > 0)) return h->fail(c, QN_E_ARG, "unit must be above 0, not %g", s.unit);
  qn_status st = hstu_offsets(h, c, h->in(c, 0)->shape[0], &s.offsets, &n_seq);
  return st ? st : h->parallel(c, n_seq, 16, age_sequences, &s);
}

const qn_op hstu_sequence_places_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_SEQUENCES,
    .schema = "sequence_places(x: any[T@B], *, from_end: bool = false, most: int{1..} = 8192) -> "
              "place: i64[T@B]",
    .summary = "The place of each token in its sequence, from the start or from the end.",
    .doc = "Places count from 0 and stop at most - 1.",
    .cite = "Zhai et al. 2024 (arXiv 2402.17152), its product code (modules/)",
    .example = "local x = quern.jagged(quern.i64{7, 8, 9}, {0, 2, 3}); "
               "print(quern.sequence_places(x):values():sum():item()) --> 1",
    .forward = places_forward,
};

const qn_op hstu_age_bucket_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_SEQUENCES,
    .schema = "age_bucket(times: i64[T@B], query: i64[T@B], *, buckets: int{1..} = 2048, "
              "unit: num{0..} = 60) -> age: i64[T@B]",
    .summary = "Root of the time between each event and the moment of its sequence's request.",
    .doc = "age = trunc(sqrt(max(query_L - times_i, 0) / unit)), at most buckets - 1; query_L is "
           "the last event's entry of query. With times in seconds, unit 60 counts minutes.",
    .cite = "Zhai et al. 2024 (arXiv 2402.17152), its product code (modules/)",
    .example = "local t = quern.jagged(quern.i64{0, 600, 1200}, {0, 3}); "
               "print(quern.age_bucket(t, t, {unit = 1}):values():totable()[1]) --> 34",
    .forward = age_forward,
};
