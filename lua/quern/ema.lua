--- Ema: an exponential average of a model's parameters, as a hook of fit.
--
--   local ema = quern.ema(model, { decay = 0.999 })
--   quern.fit(model, data, { hooks = { ema }, evaluate = function(m)
--     return ema:with(m, function() return score(m) end) end })
--
-- avg = decay avg + (1 - decay) w after each step, beginning at w. What a mask leaves out is 0 in the average
-- too. It travels in checkpoints.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"
local util = require "quern.util"

---@class quern.Ema
---@field average table<string, userdata> by parameter name
local Ema = class "Ema"

---@param model quern.Module
---@param options {decay: number?}? decay in [0, 1); default 0.999
function Ema:init(model, options)
  local o = util.options(options, { decay = 1 }, "ema")
  self.decay, self.average = o.decay or 0.999, {}
  if type(self.decay) ~= "number" or not (self.decay >= 0 and self.decay < 1) then
    util.fail("argument", ("ema: decay must be in [0, 1), not %s"):format(tostring(o.decay)))
  end
  for _, p in ipairs(model:parameters()) do self.average[p.name] = p.tensor:detach():clone() end
end

--- Takes in the parameters as they are now.
---@param model quern.Module
function Ema:update(model)
  quern.no_grad(function()
    for _, p in ipairs(model:parameters()) do
      local avg = self.average[p.name]
      avg:mul_(self.decay)
      avg:add_(p.tensor * (1 - self.decay))
      if p.mask then avg:copy_(quern.masked_fill(avg, quern.logical_not(p.mask), 0)) end
    end
  end)
end

function Ema:after_step(fit) self:update(fit.model) end

--- Runs fn while the model has the averaged parameters, then puts its own back.
---@param model quern.Module
---@param fn function
function Ema:with(model, fn)
  local own = {}
  quern.no_grad(function()
    for _, p in ipairs(model:parameters()) do
      own[p.name] = p.tensor:detach():clone()
      p.tensor:copy_(self.average[p.name])
    end
  end)
  local result = table.pack(pcall(fn))
  quern.no_grad(function()
    for _, p in ipairs(model:parameters()) do p.tensor:copy_(own[p.name]) end
  end)
  if not result[1] then error(result[2], 0) end
  return table.unpack(result, 2, result.n)
end

--- Averages by name, for checkpoints.
function Ema:state() return self.average, { decay = self.decay } end

function Ema:load_state(tensors, values)
  for name in util.sorted(self.average) do
    if not tensors[name] then util.fail("not_found", ("ema: the state lacks %s"):format(name)) end
    self.average[name] = tensors[name]
  end
  self.decay = values.decay
end

return Ema
