--- SASRec (Kang and McAuley 2018), the peer of HSTU, in two flavours.
--
-- "generative", as trained beside HSTU by its authors: LN without affine part (eps 1e-8),
--   Q = LN(x);  Z = LN(Q + MHA(Q, x, x));  x = Z + drop(W2 drop(relu(W1 Z + b1)) + b2)
-- the attention with biases, output map and dropout of its weights; no final norm; scores on
-- unit vectors. "original": LN with affine part, no output map of the attention, a final LN,
-- scores by plain product (train it with hstu.bce).
-- SPDX-License-Identifier: MIT

local quern = require "quern"
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
  self.heads, self.width, self.n, self.dropout = o.heads, d // o.heads, o.max_len, o.dropout
  self.norm1, self.norm2 = norm(), norm()
  self.query = nn.Linear(d, d, { init = joint, init_bias = "zeros" })
  self.key = nn.Linear(d, d, { init = joint, init_bias = "zeros" })
  self.value = nn.Linear(d, d, { init = joint, init_bias = "zeros" })
  if not original then self.out = nn.Linear(d, d, { init = matrix, init_bias = "zeros" }) end
  self.inner = nn.Linear(d, o.hidden, { act = "relu", init = filter.init, init_bias = filter.init_bias })
  self.outer = nn.Linear(o.hidden, d, { init = filter.init, init_bias = filter.init_bias })
  self.drop1, self.drop2 = nn.Dropout(o.dropout), nn.Dropout(o.dropout)
end

function Block:attend(q, x)
  local function heads(t) return t:reshape({ t.shape[1], self.heads, self.width }) end
  local y = quern.hstu_attention(heads(self.query(q)), heads(self.key(x)), heads(self.value(x)), {
    n = self.n, score = "softmax", attn_dropout = self.training and self.dropout or 0 })
  y = y:reshape({ y.shape[1], self.heads * self.width })
  return self.out and self.out(y) or y
end

function Block:forward(x)
  local q = self.norm1(x)
  local z = self.norm2(q + self:attend(q, x))
  return z + self.drop2(self.outer(self.drop1(self.inner(z))))
end

-- ---- Model ------------------------------------------------------------------------------

---@class hstu.Sasrec: hstu.Backbone
local Model = Backbone:extend("Sasrec")

local known = { items = 1, dim = 1, blocks = 1, heads = 1, hidden = 1, max_len = 1, dropout = 1, flavour = 1,
  norm = 1, sparse = 1 }

---@param options {items: integer, dim: integer?, blocks: integer?, heads: integer?, hidden: integer?,
---  max_len: integer?, dropout: number?, flavour: string?, norm: string?, sparse: boolean?}
---  flavour: "generative" (default) or "original"; hidden: of the feed-forward part, default dim
function Model:init(options)
  local o = util.options(options, known, "hstu.sasrec")
  local flavour, dim, heads = o.flavour or "generative", o.dim or 50, o.heads or 1
  if flavour ~= "generative" and flavour ~= "original" then
    util.fail("argument", ("hstu.sasrec: unknown flavour %q"):format(tostring(flavour)), nil, "generative or original")
  end
  if dim % util.integer(heads, "hstu.sasrec: heads", 1) ~= 0 then
    util.fail("argument", ("hstu.sasrec: dim %d is not a multiple of heads %d"):format(dim, heads))
  end
  local original, max_len = flavour == "original", o.max_len or 200
  o.norm = o.norm or (original and "none" or "l2")
  self:setup(o, "hstu.sasrec", max_len, original and "xavier_uniform" or { "truncated_normal", std = 1 / math.sqrt(dim) })
  local block = { dim = dim, heads = heads, hidden = util.integer(o.hidden or dim, "hstu.sasrec: hidden", 1),
    max_len = max_len, dropout = self.dropout, original = original }
  self.block = nn.ModuleList {}
  for _ = 1, util.integer(o.blocks or 2, "hstu.sasrec: blocks", 0) do self.block:add(Block(block)) end
  if original then self.last = nn.LayerNorm(dim, { eps = 1e-8 }) end
end

---@param batch table
---@return userdata x jagged [T,dim]
function Model:encode(batch)
  local x = self:embed(batch)
  for i = 1, #self.block do x = self.block[i](x) end
  return self.last and self.last(x) or x
end

function Model:forward(batch) return self:encode(batch) end

return Model
