---@meta
-- Made by `make docs` from the schemas of org.quern.prune; changes here are lost.
-- SPDX-License-Identifier: MIT

local Tensor = {} ---@class quern.Tensor

local quern = {} ---@class quern

--- Rows by id of a table without its zeros.
--- The table is kept as csr_linear keeps its matrix; y is dense. Gradient: of the kept values.
--- `csr_embedding(ids: i64[...]{0..R-2}, values: f[P], rows: i64[R]{0..P}, cols: i32[P]{0..dim-1}? = nil, cols16: u8[P,2]? = nil, *, dim: int{1..}) -> y: f[...,dim] where R > 0`
---@param ids quern.Tensor|number
---@param values quern.Tensor|number
---@param rows quern.Tensor|number
---@param cols? quern.Tensor|number
---@param cols16? quern.Tensor|number
---@param options? { dim?: integer }
---@return quern.Tensor y
function quern.csr_embedding(ids, values, rows, cols, cols16, options) end

--- Rows by id of a table without its zeros.
--- The table is kept as csr_linear keeps its matrix; y is dense. Gradient: of the kept values.
--- `csr_embedding(ids: i64[...]{0..R-2}, values: f[P], rows: i64[R]{0..P}, cols: i32[P]{0..dim-1}? = nil, cols16: u8[P,2]? = nil, *, dim: int{1..}) -> y: f[...,dim] where R > 0`
---@param values quern.Tensor|number
---@param rows quern.Tensor|number
---@param cols? quern.Tensor|number
---@param cols16? quern.Tensor|number
---@param options? { dim?: integer }
---@return quern.Tensor y
function Tensor:csr_embedding(values, rows, cols, cols16, options) end

--- Affine map by a matrix without its zeros, kept by rows, with an activation.
--- Row o of the matrix has values[p] in columns cols[p], p = rows[o] .. rows[o+1]-1; rows rises from 0 to P. Columns count from 0; cols16 holds them in two bytes, low one first, for I <= 65536. y = act(x W' + b). Gradients: of x, of the kept values, of b.
--- `csr_linear(x: f[...,I], values: f[P], rows: i64[outputs+1]{0..P}, cols: i32[P]{0..I-1}? = nil, cols16: u8[P,2]? = nil, b: f[outputs]? = nil, *, outputs: int{1..}, act: enum{none|relu|silu} = none) -> y: f[...,outputs]`
---@param x quern.Tensor|number
---@param values quern.Tensor|number
---@param rows quern.Tensor|number
---@param cols? quern.Tensor|number
---@param cols16? quern.Tensor|number
---@param b? quern.Tensor|number
---@param options? { outputs?: integer, act?: "none"|"relu"|"silu" }
---@return quern.Tensor y
function quern.csr_linear(x, values, rows, cols, cols16, b, options) end

--- Affine map by a matrix without its zeros, kept by rows, with an activation.
--- Row o of the matrix has values[p] in columns cols[p], p = rows[o] .. rows[o+1]-1; rows rises from 0 to P. Columns count from 0; cols16 holds them in two bytes, low one first, for I <= 65536. y = act(x W' + b). Gradients: of x, of the kept values, of b.
--- `csr_linear(x: f[...,I], values: f[P], rows: i64[outputs+1]{0..P}, cols: i32[P]{0..I-1}? = nil, cols16: u8[P,2]? = nil, b: f[outputs]? = nil, *, outputs: int{1..}, act: enum{none|relu|silu} = none) -> y: f[...,outputs]`
---@param values quern.Tensor|number
---@param rows quern.Tensor|number
---@param cols? quern.Tensor|number
---@param cols16? quern.Tensor|number
---@param b? quern.Tensor|number
---@param options? { outputs?: integer, act?: "none"|"relu"|"silu" }
---@return quern.Tensor y
function Tensor:csr_linear(values, rows, cols, cols16, b, options) end

--- A matrix by rows without its zeros.
--- values and columns (from 0) in row-major order; row o has those from rows[o] to rows[o+1]-1. No gradient.
--- `csr_make(w: f[O,I]) -> values: f[?], rows: i64[O+1], cols: i32[?]`
---@param w quern.Tensor|number
---@return quern.Tensor values
---@return quern.Tensor rows
---@return quern.Tensor cols
function quern.csr_make(w) end

--- A matrix by rows without its zeros.
--- values and columns (from 0) in row-major order; row o has those from rows[o] to rows[o+1]-1. No gradient.
--- `csr_make(w: f[O,I]) -> values: f[?], rows: i64[O+1], cols: i32[?]`
---@return quern.Tensor values
---@return quern.Tensor rows
---@return quern.Tensor cols
function Tensor:csr_make() end

--- Weights kept by each kernel of a layer, balancing nodes and paths.
--- Greedy maximum of alpha nodes / (I + outputs) + (1 - alpha) sum_i paths_i sum_o m_io / most + beta kernels / budget, 0 <= m <= cap, sum m = budget; most is the largest path sum possible.
--- `npb_kernels(paths: f64[I]{0..}, *, outputs: int{1..}, budget: int{0..}, cap: int{1..} = 1, alpha: num{0..1} = 0.01, beta: num{0..} = 1) -> m: i64[I,outputs]`
---@param paths quern.Tensor|number
---@param options? { outputs?: integer, budget?: integer, cap?: integer, alpha?: number, beta?: number }
---@return quern.Tensor m
function quern.npb_kernels(paths, options) end

--- Weights kept by each kernel of a layer, balancing nodes and paths.
--- Greedy maximum of alpha nodes / (I + outputs) + (1 - alpha) sum_i paths_i sum_o m_io / most + beta kernels / budget, 0 <= m <= cap, sum m = budget; most is the largest path sum possible.
--- `npb_kernels(paths: f64[I]{0..}, *, outputs: int{1..}, budget: int{0..}, cap: int{1..} = 1, alpha: num{0..1} = 0.01, beta: num{0..} = 1) -> m: i64[I,outputs]`
---@param options? { outputs?: integer, budget?: integer, cap?: integer, alpha?: number, beta?: number }
---@return quern.Tensor m
function Tensor:npb_kernels(options) end

--- Which k scores of each line are the largest, as truth values.
--- Exactly k of each line are true, never one that is not alive. Of equal scores at the border those with the lowest index are dropped. O(N): a radix search, no sorting. An alive score that is NaN, or fewer alive scores than k, is an error.
--- `topk_select(scores: f[...,N], alive: bool[...,N]? = nil, *, k: int{0..}) -> keep: bool[...,N] where k <= N`
---@param scores quern.Tensor|number
---@param alive? quern.Tensor|number
---@param options? { k?: integer }
---@return quern.Tensor keep
function quern.topk_select(scores, alive, options) end

--- Which k scores of each line are the largest, as truth values.
--- Exactly k of each line are true, never one that is not alive. Of equal scores at the border those with the lowest index are dropped. O(N): a radix search, no sorting. An alive score that is NaN, or fewer alive scores than k, is an error.
--- `topk_select(scores: f[...,N], alive: bool[...,N]? = nil, *, k: int{0..}) -> keep: bool[...,N] where k <= N`
---@param alive? quern.Tensor|number
---@param options? { k?: integer }
---@return quern.Tensor keep
function Tensor:topk_select(alive, options) end

return { quern = quern, Tensor = Tensor }
