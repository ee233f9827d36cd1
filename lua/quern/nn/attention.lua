--- MultiheadAttention over jagged or padded sequences.
--
--   q = x Wq', k = y Wk', v = y Wv' (+ biases), per head softmax(q k' / sqrt(d)) v, heads
--   side by side, times Wo' + b. Vaswani et al. 2017, section 3.2.2.
-- No [T,T] tensor is kept. Attention weights themselves are not dropped out.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local base = require "quern.nn.module"
local layers = require "quern.nn.layers"

---@class quern.MultiheadAttention: quern.Module
local MultiheadAttention = base.class "MultiheadAttention"

---@param dim integer width of input and output
---@param options {heads: integer?, causal: boolean?, bias: boolean?, head_dim: integer?, rope: boolean?, init: any?,
---  dtype: string?}? heads: 1; causal: false; rope: rotary positions on q and k
function MultiheadAttention:init(dim, options)
  local who = "nn.MultiheadAttention"
  local o = util.options(options, { heads = 1, causal = 1, bias = 1, head_dim = 1, rope = 1, init = 1, dtype = 1 }, who)
  self.dim, self.heads = util.integer(dim, who .. ": dim", 1), util.integer(o.heads or 1, who .. ": heads", 1)
  if not o.head_dim and dim % self.heads ~= 0 then
    util.fail("argument", ("%s: width %d does not divide into %d heads"):format(who, dim, self.heads), nil,
              "choose heads that divide the width, or give head_dim")
  end
  self.head_dim = util.integer(o.head_dim or dim // self.heads, who .. ": head_dim", 1)
  self.causal, self.rope = o.causal == true, o.rope == true
  local inner, l = self.heads * self.head_dim, { bias = o.bias, init = o.init, dtype = o.dtype }
  self.query, self.key = layers.Linear(dim, inner, l), layers.Linear(dim, inner, l)
  self.value, self.out = layers.Linear(dim, inner, l), layers.Linear(inner, dim, l)
end

local function jagged_heads(self, t, offsets)
  return quern.jagged(t:reshape({ t.shape[1], self.heads, self.head_dim }), offsets)
end

local function forward_jagged(self, x, offsets, bias)
  local q, k = self.query(x), self.key(x)
  q, k = jagged_heads(self, q, offsets), jagged_heads(self, k, offsets)
  if self.rope then
    util.fail("unsupported", "nn.MultiheadAttention: rope takes padded sequences",
              nil, "apply quern.rope to each sequence, or pad them")
  end
  local v = jagged_heads(self, self.value(x), offsets)
  local o = quern.attention(q, k, v, bias, { causal = self.causal })
  return self.out(o:reshape({ x.shape[1], self.heads * self.head_dim }))
end

-- [B,T,H*D] -> [B,H,T,D]
local function split_heads(self, t)
  return t:reshape({ t.shape[1], t.shape[2], self.heads, self.head_dim }):transpose(2, 3)
end

---@param x userdata jagged [T@B,dim], or padded [B,T,dim]
---@param options {kv: userdata?, mask: userdata?, bias: userdata?}? padded only: kv [B,S,dim] to attend to
---  instead of x, mask broadcast to [B,H,T,S] with 1 where a key is seen; bias is added to the scores
function MultiheadAttention:forward(x, options)
  local o = util.options(options, { kv = 1, mask = 1, bias = 1 }, "nn.MultiheadAttention")
  local offsets = x:offsets()
  if offsets then return quern.jagged(forward_jagged(self, x, offsets, o.bias), offsets) end
  if #x.shape ~= 3 then
    util.fail("shape", ("nn.MultiheadAttention takes [B,T,%d] or a jagged [T,%d], not %d dimensions"):format(self.dim,
              self.dim, #x.shape))
  end
  local y = o.kv or x
  local q, k = split_heads(self, self.query(x)), split_heads(self, self.key(y))
  if self.rope then q, k = quern.rope(q), quern.rope(k) end
  local a = quern.attention_dense(q, k, split_heads(self, self.value(y)), o.mask, o.bias, { causal = self.causal })
  return self.out(a:transpose(2, 3):reshape({ x.shape[1], x.shape[2], self.heads * self.head_dim }))
end

function MultiheadAttention:describe()
  return ("%d, %d heads of %d%s"):format(self.dim, self.heads, self.head_dim, self.causal and ", causal" or "")
end

return { MultiheadAttention = MultiheadAttention }
