--- Scorers by the gradient at initialization: snip, iterative SNIP, FORCE, GraSP, ProsPr.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local optim = require "quern.optim"
local gradients = require "prune.gradients"
local scoring = require "prune.scoring"
local Mask = require "prune.mask"

-- |w g|: how the loss changes with a weight's mask, |dL/dm| with W = m w.
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

-- ---- In steps -------------------------------------------------------------------------------------------

-- Scores of what a mask leaves out become less than all others.
local function bar(scores, mask)
  for name, s in pairs(scores) do scores[name] = quern.where(mask.kept[name], s, -1) end
  return scores
end

-- T times: scores at the masked network, with the initial weights as factor; then the best of all
-- (revive) or of those that are left.
local function in_steps(job, revive)
  local o, theta, mask = job.options, gradients.copy(job.params), Mask.full(job.params)
  local T = util.integer(o.steps, ("prune: steps of %s"):format(job.scorer.name), 1)
  local function scores() return job:at(mask, function() return saliency(job, theta) end) end
  for t = 1, T - 1 do
    mask = job:select(scores(), job:schedule(t, T, o.schedule), not revive and mask or nil)
  end
  local last = scores()
  return revive and last or bar(last, mask)
end

scoring.register {
  name = "itersnip", summary = "SNIP in steps; what is pruned stays pruned", needs = { data = true, target = true },
  paper = "de Jorge et al. 2021; Verdenius et al. 2020", options = { steps = 10, schedule = "exp" },
  score = function(job) return in_steps(job, false) end,
}

scoring.register {
  name = "force", summary = "SNIP in steps over all weights; what was pruned may return",
  paper = "de Jorge et al. 2021, alg. 1", needs = { data = true, target = true },
  options = { steps = 10, schedule = "exp" },
  score = function(job) return in_steps(job, true) end,
}

-- ---- Second order -----------------------------------------------------------------------------------------

local TEMPERATURE = 200

-- The loss with what a call of the model gives divided by a temperature. Unless one is asked for, a loss that does not
-- call the model goes without.
local function tempered(loss, asked)
  local T = asked or TEMPERATURE
  if type(T) ~= "number" or T <= 0 or T ~= T then
    util.fail("argument", ("prune: temperature of grasp must be positive, not %s"):format(tostring(T)))
  end
  return function(model, batch)
    local called = T == 1
    local softer = setmetatable({}, { __index = model, __call = function(_, ...)
      called = true
      return model(...) / T
    end })
    local value = loss(softer, batch)
    if not called and asked then
      util.fail("argument", "prune: temperature of grasp, but the loss does not call the model", nil,
                "the loss gets at the outputs in another way: divide them there, and give temperature = 1")
    end
    return value
  end
end

scoring.register {
  name = "grasp", summary = "w Hg: what is kept keeps the gradient's flow", paper = "Wang et al. 2020, eq. 8",
  needs = { data = true }, options = { method = "auto", epsilon = 1e-2, temperature = false },
  score = function(job)
    job.loss = tempered(job.loss, job.options.temperature)
    local Hg, out, sum = job:hessian(nil, { method = job.options.method, epsilon = job.options.epsilon }), {}, 0.0
    for _, p in ipairs(job.params) do
      out[p.name] = p.tensor:detach():to "f64" * Hg[p.name]
      sum = sum + quern.sum(out[p.name]):item()
    end
    for name, s in pairs(out) do out[name] = s / (math.abs(sum) + 1e-10) end
    return out
  end,
}

-- ---- Through training steps ---------------------------------------------------------------------------------

-- |dL/dc| after `steps` of SGD from w c at c = 1, to first order: the last gradient times w.
local function prospr(job)
  local o, model = job.options, job.model
  local theta, before = gradients.copy(job.params), gradients.copy(model:parameters())
  local sgd = optim.SGD(model:parameters(), { lr = o.lr, momentum = o.momentum })
  sgd:prepare()
  local batches, steps = job:batches(), util.integer(o.steps, "prune: steps of prospr1", 0)
  local function fresh()
    local batch = batches()
    if not batch then
      batches = job:batches()
      batch = batches()
    end
    return batch
  end
  local ok, scores = pcall(function()
    for _ = 1, steps do
      local batch = fresh()
      gradients.step(model, job.loss, batch, sgd)
    end
    local batch = fresh()
    local once = function()
      local b = batch
      batch = nil
      return b
    end
    local g, out = gradients.sum(model, job.params, job.loss, once), {}
    for _, p in ipairs(job.params) do out[p.name] = quern.abs(theta[p.name]:to "f64" * g[p.name]) end
    return out
  end)
  gradients.restore(model:parameters(), before)
  if not ok then error(scores, 0) end
  return scores
end

scoring.register {
  name = "prospr1", summary = "SNIP after a few steps of training, to first order", paper = "Alizadeh et al. 2022",
  needs = { data = true }, options = { steps = 3, lr = 0.5, momentum = 0.9 }, score = prospr,
}
