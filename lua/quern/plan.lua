--- Plan: what a run will need, before it runs: parameters, arithmetic, memory, disk, time.
--
-- The recipe's main runs in a folder that is thrown away, and each quern.fit in it, instead of
-- training, takes a few steps: the first, one on the largest batch of the first epochs, which has
-- the most memory alive, and some from the beginning for the time; then it evaluates once, writes
-- two checkpoints and hands on. So everything that the run will do is done at least once, by the
-- same code, and what is left is multiplication:
--   steps = epochs ceil(batches / accumulate)    time = rest + steps s_step + evaluations s_evaluation + ...
-- An early stop can only make it less.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"
local recipe = require "quern.recipe"
local sys = require "quern.sys"

local SCAN_EPOCHS, SCAN_SECONDS = 5, 1.0   -- looking for the largest batch
local TIMED_STEPS, TIMED_SECONDS = 12, 2.0 -- from the beginning of the first epoch

local plan = {}

---@class quern.Plan
---@field fits table[] one for each training, see Planner.fit
---@field memory integer bytes of tensors at most
---@field disk integer bytes of the run's folder
---@field seconds number of the whole run
---@field rest number seconds outside of trainings
local Planner = class("Planner")

function Planner:init() self.fits = {} end

-- ---- Batches ---------------------------------------------------------------------------------

local function size_of(batch) return batch.n_tokens or batch.n or 1 end

-- Where the largest batch stands, the sum of all sizes and the batches of an epoch.
local function scan(loader)
  local began, largest = sys.clock(), nil
  local sum, n = 0, 0
  local home = loader:tell()
  for epoch = 0, SCAN_EPOCHS - 1 do
    loader:seek { seed = home.seed, epoch = epoch, index = 0 }
    local at = 0
    while true do
      local size = quern.scope(function()
        local batch = loader:next()
        return batch and size_of(batch)
      end)
      if not size then break end
      if epoch == 0 then sum, n = sum + size, n + 1 end
      if not largest or size > largest.size then largest = { size = size, epoch = epoch, index = at } end
      at = at + 1
    end
    if sys.clock() - began > SCAN_SECONDS then break end
  end
  return largest, sum, n, home
end

-- ---- A training ----------------------------------------------------------------------------------

local function count(model)
  local parameters, bytes = 0, 0
  for _, p in ipairs(model:parameters()) do
    local n = 1
    for _, d in ipairs(p.tensor.shape) do n = n * d end
    parameters, bytes = parameters + n, bytes + n * (p.tensor.dtype == "f64" and 8 or 4)
  end
  return parameters, bytes
end

-- Arithmetic of the forward pass on the first batch for each unit of it, and the share of the
-- time that is spent in ops that count theirs. Eager, whatever the training does.
local function count_flops(fit, home)
  fit.loader:seek { seed = home.seed, epoch = 0, index = 0 }
  local units = 1
  quern.profile.start {}
  quern.scope(function()
    local batch = fit.loader:next()
    units = size_of(batch)
    quern.no_grad(fit.loss_of, fit.model, batch)
  end)
  quern.profile.stop()
  local flops, counted, all = 0, 0.0, 0.0
  for _, r in ipairs(quern.profile.rows()) do
    flops, all = flops + r.flops, all + r.seconds
    if r.flops > 0 then counted = counted + r.seconds end
  end
  return flops / units, counted / math.max(all, 1e-12)
end

-- Seconds for each unit of a batch, from the first steps of the first epoch.
local function time_steps(fit, home)
  fit.loader:seek { seed = home.seed, epoch = 0, index = 0 }
  local began, steps, units = sys.clock(), 0, 0
  repeat
    fit.units = 0
    local more = fit:train_step()
    steps, units = steps + 1, units + (fit.units or 0)
  until not more or steps >= TIMED_STEPS or sys.clock() - began > TIMED_SECONDS
  return (sys.clock() - began) / math.max(units, 1)
end

local function timed(fn, ...)
  local began = sys.clock()
  fn(...)
  return sys.clock() - began
end

local function folder_bytes(folder)
  local sum = 0
  for _, name in ipairs(sys.list(folder)) do
    local path = folder .. "/" .. name
    local s = sys.stat(path)
    sum = sum + (s.folder and folder_bytes(path) or s.size)
  end
  return sum
end

local function evaluations(o, epochs, every)
  if not o.evaluate then return 0 end
  return epochs // every + (epochs % every > 0 and 1 or 0)
end

--- Stands for the loop of a training; what it finds out goes to self.fits.
---@param fit quern.Fit
function Planner:fit(fit)
  local began, o = sys.clock(), fit.options
  local largest, units, batches, home = scan(fit.loader)
  if not largest or fit.epochs == 0 then
    fit.stopped = "epochs"
    return
  end
  fit.model:train()
  local flops, counted = count_flops(fit, home)
  for _, at in ipairs { { epoch = 0, index = 0 }, largest } do
    fit.loader:seek { seed = home.seed, epoch = at.epoch, index = at.index }
    fit:train_step()
  end
  local per_unit = time_steps(fit, home)
  fit.epoch = fit.epochs - 1
  local evaluation = timed(fit.end_epoch, fit)
  timed(fit.save_last, fit)
  local saving = timed(fit.save_last, fit)
  fit.stopped = "plan"
  local per_epoch = math.ceil(batches / fit.accumulate)
  local steps = math.min(fit.epochs * per_epoch, o.max_steps or math.huge)
  local epochs = math.ceil(steps / per_epoch)
  local per_step = units / batches * fit.accumulate
  local saves = epochs + (o.checkpoint_steps and steps // o.checkpoint_steps or 0)
  local parameters, bytes = count(fit.model)
  local evaluated = evaluations(o, epochs, fit.every)
  local train = steps * per_step * per_unit
  table.insert(self.fits, { name = fit.name, parameters = parameters, parameter_bytes = bytes,
    unit = fit.loader.unit or "tok", largest_batch = largest.size, mean_batch = units / batches,
    steps = steps, epochs = epochs, steps_per_epoch = per_epoch, seconds_per_step = per_step * per_unit,
    flops_per_step = per_step * flops, flops_counted = counted,
    evaluations = evaluated, seconds_per_evaluation = evaluation,
    checkpoint_bytes = fit.folder and folder_bytes(fit.folder) or 0, seconds_per_checkpoint = saving,
    step = fit.captured and fit.captured:plan():summary() or nil,
    eager = not fit.captured and fit.execution and fit.execution.why or nil,
    losses_bytes = 17 * steps, seconds = train + evaluated * evaluation + saves * saving,
    planning = sys.clock() - began })
end

-- ---- A recipe ------------------------------------------------------------------------------------

local function temporary()
  return ("%s/quern-plan-%d"):format(os.getenv("TMPDIR") or "/tmp", require("quern.core").pid())
end

-- Nothing that the recipe says is heard: it says what one step of training gives.
local function in_silence(fn, ...)
  local heard = print
  print = function() end         -- luacheck: ignore 121
  local result = table.pack(pcall(fn, ...))
  print = heard                  -- luacheck: ignore 121
  if not result[1] then error(result[2], 0) end
  return table.unpack(result, 2, result.n)
end

---@param path string
---@param o quern.RecipeRun size, sets, seed
---@return quern.Plan
---@return quern.Recipe
function plan.make(path, o)
  local planner, folder = Planner(), temporary()
  local began = sys.clock()
  local ok, found = pcall(in_silence, function()
    local r = recipe.load(path)
    local options = { size = o.size, sets = o.sets, seed = o.seed, out = folder, id = "plan", planner = planner }
    recipe.run(r, options):finish("done")
    return r
  end)
  local bytes = folder_bytes(folder)
  sys.remove_all(folder)
  require("quern.runs").current = nil
  if not ok then error(found, 0) end
  local all, inside, training = sys.clock() - began, 0.0, 0.0
  for _, f in ipairs(planner.fits) do
    inside, training = inside + f.planning, training + f.seconds
    bytes = bytes + f.losses_bytes
  end
  return { name = found.name, fits = planner.fits, memory = quern.memory().peak, disk = bytes, rest = all - inside,
           seconds = all - inside + training }, found
end

--- Bytes of memory that are free for use; nil where the system does not say.
---@return integer?
function plan.available()
  local kib = (sys.try_read("/proc/meminfo") or ""):match("MemAvailable:%s*(%d+) kB")
  return kib and math.tointeger(kib) * 1024
end

return plan
