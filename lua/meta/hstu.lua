---@meta
-- Made by `make docs` from the schemas of org.quern.hstu; changes here are lost.
-- SPDX-License-Identifier: MIT

local Tensor = {} ---@class quern.Tensor

local quern = {} ---@class quern

--- Root of the time between each event and the moment of its sequence's request.
--- age = trunc(sqrt(max(query_L - times_i, 0) / unit)), at most buckets - 1; query_L is the last event's entry of query. With times in seconds, unit 60 counts minutes.
--- `age_bucket(times: i64[T@B], query: i64[T@B], *, buckets: int{1..} = 2048, unit: num{0..} = 60) -> age: i64[T@B]`
---@param times quern.Tensor|number
---@param query quern.Tensor|number
---@param options? { buckets?: integer, unit?: number }
---@return quern.Tensor age
function quern.age_bucket(times, query, options) end

--- Root of the time between each event and the moment of its sequence's request.
--- age = trunc(sqrt(max(query_L - times_i, 0) / unit)), at most buckets - 1; query_L is the last event's entry of query. With times in seconds, unit 60 counts minutes.
--- `age_bucket(times: i64[T@B], query: i64[T@B], *, buckets: int{1..} = 2048, unit: num{0..} = 60) -> age: i64[T@B]`
---@param query quern.Tensor|number
---@param options? { buckets?: integer, unit?: number }
---@return quern.Tensor age
function Tensor:age_bucket(query, options) end

--- Attention without softmax: silu(q k + bias) / n, causal, by sequence.
--- S_ij = alpha (<q_i, k_j> + bp[n-1+j-i] + bt[bucket_ij]), P = scale silu(S) for j <= i, y_i = sum_j P_ij v_j. n is a constant of the model, not the length of a sequence; scale defaults to 1/n. bp has 2n-1 entries, bt 129; buckets come from time_bucket. score = "softmax" normalises over the keys a query may see; alpha then defaults to 1/sqrt(D) and scale to 1.
--- `hstu_attention(q: f[T@B,H,D] strided, k: f[T@B,H,D] strided, v: f[T@B,H,E] strided, bp: f[2*n-1]? = nil, bt: f[129]? = nil, buckets: u8[T@B,W]? = nil, *, n: int{1..}, score: enum{silu|softmax} = silu, causal: bool = true, alpha: num? = nil, scale: num? = nil, attn_dropout: num{0..1} = 0) -> y: f[T@B,H,E]`
---@param q quern.Tensor|number
---@param k quern.Tensor|number
---@param v quern.Tensor|number
---@param bp? quern.Tensor|number
---@param bt? quern.Tensor|number
---@param buckets? quern.Tensor|number
---@param options? { n?: integer, score?: "silu"|"softmax", causal?: boolean, alpha?: number, scale?: number, attn_dropout?: number }
---@return quern.Tensor y
function quern.hstu_attention(q, k, v, bp, bt, buckets, options) end

--- Attention without softmax: silu(q k + bias) / n, causal, by sequence.
--- S_ij = alpha (<q_i, k_j> + bp[n-1+j-i] + bt[bucket_ij]), P = scale silu(S) for j <= i, y_i = sum_j P_ij v_j. n is a constant of the model, not the length of a sequence; scale defaults to 1/n. bp has 2n-1 entries, bt 129; buckets come from time_bucket. score = "softmax" normalises over the keys a query may see; alpha then defaults to 1/sqrt(D) and scale to 1.
--- `hstu_attention(q: f[T@B,H,D] strided, k: f[T@B,H,D] strided, v: f[T@B,H,E] strided, bp: f[2*n-1]? = nil, bt: f[129]? = nil, buckets: u8[T@B,W]? = nil, *, n: int{1..}, score: enum{silu|softmax} = silu, causal: bool = true, alpha: num? = nil, scale: num? = nil, attn_dropout: num{0..1} = 0) -> y: f[T@B,H,E]`
---@param k quern.Tensor|number
---@param v quern.Tensor|number
---@param bp? quern.Tensor|number
---@param bt? quern.Tensor|number
---@param buckets? quern.Tensor|number
---@param options? { n?: integer, score?: "silu"|"softmax", causal?: boolean, alpha?: number, scale?: number, attn_dropout?: number }
---@return quern.Tensor y
function Tensor:hstu_attention(k, v, bp, bt, buckets, options) end

--- Attention of new tokens on a cached history, as continuation or as candidates.
--- ck, cv are keys and values of N tokens, q, k, v belong to M new ones. candidates = false: new token i stands at position N + i and sees the cache and the new ones up to itself; true: each stands at position N and sees the cache and itself. Biases, alpha and scale as in hstu_attention; bt is indexed by bucket(query - time), times of the cache and new_times of the new tokens as keys. For inference, without gradient.
--- `hstu_extend_attention(q: f[M,H,D], k: f[M,H,D], v: f[M,H,E], ck: f[N,H,D], cv: f[N,H,E], bp: f[2*n-1]? = nil, bt: f[129]? = nil, times: i64[N]? = nil, new_times: i64[M]? = nil, query: i64[M]? = nil, *, n: int{1..}, score: enum{silu|softmax} = silu, candidates: bool = false, alpha: num? = nil, scale: num? = nil) -> y: f[M,H,E]`
---@param q quern.Tensor|number
---@param k quern.Tensor|number
---@param v quern.Tensor|number
---@param ck quern.Tensor|number
---@param cv quern.Tensor|number
---@param bp? quern.Tensor|number
---@param bt? quern.Tensor|number
---@param times? quern.Tensor|number
---@param new_times? quern.Tensor|number
---@param query? quern.Tensor|number
---@param options? { n?: integer, score?: "silu"|"softmax", candidates?: boolean, alpha?: number, scale?: number }
---@return quern.Tensor y
function quern.hstu_extend_attention(q, k, v, ck, cv, bp, bt, times, new_times, query, options) end

--- Attention of new tokens on a cached history, as continuation or as candidates.
--- ck, cv are keys and values of N tokens, q, k, v belong to M new ones. candidates = false: new token i stands at position N + i and sees the cache and the new ones up to itself; true: each stands at position N and sees the cache and itself. Biases, alpha and scale as in hstu_attention; bt is indexed by bucket(query - time), times of the cache and new_times of the new tokens as keys. For inference, without gradient.
--- `hstu_extend_attention(q: f[M,H,D], k: f[M,H,D], v: f[M,H,E], ck: f[N,H,D], cv: f[N,H,E], bp: f[2*n-1]? = nil, bt: f[129]? = nil, times: i64[N]? = nil, new_times: i64[M]? = nil, query: i64[M]? = nil, *, n: int{1..}, score: enum{silu|softmax} = silu, candidates: bool = false, alpha: num? = nil, scale: num? = nil) -> y: f[M,H,E]`
---@param k quern.Tensor|number
---@param v quern.Tensor|number
---@param ck quern.Tensor|number
---@param cv quern.Tensor|number
---@param bp? quern.Tensor|number
---@param bt? quern.Tensor|number
---@param times? quern.Tensor|number
---@param new_times? quern.Tensor|number
---@param query? quern.Tensor|number
---@param options? { n?: integer, score?: "silu"|"softmax", candidates?: boolean, alpha?: number, scale?: number }
---@return quern.Tensor y
function Tensor:hstu_extend_attention(k, v, ck, cv, bp, bt, times, new_times, query, options) end

--- An HSTU layer between its two linear maps: attention, norm, gate, dropout.
--- m holds the columns [U | V | Q | K]. Equal to norm_gate(u, hstu_attention(q, k, v, bp, bt, buckets)); see there. gate = false leaves out u: z = norm(y).
--- `hstu_mixer(m: f[T@B,2*heads*(dqk+dv)], bp: f[2*n-1]? = nil, bt: f[129]? = nil, buckets: u8[T@B,W]? = nil, *, heads: int{1..}, dqk: int{1..}, dv: int{1..}, n: int{1..}, score: enum{silu|softmax} = silu, causal: bool = true, alpha: num? = nil, scale: num? = nil, attn_dropout: num{0..1} = 0, gate: bool = true, parts: int{1..3} = 1, eps: num{0..} = 1e-06, dropout: num{0..1} = 0) -> z: f[T@B,parts*heads*dv]`
---@param m quern.Tensor|number
---@param bp? quern.Tensor|number
---@param bt? quern.Tensor|number
---@param buckets? quern.Tensor|number
---@param options? { heads?: integer, dqk?: integer, dv?: integer, n?: integer, score?: "silu"|"softmax", causal?: boolean, alpha?: number, scale?: number, attn_dropout?: number, gate?: boolean, parts?: integer, eps?: number, dropout?: number }
---@return quern.Tensor z
function quern.hstu_mixer(m, bp, bt, buckets, options) end

--- An HSTU layer between its two linear maps: attention, norm, gate, dropout.
--- m holds the columns [U | V | Q | K]. Equal to norm_gate(u, hstu_attention(q, k, v, bp, bt, buckets)); see there. gate = false leaves out u: z = norm(y).
--- `hstu_mixer(m: f[T@B,2*heads*(dqk+dv)], bp: f[2*n-1]? = nil, bt: f[129]? = nil, buckets: u8[T@B,W]? = nil, *, heads: int{1..}, dqk: int{1..}, dv: int{1..}, n: int{1..}, score: enum{silu|softmax} = silu, causal: bool = true, alpha: num? = nil, scale: num? = nil, attn_dropout: num{0..1} = 0, gate: bool = true, parts: int{1..3} = 1, eps: num{0..} = 1e-06, dropout: num{0..1} = 0) -> z: f[T@B,parts*heads*dv]`
---@param bp? quern.Tensor|number
---@param bt? quern.Tensor|number
---@param buckets? quern.Tensor|number
---@param options? { heads?: integer, dqk?: integer, dv?: integer, n?: integer, score?: "silu"|"softmax", causal?: boolean, alpha?: number, scale?: number, attn_dropout?: number, gate?: boolean, parts?: integer, eps?: number, dropout?: number }
---@return quern.Tensor z
function Tensor:hstu_mixer(bp, bt, buckets, options) end

--- u times layer-normalised y, without affine part, and dropout.
--- hat = (y - mean) / sqrt(var + eps) over the last dimension; z = u hat, or [u, hat, u hat] for parts = 3. dropout zeroes entries of z and scales the others by 1/(1-p).
--- `norm_gate(u: f[...,D], y: f[...,D], *, parts: int{1..3} = 1, eps: num{0..} = 1e-06, dropout: num{0..1} = 0) -> z: f[...,parts*D]`
---@param u quern.Tensor|number
---@param y quern.Tensor|number
---@param options? { parts?: integer, eps?: number, dropout?: number }
---@return quern.Tensor z
function quern.norm_gate(u, y, options) end

--- u times layer-normalised y, without affine part, and dropout.
--- hat = (y - mean) / sqrt(var + eps) over the last dimension; z = u hat, or [u, hat, u hat] for parts = 3. dropout zeroes entries of z and scales the others by 1/(1-p).
--- `norm_gate(u: f[...,D], y: f[...,D], *, parts: int{1..3} = 1, eps: num{0..} = 1e-06, dropout: num{0..1} = 0) -> z: f[...,parts*D]`
---@param y quern.Tensor|number
---@param options? { parts?: integer, eps?: number, dropout?: number }
---@return quern.Tensor z
function Tensor:norm_gate(y, options) end

--- Mean of the rows of a table that each id's list names.
--- y is the mean of w[a] over all a in lists[id]; 0 for an empty list. ids count lists from 0. Attributes of items: lists[v] holds those of item v, lists[0] none.
--- `pooled_embedding(w: f[A,D], ids: i64[...], lists: i64[M@V]{0..A-1}) -> y: f[...,D]`
---@param w quern.Tensor|number
---@param ids quern.Tensor|number
---@param lists quern.Tensor|number
---@return quern.Tensor y
function quern.pooled_embedding(w, ids, lists) end

--- Mean of the rows of a table that each id's list names.
--- y is the mean of w[a] over all a in lists[id]; 0 for an empty list. ids count lists from 0. Attributes of items: lists[v] holds those of item v, lists[0] none.
--- `pooled_embedding(w: f[A,D], ids: i64[...], lists: i64[M@V]{0..A-1}) -> y: f[...,D]`
---@param ids quern.Tensor|number
---@param lists quern.Tensor|number
---@return quern.Tensor y
function Tensor:pooled_embedding(ids, lists) end

--- Rank of each row's target among the row's scores.
--- As rank_targets, with the scores given: column v is item v, column 0 is padding.
--- `rank_scores(scores: f32[N,V], target: i64[N], seen: i64[S@N]? = nil, keep: u8[V]? = nil, *, ties: enum{average|optimistic|pessimistic} = average) -> rank: f64[N], tied: i64[N]`
---@param scores quern.Tensor|number
---@param target quern.Tensor|number
---@param seen? quern.Tensor|number
---@param keep? quern.Tensor|number
---@param options? { ties?: "average"|"optimistic"|"pessimistic" }
---@return quern.Tensor rank
---@return quern.Tensor tied
function quern.rank_scores(scores, target, seen, keep, options) end

--- Rank of each row's target among the row's scores.
--- As rank_targets, with the scores given: column v is item v, column 0 is padding.
--- `rank_scores(scores: f32[N,V], target: i64[N], seen: i64[S@N]? = nil, keep: u8[V]? = nil, *, ties: enum{average|optimistic|pessimistic} = average) -> rank: f64[N], tied: i64[N]`
---@param target quern.Tensor|number
---@param seen? quern.Tensor|number
---@param keep? quern.Tensor|number
---@param options? { ties?: "average"|"optimistic"|"pessimistic" }
---@return quern.Tensor rank
---@return quern.Tensor tied
function Tensor:rank_scores(target, seen, keep, options) end

--- Rank of each row's target among all rows of a table, by scalar product.
--- rank = 1 + number of candidates that score more + a share of those that score the same: half of them, none, or all (ties). Candidates are rows 1..V-1 of e with keep not 0, less the row's seen ids, less the target. tied counts the equal ones.
--- `rank_targets(o: f32[N,D], e: f32[V,D], target: i64[N], seen: i64[S@N]? = nil, keep: u8[V]? = nil, *, ties: enum{average|optimistic|pessimistic} = average) -> rank: f64[N], tied: i64[N]`
---@param o quern.Tensor|number
---@param e quern.Tensor|number
---@param target quern.Tensor|number
---@param seen? quern.Tensor|number
---@param keep? quern.Tensor|number
---@param options? { ties?: "average"|"optimistic"|"pessimistic" }
---@return quern.Tensor rank
---@return quern.Tensor tied
function quern.rank_targets(o, e, target, seen, keep, options) end

--- Rank of each row's target among all rows of a table, by scalar product.
--- rank = 1 + number of candidates that score more + a share of those that score the same: half of them, none, or all (ties). Candidates are rows 1..V-1 of e with keep not 0, less the row's seen ids, less the target. tied counts the equal ones.
--- `rank_targets(o: f32[N,D], e: f32[V,D], target: i64[N], seen: i64[S@N]? = nil, keep: u8[V]? = nil, *, ties: enum{average|optimistic|pessimistic} = average) -> rank: f64[N], tied: i64[N]`
---@param e quern.Tensor|number
---@param target quern.Tensor|number
---@param seen? quern.Tensor|number
---@param keep? quern.Tensor|number
---@param options? { ties?: "average"|"optimistic"|"pessimistic" }
---@return quern.Tensor rank
---@return quern.Tensor tied
function Tensor:rank_targets(e, target, seen, keep, options) end

--- Binary cross-entropy of the next item against drawn ones.
--- Mean over positions, weighted by w, of beta softplus(-s_pos) + sum softplus(s_neg), with s = <o, e[id]> / temperature; l2 = true scales vectors to length 1 first. Negatives are drawn uniformly for each position; one equal to the positive is left out. beta below 1 makes up for the negatives that are not drawn (gBCE).
--- `sampled_bce(o: f[T,D], pos: i64[T]{1..V-1}, e: f[V,D], w: f[T]{0..}? = nil, items: i64[C]{1..V-1}? = nil, *, negatives: int{1..} = 1, temperature: num{0..} = 1, l2: bool = false, beta: num{0..} = 1, sparse: bool = false) -> loss: f[]`
---@param o quern.Tensor|number
---@param pos quern.Tensor|number
---@param e quern.Tensor|number
---@param w? quern.Tensor|number
---@param items? quern.Tensor|number
---@param options? { negatives?: integer, temperature?: number, l2?: boolean, beta?: number, sparse?: boolean }
---@return quern.Tensor loss
function quern.sampled_bce(o, pos, e, w, items, options) end

--- Binary cross-entropy of the next item against drawn ones.
--- Mean over positions, weighted by w, of beta softplus(-s_pos) + sum softplus(s_neg), with s = <o, e[id]> / temperature; l2 = true scales vectors to length 1 first. Negatives are drawn uniformly for each position; one equal to the positive is left out. beta below 1 makes up for the negatives that are not drawn (gBCE).
--- `sampled_bce(o: f[T,D], pos: i64[T]{1..V-1}, e: f[V,D], w: f[T]{0..}? = nil, items: i64[C]{1..V-1}? = nil, *, negatives: int{1..} = 1, temperature: num{0..} = 1, l2: bool = false, beta: num{0..} = 1, sparse: bool = false) -> loss: f[]`
---@param pos quern.Tensor|number
---@param e quern.Tensor|number
---@param w? quern.Tensor|number
---@param items? quern.Tensor|number
---@param options? { negatives?: integer, temperature?: number, l2?: boolean, beta?: number, sparse?: boolean }
---@return quern.Tensor loss
function Tensor:sampled_bce(pos, e, w, items, options) end

--- Softmax loss on unit vectors against drawn items, or against all.
--- Mean over positions, weighted by w, of -log softmax of <o, e[pos]> / temperature among the positive and the negatives, all vectors scaled to length 1 inside. Ids are rows of e, 1..V-1; row 0 is padding. Negatives: "uniform" draws them for each position from items (default: all ids), with replacement; "in_batch" from the distinct positives of the call; "shared" draws one pool for the call; "full" takes every item. A negative equal to the positive scores -5e4. unit = true says that the rows of e have length 1 already. sparse = true gives the gradient of e by rows.
--- `sampled_softmax_l2(o: f[T,D], pos: i64[T]{1..V-1}, e: f[V,D], w: f[T]{0..}? = nil, items: i64[C]{1..V-1}? = nil, *, sampler: enum{uniform|shared|in_batch|full} = uniform, negatives: int{1..} = 128, temperature: num{0..} = 0.05, unit: bool = false, sparse: bool = false) -> loss: f[]`
---@param o quern.Tensor|number
---@param pos quern.Tensor|number
---@param e quern.Tensor|number
---@param w? quern.Tensor|number
---@param items? quern.Tensor|number
---@param options? { sampler?: "uniform"|"shared"|"in_batch"|"full", negatives?: integer, temperature?: number, unit?: boolean, sparse?: boolean }
---@return quern.Tensor loss
function quern.sampled_softmax_l2(o, pos, e, w, items, options) end

--- Softmax loss on unit vectors against drawn items, or against all.
--- Mean over positions, weighted by w, of -log softmax of <o, e[pos]> / temperature among the positive and the negatives, all vectors scaled to length 1 inside. Ids are rows of e, 1..V-1; row 0 is padding. Negatives: "uniform" draws them for each position from items (default: all ids), with replacement; "in_batch" from the distinct positives of the call; "shared" draws one pool for the call; "full" takes every item. A negative equal to the positive scores -5e4. unit = true says that the rows of e have length 1 already. sparse = true gives the gradient of e by rows.
--- `sampled_softmax_l2(o: f[T,D], pos: i64[T]{1..V-1}, e: f[V,D], w: f[T]{0..}? = nil, items: i64[C]{1..V-1}? = nil, *, sampler: enum{uniform|shared|in_batch|full} = uniform, negatives: int{1..} = 128, temperature: num{0..} = 0.05, unit: bool = false, sparse: bool = false) -> loss: f[]`
---@param pos quern.Tensor|number
---@param e quern.Tensor|number
---@param w? quern.Tensor|number
---@param items? quern.Tensor|number
---@param options? { sampler?: "uniform"|"shared"|"in_batch"|"full", negatives?: integer, temperature?: number, unit?: boolean, sparse?: boolean }
---@return quern.Tensor loss
function Tensor:sampled_softmax_l2(pos, e, w, items, options) end

--- Item embeddings times scale plus position embeddings, with dropout, by sequence.
--- x_t = dropout(scale e[ids_t] + p[i]), i being the place of t in its sequence, from the oldest. Ids are 1..V-1; row 0 is padding, which jagged sequences do not have.
--- `sequence_embedding(ids: i64[T@B]{1..V-1}, e: f[V,D], p: f[N,D]? = nil, *, scale: num = 1, dropout: num{0..1} = 0, sparse: bool = false) -> x: f[T@B,D]`
---@param ids quern.Tensor|number
---@param e quern.Tensor|number
---@param p? quern.Tensor|number
---@param options? { scale?: number, dropout?: number, sparse?: boolean }
---@return quern.Tensor x
function quern.sequence_embedding(ids, e, p, options) end

--- Item embeddings times scale plus position embeddings, with dropout, by sequence.
--- x_t = dropout(scale e[ids_t] + p[i]), i being the place of t in its sequence, from the oldest. Ids are 1..V-1; row 0 is padding, which jagged sequences do not have.
--- `sequence_embedding(ids: i64[T@B]{1..V-1}, e: f[V,D], p: f[N,D]? = nil, *, scale: num = 1, dropout: num{0..1} = 0, sparse: bool = false) -> x: f[T@B,D]`
---@param e quern.Tensor|number
---@param p? quern.Tensor|number
---@param options? { scale?: number, dropout?: number, sparse?: boolean }
---@return quern.Tensor x
function Tensor:sequence_embedding(e, p, options) end

--- The last row of each sequence.
--- y[b] is the last row of sequence b. Gradient: dy[b] goes to that row.
--- `sequence_last(x: f[T@B,D]) -> y: f[B,D]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.sequence_last(x) end

--- The last row of each sequence.
--- y[b] is the last row of sequence b. Gradient: dy[b] goes to that row.
--- `sequence_last(x: f[T@B,D]) -> y: f[B,D]`
---@return quern.Tensor y
function Tensor:sequence_last() end

--- The place of each token in its sequence, from the start or from the end.
--- Places count from 0 and stop at most - 1.
--- `sequence_places(x: any[T@B], *, from_end: bool = false, most: int{1..} = 8192) -> place: i64[T@B]`
---@param x quern.Tensor|number
---@param options? { from_end?: boolean, most?: integer }
---@return quern.Tensor place
function quern.sequence_places(x, options) end

--- The place of each token in its sequence, from the start or from the end.
--- Places count from 0 and stop at most - 1.
--- `sequence_places(x: any[T@B], *, from_end: bool = false, most: int{1..} = 8192) -> place: i64[T@B]`
---@param options? { from_end?: boolean, most?: integer }
---@return quern.Tensor place
function Tensor:sequence_places(options) end

--- Which events of long sequences a training step keeps.
--- 1 for each event that is kept. A sequence of n events stays whole if n <= limit^(alpha/2), and with probability limit^alpha / n^2; else floor(limit^(alpha/2)) of its events stay: the most recent, any, or by weights that fall with age. times rise within a sequence; where there are none, positions serve.
--- `stochastic_length(times: i64[T@B], *, limit: int{1..}, alpha: num{1..2} = 1.6, select: enum{greedy|random|weighted} = weighted) -> keep: u8[T@B]`
---@param times quern.Tensor|number
---@param options? { limit?: integer, alpha?: number, select?: "greedy"|"random"|"weighted" }
---@return quern.Tensor keep
function quern.stochastic_length(times, options) end

--- Which events of long sequences a training step keeps.
--- 1 for each event that is kept. A sequence of n events stays whole if n <= limit^(alpha/2), and with probability limit^alpha / n^2; else floor(limit^(alpha/2)) of its events stay: the most recent, any, or by weights that fall with age. times rise within a sequence; where there are none, positions serve.
--- `stochastic_length(times: i64[T@B], *, limit: int{1..}, alpha: num{1..2} = 1.6, select: enum{greedy|random|weighted} = weighted) -> keep: u8[T@B]`
---@param options? { limit?: integer, alpha?: number, select?: "greedy"|"random"|"weighted" }
---@return quern.Tensor keep
function Tensor:stochastic_length(options) end

--- Buckets of the time differences of a sequence's pairs, on a log scale.
--- buckets[i][j] = clamp(trunc(ln(max(|query[i] - times[j]|, 1)) / 0.301), 0, 128) for events i and j of one sequence, 0 for j > i if causal. query holds the time of the event to be predicted at i, or that of event i itself. width is at least the longest sequence.
--- `time_bucket(times: i64[T@B], query: i64[T@B], *, width: int{1..}, causal: bool = true) -> buckets: u8[T@B,width]`
---@param times quern.Tensor|number
---@param query quern.Tensor|number
---@param options? { width?: integer, causal?: boolean }
---@return quern.Tensor buckets
function quern.time_bucket(times, query, options) end

--- Buckets of the time differences of a sequence's pairs, on a log scale.
--- buckets[i][j] = clamp(trunc(ln(max(|query[i] - times[j]|, 1)) / 0.301), 0, 128) for events i and j of one sequence, 0 for j > i if causal. query holds the time of the event to be predicted at i, or that of event i itself. width is at least the longest sequence.
--- `time_bucket(times: i64[T@B], query: i64[T@B], *, width: int{1..}, causal: bool = true) -> buckets: u8[T@B,width]`
---@param query quern.Tensor|number
---@param options? { width?: integer, causal?: boolean }
---@return quern.Tensor buckets
function Tensor:time_bucket(query, options) end

return { quern = quern, Tensor = Tensor }
