--- The data set that a scorer is fitted to: for each weight its first value, its first gradient,
-- and how many rounds it survived.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"
local util = require "quern.util"

local FORMAT, VERSION = "quern.autosparse.dataset", 1

---@class autosparse.Dataset
---@field theta userdata f32 [N]
---@field gradient userdata f64 [N], summed over batches
---@field survival userdata i32 [N]
---@field layer userdata i32 [N], from 0
---@field names string[] of the layers
---@field rounds integer
local Dataset = class "AutosparseDataset"

local function flat(t) return t:reshape { t:numel() } end

function Dataset:init(fields)
  for k, v in pairs(fields) do self[k] = v end
end

--- From the result of irp.
---@param irp autosparse.Irp
---@return autosparse.Dataset
function Dataset.from(irp)
  local theta, gradient, survival, layer = {}, {}, {}, {}
  for i, name in ipairs(irp.names) do
    theta[i], gradient[i] = flat(irp.theta[name]:cast "f32"), flat(irp.gradients[name])
    survival[i] = flat(irp.survival[name])
    layer[i] = quern.full({ theta[i]:numel() }, i - 1, "i32")
  end
  local function all(list) return #list > 1 and quern.concat(list) or list[1] end
  return quern.no_grad(function()
    return Dataset { theta = all(theta), gradient = all(gradient), survival = all(survival), layer = all(layer),
                     names = irp.names, rounds = irp.rounds, origin = irp.settings }
  end)
end

--- Survival to (0, 1]: (n - min + 1e-7) / (max - min + 1e-7).
---@return userdata f32 [N]
function Dataset:labels()
  local low, high = self.survival:min():item(), self.survival:max():item()
  if high == low then
    util.fail("argument", ("autosparse: every weight survived %d rounds, so there is nothing to learn"):format(low),
              nil, "more rounds or a lower final density tell weights apart")
  end
  return ((self.survival:cast "f64" - low + 1e-7) / (high - low + 1e-7)):cast "f32"
end

--- Mean and deviation of the rounds survived, and how many weights survived 0, 1, ... rounds.
---@return {mean: number, std: number, counts: integer[]}
function Dataset:survived()
  local t = self.survival:cast "f64"
  local mean, counts = t:mean():item(), {}
  local d = t - mean
  for k = 0, self.rounds do counts[k + 1] = quern.sum(quern.eq(self.survival, k):cast "i64"):item() end
  return { mean = mean, std = math.sqrt((d * d):mean():item()), counts = counts }
end

---@param path string
function Dataset:save(path)
  quern.save(path, { theta = self.theta, gradient = self.gradient, survival = self.survival, layer = self.layer },
    { quern = quern.json.encode { format = FORMAT, version = VERSION, names = self.names, rounds = self.rounds,
                                  origin = self.origin } })
end

---@param path string
---@return autosparse.Dataset
function Dataset.load(path)
  local tensors, meta = quern.load(path)
  local ok, values = pcall(quern.json.decode, meta and meta.quern or "null")
  if not ok or type(values) ~= "table" or values.format ~= FORMAT or values.version ~= VERSION then
    util.fail("format", path .. " is not a data set of autosparse", nil, "they are written by dataset:save(path)")
  end
  tensors.names, tensors.rounds, tensors.origin = values.names, values.rounds, values.origin
  return Dataset(tensors)
end

return Dataset
