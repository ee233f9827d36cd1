--- Linear, Embedding, Dropout and the activations as modules.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local base = require "quern.nn.module"
local inits = require "quern.nn.inits"

local layers = {}

-- ---- Linear --------------------------------------------------------------------------------

---@class quern.Linear: quern.Module
---@field weight userdata [O,I]
---@field bias userdata? [O]
local Linear = base.class "Linear"
layers.Linear = Linear

--- y = act(x W' + b) on the last dimension. W and b begin as U(-1/sqrt(I), 1/sqrt(I)).
---@param inputs integer I
---@param outputs integer O
---@param options {bias: boolean?, act: string?, init: any?, init_bias: any?, role: string?, dtype: string?}?
---  act: "none", "relu", "silu", "gelu"; init: see nn.init.make
function Linear:init(inputs, outputs, options)
  local o = util.options(options, { bias = 1, act = 1, init = 1, init_bias = 1, role = 1, dtype = 1 }, "nn.Linear")
  self.inputs = util.integer(inputs, "nn.Linear: inputs", 1)
  self.outputs = util.integer(outputs, "nn.Linear: outputs", 1)
  self.act = o.act or "none"
  local a = 1 / math.sqrt(inputs)
  local default = { "uniform", low = -a, high = a }
  self.weight = base.parameter(inits.make(o.init or default, { outputs, inputs }, o.dtype), o.role or "weight.linear")
  if o.bias ~= false then
    self.bias = base.parameter(inits.make(o.init_bias or default, { outputs }, o.dtype), "bias")
  end
end

---@param x userdata [...,I]
---@param residual userdata? [...,O], added to the result in the same pass
---@return userdata y [...,O]
function Linear:forward(x, residual) return quern.linear(x, self.weight, self.bias, residual, { act = self.act }) end

function Linear:describe()
  return ("%d -> %d%s%s"):format(self.inputs, self.outputs, self.bias and "" or ", no bias",
                                 self.act ~= "none" and ", " .. self.act or "")
end

-- ---- Embedding -----------------------------------------------------------------------------

---@class quern.Embedding: quern.Module
---@field weight userdata [V,D]
local Embedding = base.class "Embedding"
layers.Embedding = Embedding

--- Rows of a table by id. Ids are 0 .. rows-1, so a catalogue 1..V with 0 for padding needs
--- V + 1 rows. Begins as N(0, 0.02), cut at two standard deviations.
---@param rows integer V
---@param dim integer D
---@param options {sparse: boolean?, padding: integer?, init: any?, role: string?, dtype: string?}?
---  sparse: gradients by rows, for big tables; padding: an id whose row is zero and stays so
function Embedding:init(rows, dim, options)
  local o = util.options(options, { sparse = 1, padding = 1, init = 1, role = 1, dtype = 1 }, "nn.Embedding")
  self.rows = util.integer(rows, "nn.Embedding: rows", 1)
  self.dim = util.integer(dim, "nn.Embedding: dim", 1)
  self.sparse, self.padding = o.sparse == true, o.padding
  if o.padding then util.integer(o.padding, "nn.Embedding: padding", 0, rows - 1) end
  local w = inits.make(o.init or { "truncated_normal", std = 0.02 }, { rows, dim }, o.dtype)
  if o.padding then w:narrow(1, o.padding + 1, 1):zero_() end
  self.weight = base.parameter(w, o.role or "embedding", { sparse = self.sparse })
end

---@param ids userdata integer tensor [...] or jagged
---@return userdata y [...,D]
function Embedding:forward(ids)
  return quern.embedding(self.weight, ids, { sparse = self.sparse, padding = self.padding })
end

function Embedding:describe()
  return ("%d x %d%s%s"):format(self.rows, self.dim, self.sparse and ", sparse" or "",
                                self.padding and ", padding " .. self.padding or "")
end

-- ---- Dropout ---------------------------------------------------------------------------------

---@class quern.Dropout: quern.Module
local Dropout = base.class "Dropout"
layers.Dropout = Dropout

--- Zeroes each value with probability p while training; the others are divided by 1 - p.
---@param p number? default 0.5
function Dropout:init(p)
  self.p = p or 0.5
  if type(self.p) ~= "number" or self.p < 0 or self.p > 1 then
    util.fail("argument", ("nn.Dropout: p must be in 0..1, not %s"):format(tostring(p)))
  end
end

function Dropout:forward(x)
  if not self.training or self.p == 0 then return x end
  return quern.dropout(x, { p = self.p, training = true })
end

function Dropout:describe() return ("p = %g"):format(self.p) end

-- ---- Activations and shapes --------------------------------------------------------------------

local function activation(name, op, options)
  local A = base.class(name)
  function A:init(given)
    self.options = util.options(given, options or {}, "nn." .. name)
  end
  function A:forward(x)
    return next(self.options) and quern[op](x, self.options) or quern[op](x)
  end
  layers[name] = A
end

activation("ReLU", "relu")
activation("LeakyReLU", "leaky_relu", { slope = 1 })
activation("SiLU", "silu")
activation("GELU", "gelu")
activation("Tanh", "tanh")
activation("Sigmoid", "sigmoid")
activation("Softplus", "softplus")
activation("Softmax", "softmax", { dim = 1 })

---@class quern.Flatten: quern.Module
local Flatten = base.class "Flatten"
layers.Flatten = Flatten

--- [N,...] to [N,M].
function Flatten:forward(x)
  local n = x.shape[1]
  return x:reshape({ n, n == 0 and 0 or x:numel() // n })
end

---@class quern.Identity: quern.Module
local Identity = base.class "Identity"
layers.Identity = Identity

function Identity:forward(x) return x end

return layers
