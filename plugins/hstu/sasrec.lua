--- SASRec (Kang and McAuley 2018), the peer of HSTU, in two flavours.
--
-- "generative", as trained beside HSTU by its authors: LN without affine part (eps 1e-8),
--   Q = LN(x);  Z = LN(Q + MHA(Q, x, x));  x = Z + drop(W2 drop(relu(W1 Z + b1)) + b2)
-- the attention with biases, output map and dropout of its weights; no final norm; scores on
-- unit vectors. "original": LN with affine part, no output map of the attention, a final LN,
-- scores by plain product (train it with hstu.bce).
-- Switches: relative biases in the attention, and the residual:
--   "sasrec"  as above
--   "llama"   z = x + MHA(LN(x));  z + F(LN(z))        two residuals, from the plain input
--   "hstu"    x + F(LN(MHA(LN(x))))                     one residual around the block
-- F is the feed-forward part. SPDX-License-Identifier: MIT

local nn = require "quern.nn"
local util = require "quern.util"
local Backbone = require "hstu.backbone"

-- ---- Block ------------------------------------------------------------------------------

local Block = nn.class "SasrecBlock"

function Block:init(o)
  local d, original = o.dim, o.original
  local function norm() return nn.LayerNorm(d, { affine = original, eps = 1e-8 }) end
  local matrix = original and "xavier_uniform" or "xavier_normal"
  -- the three input maps are drawn as one matrix of 3d x d
  local joint = original and matrix or { "normal", std = math.sqrt(2 / (3 * d + d)) }
  local a = 1 / math.sqrt(d)
  local filter = { init = matrix, init_bias = original and "zeros" or { "uniform", low = -a, high = a } }
  self.heads, self.size, self.n, self.dropout, self.residual = o.heads, d // o.heads, o.n, o.dropout, o.residual
  self.norm1, self.norm2 = norm(), norm()
  self.query = nn.Linear(d, d, { init = joint, init_bias = "zeros" })
  self.key = nn.Linear(d, d, { init = joint, init_bias = "zeros" })
  self.value = nn.Linear(d, d, { init = joint, init_bias = "zeros" })
  if o.rab.pos then self.bp = nn.parameter(nn.init.normal({ 2 * o.n - 1 }, { std = 0.02 }), "bias") end
  if o.rab.time then self.bt = nn.parameter(nn.init.normal({ 129 }, { std = 0.02 }), "bias") end
  if not original then self.out = nn.Linear(d, d, { init = matrix, init_bias = "zeros" }) end
  self.inner = nn.Linear(d, o.hidden, { act = "relu", init = filter.init, init_bias = filter.init_bias })
  self.outer = nn.Linear(o.hidden, d, { init = filter.init, init_bias = filter.init_bias })
  self.drop1, self.drop2 = nn.Dropout(o.dropout), nn.Dropout(o.dropout)
end

function Block:attend(q, x, context, number)
  local function heads(t) return t:reshape({ t.shape[1], self.heads, self.size }) end
  local y = context:attend(number, heads(self.query(q)), heads(self.key(x)), heads(self.value(x)), self.bp, self.bt,
    { n = self.n, score = "softmax", attn_dropout = self.training and self.dropout or 0 })
  y = y:reshape({ y.shape[1], self.heads * self.size })
  return self.out and self.out(y) or y
end

function Block:feed(z) return self.drop2(self.outer(self.drop1(self.inner(z)))) end

function Block:forward(x, context, number)
  local q = self.norm1(x)
  if self.residual == "llama" then
    local z = x + self:attend(q, q, context, number)
    return z + self:feed(self.norm2(z))
  elseif self.residual == "hstu" then
    return x + self:feed(self.norm2(self:attend(q, q, context, number)))
  end
  local z = self.norm2(q + self:attend(q, x, context, number))
  return z + self:feed(z)
end

-- ---- Model ------------------------------------------------------------------------------

---@class hstu.Sasrec: hstu.Backbone
local Sasrec = Backbone:extend "Sasrec"

local known = Backbone.knows { hidden = 1, flavour = 1, rab = 1, time_query = 1, residual = 1 }

---@class hstu.SasrecOptions: hstu.SharedOptions
---@field hidden integer? of the feed-forward part, default the width
---@field flavour string? "generative" (default) or "original"
---@field rab string? relative bias: "none" (default), "pos", "time", "pos+time"
---@field time_query string? "next" (default) or "current", for a time bias
---@field residual string? "sasrec" (default), "llama", "hstu"

---@param options hstu.SasrecOptions
function Sasrec:init(options)
  local who = "hstu.sasrec"
  local o = util.options(options, known, who)
  local flavour = util.choose(o.flavour or "generative", { "generative", "original" }, who .. ": flavour")
  local original, max_len = flavour == "original", o.max_len or 200
  o.norm = o.norm or (original and "none" or "l2")
  local position = original and "xavier_uniform" or { "truncated_normal", std = 1 / math.sqrt(o.dim or 50) }
  self:setup(o, who, max_len, position)
  if self.width % self.heads ~= 0 then
    util.fail("argument", ("%s: dim %d is not a multiple of heads %d"):format(who, self.width, self.heads))
  end
  self:set_bias(o, who, "none")
  local block = { dim = self.width, heads = self.heads, n = max_len, dropout = self.dropout, original = original,
    hidden = util.integer(o.hidden or self.width, who .. ": hidden", 1), rab = self.rab,
    residual = util.choose(o.residual or "sasrec", { "sasrec", "llama", "hstu" }, who .. ": residual") }
  for _ = 1, util.integer(o.blocks or 2, who .. ": blocks", 0) do self.block:add(Block(block)) end
  if original then self.last = nn.LayerNorm(self.width, { eps = 1e-8 }) end
end

return Sasrec
