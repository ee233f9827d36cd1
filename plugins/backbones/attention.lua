--- Causal softmax attention with grouped key and value heads, by a backbone's context.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local nn = require "quern.nn"
local util = require "quern.util"

---@class backbones.Attention: quern.Module
local Attention = nn.class "Attention"

---@param o table dim, heads, kv_heads, n, bias, rope, dropout, init, init_out
function Attention:init(o)
  if o.dim % o.heads ~= 0 or o.heads % o.kv_heads ~= 0 then
    util.fail("argument", ("%s: %d channels, %d heads and %d key and value heads do not divide"):format(o.who, o.dim,
              o.heads, o.kv_heads))
  end
  self.heads, self.kv_heads, self.size = o.heads, o.kv_heads, o.dim // o.heads
  self.n, self.rope, self.dropout = o.n, o.rope, o.dropout
  local function map(width, init)
    return nn.Linear(o.dim, width, { bias = o.bias, init = init, init_bias = "zeros" })
  end
  self.query, self.key = map(o.dim, o.init), map(self.kv_heads * self.size, o.init)
  self.value, self.out = map(self.kv_heads * self.size, o.init), map(o.dim, o.init_out)
end

-- Each key head serves heads / kv_heads query heads.
function Attention:spread(t)
  local T, group = t.shape[1], self.heads // self.kv_heads
  if group == 1 then return t end
  local wide = quern.expand(t:values():reshape({ T, self.kv_heads, 1, self.size }),
                            { T, self.kv_heads, group, self.size })
  return quern.jagged(wide:reshape({ T, self.heads, self.size }), t)
end

---@param x userdata jagged [T,d], normalised
---@param context hstu.Context
---@param number integer
---@return userdata jagged [T,d]
function Attention:forward(x, context, number)
  local T = x.shape[1]
  local function part(t, heads) return t:reshape({ T, heads, self.size }) end
  local q, k = part(self.query(x), self.heads), part(self.key(x), self.kv_heads)
  if self.rope then q, k = context:rope(q), context:rope(k) end
  local y = context:attend(number, q, self:spread(k), self:spread(part(self.value(x), self.kv_heads)), nil, nil,
    { n = self.n, score = "softmax", attn_dropout = self.training and self.dropout or 0 })
  return self.out(y:reshape({ T, self.heads * self.size }))
end

return Attention
