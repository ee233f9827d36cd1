--- A function of two numbers as a table: 512 x 512 values, evenly spaced in asinh of each, and
-- bilinear between them. asinh is near to linear around 0 and logarithmic far out, like the
-- features themselves.
-- The op grid_lookup (autosparse.c) reads it; outside of its range the edge counts.
-- SPDX-License-Identifier: MIT

local quern = require "quern"

local lookup = { SIDE = 512 }

local SIDE, MARGIN = lookup.SIDE, 0.1

local function asinh(x) return x >= 0 and math.log(x + math.sqrt(x * x + 1)) or -math.log(-x + math.sqrt(x * x + 1)) end
local function sinh(x) return 0.5 * (math.exp(x) - math.exp(-x)) end

--- The range of a feature, in asinh of feature / unit, a tenth wider than the values.
---@param t userdata
---@param unit number
---@return number low, number high
function lookup.range(t, unit)
  local low, high = asinh(t:min():item() / unit), asinh(t:max():item() / unit)
  local more = MARGIN * math.max(high - low, 1e-6)
  return low - more, high + more
end

--- Tabulates fn(u [N], v [N]) -> [N].
---@param fn fun(u: userdata, v: userdata): userdata
---@param axes {unit: number, low: number, high: number}[] of u and of v
---@return userdata f32 [512,512]
function lookup.make(fn, axes)
  local function line(axis)
    local out = {}
    for i = 0, SIDE - 1 do out[i + 1] = axis.unit * sinh(axis.low + (axis.high - axis.low) * i / (SIDE - 1)) end
    return quern.tensor(out, "f32")
  end
  local u, v = line(axes[1]), line(axes[2])
  local shape = { SIDE, SIDE }
  return quern.no_grad(function()
    return fn(u:reshape({ SIDE, 1 }):expand(shape):contiguous():reshape { SIDE * SIDE },
              v:reshape({ 1, SIDE }):expand(shape):contiguous():reshape { SIDE * SIDE }):reshape(shape)
  end)
end

--- Looks values up.
---@param grid userdata f32 [512,512]
---@param axes table as given to make
---@param u userdata f32 [N]
---@param v userdata f32 [N]
---@return userdata f32 [N]
function lookup.at(grid, axes, u, v)
  local a, b = axes[1], axes[2]
  return quern.grid_lookup(u, v, grid, { x_unit = a.unit, x_low = a.low, x_span = a.high - a.low,
                                         y_unit = b.unit, y_low = b.low, y_span = b.high - b.low })
end

--- The share of values outside of the table's range.
---@return number
function lookup.outside(axes, u, v)
  local out = quern.zeros({ u:numel() }, "bool")
  for i, t in ipairs { u, v } do
    local low, high = axes[i].unit * sinh(axes[i].low), axes[i].unit * sinh(axes[i].high)
    out = quern.logical_or(out, quern.logical_or(quern.lt(t, low), quern.gt(t, high)))
  end
  return quern.sum(out:cast "i64"):item() / math.max(u:numel(), 1)
end

return lookup
