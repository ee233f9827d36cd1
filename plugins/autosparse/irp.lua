--- IRP: iterative rewind pruning (the lottery-ticket loop), whose survival counts are the labels.
--
--   theta0 = init; m = 1; survival = 0; g0 = sum over batches of the gradients at theta0
--   for i = 0 .. T-1:
--     s = criterion(theta, m); m = the best alive_i of the living weights by s; survival += m
--     theta = m theta0 (rewind); train(theta, m)
--
-- first = "init" judges the raw weights in round 0 (the paper's code), "trained" trains the dense
-- model before it (lottery tickets). rewind = "all" takes back every parameter and buffer,
-- "weights" only the prunable ones (the paper's code). With a folder, the state after each round
-- is written there, and a training under way keeps its own checkpoints: whoever calls again after
-- a kill gets the same bits as from an unbroken run. Inside a run of a recipe the folder lies in
-- the run's, and trainings keep their checkpoints and losses where the run's trainings do.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local class = require "quern.class"
local sys = require "quern.sys"
local checkpoint = require "quern.checkpoint"
local runs = require "quern.runs"
local schedule = require "autosparse.schedule"

local prune = quern.plugin "prune"

local irp = {}

---@class autosparse.Irp
---@field mask prune.Mask of the last round
---@field survival table<string, userdata> i32 by name: rounds each weight lived through
---@field theta table<string, userdata> the first weights
---@field gradients table<string, userdata> f64, at the first weights
---@field names string[] of the parameters
---@field rounds integer
---@field history table[] of each round: keep, alive, density, densities, metrics
local Irp = class "Irp"

local known = { model = 1, data = 1, loss = 1, train = 1, evaluate = 1, rounds = 1, final = 1, schedule = 1, ratio = 1,
                criterion = 1, rewind = 1, first = 1, batch = 1, batches = 1, folder = 1, seed = 1, only = 1, say = 1,
                name = 1, alloc = 1 }

local function choice(value, name, allowed)
  for _, a in ipairs(allowed) do
    if a == value then return a end
  end
  util.fail("argument", ("irp: %s is %s"):format(name, tostring(value)), nil,
            "known are " .. table.concat(allowed, ", "))
end

-- ---- Setting up --------------------------------------------------------------------------------

-- What must not change between a run and its resumption.
local function settings_of(self, o)
  local shapes = {}
  for i, p in ipairs(self.params) do shapes[i] = p.name .. " " .. table.concat(p.tensor.shape, "x") end
  return { rounds = self.rounds, final = o.final, schedule = o.schedule or "num", ratio = o.ratio,
           criterion = self.criterion, alloc = self.alloc, rewind = self.rewind, first = self.first, seed = self.seed,
           batch = self.batch, batches = o.batches, parameters = shapes }
end

local function cloned(state)
  local out = {}
  for name, t in pairs(state) do out[name] = t:detach():clone() end
  return out
end

function Irp:init(options)
  local o = util.options(options, known, "irp")
  self.model = o.model
  self.params = prune.parameters(o.model, nil, o.only)
  self.data, self.loss = o.data, o.loss or o.model.loss and function(m, batch) return m:loss(batch) end
  if not self.loss or not o.data then util.fail("argument", "irp: data and a loss are needed") end
  if type(o.train) ~= "function" then
    util.fail("argument", "irp: train must be a function(model, how)", nil,
              "how has seed, name, folder and resume, which quern.fit takes")
  end
  self.train_model, self.evaluate, self.say = o.train, o.evaluate, o.say
  self.keep, self.alive = schedule.keep(o)
  self.rounds = #self.keep
  self.criterion = prune.scorer(o.criterion or "snip").name
  self.alloc = choice(o.alloc or "global", "alloc", { "global", "layer", "erk" })
  self.rewind = choice(o.rewind or "all", "rewind", { "all", "weights" })
  self.first = choice(o.first or "init", "first", { "init", "trained" })
  self.seed = util.integer(o.seed or runs.current and runs.current.seed or 0, "irp: seed")
  self.batch, self.count = util.integer(o.batch or 256, "irp: batch", 1), o.batches
  self.name = o.name or "irp"
  self.folder = o.folder or runs.current and ("%s/%s"):format(runs.current.folder, self.name) or nil
  self.settings = settings_of(self, o)
  self.names = {}
  for i, p in ipairs(self.params) do self.names[i] = p.name end
end

-- ---- State ------------------------------------------------------------------------------------------

function Irp:start()
  self.done, self.trained, self.history = 0, false, {}
  self.first_state = quern.no_grad(function() return cloned(self.model:state()) end)
  local was = self.model.training
  self.model:eval()
  self.gradients = prune.gradients(self.model, self.params, self.loss,
                                   prune.batches(self.data, { batch = self.batch, count = self.count }))
  self.model:train(was)
  self.mask, self.survival = prune.Mask.full(self.params, self.model), {}
  for _, p in ipairs(self.params) do self.survival[p.name] = quern.zeros(p.tensor.shape, "i32") end
end

function Irp:save()
  if not self.folder then return end
  local bits, mask = self.mask:state()
  local tensors = checkpoint.join({}, "model/", self.model:state())
  checkpoint.join(tensors, "first/", self.first_state)
  checkpoint.join(tensors, "gradient/", self.gradients)
  checkpoint.join(tensors, "survival/", self.survival)
  checkpoint.join(tensors, "mask/", bits)
  checkpoint.advance(self.folder, tensors, { settings = self.settings, done = self.done, trained = self.trained,
    step = self.done, mask = mask, history = self.history })
end

local function differing(a, b)
  for _, key in ipairs { "parameters", "rounds", "final", "schedule", "ratio", "criterion", "alloc", "rewind", "first",
                         "seed", "batch", "batches" } do
    local x, y = a[key], b[key]
    if type(x) == "table" then x = table.concat(x, "; ") end
    if type(y) == "table" then y = table.concat(y, "; ") end
    if x ~= y then return key, x, y end
  end
end

-- Takes over what an earlier call has written; false when there is nothing.
function Irp:load()
  if not self.folder or not sys.exists(self.folder) then return false end
  local tensors, s = checkpoint.newest(self.folder, function(text) io.stderr:write("quern: ", text, "\n") end)
  if not tensors then return false end
  local key, was, is = differing(s.settings, self.settings)
  if key then
    util.fail("state", ("irp: %s holds a run with %s = %s"):format(self.folder, key, tostring(was)),
              ("this one has %s"):format(tostring(is)), "give another folder, or remove this one")
  end
  self.first_state, self.gradients = checkpoint.part(tensors, "first/"), checkpoint.part(tensors, "gradient/")
  self.survival = checkpoint.part(tensors, "survival/")
  self.mask = prune.Mask.full(self.params, self.model)
  self.mask:load_state(checkpoint.part(tensors, "mask/"), s.mask)
  self.model:load_state(checkpoint.part(tensors, "model/"))
  self.done, self.trained, self.history = s.done, s.trained, s.history
  return true
end

-- ---- Rounds -----------------------------------------------------------------------------------------

function Irp:rewound()
  if self.rewind == "all" then
    self.model:load_state(self.first_state)
  else
    quern.no_grad(function()
      for _, p in ipairs(self.params) do p.tensor:copy_(self.first_state[p.name]) end
    end)
  end
  self.mask:bind(self.model)
end

-- Where a training keeps its checkpoints; in a run, where the run's trainings do.
local function place_of(self, name)
  if runs.current then return ("%s/checkpoints/%s"):format(runs.current.folder, name) end
  return self.folder and ("%s/%s"):format(self.folder, name)
end

-- A whole training; one that was broken off goes on.
function Irp:train(name, round)
  local place = place_of(self, name)
  self.train_model(self.model, { seed = self.seed * 1000 + round, name = name, resume = place ~= nil, round = round,
                                 folder = not runs.current and place or nil })
end

-- What a finished training has left, but for its losses.
local function tidy(self, name)
  local place = place_of(self, name)
  if not place then return end
  if not runs.current then return sys.remove_all(place) end
  for _, file in ipairs(sys.list(place)) do
    if file ~= "losses.txt" then sys.remove(place .. "/" .. file) end
  end
end

function Irp:cull(round)
  local scores = prune.score(self.criterion, self.model, self.data,
                             { loss = self.loss, batch = self.batch, batches = self.count, seed = self.seed + round })
  self.mask = prune.select(self.model, self.params, scores.scores,
                           { density = self.alive[round], alive = self.mask, alloc = self.alloc, guard = "report" })
  quern.no_grad(function()
    for _, name in ipairs(self.names) do
      self.survival[name] = self.survival[name] + self.mask.kept[name]:cast "i32"
    end
  end)
end

-- The state is written first, so that a kill between the two leaves a folder too many, not too few.
function Irp:keep_state(name)
  self:save()
  tidy(self, name)
end

function Irp:round(i)
  local name = ("%s-%03d"):format(self.name, i)
  self:cull(i)
  self:rewound()
  self:train(name, i)
  self.done = i
  local record = { keep = self.keep[i], alive = self.alive[i], density = self.mask:density(),
                   densities = self.mask:densities(), metrics = self.evaluate and self.evaluate(self.model) or nil }
  self.history[i] = record
  self:keep_state(name)
  if self.say then self.say(i, record) end
end

function Irp:run()
  if self.folder then sys.mkdir(self.folder) end
  if not self:load() then
    self:start()
    self:save()
  end
  if self.first == "trained" and not self.trained then
    local name = self.name .. "-dense"
    self:train(name, 0)
    self.trained = true
    self:keep_state(name)
  end
  for i = self.done + 1, self.rounds do self:round(i) end
  self.theta = {}
  for _, name in ipairs(self.names) do self.theta[name] = self.first_state[name] end
  return self
end

function Irp:__tostring()
  local rows = { { "round", "keep", "alive", "metrics" } }
  for i, h in ipairs(self.history) do
    local parts = {}
    for k, v in util.sorted(h.metrics or {}) do parts[#parts + 1] = ("%s %s"):format(k, util.number(v)) end
    rows[#rows + 1] = { tostring(i), ("%.6f"):format(h.keep), ("%.6f"):format(h.density), table.concat(parts, "  ") }
  end
  return util.table(rows, { right = { [1] = true, [2] = true, [3] = true } })
end

---@class autosparse.IrpOptions
---@field model quern.Module freshly made; trained in place
---@field data any a dataset, a loader or a list of batches, for gradients and criterion
---@field loss (fun(model: table, batch: table): userdata)? default: model:loss
---@field train fun(model: table, how: table) a whole training; how: seed, name, folder, resume for quern.fit; round
---@field evaluate (fun(model: table): table)? metrics after each round
---@field rounds integer
---@field final number? density at the end
---@field schedule string? "num" (default) or "pct"
---@field ratio number? with pct: the share kept in each round, instead of final^(1/rounds)
---@field criterion string? a scorer of prune: "snip" (default), "magnitude", ...
---@field alloc string? how a round shares its weights out: "global" (default), "layer", "erk"
---@field rewind string? "all" (default) or "weights"
---@field first string? "init" (default) or "trained"
---@field batch integer? rows of a batch for gradients; default 256
---@field batches integer? how many of them; default all
---@field name string? of its trainings and, in a run, of its folder; default "irp"
---@field folder string? where the state is kept; default: in the run's; outside of a run without it, a kill loses all
---@field seed integer?
---@field only (fun(p: quern.Parameter): boolean)? leaves out parameters for which it is false
---@field say fun(round: integer, record: table)? is told of each round

--- Runs iterative rewind pruning, or goes on with one that was broken off.
---@param options autosparse.IrpOptions
---@return autosparse.Irp
function irp.run(options) return Irp(options):run() end

return irp
