--- Scorers by the gradient: snip.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local scoring = require "prune.scoring"

-- |w g|: the change of the loss when a weight's mask moves, |dL/dm| with W = m w.
local function saliency(job, weights)
  local g, out = job:gradients(), {}
  for _, p in ipairs(job.params) do
    out[p.name] = quern.abs((weights and weights[p.name] or p.tensor:detach()):to("f64") * g[p.name])
  end
  return out
end

scoring.register {
  name = "snip", summary = "|w dL/dw|, in one shot", paper = "Lee et al. 2019, eq. 4", needs = { data = true },
  score = function(job) return saliency(job) end,
}
