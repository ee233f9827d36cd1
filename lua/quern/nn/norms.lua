--- Normalisation: LayerNorm, RMSNorm, BatchNorm1d, BatchNorm2d.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local base = require "quern.nn.module"

local norms = {}

---@class quern.LayerNorm: quern.Module
local LayerNorm = base.class "LayerNorm"
norms.LayerNorm = LayerNorm

--- Each row to mean 0, variance 1 over the last dimension, times weight plus bias.
---@param dim integer
---@param options {eps: number?, affine: boolean?, bias: boolean?, dtype: string?}? eps: 1e-5
function LayerNorm:init(dim, options)
  local o = util.options(options, { eps = 1, affine = 1, bias = 1, dtype = 1 }, "nn.LayerNorm")
  self.dim, self.eps = util.integer(dim, "nn.LayerNorm: dim", 1), o.eps or 1e-5
  if o.affine ~= false then
    self.weight = base.parameter(quern.full({ dim }, 1, o.dtype or "f32"), "norm")
    if o.bias ~= false then self.bias = base.parameter(quern.full({ dim }, 0, o.dtype or "f32"), "bias") end
  end
end

function LayerNorm:forward(x) return quern.layer_norm(x, self.weight, self.bias, { eps = self.eps }) end

function LayerNorm:describe() return ("%d, eps %g%s"):format(self.dim, self.eps, self.weight and "" or ", plain") end

---@class quern.RMSNorm: quern.Module
local RMSNorm = base.class "RMSNorm"
norms.RMSNorm = RMSNorm

--- Each row divided by its root mean square over the last dimension, times weight.
---@param dim integer
---@param options {eps: number?, affine: boolean?, dtype: string?}? eps: 1e-6
function RMSNorm:init(dim, options)
  local o = util.options(options, { eps = 1, affine = 1, dtype = 1 }, "nn.RMSNorm")
  self.dim, self.eps = util.integer(dim, "nn.RMSNorm: dim", 1), o.eps or 1e-6
  if o.affine ~= false then self.weight = base.parameter(quern.full({ dim }, 1, o.dtype or "f32"), "norm") end
end

function RMSNorm:forward(x) return quern.rms_norm(x, self.weight, { eps = self.eps }) end

function RMSNorm:describe() return ("%d, eps %g"):format(self.dim, self.eps) end

-- ---- Batch norm -------------------------------------------------------------------------------

local BatchNorm = base.class "BatchNorm"

local batch_options = { eps = 1, momentum = 1, affine = 1, dtype = 1, layout = 1, act = 1 }

--- Each channel to mean 0, variance 1 over the batch and space, times weight plus bias.
---@param channels integer
---@param options {eps: number?, momentum: number?, affine: boolean?, dtype: string?, layout: string?, act: string?}?
-- eps: 1e-5; momentum: 0.1; layout: "nchw", or "nhwc" for channels last; act: with nhwc, "relu" of the result
function BatchNorm:init(channels, options)
  local who = "nn." .. self.class_name
  local o = util.options(options, batch_options, who)
  self.channels = util.integer(channels, who .. ": channels", 1)
  self.eps, self.momentum = o.eps or 1e-5, o.momentum or 0.1
  self.layout, self.act = o.layout or "nchw", o.act or "none"
  if self.layout ~= "nchw" and self.layout ~= "nhwc" then
    util.fail("argument", ("%s: layout is %s; expected nchw or nhwc"):format(who, tostring(self.layout)))
  elseif self.act ~= "none" and self.layout == "nchw" then
    util.fail("argument", who .. ": act is for layout nhwc; here apply quern.relu to the result")
  end
  local dtype = o.dtype or "f32"
  if o.affine ~= false then
    self.weight = base.parameter(quern.full({ channels }, 1, dtype), "norm")
    self.bias = base.parameter(quern.full({ channels }, 0, dtype), "bias")
  end
  self.running_mean = base.buffer(quern.full({ channels }, 0, dtype))
  self.running_var = base.buffer(quern.full({ channels }, 1, dtype))
end

local function keep_running(self, x, mean, var)
  quern.no_grad(function()
    quern.running_stats_(self.running_mean, self.running_var, mean, var,
                         { n = x:numel() // self.channels, momentum = self.momentum })
  end)
end

---@param x userdata channels are the second dimension, or the last with layout nhwc
---@param residual userdata? like x: with nhwc, added before the activation
function BatchNorm:forward(x, residual)
  if #x.shape < self.least or #x.shape > self.most then
    util.fail("shape", ("nn.%s takes %s, not %d dimensions"):format(self.class_name, self.takes, #x.shape))
  end
  local last = self.layout == "nhwc"
  if residual and not last then
    util.fail("argument", ("nn.%s: a residual is for layout nhwc; here add it to the result"):format(self.class_name))
  end
  local op, options = last and quern.batch_norm_act or quern.batch_norm, { eps = self.eps }
  if last then options.act, options.residual = self.act, residual end
  if not self.training then
    return (op(x, self.weight, self.bias, self.running_mean, self.running_var, options))
  end
  local y, mean, var = op(x, self.weight, self.bias, options)
  keep_running(self, x, mean, var)
  return y
end

function BatchNorm:describe()
  return ("%d, eps %g, momentum %g"):format(self.channels, self.eps, self.momentum)
end

---@class quern.BatchNorm1d: quern.Module
local BatchNorm1d = BatchNorm:extend("BatchNorm1d")
norms.BatchNorm1d = BatchNorm1d
BatchNorm1d.least, BatchNorm1d.most, BatchNorm1d.takes = 2, 3, "[N,C], [N,C,L] or [N,L,C]"

---@class quern.BatchNorm2d: quern.Module
local BatchNorm2d = BatchNorm:extend("BatchNorm2d")
norms.BatchNorm2d = BatchNorm2d
BatchNorm2d.least, BatchNorm2d.most, BatchNorm2d.takes = 4, 4, "[N,C,H,W] or [N,H,W,C]"

return norms
