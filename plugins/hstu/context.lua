--- How the blocks of a backbone attend: to whole sequences, or (session.lua) to kept keys.
--
-- A block never calls an attention op itself. It hands q, k, v to its context, which knows
-- where sequences begin, which times belong to the tokens and whether keys are kept.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"

---@class hstu.Context
---@field buckets userdata? u8 [T,longest]
---@field fused boolean hstu_mixer may take the place of attention and gate
local Context = class "Context"

---@param buckets userdata? of time_bucket, for models with a time bias
function Context:init(buckets) self.buckets, self.fused = buckets, true end

--- Causal attention within each sequence.
---@param _ integer which block asks
---@param q userdata jagged [T,H,D]
---@param bp userdata? position bias
---@param bt userdata? time bias
---@param o table settings of hstu_attention
---@return userdata y jagged [T,H,E]
function Context:attend(_, q, k, v, bp, bt, o)
  return quern.hstu_attention(q, k, v, bp, bt, bt and self.buckets, o)
end

--- Rotary positions, counted from each sequence's start.
---@param x userdata jagged [T,H,D]
function Context:rope(x) return quern.rope(x) end

return Context
