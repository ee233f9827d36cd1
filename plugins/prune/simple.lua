--- Scorers that look at the weights alone: random, erk, magnitude.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local scoring = require "prune.scoring"

local function noise(job)
  local out = {}
  for _, p in ipairs(job.params) do out[p.name] = quern.normal { shape = p.tensor.shape } end
  return out
end

scoring.register {
  name = "random", summary = "N(0,1), one threshold for all", score = noise,
}

scoring.register {
  name = "erk", summary = "random within each parameter, densities by Erdos-Renyi kernels", alloc = "erk",
  score = noise, paper = "Mocanu et al. 2018; Evci et al. 2020",
}

scoring.register {
  name = "magnitude", summary = "|w|", paper = "Han et al. 2015", score = function(job) return job:magnitudes() end,
}
