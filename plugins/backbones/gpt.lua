--- GPT-style backbone: GPT-2's blocks (Radford et al. 2019).
--
--   x = x + Attention(LN(x));  x = x + W2 gelu(W1 LN(x) + b1) + b2
-- LN with affine part, eps 1e-5, also behind the last block; learned positions, biases, hidden
-- width 4d. Weights begin as N(0, 0.02), those that feed the residual as
-- N(0, 0.02 / sqrt(2 blocks)), biases as 0.
-- SPDX-License-Identifier: MIT

local nn = require "quern.nn"
local util = require "quern.util"
local Backbone = require "hstu.backbone"
local Attention = require "backbones.attention"

local Block = nn.class "GptBlock"

function Block:init(o)
  self.norm1, self.norm2 = nn.LayerNorm(o.dim, { eps = 1e-5 }), nn.LayerNorm(o.dim, { eps = 1e-5 })
  self.attention = Attention(o)
  self.inner = nn.Linear(o.dim, o.hidden, { act = "gelu", init = o.init, init_bias = "zeros" })
  self.outer = nn.Linear(o.hidden, o.dim, { init = o.init_out, init_bias = "zeros" })
  self.drop1, self.drop2 = nn.Dropout(o.dropout), nn.Dropout(o.dropout)
end

function Block:forward(x, context, number)
  x = x + self.drop1(self.attention(self.norm1(x), context, number))
  return x + self.drop2(self.outer(self.inner(self.norm2(x))))
end

---@class backbones.Gpt: hstu.Backbone
local Gpt = Backbone:extend "Gpt"

local known = Backbone.knows { hidden = 1 }

---@param options hstu.SharedOptions and hidden: of the feed-forward part, default 4 dim
function Gpt:init(options)
  local who = "backbones.gpt"
  local o = util.options(options, known, who)
  self:setup(o, who, o.max_len or 200, { "normal", std = 0.02 })
  local blocks = util.integer(o.blocks or 2, who .. ": blocks", 0)
  local block = { who = who, dim = self.width, heads = self.heads, kv_heads = self.heads, n = self.max_len,
    bias = true, rope = false, dropout = self.dropout,
    hidden = util.integer(o.hidden or 4 * self.width, who .. ": hidden", 1),
    init = { "normal", std = 0.02 }, init_out = { "normal", std = 0.02 / math.sqrt(2 * math.max(blocks, 1)) } }
  for _ = 1, blocks do self.block:add(Block(block)) end
  self.last = nn.LayerNorm(self.width, { eps = 1e-5 })
end

return Gpt
