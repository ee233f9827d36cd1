--- Convolutions and pooling of series [N,C,L] and images [N,C,H,W], or, with the option
-- layout = "nhwc", of [N,L,C] and [N,H,W,C], which is the faster form.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local base = require "quern.nn.module"
local inits = require "quern.nn.inits"

local conv = {}

-- One number or one per axis -> a list of n.
local function per_axis(v, n, who, low)
  if type(v) == "table" then
    if #v ~= n then util.fail("argument", ("%s must be one number or %d, not %d"):format(who, n, #v)) end
    for i = 1, n do util.integer(v[i], who, low) end
    return v
  end
  util.integer(v, who, low)
  local list = {}
  for i = 1, n do list[i] = v end
  return list
end

-- "nchw" (default) or "nhwc": channels last.
local function layout_of(v, who)
  if v ~= nil and v ~= "nchw" and v ~= "nhwc" then
    util.fail("argument", ("%s: layout is %s; expected nchw or nhwc"):format(who, tostring(v)))
  end
  return v or "nchw"
end

local function product(list)
  local p = 1
  for _, v in ipairs(list) do p = p * v end
  return p
end

local known = { stride = 1, padding = 1, dilation = 1, groups = 1, bias = 1, init = 1, dtype = 1,
                layout = 1 }

-- ---- Convolution ------------------------------------------------------------------------------

local Conv = base.class "Conv"

-- Weight [outputs, inputs / groups, kernel...] in both layouts; all begin as U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
local function setup(self, inputs, outputs, kernel, options)
  local who, n = "nn." .. self.class_name, self.axes
  local o = util.options(options, known, who)
  self.inputs, self.outputs = util.integer(inputs, who .. ": inputs", 1), util.integer(outputs, who .. ": outputs", 1)
  self.kernel = per_axis(kernel, n, who .. ": kernel", 1)
  self.stride = per_axis(o.stride or 1, n, who .. ": stride", 1)
  self.padding = per_axis(o.padding or 0, n, who .. ": padding", 0)
  self.dilation = per_axis(o.dilation or 1, n, who .. ": dilation", 1)
  self.groups = util.integer(o.groups or 1, who .. ": groups", 1)
  self.layout = layout_of(o.layout, who)
  if inputs % self.groups ~= 0 or outputs % self.groups ~= 0 then
    util.fail("argument", ("%s: %d inputs and %d outputs do not divide into %d groups"):format(who, inputs, outputs,
              self.groups))
  end
  local first, second = outputs, inputs // self.groups
  if self.transposed then first, second = inputs, outputs // self.groups end
  local shape = { first, second, table.unpack(self.kernel) }
  local a = 1 / math.sqrt(second * product(self.kernel))
  local default = { "uniform", low = -a, high = a }
  self.weight = base.parameter(inits.make(o.init or default, shape, o.dtype), "weight.conv")
  if o.bias ~= false then self.bias = base.parameter(inits.make(default, { outputs }, o.dtype), "bias") end
end

function Conv:init(inputs, outputs, kernel, options) setup(self, inputs, outputs, kernel, options) end

function Conv:forward(x)
  local convolve = self.axes == 1 and quern.conv1d or quern.conv2d
  return convolve(x, self.weight, self.bias, { stride = self.stride, padding = self.padding,
                                               dilation = self.dilation, groups = self.groups,
                                               layout = self.layout })
end

function Conv:describe()
  return ("%d -> %d, kernel %s, stride %s, padding %s"):format(self.inputs, self.outputs,
    table.concat(self.kernel, "x"), table.concat(self.stride, "x"), table.concat(self.padding, "x"))
end

---@class quern.Conv1d: quern.Module
local Conv1d = Conv:extend("Conv1d")
conv.Conv1d, Conv1d.axes = Conv1d, 1

---@class quern.Conv2d: quern.Module
local Conv2d = Conv:extend("Conv2d")
conv.Conv2d, Conv2d.axes = Conv2d, 2

---@class quern.ConvTranspose2d: quern.Module
local ConvTranspose2d = Conv:extend("ConvTranspose2d")
conv.ConvTranspose2d, ConvTranspose2d.axes, ConvTranspose2d.transposed = ConvTranspose2d, 2, true

--- The adjoint of Conv2d: makes images larger by its stride. Weight [inputs, outputs / groups, kh, kw].
---@param x userdata [N,inputs,H,W], or [N,H,W,inputs] with layout nhwc
---@param size integer[]? of the result, where stride leaves a choice
function ConvTranspose2d:forward(x, size)
  local y = quern.conv_transpose2d(x, self.weight, { size = size, stride = self.stride, padding = self.padding,
                                                     dilation = self.dilation, groups = self.groups,
                                                     layout = self.layout })
  if not self.bias then return y end
  return y + (self.layout == "nhwc" and self.bias or self.bias:reshape({ 1, self.outputs, 1, 1 }))
end

-- ---- Pooling -------------------------------------------------------------------------------------

local function pool(name, op, axes)
  local P = base.class(name)
  conv[name] = P
  function P:init(kernel, options)
    local o = util.options(options, { stride = 1, padding = 1, layout = 1 }, "nn." .. name)
    self.kernel = per_axis(kernel, axes, "nn." .. name .. ": kernel", 1)
    self.stride = per_axis(o.stride or kernel, axes, "nn." .. name .. ": stride", 1)
    self.padding = per_axis(o.padding or 0, axes, "nn." .. name .. ": padding", 0)
    self.layout = layout_of(o.layout, "nn." .. name)
  end
  function P:forward(x)
    return quern[op](x, { kernel = self.kernel, stride = self.stride, padding = self.padding,
                          layout = self.layout })
  end
  function P:describe() return "kernel " .. table.concat(self.kernel, "x") end
end

pool("MaxPool1d", "max_pool", 1)
pool("MaxPool2d", "max_pool", 2)
pool("AvgPool1d", "avg_pool", 1)
pool("AvgPool2d", "avg_pool", 2)

---@class quern.AdaptiveAvgPool2d: quern.Module
local AdaptiveAvgPool2d = base.class "AdaptiveAvgPool2d"
conv.AdaptiveAvgPool2d = AdaptiveAvgPool2d

---@param size integer|integer[] of the result
---@param options {layout: string?}?
function AdaptiveAvgPool2d:init(size, options)
  self.size = per_axis(size, 2, "nn.AdaptiveAvgPool2d: size", 1)
  self.layout = layout_of(util.options(options, { layout = 1 }, "nn.AdaptiveAvgPool2d").layout, "nn.AdaptiveAvgPool2d")
end
function AdaptiveAvgPool2d:forward(x) return quern.adaptive_avg_pool(x, { size = self.size, layout = self.layout }) end

---@class quern.Upsample: quern.Module
local Upsample = base.class "Upsample"
conv.Upsample = Upsample

---@param scale integer|integer[]
---@param mode string? "nearest" (default) or "bilinear"
---@param options {layout: string?}?
function Upsample:init(scale, mode, options)
  self.scale, self.mode = per_axis(scale, 2, "nn.Upsample: scale", 1), mode or "nearest"
  self.layout = layout_of(util.options(options, { layout = 1 }, "nn.Upsample").layout, "nn.Upsample")
end
function Upsample:forward(x)
  return quern.upsample(x, { scale = self.scale, mode = self.mode, layout = self.layout })
end

return conv
