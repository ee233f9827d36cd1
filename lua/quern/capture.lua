--- capture: a training step recorded once, then replayed in slices of the batch.
--
--   local step = quern.capture(function(batch)
--     local loss = model:loss(batch)
--     loss:backward()
--     return loss
--   end)
--   for batch in batches do
--     local loss = step(batch)             -- gradients are in the parameters, as after backward
--     optim:step(); optim:zero_grad()
--   end
--
-- The first call with a kind of batch runs the function four times: on three small trial
-- slices, to record what it calls, and on the batch itself, whose loss and gradients are
-- compared with those of a replay. What a call returns is always the replay's. Later calls
-- call the function too, on a trial slice and without running its ops, to see whether Lua
-- still decides the same; where it does not, the step is captured again. docs/executor.md
-- says what a step may do, and what is refused.
-- With grad = false the function is a forward pass: it runs without gradients and may return
-- any tensors, also in tables.
--   local score = quern.capture(function(batch) return model:scores(batch) end, { grad = false })
-- SPDX-License-Identifier: MIT

local core = require "quern.core"
local class = require "quern.class"
local util = require "quern.util"
local StepPlan = require "quern.step_plan"
local execution = require "quern.execution"

local TRIALS, MOST_KINDS = 3, 16
local unpack = table.unpack

local function quern_no_grad(fn, ...) return require("quern").no_grad(fn, ...) end

---@class quern.Capture
local Capture = class("Capture")

-- ---- Batches -------------------------------------------------------------------------

local function sorted_keys(t)
  local keys = {}
  for k in pairs(t) do keys[#keys + 1] = k end
  table.sort(keys, function(a, b)
    if type(a) == type(b) then return a < b end
    return type(a) == "number"
  end)
  return keys
end

-- What must be equal for two tensors to be of one kind.
local function tensor_kind(t, shared)
  local shape = t.shape
  if not shared and #shape > 0 then shape[1] = "*" end
  return ("%s%s[%s]"):format(t.is_jagged and "jagged " or "", t.dtype, table.concat(shape, ","))
end

-- Numbers with which loaders describe a batch: a trial slice has its own, or none.
local counts = { n_sequences = "B", n_tokens = "N", longest = "L", epoch = "none", index = "none" }

local function is_count(value, name) return math.type(value) == "integer" and counts[name] ~= nil end

-- Tensors of loaders that have other lengths than the rest: a recorded step does not see them.
local unseen = { all_times = true }

-- Appends the tensors below `value` to flat.tensors, and what describes them to flat.kind.
local function flatten(value, name, flat, shared)
  if unseen[name] then return end
  if core.is_tensor(value) then
    local is_shared = shared[name] == true or value:dim() == 0
    flat.tensors[#flat.tensors + 1], flat.shared[#flat.shared + 1] = value, is_shared
    flat.kind[#flat.kind + 1] = name .. "=" .. tensor_kind(value, is_shared)
  elseif type(value) == "table" then
    for _, k in ipairs(sorted_keys(value)) do flatten(value[k], tostring(k), flat, shared) end
  elseif type(value) ~= "function" and not is_count(value, name) then
    flat.kind[#flat.kind + 1] = name .. "=" .. type(value) .. " " .. tostring(value)
  end
end

-- A copy of `value` with other tensors, taken in the order of flatten.
local function rebuild(value, name, tensors, at)
  if unseen[name] then return nil end
  if core.is_tensor(value) then
    at.n = at.n + 1
    return tensors[at.n]
  elseif is_count(value, name) then
    return at[counts[name]]
  elseif type(value) == "table" then
    local out = {}
    for _, k in ipairs(sorted_keys(value)) do out[k] = rebuild(value[k], tostring(k), tensors, at) end
    return setmetatable(out, getmetatable(value))
  end
  return value
end

-- ---- Capturing -----------------------------------------------------------------------

function Capture:kind_of(args)
  local flat = { tensors = {}, shared = {}, kind = {} }
  for i = 1, args.n do flatten(args[i], tostring(i), flat, self.shared) end
  flat.key = table.concat(flat.kind, ";")
  return flat
end

-- The arguments with the tensors of a trial slice in them.
local function trial_arguments(made, trial, args, count)
  local at = { n = 0 }
  local tensors
  tensors, at.B, at.N, at.L = made:inputs(trial, count)
  local slice = { n = args.n }
  for i = 1, args.n do slice[i] = rebuild(args[i], tostring(i), tensors, at) end
  return slice
end

-- Calls the function; what it returned, and the tensors in that: the loss, or all outputs.
function Capture:call(args)
  if self.grad then
    local loss = self.fn(unpack(args, 1, args.n))
    if core.is_tensor(loss) then return loss, { loss } end
    util.fail("argument", "a captured step must return its loss", nil,
              "end it with loss:backward() and return loss")
  end
  local results = table.pack(quern_no_grad(self.fn, unpack(args, 1, args.n)))
  local flat = { tensors = {}, shared = {}, kind = {} }
  for i = 1, results.n do flatten(results[i], tostring(i), flat, {}) end
  if #flat.tensors > 0 then return results, flat.tensors end
  util.fail("argument", "a captured step without gradients must return tensors", nil,
            "return what is to come out of it")
end

function Capture:record(made, trial, args, count)
  local slice = trial_arguments(made, trial, args, count)
  made:begin(trial)
  local ok, result, tensors = pcall(self.call, self, slice)
  if not ok then
    made:finish(trial, nil)
    error(result, 0)
  end
  made:finish(trial, self.grad and result or tensors)
end

-- Does the function still do what was captured? If not, why.
function Capture:unchanged(made, args, count)
  local scope <close> = core.scope_open()      -- luacheck: ignore 211
  local slice = trial_arguments(made, 1, args, count)
  made:watch_begin()
  local ok, result, tensors = pcall(self.call, self, slice)
  if ok then return pcall(made.watch_end, made, tensors) end
  made:watch_end(nil)
  return false, result
end

-- What comes out of a step without gradients, in the shape in which the function returned it.
local function shaped(form, tensors)
  local at, out = { n = 0 }, { n = form.n }
  for i = 1, form.n do out[i] = rebuild(form[i], tostring(i), tensors, at) end
  return unpack(out, 1, out.n)
end

-- The form of results: their tables, with one small tensor in place of all.
local function form_of(value, tensor)
  if core.is_tensor(value) then return tensor end
  if type(value) ~= "table" then return value end
  local out = {}
  for k, v in pairs(value) do out[k] = form_of(v, tensor) end
  return setmetatable(out, getmetatable(value))
end

-- An eager call that leaves random numbers, and what it writes into tensors that outlive it, as they were.
function Capture:eagerly(made, flat, args)
  made:check_begin()
  local ok, results, tensors = pcall(self.call, self, args)
  made:check_end(flat.tensors, nil)
  if not ok then error(results, 0) end
  return results, tensors
end

function Capture:check_eager(made, flat, args)
  if not self.grad then
    local results, tensors = self:eagerly(made, flat, args)
    made:check_begin()
    local ok, e = pcall(function() made:check_outputs(tensors, made:infer(flat.tensors)) end)
    made:check_end(flat.tensors, nil)
    if not ok then error(e, 0) end
    self.forms[flat.key] = form_of(results, require("quern").zeros({}):keep())
    return
  end
  made:check_begin()
  local ok, loss = pcall(self.call, self, args)
  if not ok then
    made:check_end(flat.tensors, nil)
    error(loss, 0)
  end
  local turns = made:check_end(flat.tensors, loss)
  for turn = 1, turns do                       -- how far rounding moves the gradients
    made:noise_begin(turn)
    ok, loss = pcall(self.call, self, args)
    made:noise_end()
    if not ok then error(loss, 0) end
  end
  if turns > 0 then made:judge() end
end

-- A capture for a new kind of batch, checked against an eager step.
function Capture:make(flat, args)
  local made = core.capture_new(flat.tensors, flat.shared, self.bytes, self.fuse, self.slices, self.again,
                                self.narrow)
  for trial = 1, TRIALS do
    local scope <close> = core.scope_open()      -- luacheck: ignore 211
    self:record(made, trial, args, #flat.tensors)
  end
  made:build()
  self:check_eager(made, flat, args)
  made:narrow()
  return made
end

function Capture:init(fn, options)
  local o = util.options(options, { slice_kib = 1, shared = 1, watch = 1, grad = 1, fuse = 1, slices = 1,
                                  recompute = 1, activations = 1 },
                         "capture")
  if type(fn) ~= "function" then util.fail("argument", "capture needs a function: the training step") end
  self.fn, self.shared, self.kinds, self.count = fn, {}, {}, 0
  self.fuse = o.fuse ~= false and execution.fuse
  self.slices, self.again = o.slices, o.recompute
  self.narrow = o.activations ~= nil and util.choose(o.activations, { "f32", "bf16" }, "capture: activations") == "bf16"
  self.watch, self.grad, self.forms = o.watch ~= false, o.grad ~= false, {}
  self.bytes = o.slice_kib and util.integer(o.slice_kib, "capture: slice_kib", 1) * 1024 or 0
  for _, name in ipairs(o.shared or {}) do self.shared[tostring(name)] = true end
end

-- The capture for these arguments, made if there is none that fits, and their tensors.
function Capture:fitting(args)
  local flat = self:kind_of(args)
  if #flat.tensors == 0 then
    util.fail("argument", "a captured step was called without tensors", nil, "pass it the batch")
  end
  local made = self.kinds[flat.key]
  if made and self.watch then
    local same, why = self:unchanged(made, args, #flat.tensors)
    if not same then made, self.why = nil, why end
  end
  if not made then
    if self.count == MOST_KINDS then
      util.fail("state", ("a captured step was captured %d times, it keeps changing"):format(MOST_KINDS),
                self.why and tostring(self.why) or flat.key,
                "what changes from batch to batch must be a tensor: shapes beyond the first dimension, numbers and "
                .. "strings belong to the kind")
    end
    made = self:make(flat, args)
    self.kinds[flat.key], self.count = made, self.count + 1
  end
  self.last = made
  return made, flat.tensors, flat.key
end

--- One step. Gradients are added to the parameters; with grad = false: what the function returns.
---@return userdata loss
---@return number? mean_over what the loss is a mean over, a number of rows or a sum of weights; nil: a sum
function Capture:__call(...)
  if not self.grad then
    local made, tensors, key = self:fitting(table.pack(...))
    return shaped(self.forms[key], made:infer(tensors))
  end
  local loss, mean_over = self:run(...)
  self.last:deliver()
  return loss, mean_over
end

--- A step whose gradients are held back, for update() or deliver().
---@return userdata loss
---@return number? mean_over
function Capture:run(...)
  local made, tensors = self:fitting(table.pack(...))
  return made:run(tensors)
end

--- Adds the gradients that run() held to the parameters.
function Capture:deliver() self.last:deliver() end

--- Hands the gradients that run() held to an optimizer, in one pass over memory; where that
--- cannot be they are delivered. Optimizer:fuse calls it.
---@param updates table[] by parameter: kind, w, m, v, mask, master and the arguments of the optimizer's op
---@return boolean done false: they were delivered
---@return number norm of all gradients, if max_norm is given
function Capture:update(updates) return self.last:update(updates) end

-- ---- Plans ---------------------------------------------------------------------------

--- What will run.
---@return quern.StepPlan
function Capture:plan() return StepPlan(self.last) end

--- The numbers alone: entries, hoisted, dropped, whole, segments, arena_bytes, slices, lanes, ...
function Capture:describe() return self.last and self.last:describe() end

return Capture
