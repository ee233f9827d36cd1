--- A block of HSTU, research version.
--
-- With LN without affine part, on X [T,d]:
--   [U | V | Q | K] = silu(LN(X) W)         W: d x 2h(dv + dqk), no bias
--   Y = attention(Q, K, V)                  silu(QK' + bias) / n, causal; n a constant
--   X' = X + dropout(U * LN(Y)) W_o + b_o
-- The bias is bp[j-i] + bt[bucket(time of the next event - time of j)], of each block its own.
-- Switches: rotary positions on Q and K; where the residual starts:
--   "hstu"    X + f(LN(X))          as above
--   "sasrec"  LN(X) + f(LN(X))      from the normalised input
--   "post"    LN(X + f(X))          normalised behind
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local nn = require "quern.nn"

---@class hstu.Block: quern.Module
local Block = nn.class "HstuBlock"

---@param o table dim, heads, dqk, dv, n, rab, score, gate, concat_ua, linear_activation, dropout, rope, residual
function Block:init(o)
  local inner = o.heads * o.dv
  self.settings = { heads = o.heads, dqk = o.dqk, dv = o.dv, n = o.n, score = o.score, gate = o.gate,
                    parts = o.concat_ua and 3 or 1, eps = 1e-6, dropout = 0.0 }
  self.dropout, self.rope, self.residual = o.dropout, o.rope, o.residual
  self.norm = nn.LayerNorm(o.dim, { affine = false, eps = 1e-6 })
  self.uvqk = nn.Linear(o.dim, 2 * o.heads * (o.dv + o.dqk),
    { bias = false, act = o.linear_activation, init = { "normal", std = 0.02 } })
  if o.rab.pos then self.bp = nn.parameter(nn.init.normal({ 2 * o.n - 1 }, { std = 0.02 }), "bias") end
  if o.rab.time then self.bt = nn.parameter(nn.init.normal({ 129 }, { std = 0.02 }), "bias") end
  local a = 1 / math.sqrt(inner * self.settings.parts)
  self.out = nn.Linear(inner * self.settings.parts, o.dim,
    { init = "xavier_uniform", init_bias = { "uniform", low = -a, high = a } })
end

--- [U | V | Q | K] as u [T,h dv], v [T,h,dv], q and k [T,h,dqk].
---@param m userdata jagged [T,2h(dv+dqk)]
---@param heads integer
---@param dqk integer
---@param dv integer
function Block.columns(m, heads, dqk, dv)
  local T, value, query = m.shape[1], heads * dv, heads * dqk
  local function part(first, width)
    local t = quern.narrow(m, 2, first + 1, heads * width):reshape({ T, heads, width })
    return m.is_jagged and quern.jagged(t, m) or t
  end
  return quern.narrow(m, 2, 1, value), part(value, dv), part(2 * value, dqk), part(2 * value + query, dqk)
end

-- Attention and gate in steps, for contexts and switches that the fused op does not know.
function Block:mix(m, context, number)
  local s = self.settings
  local u, v, q, k = Block.columns(m, s.heads, s.dqk, s.dv)
  if self.rope then q, k = context:rope(q), context:rope(k) end
  local y = context:attend(number, q, k, v, self.bp, self.bt, { n = s.n, score = s.score })
  y = y:reshape({ y.shape[1], s.heads * s.dv })
  if context.gate then return context:gate(u, y, s) end
  if s.gate then return quern.norm_gate(u, y, { parts = s.parts, eps = s.eps, dropout = s.dropout }) end
  y = quern.layer_norm(y, { eps = s.eps })
  return s.dropout > 0 and quern.dropout(y, { p = s.dropout, training = true }) or y
end

-- The map of x, plus residual.
function Block:inner(x, context, number, residual)
  self.settings.dropout = self.training and self.dropout or 0.0
  local m = self.uvqk(x)
  if self.rope or not context.fused then return self.out(self:mix(m, context, number), residual) end
  return self.out(quern.hstu_mixer(m, self.bp, self.bt, self.bt and context.buckets, self.settings), residual)
end

---@param x userdata jagged [T,d]
---@param context hstu.Context
---@param number integer which block this is
---@return userdata jagged [T,d]
function Block:forward(x, context, number)
  if self.residual == "post" then return self.norm(self:inner(x, context, number, x)) end
  local h = self.norm(x)
  return self:inner(h, context, number, self.residual == "sasrec" and h or x)
end

return Block
