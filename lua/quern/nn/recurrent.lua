--- GRU: gated recurrent units over padded sequences.
--
--   r = sigmoid(W_r x + b_r + U_r h + c_r)         Cho et al. 2014, in the form in which the
--   z = sigmoid(W_z x + b_z + U_z h + c_z)         reset gate acts after the product with U_n
--   n = tanh(W_n x + b_n + r (U_n h + c_n))
--   h' = (1 - z) n + z h
-- Rows of weights stand in the order r, z, n. The input's part of all steps is one product.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local base = require "quern.nn.module"
local layers = require "quern.nn.layers"

---@class quern.GRU: quern.Module
local GRU = base.class "GRU"

---@param inputs integer
---@param hidden integer
---@param options {layers: integer?, bias: boolean?, dropout: number?, dtype: string?}? dropout: between layers
function GRU:init(inputs, hidden, options)
  local o = util.options(options, { layers = 1, bias = 1, dropout = 1, dtype = 1 }, "nn.GRU")
  self.inputs, self.hidden = util.integer(inputs, "nn.GRU: inputs", 1), util.integer(hidden, "nn.GRU: hidden", 1)
  self.n_layers, self.dtype = util.integer(o.layers or 1, "nn.GRU: layers", 1), o.dtype or "f32"
  local a = 1 / math.sqrt(hidden)
  local init = { "uniform", low = -a, high = a }
  local l = { bias = o.bias, init = init, init_bias = init, dtype = o.dtype }
  for i = 1, self.n_layers do
    self["input" .. i] = layers.Linear(i == 1 and inputs or hidden, 3 * hidden, l)
    self["state" .. i] = layers.Linear(hidden, 3 * hidden, l)
  end
  if o.dropout and o.dropout > 0 then self.drop = layers.Dropout(o.dropout) end
end

-- gates from the input [B,3H] and the state [B,3H]; the new state [B,H]
local function cell(self, gi, gh, h)
  local H = self.hidden
  local r = quern.sigmoid(gi:narrow(2, 1, H) + gh:narrow(2, 1, H))
  local z = quern.sigmoid(gi:narrow(2, H + 1, H) + gh:narrow(2, H + 1, H))
  local n = quern.tanh(gi:narrow(2, 2 * H + 1, H) + r * gh:narrow(2, 2 * H + 1, H))
  return n + z * (h - n)
end

-- keep [B,1] is 1 where step t lies inside a sequence; outside, the state stands still.
local function layer(self, i, x, h, keep)
  local steps, T = {}, x.shape[2]
  local all = self["input" .. i](x)                                     -- [B,T,3H]
  for t = 1, T do
    local new = cell(self, all:select(2, t), self["state" .. i](h), h)
    h = keep and h + keep[t] * (new - h) or new
    steps[t] = h
  end
  return T > 0 and quern.stack(steps, 2) or x:narrow(3, 1, 0), h
end

local function keeps(lengths, T, dtype)
  if not lengths then return nil end
  local list, keep = type(lengths) == "userdata" and lengths:totable() or lengths, {}
  for t = 1, T do
    local column = {}
    for b, n in ipairs(list) do column[b] = { t <= n and 1.0 or 0.0 } end
    keep[t] = quern.tensor(column, dtype)
  end
  return keep
end

---@param x userdata [B,T,inputs]
---@param options {state: userdata?, lengths: integer[]|userdata|nil}? state [layers,B,hidden]; lengths of sequences
---@return userdata y [B,T,hidden], of the last layer
---@return userdata state [layers,B,hidden], at the end of each sequence
function GRU:forward(x, options)
  local o = util.options(options, { state = 1, lengths = 1 }, "nn.GRU")
  if #x.shape ~= 3 or x.shape[3] ~= self.inputs then
    util.fail("shape", ("nn.GRU takes [B,T,%d], not %s"):format(self.inputs, table.concat(x.shape, "x")))
  end
  local keep, states = keeps(o.lengths, x.shape[2], x.dtype), {}
  for i = 1, self.n_layers do
    local h = o.state and o.state:select(1, i) or quern.full({ x.shape[1], self.hidden }, 0, x.dtype)
    x, states[i] = layer(self, i, x, h, keep)
    if self.drop and i < self.n_layers then x = self.drop(x) end
  end
  return x, quern.stack(states, 1)
end

function GRU:describe()
  return ("%d -> %d%s"):format(self.inputs, self.hidden, self.n_layers > 1 and ", " .. self.n_layers .. " layers" or "")
end

return { GRU = GRU }
