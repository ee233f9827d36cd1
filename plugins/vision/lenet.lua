--- LeNet-300-100: a classifier of two hidden layers with relu (LeCun et al. 1998).
--
--   x [B,...] -> [B,I];   h = relu(W h + b) for each hidden layer;   logits = W h + b
-- Weights begin as N(0, 2 / fan_in) (He et al. 2015), biases as 0. 784-300-100-10 has 266,200
-- weights.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"

local nn = quern.nn

---@class vision.LeNet: quern.Module
local LeNet = nn.class "LeNet"

---@param options {inputs: integer, hidden: integer[]?, classes: integer} hidden: default { 300, 100 }
function LeNet:init(options)
  local o = util.options(options, { inputs = 1, hidden = 1, classes = 1 }, "vision.LeNet")
  self.inputs = util.integer(o.inputs, "vision.LeNet: inputs", 1)
  local sizes = { self.inputs }
  for _, n in ipairs(o.hidden or { 300, 100 }) do sizes[#sizes + 1] = util.integer(n, "vision.LeNet: hidden", 1) end
  self.classes = util.integer(o.classes, "vision.LeNet: classes", 1)
  sizes[#sizes + 1] = self.classes
  self.layers = nn.ModuleList()
  for i = 1, #sizes - 1 do
    self.layers:add(nn.Linear(sizes[i], sizes[i + 1], { init = "kaiming_normal", init_bias = "zeros",
                                                        act = i < #sizes - 1 and "relu" or "none" }))
  end
end

---@param x userdata [B,...] of `inputs` values each
---@return userdata logits [B,classes]
function LeNet:forward(x)
  x = x:reshape { x.shape[1], self.inputs }
  for i = 1, #self.layers do x = self.layers[i](x) end
  return x
end

return { LeNet = LeNet }
