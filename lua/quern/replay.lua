--- Replay: a past run once more, compared to the bit with what it recorded.
--
-- The recipe, the files it takes and the settings come from the run's folder. What the
-- lock promises must be there again: a grave difference (plugin version, op schema, data,
-- instruction level, BLAS core) is refused, others are told. While it runs, each step's
-- loss and each line of metrics.jsonl is held against the record, and the first that
-- differs ends the replay. At the end the report and the final weights are compared. A
-- run that was broken off is replayed as far as its record goes.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"
local util = require "quern.util"
local sys = require "quern.sys"
local lock = require "quern.lock"
local runs = require "quern.runs"
local recipe = require "quern.recipe"
local store = require "quern.store"
local checkpoint = require "quern.checkpoint"
local Losses = require "quern.losses"
local Oplog = require "quern.oplog"

local replay = {}

-- ---- The witness: what was recorded ---------------------------------------------------------

---@class quern.Witness
local Witness = class("Witness")
replay.Witness = Witness

local ENOUGH = setmetatable({}, { __tostring = function() return "all that was recorded has been replayed" end })

---@param r quern.StoredRun
function Witness:init(r)
  self.whole = r.status == "done"
  self.losses, self.left, self.lines, self.at = {}, 0, {}, 0
  self.n_losses, self.n_lines, self.recorded_ops = 0, 0, {}
  for name, path in pairs(store.losses(r.folder)) do
    local ops = Oplog.read(sys.folder(path) .. "/ops.txt")
    if #ops > 0 then self.recorded_ops[name] = ops end
    self.losses[name] = Losses.read(path)
    for _, bits in ipairs(self.losses[name]) do if Losses.value(bits) then self.left = self.left + 1 end end
  end
  for line in (sys.try_read(r.folder .. "/metrics.jsonl") or ""):gmatch("[^\n]*\n") do
    self.lines[#self.lines + 1] = line
  end
end

local function differ(what, detail, hint)
  util.fail("numeric", "the replay differs: " .. what, detail,
            hint or "compare what both ran on; `quern plugin check` tests a plugin's ops for equal bits")
end

--- What the ops of a step gave, as quern.oplog writes it.
function Witness:ops(name, step, line)
  local recorded = (self.recorded_ops[name] or {})[step]
  local first = recorded and recorded ~= "" and Oplog.first_difference(recorded, line)
  if not first then return end
  differ(("%s, step %d is the first"):format(name, step), "the first op that differs is " .. first)
end

function Witness:enough()
  if not self.whole and self.left == 0 and self.at >= #self.lines then error(ENOUGH, 0) end
end

--- A training's loss of a step.
function Witness:loss(name, step, bits)
  local list = self.losses[name]
  local expected = list and list[step]
  if not expected then
    if self.whole then differ(("%s, step %d is new"):format(name, step), "the record ends before it") end
  elseif Losses.value(expected) then
    if expected ~= bits then
      differ(("%s, step %d is the first"):format(name, step),
        ("loss recorded %.17g (%s)\nloss now      %.17g (%s)"):format(Losses.value(expected), expected,
                                                                      Losses.value(bits), bits),
        not self.recorded_ops[name] and "runs made with --record-ops have the op named that differs" or nil)
    end
    self.left, self.n_losses = self.left - 1, self.n_losses + 1
  end
  self:enough()
end

--- A line of metrics.jsonl.
function Witness:metric(line)
  local expected = self.lines[self.at + 1]
  if not expected and self.whole then differ("metrics.jsonl has a new line", line:gsub("\n", "")) end
  if expected and expected ~= line then
    differ(("line %d of metrics.jsonl is the first"):format(self.at + 1),
           ("recorded %snow      %s"):format(expected, line:gsub("\n", "")))
  end
  if expected then self.at, self.n_lines = self.at + 1, self.n_lines + 1 end
  self:enough()
end

-- ---- At the end -------------------------------------------------------------------------------

local function compare_end(r, run, w)
  if w.left > 0 then differ(("%d recorded steps were not taken"):format(w.left)) end
  if w.at < #w.lines then differ(("metrics.jsonl ends after %d of %d lines"):format(w.at, #w.lines)) end
  if sys.try_read(r.folder .. "/report.json") ~= sys.try_read(run.folder .. "/report.json") then
    differ("report.json", "losses and metrics are equal, so what the recipe computes besides is not")
  end
end

-- Tensors of a checkpoint file that differ; also how many there are.
local function different_tensors(a, b)
  local x, y, n = checkpoint.read(a), checkpoint.read(b), 0
  if not x or not y then return x and { "all" } or {}, 0 end
  local out = {}
  local digest = require "quern.digest"
  for name, t in util.sorted(x) do
    n = n + 1
    if not y[name] or digest({ t = t }, "") ~= digest({ t = y[name] }, "") then out[#out + 1] = name end
  end
  return out, n
end

local function compare_weights(r, run)
  local total = 0
  for _, name in ipairs(sys.list(r.folder .. "/checkpoints")) do
    for _, file in ipairs { "last", "best" } do
      local path = ("/checkpoints/%s/%s.safetensors"):format(name, file)
      local bad, n = different_tensors(r.folder .. path, run.folder .. path)
      if #bad > 0 then
        differ(("%s: %s differs"):format(path:sub(2), bad[1]), ("%d of %d tensors differ"):format(#bad, n))
      end
      total = total + n
    end
  end
  return total
end

-- ---- Doing it -----------------------------------------------------------------------------------

local function check_lock(before, run, force, say)
  local grave = {}
  for _, d in ipairs(lock.differences(before, lock.make(run))) do
    if d.grave then grave[#grave + 1] = lock.text(d) else say("note: " .. lock.text(d)) end
  end
  if #grave == 0 then return end
  if force then
    for _, line in ipairs(grave) do say("differs: " .. line) end
    return
  end
  local hint = "restore what differs, or go on with --force"
  if before.isa ~= sys.machine().isa then
    hint = ("QUERN_ISA=%s chooses the instruction level; --force goes on as it is"):format(before.isa)
  end
  util.fail("version", "the conditions of the run are not given here", table.concat(grave, "\n"), hint)
end

--- Replays a run. Raises where something differs.
---@param r quern.StoredRun
---@param o {force: boolean?, keep: boolean?, say: fun(text: string)?}
---@return table result losses, lines, tensors, folder
function replay.run(r, o)
  local say = o.say or print
  runs.refuse_running(r.folder)
  local before = quern.json.decode(sys.read_file(r.folder .. "/lock.json"))
  local record = quern.json.decode(sys.read_file(r.folder .. "/settings.json"))
  local home = record.path and sys.folder(record.path)
  local rec = recipe.load(r.folder .. "/recipe.lua", home)
  local witness, into = Witness(r), r.folder .. "/replay"
  sys.remove_all(into)
  local function started(_, run) check_lock(before, run, o.force, say) end
  local ok, e = pcall(recipe.run, rec, { settings = record.settings, size = record.size, seed = record.seed, out = into,
                                         id = "run", witness = witness, planned = before.execution,
                                         record_ops = next(witness.recorded_ops) ~= nil, started = started })
  local run = runs.current or e
  if not ok and e ~= ENOUGH then
    if runs.current then run:finish("failed", tostring(e)) end
    error(e, 0)
  end
  lock.write(run)
  check_lock(before, run, o.force, function() end)
  local tensors = 0
  if ok then
    compare_end(r, run, witness)
    tensors = compare_weights(r, run)
  end
  run:finish(ok and "done" or "interrupted")
  if not o.keep then sys.remove_all(into) end
  return { losses = witness.n_losses, lines = witness.n_lines, tensors = tensors, whole = ok, folder = into .. "/run" }
end

return replay
