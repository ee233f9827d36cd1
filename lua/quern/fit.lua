--- Fit: the training loop, with evaluation, early stopping, checkpoints and resume.
--
--   local result = quern.fit(model, loader, {
--     loss = function(model, batch) return model:loss(batch) end,
--     optim = { name = "adamw", lr = 1e-3 }, epochs = 20,
--     evaluate = function(model) return { ["NDCG@10"] = ... } end,
--     select = "NDCG@10", patience = 5 })
--
-- A step is a function of (parameters, optimizer state, batch index, seed): random ops are
-- keyed by the step's number, the loader's order by (seed, epoch). A checkpoint holds just
-- these, so a resumed training continues with the same bits. Each step runs in a scope:
-- tensors made in it are freed at its end. What it does not do: decide what a batch is;
-- any object with next, tell, seek and batches serves as a loader.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"
local util = require "quern.util"
local optim = require "quern.optim"
local schedule = require "quern.schedule"
local checkpoint = require "quern.checkpoint"
local Losses = require "quern.losses"
local Oplog = require "quern.oplog"
local Progress = require "quern.progress"
local sys = require "quern.sys"
local execution = require "quern.execution"
local runs = require "quern.runs"

-- Random keys of evaluations and of the time between trainings lie far from steps.
local EVALUATION_STEP, BETWEEN_STEP = 1 << 41, 1 << 40
local outside = { trainings = 0 }  -- what runs count for themselves, of trainings outside any run

local known = { loss = 1, optim = 1, schedule = 1, epochs = 1, max_steps = 1, batch = 1, bucket = 1, seed = 1,
  clip = 1, accumulate = 1, evaluate = 1, every = 1, select = 1, mode = 1, patience = 1, restore_best = 1,
  name = 1, folder = 1, resume = 1, hooks = 1, progress = 1, checkpoint_steps = 1, shuffle = 1, prefetch = 1,
  captured = 1, slice_kib = 1, checkpoints = 1, storage = 1, recompute = 1 }

---@class quern.FitOptions
---@field loss fun(model: table, batch: table): userdata, integer? loss, and what it is a mean over; default model:loss
---@field optim table? an optimizer, or its settings { name = "adamw", lr = 1e-3 }
---@field schedule table|string? a schedule or its settings
---@field epochs integer? default 1
---@field max_steps integer? stop after so many updates
---@field batch integer? with a dataset instead of a loader: sequences per batch
---@field bucket boolean? with a dataset: batches of similar lengths
---@field seed integer? default: the run's
---@field clip number? limit of the gradients' common norm
---@field accumulate integer? batches per update, default 1
---@field evaluate (fun(model: table): table)? metrics by name
---@field every integer? epochs between evaluations, default 1
---@field select string? metric that decides on best and on stopping
---@field mode string? "max" or "min"; default by the metric's name
---@field patience integer? evaluations without improvement before stopping
---@field restore_best boolean? load the best parameters at the end; default true
---@field name string? of this training in the run folder; default fit-1, fit-2, ...
---@field folder string? where checkpoints go; default: the run's
---@field resume boolean? continue from last; default: as the run was started
---@field hooks table[]? objects with any of before_epoch, before_step, after_backward, after_step, after_epoch,
---  after_evaluate, checkpoint, finish (called as hook:name(fit, ...)), and state, load_state for checkpoints
---@field progress boolean? default true
---@field captured boolean? replay the step in slices of the batch where it can be (docs/executor.md); default true
---@field slice_kib integer? of captured steps: memory that may grow with a slice; default by the L2 cache
---@field recompute boolean? cheap ops of captured steps run again in backward and what they made is not kept;
---  default: where that brings a slice of one sample within slice_kib
---@field storage {activations: string?, moments: string?, tables: string?}? "bf16" halves the memory of what a captured
---  step keeps for backward, of the optimizer's moments, or of embedding tables (of which the optimizer has masters in
---  f32, unless its settings say master = false); arithmetic stays f32 (docs/executor.md); default "f32"
---@field checkpoints boolean? false: keep losses alone; an interrupted training then begins anew. For studies of
---  many short trainings; default true
---@field checkpoint_steps integer? also write last after so many updates

---@class quern.Fit
local Fit = class("Fit")

-- ---- Setting up ------------------------------------------------------------------------

local function make_loader(data, o, seed)
  if data.next and data.seek then return data end
  if not data.loader then
    util.fail("argument", "fit: the data is neither a loader nor a dataset", nil,
              "give it data:loader(...), quern.data.sequences{...} or quern.data.tensors{...}")
  end
  return data:loader("train", { batch = o.batch or 128, bucket = o.bucket, shuffle = o.shuffle,
                                seed = seed, prefetch = o.prefetch })
end

local function default_mode(metric)
  local m = metric:lower()
  return (m:find("loss") or m:find("rmse") or m:find("mse") or m:find("error")) and "min" or "max"
end

local function place(self, o)
  local run = runs.current
  local counted = run or outside
  counted.trainings = (counted.trainings or 0) + 1
  self.number = counted.trainings
  self.name = o.name or run and run:next_name("fit") or ("fit-%d"):format(self.number)
  if not self.name:match("^[%w][%w._-]*$") then
    util.fail("argument", ("fit: %q cannot name a training"):format(self.name), nil,
              "letters, digits, '.', '_' and '-'")
  end
  if run and not o.folder then run:claim(self.name) end
  self.folder = o.folder or run and run.folder .. "/checkpoints/" .. self.name
  if self.folder then sys.mkdir(self.folder) end
  self.saves = self.folder ~= nil and o.checkpoints ~= false
  if o.resume ~= nil then self.resume = o.resume else self.resume = run ~= nil and run.resumed end
end

local function storage_of(o)
  local storage = util.options(o.storage or {}, { activations = 1, moments = 1, tables = 1 }, "fit: storage")
  local narrow = {}
  for name, dtype in util.sorted(storage) do
    narrow[name] = util.choose(dtype, { "f32", "bf16" }, "fit: storage of " .. name) == "bf16" and dtype or nil
  end
  return narrow
end

local function optimizer_of(model, settings, storage)
  local made = settings.step ~= nil
  if made and (storage.moments or storage.tables) then
    util.fail("argument", ("fit: storage of %s, but the optimizer is made already"):format(
              storage.moments and "moments" or "tables"), nil,
              'give fit the settings of an optimizer; or moments = "bf16" to it, and it model:to("bf16", "embedding")')
  end
  if storage.tables then model:to("bf16", "embedding") end
  if made then return settings end
  local with = { moments = storage.moments }
  for k, v in pairs(settings) do with[k] = v end
  return optim.make(model:parameters(), with)
end

function Fit:init(model, data, options)
  local o = util.options(options, known, "fit")
  self.model, self.options = model, o
  self.loss_of = o.loss or model.loss and function(m, batch) return m:loss(batch) end
  if not self.loss_of then
    util.fail("argument", "fit: nothing says what the loss is", nil,
              "give loss = function(model, batch) ... end, or a model with a method loss")
  end
  self.seed = util.integer(o.seed or runs.current and runs.current.seed or 0, "fit: seed")
  self.epochs = util.integer(o.epochs or 1, "fit: epochs", 0)
  self.accumulate = util.integer(o.accumulate or 1, "fit: accumulate", 1)
  self.every = util.integer(o.every or 1, "fit: every", 1)
  if (o.select or o.patience) and not o.evaluate then
    util.fail("argument", "fit: select and patience need evaluate", nil, "give evaluate = function(model) ... end")
  end
  if o.patience and not o.select then
    util.fail("argument", "fit: patience needs select, the metric to watch")
  end
  self.mode = o.mode or o.select and default_mode(o.select) or "max"
  place(self, o)
  quern.seed(self.seed)
  self.loader = make_loader(data, o, self.seed)
  self.storage = storage_of(o)
  self.optim = optimizer_of(model, o.optim or { name = "adamw" }, self.storage)
  self.schedule = schedule.make(o.schedule)
  self.hooks = o.hooks or {}
  self.step, self.epoch, self.bad = 0, 0, 0
  self.loss_sum, self.loss_count = 0.0, 0
  self.history, self.lines, self.best = {}, {}, nil
end

function Fit:hook(event, ...)
  for _, h in ipairs(self.hooks) do
    if h[event] then h[event](h, self, ...) end
  end
end

-- ---- Checkpoints ----------------------------------------------------------------------------

function Fit:plain_state()
  local _, values = self.optim:state()
  local hooks = {}
  for i, h in ipairs(self.hooks) do
    hooks[i] = h.state and select(2, h:state()) or {}
  end
  local run = runs.current
  return { name = self.name, seed = self.seed, step = self.step, epoch = self.epoch, loader = self.loader:tell(),
    loss_sum = self.loss_sum, loss_count = self.loss_count, lines = self.lines, best = self.best,
    bad = self.bad, stopped = self.stopped, optim = values, schedule = self.schedule:state(), hooks = hooks,
    random = run and run.random.state, execution = self.execution }
end

--- Writes last: parameters, moments, position and metrics so far.
function Fit:save_last()
  if not self.saves then return end
  self:hook("checkpoint")
  local tensors = checkpoint.join({}, "model/", self.model:state())
  checkpoint.join(tensors, "optim/", (self.optim:state()))
  for i, h in ipairs(self.hooks) do
    if h.state then checkpoint.join(tensors, ("hook%d/"):format(i), (h:state())) end
  end
  if self.losses then self.losses:write(true) end
  checkpoint.advance(self.folder, tensors, self:plain_state())
end

local function cloned(state)
  local out = {}
  for name, t in pairs(state) do out[name] = t:detach():clone() end
  return out
end

function Fit:save_best()
  if self.saves then
    checkpoint.write(self.folder .. "/best.safetensors", checkpoint.join({}, "model/", self.model:state()),
                     { name = self.name, epoch = self.epoch, step = self.step, best = self.best })
  else
    self.best_state = quern.no_grad(function() return cloned(self.model:state()) end)
  end
end

function Fit:load_best()
  if not self.best then return end
  local state = self.best_state
  if self.saves then
    local tensors = checkpoint.read(self.folder .. "/best.safetensors")
    state = tensors and checkpoint.part(tensors, "model/")
  end
  if state then self.model:load_state(state) end
end

local function warn(text)
  io.stderr:write("quern: ", text, "\n")
  if runs.current then runs.current:log(text) end
end

--- Takes over the state of the newest checkpoint; false when there is none.
function Fit:load_last()
  if not self.saves then return false end
  local tensors, s = checkpoint.newest(self.folder, warn)
  if not tensors then return false end
  if s.seed ~= self.seed then
    util.fail("state", ("%s was trained with seed %d, this run has %d"):format(self.folder, s.seed, self.seed), nil,
              "resume with the same seed, or train into another folder")
  end
  self.model:load_state(checkpoint.part(tensors, "model/"))
  self.optim:load_state(checkpoint.part(tensors, "optim/"), s.optim)
  self.schedule:load_state(s.schedule)
  for i, h in ipairs(self.hooks) do
    if h.load_state then h:load_state(checkpoint.part(tensors, ("hook%d/"):format(i)), s.hooks[i]) end
  end
  for _, key in ipairs { "step", "epoch", "loss_sum", "loss_count", "best", "bad", "stopped", "execution" } do
    self[key] = s[key]
  end
  self.loader:seek(s.loader)
  local run = runs.current
  if run and s.random then run.random.state = s.random end
  for _, record in ipairs(s.lines) do self:record(record) end
  return true
end

-- Adds a record to what this training has said; the run writes it, or finds it written already.
function Fit:record(record)
  self.lines[#self.lines + 1] = record
  if record.fit == self.name and record.epoch then self.history[#self.history + 1] = record end
  if runs.current then runs.current:metric(record) end
end

-- ---- Steps ------------------------------------------------------------------------------------

local function check_loss(self, value, what)
  if value == value and value ~= math.huge and value ~= -math.huge then return end
  if self.losses then self.losses:write(false) end
  util.fail("numeric", ("the %s is %s"):format(what, tostring(value)),
    ("%s, epoch %d, step %d, batch %s"):format(self.name, self.epoch + 1, self.step + 1,
      tostring(self.loader:tell().index)),
    "a lower learning rate or clip = 1.0 often helps; quern.check_finite(true) finds the op"
    .. (self.folder and sys.exists(self.folder .. "/last.safetensors") and "; the last good state is in "
        .. self.folder or ""))
end

-- Why the step is not to be captured, if somebody has said so.
local function eager_by_choice(self, plan)
  if self.options.captured == false then return "captured = false" end
  if execution.eager then return "--eager" end
  return plan and not plan.captured and (plan.why or "as before") or nil
end

function Fit:note_execution(choice)
  choice.storage = next(self.storage) and self.storage or nil
  self.execution = choice
  execution.note(runs.current, self.name, choice)
end

-- Captured or eager, as far as can be said before the first step; a resumed run follows its record.
function Fit:choose_execution()
  local plan = self.execution or execution.planned(runs.current, self.name)
  local why = eager_by_choice(self, plan)
  if why then return self:note_execution { captured = false, why = why } end
  self.captured = quern.capture(function(batch)
    local loss, count = self.loss_of(self.model, batch)
    self.counts = count ~= nil
    loss:backward()
    return loss
  end, { slice_kib = self.options.slice_kib or plan and plan.slice_kib or execution.slice_kib,
         activations = self.storage.activations, recompute = self.options.recompute })
end

-- Errors that say that a step cannot be replayed; an eager step raises others by itself.
local passed_on = { nomem = true, interrupted = true, cancelled = true, internal = true }

function Fit:go_eager(e)
  if type(e) == "table" and passed_on[e.status] then error(e, 0) end
  if type(e) == "table" and e.status == "numeric" then return end   -- the eager step says it of the whole batch
  local why = type(e) == "table" and e.what or tostring(e)
  local where = type(e) == "table" and (e.detail or ""):match("at ([^\n]*)") or e.source
  if where then why = ("%s, at %s"):format(why, where) end
  self.captured = nil
  self:note_execution { captured = false, why = why }
  local text = ("%s trains eagerly: %s"):format(self.name, why)
  if self.options.progress ~= false then warn(text) elseif runs.current then runs.current:log(text) end
end

-- May the optimizer take the gradients without their lying in the parameters before?
local function may_fuse(self)
  local seen = self.accumulate > 1 or not self.optim.fuse
  for _, h in ipairs(self.hooks) do seen = seen or h.after_backward ~= nil end
  return not seen
end

-- A replayed step: value of the loss and what it is a mean over; nil where it cannot be replayed.
function Fit:replayed(batch)
  self.held = may_fuse(self)
  local ok, loss, mean_over = pcall(self.held and self.captured.run or self.captured.__call, self.captured, batch)
  if not ok then
    self.held = false
    return self:go_eager(loss)
  end
  if not self.execution then
    local d = self.captured:describe()
    self:note_execution { captured = true, slice_kib = d.budget // 1024, lanes = d.lanes }
  end
  local value = loss:item()
  check_loss(self, value, "loss")
  return value, self.counts and mean_over or nil
end

-- The loss of a batch, and what it is a mean over if the loss says so; gradients are added.
function Fit:loss_and_gradients(batch)
  if self.captured then
    local value, count = self:replayed(batch)
    if value then return value, count end
  end
  local loss, count = self.loss_of(self.model, batch)
  local value = loss:item()
  check_loss(self, value, "loss")
  loss:backward()
  return value, count
end

-- One batch forward and backward; nil at the end of the epoch. Runs in a scope.
function Fit:forward_backward(last)
  local batch = self.loader:next()
  if not batch then return nil end
  self:hook("before_step", batch)
  local value, count = self:loss_and_gradients(batch)
  if last then self:hook("after_backward", batch) end
  local units = batch.n_tokens or batch.n or 1
  return value, count or units, units
end

function Fit:update(taken)
  local clip = self.options.clip
  self.optim.gain = 1 / taken
  self.optim.scale = self.schedule:at(self.step)
  if self.held then
    self.held = false
    local done, norm = self.optim:fuse(self.captured, clip)
    if done and clip then check_loss(self, norm, "gradients' norm") end
    if done then return end
  end
  if clip then check_loss(self, self.optim:clip(clip), "gradients' norm") end
  self.optim:step()
  self.optim:zero_grad()
end

-- Keeps the step's loss, to the bit; a replay compares it.
function Fit:keep_loss(value)
  local bits, run = Losses.bits(value), runs.current
  if self.losses then self.losses:add(bits) end
  if self.ops then
    local line = self.ops:take()
    if run.witness then run.witness:ops(self.name, self.step, line) end
  end
  if run and run.witness then run.witness:loss(self.name, self.step, bits) end
end

--- One update from `accumulate` batches; false at the end of the epoch.
function Fit:train_step()
  quern.seed(self.seed)          -- whatever hooks or an evaluation have made of it
  quern.step(self.step + 1)
  if self.ops then self.ops:begin() end
  local taken, sum = 0, 0.0
  for i = 1, self.accumulate do
    local value, count, units = quern.scope(function() return self:forward_backward(i == self.accumulate) end)
    if not value then break end
    taken, sum = taken + 1, sum + value
    self.loss_sum, self.loss_count = self.loss_sum + value * count, self.loss_count + count
    self.value, self.units = value, (self.units or 0) + units
  end
  if taken == 0 then return false end
  quern.scope(function() self:update(taken) end)
  self.step = self.step + 1
  self:keep_loss(sum)
  self:hook("after_step", self.value)
  if self.bar then
    self.bar:update(self.loader:tell().index, self.units, self.loss_sum / math.max(self.loss_count, 1))
    self.units = 0
  end
  return taken == self.accumulate
end

function Fit:interrupt()
  if self.bar then self.bar:clear() end
  self:save_last()
  local where = self.saves and ("the state after step %d is in %s"):format(self.step, self.folder)
  util.fail(self.saves and "interrupted" or "cancelled", "interrupted", where or "nothing was saved",
            self.saves and "continue with `quern run RECIPE --resume`" or nil)
end

-- ---- Epochs -----------------------------------------------------------------------------------

local function better(self, value)
  if not self.best then return true end
  if self.mode == "max" then return value > self.best.value end
  return value < self.best.value
end

function Fit:judge(metrics)
  local value = metrics[self.options.select]
  if type(value) ~= "number" then
    util.fail("argument", ("fit: evaluate gave no number for %q"):format(self.options.select), nil,
              util.suggest(self.options.select, util.keys(metrics)))
  end
  if value ~= value then check_loss(self, value, "metric " .. self.options.select) end
  self.schedule:observe(value)
  if better(self, value) then
    self.best, self.bad = { value = value, epoch = self.epoch, metrics = metrics }, 0
    self:save_best()
  else
    self.bad = self.bad + 1
    if self.options.patience and self.bad > self.options.patience then self.stopped = "early" end
  end
end

function Fit:evaluate()
  quern.step(EVALUATION_STEP + self.step)
  local was = self.model.training
  self.model:eval()
  local metrics = quern.no_grad(function()
    return quern.scope(function() return self.options.evaluate(self.model) end)
  end)
  self.model:train(was)
  if type(metrics) ~= "table" then util.fail("argument", "fit: evaluate must return a table of metrics") end
  return metrics
end

local function metric_text(self, record)
  local parts = {}
  if record.metrics then
    for k, v in util.sorted(record.metrics) do
      if type(v) == "number" and (k == self.options.select or #parts < 4) then
        parts[#parts + 1] = k .. " " .. util.number(v)
      end
    end
  end
  if self.best and self.best.epoch == record.epoch then parts[#parts + 1] = "*" end
  return table.concat(parts, "  ")
end

function Fit:end_epoch()
  self.epoch = self.epoch + 1
  local record = { fit = self.name, epoch = self.epoch, step = self.step,
                   loss = self.loss_count > 0 and self.loss_sum / self.loss_count or nil }
  self.loss_sum, self.loss_count = 0.0, 0
  if self.options.evaluate and (self.epoch % self.every == 0 or self.epoch == self.epochs) then
    record.metrics = self:evaluate()
    if self.options.select then self:judge(record.metrics) end
    self:hook("after_evaluate", record.metrics)
  end
  self:record(record)
  self:hook("after_epoch", record)
  if self.bar then self.bar:finish(metric_text(self, record)) end
end

function Fit:run_epoch()
  self:hook("before_epoch")
  local total = self.loader:batches()
  if self.options.progress ~= false then
    self.bar = Progress { label = ("%s %d/%d"):format(self.name, self.epoch + 1, self.epochs), total = total,
                          unit = self.loader.unit or "tok" }
    self.bar:start_at(self.loader:tell().index)
  end
  self.model:train()
  local every = self.options.checkpoint_steps
  repeat
    local more = self:train_step()
    if self.options.max_steps and self.step >= self.options.max_steps then
      self.stopped = self.stopped or "steps"
      more = false
    end
    if more and every and self.step % every == 0 then self:save_last() end
    if more and sys.interrupted() then self:interrupt() end
  until not more
  self:end_epoch()
end

--- Trains to the end and returns the result.
function Fit:run()
  if self.resume and self:load_last() and runs.current then
    runs.current:log(("%s: continues after epoch %d, step %d"):format(self.name, self.epoch, self.step))
  end
  self:choose_execution()
  if self.folder and runs.current and runs.current.record_ops then
    self.ops = Oplog(not runs.current.witness and self.folder .. "/ops.txt" or nil, self.step)
  end
  if self.folder then self.losses = Losses(self.folder .. "/losses.txt", self.step) end
  self.optim:prepare()
  if runs.current and runs.current.planner then runs.current.planner:fit(self) end
  while not self.stopped and self.epoch < self.epochs do
    self:run_epoch()
    if not self.stopped and self.epoch >= self.epochs then self.stopped = "epochs" end
    self:save_last()
    if sys.interrupted() then self:interrupt() end
  end
  if self.options.restore_best ~= false then self:load_best() end
  self:hook("finish")
  if runs.current and self.captured then runs.current.plans[self.name] = self.captured:plan() end
  quern.step(BETWEEN_STEP + self.number)   -- keys what comes between trainings
  self.model:eval()
  return { name = self.name, model = self.model, epochs = self.epoch, steps = self.step, history = self.history,
           best = self.best, stopped = self.stopped, folder = self.folder }
end

--- Trains a model.
---@param model quern.Module
---@param data table a loader, or a dataset with a method loader
---@param options quern.FitOptions
---@return table result name, epochs, steps, history, best, stopped, folder
local function fit(model, data, options)
  return Fit(model, data, options):run()
end

return fit
