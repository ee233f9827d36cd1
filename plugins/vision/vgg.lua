--- VGG-16 and VGG-19 with batch norm for small images (Simonyan & Zisserman 2015), channels last.
--
--   conv3 (with bias) - bn - relu, 2 2 3 3 3 (VGG-19: 2 2 4 4 4) of width w, 2w, 4w, 8w, 8w, max pooling
--   by 2 between the stages; then one of two heads:
--   linear  the mean over what is left of space, one linear layer
--   tiny    max pooling by 2, then linear layers of 16w, 16w, classes with relu and dropout (TinyImageNet)
-- Weights begin as N(0, 2 / fan_in), biases as 0.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"

local nn = quern.nn

local plans = { [16] = { 2, 2, 3, 3, 3 }, [19] = { 2, 2, 4, 4, 4 } }

---@class vision.VGG: quern.Module
local VGG = nn.class "VGG"

local function dense(inputs, outputs, act)
  return nn.Linear(inputs, outputs, { init = "kaiming_normal", init_bias = "zeros", act = act })
end

local function add_tiny_head(self, size, width)
  local side = size // 32
  if side < 1 then
    util.fail("argument", ("vision.VGG: the tiny head needs images of 32 pixels, not %d"):format(size))
  end
  self.hidden1, self.drop1 = dense(side * side * 8 * width, 16 * width, "relu"), nn.Dropout(0.5)
  self.hidden2, self.drop2 = dense(16 * width, 16 * width, "relu"), nn.Dropout(0.5)
  self.head = dense(16 * width, self.classes)
end

---@param options table channels (3); classes; size of images (32); depth, 16 (default) or 19; width of the first
---  stage (64); head, "linear" (default) or "tiny"
function VGG:init(options)
  local o = util.options(options, { channels = 1, classes = 1, size = 1, depth = 1, width = 1, head = 1 }, "vision.VGG")
  local plan = plans[o.depth or 16] or util.fail("argument", ("vision.VGG: depth is 16 or 19, not %s"):format(
    tostring(o.depth)))
  local width, size = util.integer(o.width or 64, "vision.VGG: width", 1), o.size or 32
  self.classes = util.integer(o.classes, "vision.VGG: classes", 1)
  self.input_shape = { size, size, o.channels or 3 }
  self.tiny = o.head == "tiny"
  if o.head and o.head ~= "linear" and not self.tiny then
    util.fail("argument", ("vision.VGG: there is no head %q"):format(tostring(o.head)), nil, "linear or tiny")
  end
  self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
  local pools, inputs = {}, o.channels or 3
  for stage, n in ipairs(plan) do
    local outputs = width << math.min(stage - 1, 3)
    for _ = 1, n do
      local conv = nn.Conv2d(inputs, outputs, 3, { padding = 1, init = "kaiming_normal", layout = "nhwc" })
      quern.no_grad(function() conv.bias:zero_() end)
      self.convs:add(conv)
      self.norms:add(nn.BatchNorm2d(outputs, { layout = "nhwc", act = "relu" }))
      inputs = outputs
    end
    if stage < #plan or self.tiny then pools[#self.convs] = true end
  end
  rawset(self, "pools", pools)
  self.pool = nn.MaxPool2d(2, { layout = "nhwc" })
  if self.tiny then add_tiny_head(self, size, width) else self.head = dense(inputs, self.classes) end
end

---@param x userdata [B,H,W,C]
---@return userdata logits [B,classes]
function VGG:forward(x)
  for i = 1, #self.convs do
    x = self.norms[i](self.convs[i](x))
    if self.pools[i] then x = self.pool(x) end
  end
  if not self.tiny then return self.head(x:mean { 2, 3 }) end
  x = x:reshape { x.shape[1], x:numel() // x.shape[1] }
  x = self.drop1(self.hidden1(x))
  return self.head(self.drop2(self.hidden2(x)))
end

return { VGG = VGG }
