--- LLaMA-style backbone (Touvron et al. 2023, as the P-Law repository builds it for items).
--
--   x = x + Attention(RMS(x))       rotary positions, no biases, softmax, grouped key heads
--   x = x + W2 (silu(W1 RMS(x)) * W3 RMS(x))
-- RMS with gain, eps 1e-5, also behind the last block. No absolute positions; the input is
-- scaled by sqrt(d). Hidden width: 2/3 of 4d, rounded up to a multiple of 32. Weights begin as
-- N(0, 0.02), W_o and W3 as N(0, 0.02 / sqrt(2 blocks)).
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local nn = require "quern.nn"
local util = require "quern.util"
local Backbone = require "hstu.backbone"
local Attention = require "backbones.attention"

local Block = nn.class "LlamaBlock"

function Block:init(o)
  self.norm1, self.norm2 = nn.RMSNorm(o.dim, { eps = 1e-5 }), nn.RMSNorm(o.dim, { eps = 1e-5 })
  self.attention = Attention(o)
  local l = { bias = false, init = o.init }
  self.w1 = nn.Linear(o.dim, o.hidden, { bias = false, init = o.init, act = "silu" })
  self.w3 = nn.Linear(o.dim, o.hidden, { bias = false, init = o.init_out })
  self.w2 = nn.Linear(o.hidden, o.dim, l)
  self.drop1, self.drop2 = nn.Dropout(o.dropout), nn.Dropout(o.dropout)
end

function Block:forward(x, context, number)
  x = x + self.drop1(self.attention(self.norm1(x), context, number))
  local h = self.norm2(x)
  return x + self.drop2(self.w2(quern.mul(self.w1(h), self.w3(h))))
end

---@class backbones.Llama: hstu.Backbone
local Llama = Backbone:extend "Llama"

local known = Backbone.knows { kv_heads = 1, hidden = 1 }

---@class backbones.LlamaOptions: hstu.SharedOptions
---@field kv_heads integer? key and value heads, a divisor of heads; default heads
---@field hidden integer? of the feed-forward part

---@param options backbones.LlamaOptions
function Llama:init(options)
  local who = "backbones.llama"
  local o = util.options(options, known, who)
  self:setup(o, who, 0)
  local blocks = util.integer(o.blocks or 2, who .. ": blocks", 0)
  local block = { who = who, dim = self.width, heads = self.heads, n = self.max_len, bias = false, rope = true,
    kv_heads = util.integer(o.kv_heads or self.heads, who .. ": kv_heads", 1), dropout = self.dropout,
    hidden = util.integer(o.hidden or 32 * math.ceil(8 * self.width / 3 / 32), who .. ": hidden", 1),
    init = { "normal", std = 0.02 }, init_out = { "normal", std = 0.02 / math.sqrt(2 * math.max(blocks, 1)) } }
  for _ = 1, blocks do self.block:add(Block(block)) end
  self.last = nn.RMSNorm(self.width, { eps = 1e-5 })
end

return Llama
