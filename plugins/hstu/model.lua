--- HSTU (Zhai et al. 2024), the research version.
--
-- A block, with LN without affine part, on X [T,d]:
--   [U | V | Q | K] = silu(LN(X) W)         W: d x 2h(dv + dqk), no bias
--   Y = attention(Q, K, V)                  silu(QK' + bias) / n, causal; n a constant
--   X + dropout(U * LN(Y)) W_o + b_o
-- The bias is bp[j-i] + bt[bucket(time of the next event - time of j)], of each block its own.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local nn = require "quern.nn"
local util = require "quern.util"
local Backbone = require "hstu.backbone"

local rabs = { none = {}, pos = { pos = true }, time = { time = true }, ["pos+time"] = { pos = true, time = true } }

local function choose(value, choices, what)
  for _, c in ipairs(choices) do
    if c == value then return value end
  end
  util.fail("argument", ("hstu.model: %s cannot be %q"):format(what, tostring(value)), nil,
            util.suggest(tostring(value), choices))
end

-- ---- Block ------------------------------------------------------------------------------

local Block = nn.class "HstuBlock"

function Block:init(o)
  local inner = o.heads * o.dv
  self.settings = { heads = o.heads, dqk = o.dqk, dv = o.dv, n = o.n, score = o.score, gate = o.gate,
                    parts = o.concat_ua and 3 or 1, eps = 1e-6, dropout = 0.0 }
  self.dropout = o.dropout
  self.norm = nn.LayerNorm(o.dim, { affine = false, eps = 1e-6 })
  self.uvqk = nn.Linear(o.dim, 2 * o.heads * (o.dv + o.dqk),
    { bias = false, act = o.linear_activation, init = { "normal", std = 0.02 } })
  if o.rab.pos then self.bp = nn.parameter(nn.init.normal({ 2 * o.n - 1 }, { std = 0.02 }), "bias") end
  if o.rab.time then self.bt = nn.parameter(nn.init.normal({ 129 }, { std = 0.02 }), "bias") end
  local a = 1 / math.sqrt(inner * self.settings.parts)
  self.out = nn.Linear(inner * self.settings.parts, o.dim,
    { init = "xavier_uniform", init_bias = { "uniform", low = -a, high = a } })
end

function Block:forward(x, buckets)
  self.settings.dropout = self.training and self.dropout or 0.0
  local z = quern.hstu_mixer(self.uvqk(self.norm(x)), self.bp, self.bt, self.bt and buckets, self.settings)
  return x + self.out(z)
end

-- ---- Model ------------------------------------------------------------------------------

---@class hstu.Model: hstu.Backbone
local Model = Backbone:extend("Hstu")

local known = { items = 1, dim = 1, blocks = 1, heads = 1, dqk = 1, dv = 1, max_len = 1, n = 1, rab = 1,
  time_query = 1, score = 1, gate = 1, concat_ua = 1, linear_activation = 1, dropout = 1, norm = 1, sparse = 1 }

---@class hstu.ModelOptions
---@field items integer catalogue; ids are 1..items
---@field dim integer? 50
---@field blocks integer? 2
---@field heads integer? 1
---@field dqk integer? per head; dim / heads
---@field dv integer? per head; dim / heads
---@field max_len integer? longest sequence, 200
---@field n integer? constant divisor and reach of the position bias; max_len + 11
---@field rab string? relative bias: "none", "pos", "time", "pos+time" (default)
---@field time_query string? "next" (time of the event to be predicted, default) or "current"
---@field score string? "silu" (default) or "softmax"
---@field gate boolean? multiply by U; default true
---@field concat_ua boolean? feed [U, LN(Y), U LN(Y)] to the output map; default false
---@field linear_activation string? after the first map: "silu" (default) or "none"
---@field dropout number? 0.2
---@field norm string? of user and item vectors in score and loss: "l2" (default) or "none"
---@field sparse boolean? gradients of the item table by rows

---@param options hstu.ModelOptions
function Model:init(options)
  local o = util.options(options, known, "hstu.model")
  local n = util.integer(o.n or (o.max_len or 200) + 11, "hstu.model: n", o.max_len or 200)
  self:setup(o, "hstu.model", n, "xavier_normal")
  local heads = util.integer(o.heads or 1, "hstu.model: heads", 1)
  if not (o.dqk and o.dv) and self.dim % heads ~= 0 then
    util.fail("argument", ("hstu.model: dim %d is not a multiple of heads %d"):format(self.dim, heads), nil,
              "or give dqk and dv, the widths of one head")
  end
  self.rab = rabs[choose(o.rab or "pos+time", util.keys(rabs), "rab")]
  self.time_query = choose(o.time_query or "next", { "next", "current" }, "time_query")
  local block = { dim = self.dim, heads = heads, n = n, rab = self.rab, dropout = self.dropout,
    dqk = util.integer(o.dqk or self.dim // heads, "hstu.model: dqk", 1),
    dv = util.integer(o.dv or self.dim // heads, "hstu.model: dv", 1),
    score = choose(o.score or "silu", { "silu", "softmax" }, "score"),
    linear_activation = choose(o.linear_activation or "silu", { "silu", "none" }, "linear_activation"),
    gate = o.gate ~= false, concat_ua = o.concat_ua == true }
  if block.concat_ua and not block.gate then
    util.fail("argument", "hstu.model: concat_ua needs the gate")
  end
  self.block = nn.ModuleList {}
  for _ = 1, util.integer(o.blocks or 2, "hstu.model: blocks", 0) do self.block:add(Block(block)) end
end

--- Time buckets of a batch, made once for all blocks; nil without time bias.
---@param batch table
---@return userdata? u8 [T,longest]
function Model:buckets(batch)
  if not self.rab.time then return nil end
  if not batch.times then
    util.fail("argument", "the model has a time bias, the data have no timestamps", nil,
              'make it with rab = "pos"')
  end
  local query = self.time_query == "next" and batch.next_times or batch.times
  return quern.time_bucket(batch.times, query, { width = batch.longest })
end

---@param batch table items, and times with next_times for a time bias
---@return userdata x jagged [T,dim]; position i stands for the prediction of event i+1
function Model:encode(batch)
  local x, buckets = self:embed(batch), self:buckets(batch)
  for i = 1, #self.block do x = self.block[i](x, buckets) end
  return x
end

function Model:forward(batch) return self:encode(batch) end

return Model
