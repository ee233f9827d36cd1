--- Flow: how much of an input of ones reaches the output over paths of weights.
--
-- The model is made linear for the time of one forward pass: every weight is replaced by a
-- non-negative one in f64, biases by 0, norms, activations and dropout by the identity. Then R is the
-- sum of the outputs, and theta dR/dtheta the share of it that flows over a weight: SynFlow's
-- score with |theta|, and with the mask in place of theta the number of paths over a weight,
-- which is 0 for those that are dead (on no path from input to output).
--
-- A model whose forward needs more than a tensor says itself what flows: model:flow() returns
-- the output for an input of ones. Otherwise forward gets ones [1, ...]: model.input_shape, or the inputs of its first
-- linear map.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local Mask = require "prune.mask"

local flow = {}

-- ---- Making a model linear ---------------------------------------------------------------------

local still = { LayerNorm = 1, RMSNorm = 1, BatchNorm1d = 1, BatchNorm2d = 1, BatchNorm = 1, GroupNorm = 1, Dropout = 1,
  ReLU = 1, LeakyReLU = 1, SiLU = 1, GELU = 1, Tanh = 1, Sigmoid = 1, Softplus = 1, Softmax = 1, ReLU6 = 1 }

local function same(_, x) return x end

-- Norms, activations and dropout pass on what they get; linear maps drop their activation. Returns the undo.
local function linearize(model)
  local undo = {}
  for _, m in model:named_modules() do
    if still[m.class_name] then
      undo[#undo + 1] = { m, "forward", rawget(m, "forward") }
      rawset(m, "forward", same)
    elseif rawget(m, "act") then
      undo[#undo + 1] = { m, "act", m.act }
      rawset(m, "act", "none")
    end
  end
  return function()
    for i = #undo, 1, -1 do rawset(undo[i][1], undo[i][2], undo[i][3]) end
  end
end

-- Puts f64 weights in the place of all floating tensors. Returns the undo.
local function substitute(model, weights)
  local before = {}
  for name, t in pairs(model:state()) do
    if t.dtype == "f32" or t.dtype == "f64" or t.dtype == "bf16" then before[name] = t end
  end
  local roles = {}
  for _, p in ipairs(model:parameters()) do roles[p.name] = p.role end
  for name, t in pairs(before) do
    local w = weights[name]
    if not w then
      local weight = roles[name] and roles[name]:match "^weight" or roles[name] == "embedding"
      w = weight and quern.abs(t:detach():to "f64") or quern.zeros(t.shape, "f64")
    end
    model:replace(name, w)
  end
  return function()
    for name, t in pairs(before) do model:replace(name, t) end
  end
end

local function ones_for(model)
  local shape = model.input_shape
  if not shape then
    for _, p in ipairs(model:parameters()) do
      if p.role == "weight.linear" then
        shape = { p.tensor.shape[2] }
        break
      end
      if p.role == "weight.conv" then break end
    end
  end
  if not shape then
    util.fail("argument", ("prune.flow: what goes into %s?"):format(model.class_name), nil,
              "set model.input_shape = { channels, height, width }, or give the model a method flow()")
  end
  return quern.full({ 1, table.unpack(shape) }, 1, "f64")
end

-- ---- Running ----------------------------------------------------------------------------------------

--- R and its gradients by some weights.
---@param model quern.Module
---@param weights table<string, userdata> f64, non-negative, by parameter name; others are |theta|
---@return number R
---@return table<string, userdata> gradients f64 by name
function flow.run(model, weights)
  local names, leaves = util.keys(weights), {}
  for i, name in ipairs(names) do leaves[i] = weights[name]:detach():requires_grad_(true) end
  local given = {}
  for i, name in ipairs(names) do given[name] = leaves[i] end
  local was, before = model.training, quern._io.grad_enable(true)
  model:eval()
  local restore, relax = substitute(model, given), linearize(model)
  local ok, R, grads = pcall(function()
    local y = model.flow and model:flow() or model(ones_for(model))
    local R = quern.sum(y)
    return R:item(), #leaves > 0 and quern.grad(R, leaves) or {}
  end)
  relax()
  restore()
  model:train(was)
  quern._io.grad_enable(before)
  if not ok then error(R, 0) end
  local out = {}
  for i, name in ipairs(names) do out[name] = grads[i] or quern.zeros(weights[name].shape, "f64") end
  return R, out
end

--- The kept weights that lie on a path from input to output.
---@param model quern.Module
---@param mask prune.Mask
---@return prune.Mask
function flow.live(model, mask)
  local weights = {}
  for _, name in ipairs(mask.names) do weights[name] = mask.kept[name]:cast "f64" end
  for _, p in ipairs(model:parameters()) do
    if not weights[p.name] and (p.role:match "^weight" or p.role == "embedding") then
      weights[p.name] = quern.ne(p.tensor:detach(), 0):cast "f64"
    end
  end
  return quern.no_grad(function()
    local _, grads = flow.run(model, weights)
    local kept = {}
    for _, name in ipairs(mask.names) do
      kept[name] = quern.logical_and(mask.kept[name], quern.gt(grads[name], 0))
    end
    return Mask(kept, mask.names, model)
  end)
end

return flow
