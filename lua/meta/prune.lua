---@meta
-- Made by `make docs` from the schemas of org.quern.prune; changes here are lost.
-- SPDX-License-Identifier: MIT

local Tensor = {} ---@class quern.Tensor

local quern = {} ---@class quern

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
