--- Blocks of the other two forms of HSTU.
--
-- "rope", of the P-Law repository: h = silu(RMS(x)); [U | V | Q | K] = h W, all linear;
--   rotary positions on Q and K; P = silu(QK' / sqrt(dqk)), no 1/n, no bias;
--   x + dropout(U * RMS(PV)) W_o
-- "product", of the authors' product code (modules/): LN with affine part, W with bias,
--   silu on U only, P = silu(QK' / sqrt(dqk)) / n, no bias;
--   x + dropout([U, Y, U * LN(Y)]) W_o; LN over all heads, or over each (norm_heads)
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local nn = require "quern.nn"
local Block = require "hstu.block"

local variants = {}

-- ---- rope -----------------------------------------------------------------------------------

local Rope = nn.class "HstuRopeBlock"
variants.rope = Rope

function Rope:init(o)
  local inner, init = o.heads * o.dv, { "normal", std = 0.02 }
  self.heads, self.dqk, self.dv, self.n = o.heads, o.dqk, o.dv, o.n
  self.norm, self.norm_y = nn.RMSNorm(o.dim, { eps = 1e-5 }), nn.RMSNorm(inner, { eps = 1e-5 })
  self.uvqk = nn.Linear(o.dim, 2 * o.heads * (o.dv + o.dqk), { bias = false, init = init })
  self.out = nn.Linear(inner, o.dim, { bias = false, init = init })
  self.drop = nn.Dropout(o.dropout)
end

function Rope:forward(x, context, number)
  local u, v, q, k = Block.columns(self.uvqk(quern.silu(self.norm(x))), self.heads, self.dqk, self.dv)
  local y = context:attend(number, context:rope(q), context:rope(k), v, nil, nil,
                           { n = self.n, alpha = 1 / math.sqrt(self.dqk), scale = 1.0 })
  y = self.norm_y(y:reshape({ y.shape[1], self.heads * self.dv }))
  return self.out(self.drop(u * y), x)
end

-- ---- product --------------------------------------------------------------------------------

local Product = nn.class "HstuProductBlock"
variants.product = Product

function Product:init(o)
  local inner = o.heads * o.dv
  self.heads, self.dqk, self.dv, self.n, self.norm_heads = o.heads, o.dqk, o.dv, o.n, o.norm_heads
  self.norm = nn.LayerNorm(o.dim, { eps = 1e-6 })
  self.norm_y = nn.LayerNorm(o.norm_heads and o.dv or inner, { eps = 1e-6 })
  self.uvqk = nn.Linear(o.dim, 2 * o.heads * (o.dv + o.dqk), { init = "xavier_uniform", init_bias = "zeros" })
  self.out = nn.Linear(3 * inner, o.dim, { bias = false, init = "xavier_uniform" })
  self.drop = nn.Dropout(o.dropout)
end

function Product:forward(x, context, number)
  local u, v, q, k = Block.columns(self.uvqk(self.norm(x)), self.heads, self.dqk, self.dv)
  local y = context:attend(number, q, k, v, nil, nil, { n = self.n, alpha = 1 / math.sqrt(self.dqk) })
  local T, inner = y.shape[1], self.heads * self.dv
  local flat = y:reshape({ T, inner })
  local normed = self.norm_heads and self.norm_y(y):reshape({ T, inner }) or self.norm_y(flat)
  u = quern.silu(u)
  return self.out(self.drop(quern.concat({ u, flat, u * normed }, { dim = 2 })), x)
end

return variants
