--- Schedules: a factor on the learning rate for each step, or each epoch.
--
-- A schedule is a plain object with :at(step) -> factor, step counted from 0. `plateau`
-- alone has state, moved by what the validation metric does.
--   constant          1
--   warmup            rises linearly from 1/n to 1 over n steps, then 1
--   cosine            after warm-up: low + (1 - low) (1 + cos(pi s)) / 2, s from 0 to 1 at `steps`
--   step              gamma ^ floor(step / every)
--   plateau           times `gamma` after `patience` evaluations without improvement
-- SPDX-License-Identifier: MIT

local class = require "quern.class"
local util = require "quern.util"

local schedule = {}

---@class quern.Schedule
local Schedule = class("Schedule")

--- The factor at a step, counted from 0.
---@param step integer
---@return number
function Schedule:at(step) return self.fn(step) end
--- Tells a schedule the value of the validation metric; only plateau listens.
function Schedule:observe() end
--- Plain values for a checkpoint.
function Schedule:state() return { kind = self.kind } end

function Schedule:load_state(state)
  if state.kind ~= self.kind then
    util.fail("state", ("schedule: the state is of %s, this is %s"):format(tostring(state.kind), self.kind))
  end
end

local function make(kind, fn)
  local s = Schedule()
  s.kind, s.fn = kind, fn
  return s
end

function schedule.constant() return make("constant", function() return 1.0 end) end

local function rise(step, warmup)
  if warmup > 0 and step < warmup then return (step + 1) / warmup end
end

---@param options {warmup: integer}
function schedule.warmup(options)
  local o = util.options(options, { warmup = 1 }, "schedule.warmup")
  local n = util.integer(o.warmup or 0, "schedule.warmup: warmup", 0)
  return make("warmup", function(step) return rise(step, n) or 1.0 end)
end

---@param options {steps: integer, warmup: integer?, low: number?} steps: all, warm-up included
function schedule.cosine(options)
  local o = util.options(options, { steps = 1, warmup = 1, low = 1 }, "schedule.cosine")
  local n = util.integer(o.warmup or 0, "schedule.cosine: warmup", 0)
  local total = util.integer(o.steps, "schedule.cosine: steps", n + 1)
  local low = o.low or 0.0
  return make("cosine", function(step)
    local r = rise(step, n)
    if r then return r end
    local s = math.min(1.0, (step - n) / (total - n))
    return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * s))
  end)
end

---@param options {every: integer, gamma: number?, warmup: integer?}
function schedule.step(options)
  local o = util.options(options, { every = 1, gamma = 1, warmup = 1 }, "schedule.step")
  local every = util.integer(o.every, "schedule.step: every", 1)
  local n = util.integer(o.warmup or 0, "schedule.step: warmup", 0)
  local gamma = o.gamma or 0.1
  return make("step", function(step) return rise(step, n) or gamma ^ (step // every) end)
end

---@class quern.Plateau: quern.Schedule
local Plateau = class("Plateau", Schedule)
Plateau.kind = "plateau"

---@param options {patience: integer?, gamma: number?, low: number?, mode: string?, threshold: number?}?
function Plateau:init(options)
  local o = util.options(options, { patience = 1, gamma = 1, low = 1, mode = "", threshold = 1 }, "schedule.plateau")
  self.patience = util.integer(o.patience or 5, "schedule.plateau: patience", 0)
  self.gamma, self.low = o.gamma or 0.5, o.low or 0.0
  self.mode, self.threshold = o.mode or "max", o.threshold or 0.0
  self.factor, self.bad, self.best = 1.0, 0, nil
end

function Plateau:at() return self.factor end

---@param value number the validation metric
function Plateau:observe(value)
  local better = self.best == nil
    or (self.mode == "max" and value > self.best + self.threshold)
    or (self.mode == "min" and value < self.best - self.threshold)
  if better then self.best, self.bad = value, 0 else self.bad = self.bad + 1 end
  if self.bad > self.patience then
    self.factor, self.bad = math.max(self.low, self.factor * self.gamma), 0
  end
end

function Plateau:state()
  return { kind = self.kind, factor = self.factor, bad = self.bad, best = self.best }
end

function Plateau:load_state(state)
  Schedule.load_state(self, state)
  self.factor, self.bad, self.best = state.factor, state.bad, state.best
end

schedule.plateau = Plateau

--- A schedule from settings: { name = "cosine", steps = 1000 }; nil or "constant": constant.
---@param settings table|string|nil
---@return quern.Schedule
function schedule.make(settings)
  if settings == nil then return schedule.constant() end
  if type(settings) == "string" then settings = { name = settings } end
  if settings.at then return settings end
  local options = {}
  for k, v in pairs(settings) do if k ~= "name" then options[k] = v end end
  local fn = settings.name ~= "make" and schedule[settings.name or "constant"]
  if not fn then
    util.fail("argument", ("there is no schedule %q"):format(tostring(settings.name)), nil,
              util.suggest(tostring(settings.name), { "constant", "warmup", "cosine", "step", "plateau" }))
  end
  return fn(options)
end

return schedule
