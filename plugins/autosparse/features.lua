--- What a scorer sees of each weight: its first value and its first gradient, brought to scale.
--
--   raw     theta, g: the paper's code. Ties a scorer to the scale of the gradients it was taught on
--   global  theta / sd(all theta), g / sd(all g) of the model at hand: number and size of batches and
--           the scale of the loss drop out, differences between layers stay
--   layer   (theta - mean) / sd within each tensor, g likewise: sensible only with alloc = "layer" or "erk",
--           since one threshold for all then gives every layer about the same density
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local statistics = require "autosparse.statistics"

local features = { modes = { raw = 1, global = 1, layer = 1 } }

---@param mode string?
---@return string
function features.check(mode)
  mode = mode or "global"
  if not features.modes[mode] then
    util.fail("argument", ("autosparse: features cannot be %q"):format(tostring(mode)), nil,
              util.suggest(tostring(mode), util.keys(features.modes)))
  end
  return mode
end

-- (t - shift) / scale as f32; where all values are equal, 0.
local function scaled(t, shift, scale)
  return ((t:cast "f64" - shift) * (scale > 0 and 1 / scale or 0.0)):cast "f32"
end

local function by_layer(tensors, names)
  local out = {}
  for _, name in ipairs(names) do
    local std, mean = statistics.deviation(tensors, { name })
    out[name] = scaled(tensors[name], mean, std)
  end
  return out
end

local function together(tensors, names, std)
  local out = {}
  for _, name in ipairs(names) do out[name] = scaled(tensors[name], 0.0, std) end
  return out
end

--- Both features by parameter name, f32 of the parameters' shapes.
---@param mode string
---@param names string[]
---@param theta table<string, userdata>
---@param gradient table<string, userdata>
---@return table<string, userdata> theta, table<string, userdata> gradient
function features.of(mode, names, theta, gradient)
  return quern.no_grad(function()
    if mode == "layer" then return by_layer(theta, names), by_layer(gradient, names) end
    if mode == "raw" then return together(theta, names, 1.0), together(gradient, names, 1.0) end
    return together(theta, names, (statistics.deviation(theta, names))),
           together(gradient, names, (statistics.deviation(gradient, names)))
  end)
end

return features
