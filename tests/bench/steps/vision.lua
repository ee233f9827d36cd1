--- ResNet-20 and ResNet-18 on CIFAR images (He et al. 2015), batches of 128, channels last, SGD with momentum;
-- shortcuts are 1x1 convolutions with batch norm where the shape changes. SPDX-License-Identifier: MIT

local quern = require "quern"
local nn = require "quern.nn"
local models = require "models"

local BATCH, SIZE, CLASSES = models.size(128, 6), models.size(32, 8), 10

local function conv(inputs, outputs, kernel, stride)
  return nn.Conv2d(inputs, outputs, kernel,
                   { stride = stride, padding = kernel // 2, bias = false, layout = "nhwc" })
end

local function norm(channels, act) return nn.BatchNorm2d(channels, { layout = "nhwc", act = act }) end

local Block = nn.class "BasicBlock"

function Block:init(inputs, outputs, stride)
  self.conv1, self.norm1 = conv(inputs, outputs, 3, stride), norm(outputs, "relu")
  self.conv2, self.norm2 = conv(outputs, outputs, 3, 1), norm(outputs, "relu")
  if stride ~= 1 or inputs ~= outputs then
    self.short, self.short_norm = conv(inputs, outputs, 1, stride), norm(outputs)
  end
end

function Block:forward(x)
  local y = self.norm1(self.conv1(x))
  local shortcut = self.short and self.short_norm(self.short(x)) or x
  return self.norm2(self.conv2(y), shortcut)
end

local Net = nn.class "ResNet"

function Net:init(widths, blocks)
  local inputs = widths[1]
  self.stem, self.norm = conv(3, inputs, 3, 1), norm(inputs, "relu")
  self.block = nn.ModuleList {}
  for stage, width in ipairs(widths) do
    for b = 1, blocks do
      self.block:add(Block(inputs, width, b == 1 and stage > 1 and 2 or 1))
      inputs = width
    end
  end
  self.pool, self.out = nn.AdaptiveAvgPool2d(1, { layout = "nhwc" }), nn.Linear(inputs, CLASSES)
end

function Net:forward(x)
  x = self.norm(self.stem(x))
  for b = 1, #self.block do x = self.block[b](x) end
  return self.out(self.pool(x):reshape({ x.shape[1], -1 }))
end

-- Multiply-adds of an image: every convolution and the last map.
local function products(widths, blocks)
  local sum, inputs, size = 3 * 9 * widths[1] * SIZE ^ 2, widths[1], SIZE
  for stage, width in ipairs(widths) do
    for b = 1, blocks do
      if b == 1 and stage > 1 then size = size // 2 end
      local changes = width ~= inputs
      sum = sum + size ^ 2 * (9 * inputs * width + 9 * width ^ 2 + (changes and inputs * width or 0))
      inputs = width
    end
  end
  return sum + inputs * CLASSES
end

local function case(name, widths, blocks)
  local function make()
    quern.seed(1)
    local model = Net(widths, blocks)
    local batch = { x = quern.normal { shape = { BATCH, SIZE, SIZE, 3 } }, y = quern.randint({ BATCH }, 0, CLASSES) }
    local function loss(m, b) return quern.cross_entropy(m(b.x), b.y) end
    local step, how = models.step(model, batch, loss, { name = "sgd", lr = 0.1, momentum = 0.9, weight_decay = 1e-4 })
    return { model = model, batch = batch, step = step, how = how }
  end
  -- Nobody asks for the gradient of the pixels.
  local flops = BATCH * (6 * products(widths, blocks) - 2 * 3 * 9 * widths[1] * SIZE ^ 2)
  return { name = name, make = make, items = function() return BATCH end, unit = "images", flops = flops,
           peer = { case = "vision.step", args = { widths = widths, blocks = blocks, batch = BATCH, size = SIZE },
                    backends = { "eager", "compile" } } }
end

return {
  case("ResNet-20 CIFAR B128", models.size({ 16, 32, 64 }, { 4, 8, 16 }), 3),
  case("ResNet-18 CIFAR B128", models.size({ 64, 128, 256, 512 }, { 4, 8, 8, 16 }), 2),
}
