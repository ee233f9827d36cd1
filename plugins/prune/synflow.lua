--- SynFlow (Tanaka et al. 2020): scores by flow alone, without data, in many rounds.
--
--   R = 1' prod_l |theta_l| 1,   score = theta dR/dtheta;   density d^(t/T) after round t of T
--
-- In double: R grows like the product of the layers' norms. The scores of each layer of a chain
-- add up to R, so no layer can lose all before the others are small.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local flow = require "prune.flow"
local scoring = require "prune.scoring"
local Mask = require "prune.mask"

local function scores_of(job, sizes, mask)
  local weights = {}
  for name, w in pairs(sizes) do weights[name] = quern.where(mask.kept[name], w, 0) end
  local _, grads = flow.run(job.model, weights)
  local out = {}
  for name, w in pairs(weights) do out[name] = w * grads[name] end
  return out
end

scoring.register {
  name = "synflow", summary = "|w| dR/d|w| of the linearized network, no data, in rounds",
  paper = "Tanaka et al. 2020, alg. 1", needs = { target = true }, options = { rounds = 100 },
  score = function(job)
    local T = util.integer(job.options.rounds, "prune: rounds of synflow", 1)
    local sizes, mask = job:magnitudes(), Mask.full(job.params)
    for t = 1, T - 1 do mask = job:select(scores_of(job, sizes, mask), job:schedule(t, T), mask) end
    local last = scores_of(job, sizes, mask)
    for name, s in pairs(last) do last[name] = quern.where(mask.kept[name], s, -1) end
    return last
  end,
}
