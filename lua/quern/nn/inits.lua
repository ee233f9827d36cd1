--- Initial values, drawn from the run's counter-based random numbers.
--
-- fan_in and fan_out of a [O,I] matrix are I and O; of a [O,I,k...] filter I*k and O*k.
--   xavier_uniform   U(-a, a), a = gain sqrt(6 / (fan_in + fan_out))     (Glorot & Bengio 2010)
--   xavier_normal    N(0, gain^2 2 / (fan_in + fan_out))
--   kaiming_uniform  U(-a, a), a = gain sqrt(3 / fan_in)                 (He et al. 2015)
--   kaiming_normal   N(0, gain^2 / fan_in)
--   truncated_normal N(mean, std) cut at +-cut std
-- Each makes a tensor: inits.normal({ 3, 4 }, { std = 0.02 }).
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"

local inits = {}

local function fans(shape)
  local n = #shape
  if n < 2 then return shape[1] or 1, shape[1] or 1 end
  local field = 1
  for i = 3, n do field = field * shape[i] end
  return shape[2] * field, shape[1] * field
end

local known = { mean = 0, std = 0, low = 0, high = 0, cut = 0, gain = 0, dtype = "", value = 0 }

local function options_of(options, who) return util.options(options, known, "init " .. who) end

---@param shape integer[]
---@param options {low: number?, high: number?, dtype: string?}?
function inits.uniform(shape, options)
  local o = options_of(options, "uniform")
  return quern.uniform { shape = shape, low = o.low or 0.0, high = o.high or 1.0, dtype = o.dtype or "f32" }
end

---@param shape integer[]
---@param options {mean: number?, std: number?, dtype: string?}?
function inits.normal(shape, options)
  local o = options_of(options, "normal")
  return quern.normal { shape = shape, mean = o.mean or 0.0, std = o.std or 1.0, dtype = o.dtype or "f32" }
end

---@param shape integer[]
---@param options {mean: number?, std: number?, cut: number?, dtype: string?}? cut: in standard deviations
function inits.truncated_normal(shape, options)
  local o = options_of(options, "truncated_normal")
  local mean, std, cut = o.mean or 0.0, o.std or 1.0, o.cut or 2.0
  return quern.truncated_normal { shape = shape, mean = mean, std = std, low = mean - cut * std,
                                  high = mean + cut * std, dtype = o.dtype or "f32" }
end

---@param shape integer[]
---@param options {gain: number?, dtype: string?}?
function inits.xavier_uniform(shape, options)
  local o = options_of(options, "xavier_uniform")
  local fan_in, fan_out = fans(shape)
  local a = (o.gain or 1.0) * math.sqrt(6 / (fan_in + fan_out))
  return inits.uniform(shape, { low = -a, high = a, dtype = o.dtype })
end

---@param shape integer[]
---@param options {gain: number?, dtype: string?}?
function inits.xavier_normal(shape, options)
  local o = options_of(options, "xavier_normal")
  local fan_in, fan_out = fans(shape)
  return inits.normal(shape, { std = (o.gain or 1.0) * math.sqrt(2 / (fan_in + fan_out)), dtype = o.dtype })
end

---@param shape integer[]
---@param options {gain: number?, dtype: string?}? gain: sqrt(2) for relu (the default), 1 for linear
function inits.kaiming_uniform(shape, options)
  local o = options_of(options, "kaiming_uniform")
  local a = (o.gain or math.sqrt(2)) * math.sqrt(3 / (fans(shape)))
  return inits.uniform(shape, { low = -a, high = a, dtype = o.dtype })
end

---@param shape integer[]
---@param options {gain: number?, dtype: string?}?
function inits.kaiming_normal(shape, options)
  local o = options_of(options, "kaiming_normal")
  return inits.normal(shape, { std = (o.gain or math.sqrt(2)) / math.sqrt((fans(shape))), dtype = o.dtype })
end

---@param shape integer[]
---@param options {value: number?, dtype: string?}?
function inits.constant(shape, options)
  local o = options_of(options, "constant")
  return quern.full(shape, o.value or 0.0, o.dtype or "f32")
end

inits.zeros = function(shape, options)
  return inits.constant(shape, { value = 0.0, dtype = options and options.dtype })
end
inits.ones = function(shape, options)
  return inits.constant(shape, { value = 1.0, dtype = options and options.dtype })
end

--- An initial value from what a layer's `init` option holds: a function(shape, options),
--- a name ("xavier_uniform"), or { name, std = ... }.
---@param how any
---@param shape integer[]
---@param dtype string?
function inits.make(how, shape, dtype)
  local options = { dtype = dtype }
  if type(how) == "function" then return how(shape, options) end
  local name = how
  if type(how) == "table" then
    name = how[1]
    for k, v in pairs(how) do if k ~= 1 then options[k] = v end end
  end
  local fn = name ~= "make" and inits[name]
  if not fn then
    util.fail("argument", ("unknown initial value %q"):format(tostring(name)), nil,
              util.suggest(tostring(name), util.keys(inits)))
  end
  return fn(shape, options)
end

return inits
