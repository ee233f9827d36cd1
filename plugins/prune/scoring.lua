--- Scorers behind one interface: the registry, and the job that a scorer works on.
--
--   prune.register { name = "mine", summary = "...", options = { power = 1 },
--     score = function(job) return { ["layer.weight"] = tensor, ... } end }
--
-- score(job) returns a tensor of each parameter's shape, f32 or f64, by name; larger is kept. It
-- may use job:gradients(), job:batches(), job:select(...), job:at(mask, fn); it must leave the
-- model as it found it. A scorer with needs.target = true is run when the densities are known
-- (job.densities) and has the last word by its scores: the usual selector follows.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"
local util = require "quern.util"
local det = require "quern.det"
local thing = require "quern.thing"
local groups = require "prune.groups"
local select = require "prune.select"
local gradients = require "prune.gradients"

local scoring = {}

-- ---- Registry -----------------------------------------------------------------------------------

local registry = {}

---@class prune.Scorer
---@field name string
---@field summary string
---@field paper string?
---@field options table<string, any>? its own options with their defaults
---@field needs {data: boolean?, target: boolean?}? data and a loss; the densities
---@field alloc string? allocation unless the caller says another
---@field score fun(job: prune.Job): table<string, userdata>
---@field before_select fun(options: prune.SelectOptions)? is told of each selection by its scores

--- Makes a scorer known by its name.
---@param scorer prune.Scorer
---@return prune.Scorer
function scoring.register(scorer)
  if type(scorer) ~= "table" or type(scorer.name) ~= "string" or type(scorer.score) ~= "function" then
    util.fail("argument", "prune.register: a scorer has a name and a function score(job)")
  end
  if registry[scorer.name] and registry[scorer.name] ~= scorer then
    util.fail("argument", ("prune.register: there is a scorer %q already"):format(scorer.name))
  end
  registry[scorer.name] = scorer
  return scorer
end

--- Names of all scorers, those of plugins in C too.
---@return string[]
function scoring.names()
  local all = {}
  for name in pairs(registry) do all[name] = true end
  for _, name in ipairs(thing.names "scorer") do all[name] = true end
  return util.keys(all)
end

-- A scorer that a plugin offers in C ("qn.scorer/1") as one of ours.
local function from_c(name)
  local inner = thing.scorer(name)
  return { name = name, needs = { data = inner.needs_grad }, score = function(job)
    local grads, list, out = inner.needs_grad and job:gradients() or {}, {}, {}
    for i, p in ipairs(job.params) do
      list[i] = { name = p.name, role = p.role, value = p.tensor, mask = job.alive and job.alive.kept[p.name],
                  grad = grads[p.name] and grads[p.name]:to(p.tensor.dtype) }
    end
    for i, s in ipairs(inner:score(list)) do out[job.params[i].name] = s end
    return out
  end }
end

--- A scorer by name; a scorer itself is returned as it is.
---@param how string|prune.Scorer
---@return prune.Scorer
function scoring.find(how)
  if type(how) == "table" and type(how.score) == "function" then return how end
  local scorer = registry[how]
  if not scorer and type(how) == "string" then
    for _, name in ipairs(thing.names "scorer") do
      if name == how then return from_c(name) end
    end
  end
  if not scorer then
    util.fail("not_found", ("prune: there is no scorer %q"):format(tostring(how)), nil,
              util.suggest(tostring(how), scoring.names()))
  end
  return scorer
end

-- ---- Job -----------------------------------------------------------------------------------------

---@class prune.Job
---@field model quern.Module
---@field params quern.Parameter[] to be scored, each with its group
---@field data any where batches come from, or nil
---@field loss fun(model: quern.Module, batch: table): userdata
---@field options table the scorer's own, defaults filled in
---@field densities table<string, number>? by group, for scorers that need the target
---@field alive prune.Mask? what may be kept
local Job = class "PruneJob"

-- A stream of its own: under the same seed a model's initial weights would be the random scores' very numbers, and
-- the largest weights of one sign be kept "at random".
local SCORES = 4720
local function seed_of(seed) return det.random(SCORES, seed):range(0, 0x7fffffff) end

local shared = { loss = 1, batches = 1, batch = 1, seed = 1, only = 1, names = 1 }

function Job:init(scorer, model, data, o, densities)
  self.scorer, self.model, self.data, self.densities = scorer, model, data, densities
  self.params = groups.of(model, o.names or densities and util.keys(densities), o.only)
  self.loss = o.loss or model.loss and function(m, batch) return m:loss(batch) end
  self.count, self.batch, self.alive = o.batches, o.batch, o.alive
  self.options = {}
  for k, v in util.sorted(scorer.options or {}) do
    self.options[k] = v
    if o[k] ~= nil then self.options[k] = o[k] end
  end
  if scorer.needs and scorer.needs.data and not (data and self.loss) then
    util.fail("argument", ("prune: scorer %s needs data and a loss"):format(scorer.name), nil,
              "prune.mask(name, model, data, { loss = function(model, batch) ... end, ... })")
  end
  if o.seed then quern.seed(seed_of(util.integer(o.seed, "prune: seed"))) end
end

--- Iterates over the batches to be scored with: the same ones in the same order at each call.
function Job:batches() return gradients.batches(self.data, { batch = self.batch, count = self.count }) end

--- The sum over batches of the gradients of each batch's loss, in double, at the weights as they are
--- now; the model is in evaluation mode.
---@return table<string, userdata> f64 tensors by name
---@return number loss mean over the batches
function Job:gradients() return gradients.sum(self.model, self.params, self.loss, self:batches()) end

--- The sum over batches of Hessian times v, and the sum of gradients (gradients.hessian).
---@param v (table<string, userdata>)? default: the sum of gradients itself
---@param options table?
function Job:hessian(v, options)
  return gradients.hessian(self.model, self.params, self.loss, function() return self:batches() end, v, options)
end

--- Runs fn with the weights of the parameters times a mask, then puts them back.
---@param mask prune.Mask
---@param fn fun()
function Job:at(mask, fn)
  local before = gradients.copy(self.params)
  mask:apply(self.model)
  local result = table.pack(pcall(fn))
  gradients.restore(self.params, before)
  if not result[1] then error(result[2], 0) end
  return table.unpack(result, 2, result.n)
end

--- The mask of these scores at densities on the way to the target, without guards.
---@param scores table<string, userdata>
---@param densities table<string, number> by group
---@param alive prune.Mask?
---@return prune.Mask
function Job:select(scores, densities, alive)
  return select.mask(self.model, self.params, scores,
                     { groups = densities, alive = alive or self.alive, guard = "report" })
end

--- Densities after step t of T: d^(t/T), or on a line from 1 to d.
---@param t integer
---@param T integer
---@param schedule string? "exp" (default) or "linear"
---@return table<string, number>
function Job:schedule(t, T, schedule)
  local out = {}
  for group, d in util.sorted(self.densities) do
    if schedule == "linear" then out[group] = 1 - (1 - d) * t / T else out[group] = d ^ (t / T) end
  end
  return out
end

--- |weight| as f64 by name, as the weights are now.
---@return table<string, userdata>
function Job:magnitudes()
  local out = {}
  for _, p in ipairs(self.params) do out[p.name] = quern.abs(p.tensor:detach():to("f64")) end
  return out
end

-- ---- Scores ----------------------------------------------------------------------------------------

---@class prune.Scores
---@field scores table<string, userdata>? by name; nil for scorers that need the target
local Scores = class "Scores"

local function run(job)
  return quern.no_grad(function()
    local was = job.model.training
    job.model:eval()
    local ok, scores = pcall(job.scorer.score, job)
    job.model:train(was)
    if not ok then error(scores, 0) end
    if type(scores) ~= "table" then
      util.fail("plugin", ("prune: scorer %s returned a %s, not scores by name"):format(job.scorer.name, type(scores)))
    end
    return scores
  end)
end

function Scores:init(scorer, model, data, o)
  self.scorer, self.model, self.data, self.given = scorer, model, data, o
  if not (scorer.needs and scorer.needs.target) then
    self.job = Job(scorer, model, data, o)
    self.scores = run(self.job)
  end
end

--- The mask of these scores; see prune.SelectOptions.
---@param options prune.SelectOptions
---@return prune.Mask
function Scores:select(options)
  local o = util.options(options, select.options, "prune: selection")
  local densities = groups.densities(o)
  local job, scores, scored = self.job, self.scores, {}
  for _, p in ipairs(job and job.params or {}) do scored[p.group] = true end
  for group in pairs(densities) do
    if not scored[group] then scores = nil end       -- a group that was not asked for before
  end
  if not scores then
    local given = setmetatable({ alive = o.alive, names = util.keys(densities) }, { __index = self.given })
    job = Job(self.scorer, self.model, self.data, given, densities)
    scores = run(job)
  end
  local chosen = {}
  for k, v in pairs(o) do chosen[k] = v end
  chosen.alloc = o.alloc or self.scorer.alloc
  if self.scorer.before_select then self.scorer.before_select(chosen) end
  local params = {}
  for _, p in ipairs(job.params) do
    if densities[p.group] then params[#params + 1] = p end
  end
  return select.mask(self.model, params, scores, chosen)
end

-- ---- Entry points ------------------------------------------------------------------------------------

local function known_of(scorer, more)
  local known = {}
  for _, list in ipairs { shared, scorer.options or {}, more or {} } do
    for k in pairs(list) do known[k] = 1 end
  end
  return known
end

--- Scores the weights of a model.
---@param how string|prune.Scorer
---@param model quern.Module
---@param data any? a dataset, a loader, a list of batches, or a function that returns an iterator
---@param options table? loss; batches (how many), batch (rows of one); seed; names of groups; only (a test of
---  parameters); and the scorer's own
---@return prune.Scores
function scoring.score(how, model, data, options)
  local scorer = scoring.find(how)
  return Scores(scorer, model, data, util.options(options, known_of(scorer), "prune.score, " .. scorer.name))
end

--- Scores and selects in one call: options of both.
---@param how string|prune.Scorer
---@param model quern.Module
---@param data any?
---@param options table
---@return prune.Mask
function scoring.mask(how, model, data, options)
  local scorer = scoring.find(how)
  local o = util.options(options, known_of(scorer, select.options), "prune.mask, " .. scorer.name)
  local of_scorer, of_selection = {}, {}
  for k, v in pairs(o) do
    if select.options[k] then of_selection[k] = v else of_scorer[k] = v end
  end
  of_scorer.names = of_scorer.names or util.keys(groups.densities(of_selection))
  return Scores(scorer, model, data, of_scorer):select(of_selection)
end

return scoring
