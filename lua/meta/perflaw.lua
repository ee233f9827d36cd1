---@meta
-- Made by `make docs` from the schemas of org.quern.perflaw; changes here are lost.
-- SPDX-License-Identifier: MIT

local Tensor = {} ---@class quern.Tensor

local quern = {} ---@class quern

--- Approximate entropy of each sequence, in nats.
--- |Phi(m) - Phi(m+1)|, Phi(m) = mean over runs i of m ids of ln C_i, C_i being the share of runs whose ids all lie within r of those of run i, itself included. With 0 <= r < 1 ids must be equal; r >= 1 compares ids as numbers, which says something only where they have an order. Phi is 0 for sequences shorter than m.
--- `apen(items: i64[T@B], *, m: int{1..64} = 2, r: num = 0.2) -> e: f64[B]`
---@param items quern.Tensor|number
---@param options? { m?: integer, r?: number }
---@return quern.Tensor e
function quern.apen(items, options) end

--- Approximate entropy of each sequence, in nats.
--- |Phi(m) - Phi(m+1)|, Phi(m) = mean over runs i of m ids of ln C_i, C_i being the share of runs whose ids all lie within r of those of run i, itself included. With 0 <= r < 1 ids must be equal; r >= 1 compares ids as numbers, which says something only where they have an order. Phi is 0 for sequences shorter than m.
--- `apen(items: i64[T@B], *, m: int{1..64} = 2, r: num = 0.2) -> e: f64[B]`
---@param options? { m?: integer, r?: number }
---@return quern.Tensor e
function Tensor:apen(options) end

--- Shannon entropy in bits and zlib's ratio of blocks of ids, averaged.
--- Blocks follow one another; a last one that is not full is left out. Ids go to zlib as 4 bytes, big end first, at the default level. Without a whole block the values are NaN and blocks is 0.
--- `block_entropy(items: i64[T]{0..}, *, block: int{1..16777216} = 10000) -> shannon: f64[], zlib: f64[], blocks: i64[]`
---@param items quern.Tensor|number
---@param options? { block?: integer }
---@return quern.Tensor shannon
---@return quern.Tensor zlib
---@return quern.Tensor blocks
function quern.block_entropy(items, options) end

--- Shannon entropy in bits and zlib's ratio of blocks of ids, averaged.
--- Blocks follow one another; a last one that is not full is left out. Ids go to zlib as 4 bytes, big end first, at the default level. Without a whole block the values are NaN and blocks is 0.
--- `block_entropy(items: i64[T]{0..}, *, block: int{1..16777216} = 10000) -> shannon: f64[], zlib: f64[], blocks: i64[]`
---@param options? { block?: integer }
---@return quern.Tensor shannon
---@return quern.Tensor zlib
---@return quern.Tensor blocks
function Tensor:block_entropy(options) end

--- Entropy of runs of m ids, counted over all sequences together, in nats.
--- h = -sum of (c/total) ln(c/total) over distinct runs; no run crosses from one sequence to the next. miller_madow and chao_shen are corrections for runs that were not seen; singles counts runs that occur once. The order of sequences does not matter.
--- `gram_entropy(items: i64[T@B], *, m: int{1..64} = 1) -> h: f64[], miller_madow: f64[], chao_shen: f64[], total: i64[], distinct: i64[], singles: i64[]`
---@param items quern.Tensor|number
---@param options? { m?: integer }
---@return quern.Tensor h
---@return quern.Tensor miller_madow
---@return quern.Tensor chao_shen
---@return quern.Tensor total
---@return quern.Tensor distinct
---@return quern.Tensor singles
function quern.gram_entropy(items, options) end

--- Entropy of runs of m ids, counted over all sequences together, in nats.
--- h = -sum of (c/total) ln(c/total) over distinct runs; no run crosses from one sequence to the next. miller_madow and chao_shen are corrections for runs that were not seen; singles counts runs that occur once. The order of sequences does not matter.
--- `gram_entropy(items: i64[T@B], *, m: int{1..64} = 1) -> h: f64[], miller_madow: f64[], chao_shen: f64[], total: i64[], distinct: i64[], singles: i64[]`
---@param options? { m?: integer }
---@return quern.Tensor h
---@return quern.Tensor miller_madow
---@return quern.Tensor chao_shen
---@return quern.Tensor total
---@return quern.Tensor distinct
---@return quern.Tensor singles
function Tensor:gram_entropy(options) end

--- Fits each row of y by the Performance Law or a power law, over x = ln N, ln d, ...
--- y_i = sum_k b[k,group_i] phi(x_ik; a_k, p_k) + sum_l c_l z_il. repo: phi = -a x - exp(-a x)/p; paper: x + p exp(-a x); power: exp(-a x), a > 0. theta holds a, beta first b ([A,split]), then c. All signs of a are searched, or only near start where it is given; |a| (max x - min x) <= guard. w weighs squares; huber > 0 is the bound beyond which residuals count by their size. optima: different places the search ended in. Rows with a value that is not finite give NaN.
--- `law_fit(x: f64[N,A], z: f64[N,L], y: f64[R,N], p: f64[A]{1..16}, w: f64[N]{0..}? = nil, group: i64[N]{0..split-1}? = nil, start: f64[A]? = nil, *, form: enum{repo|paper|power} = repo, split: int{1..8} = 1, guard: num{0.01..} = 6, huber: num{0..} = 0) -> theta: f64[R,A], beta: f64[R,A*split+L], sse: f64[R], optima: i64[R] where A <= 3`
---@param x quern.Tensor|number
---@param z quern.Tensor|number
---@param y quern.Tensor|number
---@param p quern.Tensor|number
---@param w? quern.Tensor|number
---@param group? quern.Tensor|number
---@param start? quern.Tensor|number
---@param options? { form?: "repo"|"paper"|"power", split?: integer, guard?: number, huber?: number }
---@return quern.Tensor theta
---@return quern.Tensor beta
---@return quern.Tensor sse
---@return quern.Tensor optima
function quern.law_fit(x, z, y, p, w, group, start, options) end

--- Fits each row of y by the Performance Law or a power law, over x = ln N, ln d, ...
--- y_i = sum_k b[k,group_i] phi(x_ik; a_k, p_k) + sum_l c_l z_il. repo: phi = -a x - exp(-a x)/p; paper: x + p exp(-a x); power: exp(-a x), a > 0. theta holds a, beta first b ([A,split]), then c. All signs of a are searched, or only near start where it is given; |a| (max x - min x) <= guard. w weighs squares; huber > 0 is the bound beyond which residuals count by their size. optima: different places the search ended in. Rows with a value that is not finite give NaN.
--- `law_fit(x: f64[N,A], z: f64[N,L], y: f64[R,N], p: f64[A]{1..16}, w: f64[N]{0..}? = nil, group: i64[N]{0..split-1}? = nil, start: f64[A]? = nil, *, form: enum{repo|paper|power} = repo, split: int{1..8} = 1, guard: num{0.01..} = 6, huber: num{0..} = 0) -> theta: f64[R,A], beta: f64[R,A*split+L], sse: f64[R], optima: i64[R] where A <= 3`
---@param z quern.Tensor|number
---@param y quern.Tensor|number
---@param p quern.Tensor|number
---@param w? quern.Tensor|number
---@param group? quern.Tensor|number
---@param start? quern.Tensor|number
---@param options? { form?: "repo"|"paper"|"power", split?: integer, guard?: number, huber?: number }
---@return quern.Tensor theta
---@return quern.Tensor beta
---@return quern.Tensor sse
---@return quern.Tensor optima
function Tensor:law_fit(z, y, p, w, group, start, options) end

--- Lempel-Ziv estimate of each sequence's entropy rate, in nats.
--- s = n ln n / total, total being the sum over starts i of the length of the shortest substring from i that is new: not in the dictionary of such substrings (repo), or not inside what came before i (classic). A rest that is not new counts its length and one more. Sequences of at most one id give 0.
--- `lz_entropy(items: i64[T@B], *, variant: enum{repo|classic} = repo) -> s: f64[B], total: i64[B]`
---@param items quern.Tensor|number
---@param options? { variant?: "repo"|"classic" }
---@return quern.Tensor s
---@return quern.Tensor total
function quern.lz_entropy(items, options) end

--- Lempel-Ziv estimate of each sequence's entropy rate, in nats.
--- s = n ln n / total, total being the sum over starts i of the length of the shortest substring from i that is new: not in the dictionary of such substrings (repo), or not inside what came before i (classic). A rest that is not new counts its length and one more. Sequences of at most one id give 0.
--- `lz_entropy(items: i64[T@B], *, variant: enum{repo|classic} = repo) -> s: f64[B], total: i64[B]`
---@param options? { variant?: "repo"|"classic" }
---@return quern.Tensor s
---@return quern.Tensor total
function Tensor:lz_entropy(options) end

return { quern = quern, Tensor = Tensor }
