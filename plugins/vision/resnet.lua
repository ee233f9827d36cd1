--- Residual networks for small images (He et al. 2016), channels last.
--
--   block: y = relu(bn(conv3(relu(bn(conv3(x))))) + shortcut(x))
-- The shortcut is x itself, or bn(conv1(x)) where size or channels change.
--   cifar     ResNet-20/32: conv3-bn-relu, stages of width w, 2w, 4w with strides 1, 2, 2
--   imagenet  ResNet-18: conv3-bn-relu, stages of width w, 2w, 4w, 8w with strides 1, 2, 2, 2;
--             filters begin as N(0, 2 / fan_out)
-- Then the mean over space and one linear layer.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"

local nn = quern.nn

-- N(0, 2 / fan_out), fan_out = O kh kw of a filter [O,I,kh,kw].
local function fan_out(shape, options)
  return nn.init.normal(shape, { std = math.sqrt(2 / (shape[1] * shape[3] * shape[4])), dtype = options.dtype })
end

local function convolution(inputs, outputs, kernel, stride, init)
  return nn.Conv2d(inputs, outputs, kernel, { stride = stride, padding = kernel // 2, bias = false, init = init,
                                              layout = "nhwc" })
end

local function norm(channels, act) return nn.BatchNorm2d(channels, { layout = "nhwc", act = act }) end

---@class vision.Block: quern.Module
local Block = nn.class "ResNetBlock"

function Block:init(inputs, outputs, stride, init)
  self.conv1, self.norm1 = convolution(inputs, outputs, 3, stride, init), norm(outputs, "relu")
  self.conv2, self.norm2 = convolution(outputs, outputs, 3, 1, init), norm(outputs, "relu")
  if stride ~= 1 or inputs ~= outputs then
    self.shortcut, self.shortcut_norm = convolution(inputs, outputs, 1, stride, init), norm(outputs)
  end
end

--- The block without norms and relu: what flows over its weights alone.
function Block:flow(x)
  return self.conv2(self.conv1(x)) + (self.shortcut and self.shortcut(x) or x)
end

---@param x userdata [B,H,W,inputs]
---@return userdata y [B,H/stride,W/stride,outputs]
function Block:forward(x)
  local y = self.conv2(self.norm1(self.conv1(x)))
  local residual = self.shortcut and self.shortcut_norm(self.shortcut(x)) or x
  return self.norm2(y, residual)
end

---@class vision.ResNet: quern.Module
local ResNet = nn.class "ResNet"

---@param options table channels (3); classes; size of images (32); blocks of each stage; width of the first
---  stage; kind, "cifar" (default) or "imagenet"
function ResNet:init(options)
  local o = util.options(options, { channels = 1, classes = 1, size = 1, blocks = 1, width = 1, kind = 1 },
                         "vision.ResNet")
  local kind = o.kind or "cifar"
  if kind ~= "cifar" and kind ~= "imagenet" then
    util.fail("argument", ("vision.ResNet: there is no kind %q"):format(tostring(kind)), nil, "cifar or imagenet")
  end
  local init = kind == "imagenet" and fan_out or "kaiming_normal"
  local width = util.integer(o.width, "vision.ResNet: width", 1)
  self.input_shape = { o.size or 32, o.size or 32, o.channels or 3 }
  self.conv, self.norm = convolution(o.channels or 3, width, 3, 1, init), norm(width, "relu")
  self.blocks = nn.ModuleList()
  local inputs = width
  for stage, n in ipairs(o.blocks) do
    local outputs = width << (stage - 1)
    for i = 1, util.integer(n, "vision.ResNet: blocks", 1) do
      self.blocks:add(Block(inputs, outputs, i == 1 and stage > 1 and 2 or 1, init))
      inputs = outputs
    end
  end
  self.classes = util.integer(o.classes, "vision.ResNet: classes", 1)
  self.head = nn.Linear(inputs, self.classes)
end

--- The net without norms and relu for an input of ones, for prune's count of paths.
function ResNet:flow()
  local x = self.conv(quern.full({ 1, table.unpack(self.input_shape) }, 1, self.conv.weight.dtype))
  for i = 1, #self.blocks do x = self.blocks[i]:flow(x) end
  return self.head(x:mean { 2, 3 })
end

---@param x userdata [B,H,W,C]
---@return userdata logits [B,classes]
function ResNet:forward(x)
  x = self.norm(self.conv(x))
  for i = 1, #self.blocks do x = self.blocks[i](x) end
  return self.head(x:mean { 2, 3 })
end

return { ResNet = ResNet, Block = Block }
