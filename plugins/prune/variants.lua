--- An experiment of pruning in three honest variants, for any model and training.
--
--   pai    the mask is made at the initial weights, before any training; then one training. The dense
--          run is a reference and nothing else (pruning at initialization).
--   lth    rounds of: train, prune the trained weights, rewind the others to their initial values. An
--          upper bound that costs `rounds` more trainings (Frankle and Carbin 2019).
--   post   the trained dense weights are pruned, then tuned for a share of the training.
-- SPDX-License-Identifier: MIT

local util = require "quern.util"
local scoring = require "prune.scoring"
local groups = require "prune.groups"

local variants = {}

local known = { variant = 1, how = 1, make = 1, train = 1, dense = 1, data = 1, loss = 1, rounds = 1, tune = 1,
                select = 1, score = 1 }

-- Makes a mask at the model's present weights and binds it.
local function prune(o, model, densities, alive)
  local options = { loss = o.loss, groups = densities, alive = alive }
  for _, more in ipairs { o.select or {}, o.score or {} } do
    for k, v in pairs(more) do
      if k ~= "density" and k ~= "groups" then options[k] = v end
    end
  end
  return scoring.mask(o.how, model, o.data, options):bind(model)
end

local function between(densities, t, T)
  local out = {}
  for group, d in pairs(densities) do out[group] = d ^ (t / T) end
  return out
end

local run = {}

function run.pai(o, densities)
  local model = o.make()
  local mask = prune(o, model, densities)
  o.train(model, 1)
  return model, mask
end

function run.lth(o, densities)
  local model, T, mask = o.make(), util.integer(o.rounds or 5, "prune.variant: rounds", 1), nil
  local initial = {}
  for name, t in pairs(model:state()) do initial[name] = t:detach():clone() end
  if o.dense then model:load_state(o.dense:state()) else o.train(model, 1) end
  for t = 1, T do
    mask = prune(o, model, between(densities, t, T), mask)
    model:load_state(initial)
    o.train(model, 1)
  end
  return model, mask
end

function run.post(o, densities)
  local model = o.make()
  if o.dense then model:load_state(o.dense:state()) else o.train(model, 1) end
  local mask = prune(o, model, densities)
  o.train(model, o.tune or 0.2)
  return model, mask
end

--- Prunes and trains one model.
---@param options table variant: "pai", "lth" or "post"; how: a scorer; make(): the model at its initial weights,
---  equal each time; train(model, share): trains it for a share of the full training; dense: the trained dense
---  model (lth, post; else it is trained); data, loss, score: for the scorer; select: density or groups, and the
---  rest of prune.SelectOptions; rounds: of lth, 5; tune: share of post, 0.2
---@return quern.Module model with its mask bound
---@return prune.Mask
function variants.run(options)
  local o = util.options(options, known, "prune.variant")
  local body = run[o.variant or "pai"]
  if not body then
    util.fail("argument", ("prune.variant: there is no variant %q"):format(tostring(o.variant)), nil,
              util.suggest(tostring(o.variant), util.keys(run)))
  end
  return body(o, groups.densities(o.select or {}))
end

return variants
