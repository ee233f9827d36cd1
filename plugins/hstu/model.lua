--- HSTU (Zhai et al. 2024): the research version (block.lua) and two other forms (variants.lua).
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local nn = require "quern.nn"
local util = require "quern.util"
local Backbone = require "hstu.backbone"
local Block = require "hstu.block"
local variants = require "hstu.variants"

---@class hstu.Model: hstu.Backbone
local Model = Backbone:extend "Hstu"

-- Switches of the research version, which the other forms have decided.
local switches = { "rab", "score", "gate", "concat_ua", "linear_activation", "rope", "residual" }

local known = Backbone.knows { dqk = 1, dv = 1, n = 1, variant = 1, time_query = 1, norm_heads = 1, places = 1,
  rab = 1, score = 1, gate = 1, concat_ua = 1, linear_activation = 1, rope = 1, residual = 1 }

---@class hstu.ModelOptions: hstu.SharedOptions
---@field dqk integer? per head; width / heads
---@field dv integer? per head; width / heads
---@field n integer? constant divisor and reach of the position bias; max_len + 11
---@field variant string? "research" (default), "rope", "product"
---@field rab string? relative bias: "none", "pos", "time", "pos+time" (default)
---@field time_query string? "next" (time of the event to be predicted, default) or "current"
---@field score string? "silu" (default) or "softmax"
---@field gate boolean? multiply by U; default true
---@field concat_ua boolean? feed [U, LN(Y), U LN(Y)] to the output map; default false
---@field linear_activation string? after the first map: "silu" (default) or "none"
---@field rope boolean? rotary positions on queries and keys; default false
---@field residual string? starts from "hstu" (X, default), "sasrec" (LN(X)); or "post": LN(X + f(X))
---@field norm_heads boolean? product form: normalise each head; default false
---@field places string? product form: position embeddings by place from the "end" (default) or "start"

-- What the forms have in common, read and checked.
local function block_settings(self, o, who)
  if not (o.dqk and o.dv) and self.width % self.heads ~= 0 then
    util.fail("argument", ("%s: dim %d is not a multiple of heads %d"):format(who, self.width, self.heads), nil,
              "or give dqk and dv, the widths of one head")
  end
  local block = { dim = self.width, heads = self.heads, n = self.n, rab = self.rab, dropout = self.dropout,
    dqk = util.integer(o.dqk or self.width // self.heads, who .. ": dqk", 1),
    dv = util.integer(o.dv or self.width // self.heads, who .. ": dv", 1),
    score = util.choose(o.score or "silu", { "silu", "softmax" }, who .. ": score"),
    linear_activation = util.choose(o.linear_activation or "silu", { "silu", "none" }, who .. ": linear_activation"),
    gate = o.gate ~= false, concat_ua = o.concat_ua == true, rope = o.rope == true,
    residual = util.choose(o.residual or "hstu", { "hstu", "sasrec", "post" }, who .. ": residual"),
    norm_heads = o.norm_heads == true }
  if block.concat_ua and not block.gate then util.fail("argument", who .. ": concat_ua needs the gate") end
  return block
end

---@param options hstu.ModelOptions
function Model:init(options)
  local who = "hstu.model"
  local o = util.options(options, known, who)
  self.variant = util.choose(o.variant or "research", { "research", "rope", "product" }, who .. ": variant")
  for _, name in ipairs(switches) do
    if self.variant ~= "research" and o[name] ~= nil then
      util.fail("argument", ("%s: %s is a switch of the research version; variant %q has decided it"):format(who, name,
                self.variant), nil, "leave out " .. name .. ', or variant')
    end
  end
  self.n = util.integer(o.n or (o.max_len or 200) + 11, who .. ": n", o.max_len or 200)
  local research = self.variant == "research"
  self.from_end = self.variant == "product" and util.choose(o.places or "end", { "end", "start" },
                                                            who .. ": places") == "end"
  local places = (self.variant == "rope" or self.from_end) and 0 or self.n
  self:setup(o, who, places, "xavier_normal")
  self:set_bias(o, who, research and "pos+time" or "none")
  local block, kind = block_settings(self, o, who), research and Block or variants[self.variant]
  for _ = 1, util.integer(o.blocks or 2, who .. ": blocks", 0) do self.block:add(kind(block)) end
  if self.from_end then
    local init = { init = { "normal", std = math.sqrt(1 / 8192) } }
    self.from_last = nn.Embedding(8192, self.width, init)
    self.age = nn.Embedding(2048, self.width, { init = { "normal", std = math.sqrt(1 / 2048) } })
  end
  if self.variant == "rope" then self.last = nn.RMSNorm(self.width, { eps = 1e-5 }) end
end

--- The shared input, and in the product form places from the end and ages.
---@param batch table
---@param places userdata? as Backbone:embed
function Model:embed(batch, places)
  local x = Backbone.embed(self, batch, places)
  if not self.from_end then return x end
  x = x + self.from_last(quern.sequence_places(self.tokens_of(batch), { from_end = true, most = 8192 }))
  return batch.times and x + self.age(quern.age_bucket(batch.times, self:query_of(batch))) or x
end

return Model
