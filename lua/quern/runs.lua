--- Runs: the folder that keeps all of one run of a recipe.
--
--   recipe.lua settings.json about.json lock.json state.json metrics.jsonl log.txt report.json report.txt checkpoints/
--
-- metrics.jsonl is append-only and holds no times, so that a resumed run ends with the
-- same bytes as an unbroken one: a resumed run says again what it said before, which is
-- compared with the lines that stand there; from the first difference on they are replaced.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"
local util = require "quern.util"
local det = require "quern.det"
local sys = require "quern.sys"
local lock = require "quern.lock"

local runs = { current = nil }

---@class quern.Run
---@field folder string
---@field seed integer
---@field random quern.Random
---@field resumed boolean
local Run = class("Run")
runs.Run = Run

local function pretty(value) return quern.json.encode(value, { pretty = true }) end

-- ---- Beginning and ending ----------------------------------------------------------------

local function fresh_folder(parent, name)
  local stamp = os.date("!%Y%m%d-%H%M%S")
  local base = ("%s/%s-%s"):format(parent, name, stamp)
  local path, n = base, 1
  while sys.exists(path) do n = n + 1; path = ("%s-%d"):format(base, n) end
  sys.mkdir(path)
  return path
end

---@class quern.RunOptions
---@field name string the recipe's
---@field parent string folder of the runs
---@field text string of the recipe
---@field modules table<string, string>? texts of the files beside the recipe that it takes
---@field path string? where the recipe stands
---@field settings table resolved
---@field seed integer
---@field size string?
---@field folder string? of the run to continue
---@field planned table<string, quern.ExecutionChoice>? how an earlier run of the same ran its trainings
---@field id string? name for a new run's folder; default: the recipe's name and the time

--- The SHA-256 of a recipe and of the files that it takes.
---@param text string
---@param modules table<string, string>?
---@return string
function runs.code(text, modules)
  local parts = { text }
  for name, module in util.sorted(modules or {}) do parts[#parts + 1] = ("%s\0%s"):format(name, module) end
  return sys.sha256_of(table.concat(parts, "\0"))
end

local function begin_folder(run, o)
  sys.mkdir(run.folder)
  sys.write_file(run.folder .. "/recipe.lua", o.text)
  for name, text in util.sorted(o.modules or {}) do run:module(name, text) end
  run:state("running")
  sys.write_file(run.folder .. "/settings.json", pretty { name = o.name, seed = o.seed, size = o.size,
    settings = o.settings, code = runs.code(o.text, o.modules), path = o.path and sys.absolute(o.path) } .. "\n")
end

---@param o quern.RunOptions
function Run:init(o)
  self.name, self.seed = o.name, o.seed
  self.resumed = o.folder ~= nil
  self.folder = o.folder or o.id and o.parent .. "/" .. o.id or fresh_folder(o.parent, o.name)
  self.random = det.random(o.seed)
  self.names, self.claimed, self.reports, self.figures, self.data = {}, {}, {}, {}, {}
  self.execution, self.plans = {}, {}
  local locked = self.resumed and sys.try_read(self.folder .. "/lock.json")
  self.planned = locked and quern.json.decode(locked).execution or o.planned
  self.old = sys.try_read(self.folder .. "/metrics.jsonl") or ""
  self.at = 0                    -- bytes of metrics.jsonl that this process stands behind
  self.log_path = self.folder .. "/log.txt"
  if self.resumed then self:state("running") else begin_folder(self, o) end
  runs.current = self
end

--- Keeps a file that the recipe takes from its own folder.
---@param name string with its ending, as seen from there
---@param text string
function Run:module(name, text)
  local path = self.folder .. "/modules/" .. name
  if sys.try_read(path) == text then return end
  sys.mkdir(sys.folder(path))
  sys.write_file(path, text)
end

--- Notes how the run stands: running, done, failed, interrupted.
---@param status string
---@param message string?
---@param cause string? of a failure: "numeric", "nomem", ...
function Run:state(status, message, cause)
  local goes_on = status == "running"
  sys.write_file(self.folder .. "/state.json", pretty { status = status, message = message, cause = cause,
    process = goes_on and sys.process() or nil, peak = not goes_on and quern.memory().peak or nil,
    at = os.date("!%Y-%m-%dT%H:%M:%SZ") } .. "\n")
end

--- How a run stands by its state.json: a running one whose process is gone was "killed".
---@param state table?
---@return string
function runs.status(state)
  if not state then return "killed" end
  if state.status ~= "running" or sys.running(state.process) then return state.status end
  return "killed"
end

--- Is there a run in a folder that has come to its end?
---@param folder string
---@return boolean
function runs.is_done(folder)
  local text = sys.try_read(folder .. "/state.json")
  return text ~= nil and quern.json.decode(text).status == "done"
end

--- Fails when a process works on the run of a folder.
---@param folder string
function runs.refuse_running(folder)
  local text = sys.try_read(folder .. "/state.json")
  local state = text and quern.json.decode(text)
  if state and state.status == "running" and sys.running(state.process) and state.process ~= sys.process() then
    util.fail("state", folder .. " is being worked on", ("by process %s"):format(state.process:match(":(%d+):")),
              "wait until it is done, or stop it with kill")
  end
end

--- Writes what the results depend on. A resumed run keeps the first one and notes differences.
---@param now table
---@return boolean same
function Run:lock(now)
  local path = self.folder .. "/lock.json"
  local text = self.resumed and sys.try_read(path)
  local before = text and quern.json.decode(text)
  if not before then
    sys.write_file(path, pretty(now) .. "\n")
    return true
  end
  local lines = {}
  for _, d in ipairs(lock.differences(before, now)) do lines[#lines + 1] = lock.text(d) end
  if #lines == 0 then
    sys.write_file(path, pretty(lock.union(before, now)) .. "\n")
    return true
  end
  self:log("lock.json differs from the one this run began with:\n" .. table.concat(lines, "\n"))
  sys.write_file(self.folder .. "/lock.resumed.json", pretty(now) .. "\n")
  return false
end

--- Notes a dataset for the lock.
---@param name string
---@param sha256 string
function Run:uses_data(name, sha256) self.data[name] = sha256 end

function Run:finish(status, message, cause)
  self:state(status, message, cause)
  if runs.current == self then runs.current = nil end
end

-- ---- Names ----------------------------------------------------------------------------------

--- "fit-1", "fit-2", ... in the order of asking.
function Run:next_name(kind)
  self.names[kind] = (self.names[kind] or 0) + 1
  return ("%s-%d"):format(kind, self.names[kind])
end

function Run:claim(name)
  if self.claimed[name] then
    util.fail("argument", ("two trainings of this run are called %q"):format(name), nil,
              "give each fit its own name, or none")
  end
  self.claimed[name] = true
end

-- ---- What is said ------------------------------------------------------------------------------

-- JSON has no NaN and no infinities: they become texts.
local function plain(value)
  if type(value) == "table" then
    local out = {}
    for k, v in pairs(value) do out[k] = plain(v) end
    return out
  end
  if type(value) == "number" and (value ~= value or value == math.huge or value == -math.huge) then
    return tostring(value)
  end
  return value
end

--- Appends a record to metrics.jsonl.
---@param record table plain values
function Run:metric(record)
  local line = quern.json.encode(plain(record)) .. "\n"
  if self.witness then self.witness:metric(line) end
  local path = self.folder .. "/metrics.jsonl"
  if self.at < #self.old then
    if self.old:sub(self.at + 1, self.at + #line) == line then
      self.at = self.at + #line
      return
    end
    sys.write_file(path, self.old:sub(1, self.at))
    self.old = ""
  end
  sys.append(path, line)
  self.at = self.at + #line
  if self.old ~= "" and self.at >= #self.old then self.old = "" end
end

--- Adds a line with the time to log.txt.
---@param text string
function Run:log(text)
  sys.append(self.log_path, os.date("!%Y-%m-%dT%H:%M:%SZ ") .. text:gsub("\n", "\n  ") .. "\n")
end

--- A row of the report; the same label again replaces it.
---@param label string
---@param metrics table<string, number>
---@param note string?
function Run:report(label, metrics, note)
  local row
  for _, r in ipairs(self.reports) do if r.label == label then row = r end end
  if not row then
    row = { label = label }
    self.reports[#self.reports + 1] = row
  end
  row.metrics, row.note = metrics, note
  sys.write_file(self.folder .. "/report.json", pretty(plain(self.reports)) .. "\n")
end

--- Keeps a chart for the report; the same title again replaces it.
---@param title string
---@param svg string an <svg> text in the charts' style
function Run:figure(title, svg)
  local figure
  for _, f in ipairs(self.figures) do if f.title == title then figure = f end end
  if not figure then
    figure = { title = title }
    self.figures[#self.figures + 1] = figure
  end
  figure.svg = svg
  sys.write_file(self.folder .. "/figures.json", pretty(self.figures) .. "\n")
end

--- The paper's numbers for a label: those under it, or all when labels are not told apart.
---@param paper table?
---@param label string
---@return table<string, number>
function runs.paper_of(paper, label)
  if type(paper) ~= "table" then return {} end
  if type(paper[label]) == "table" then return paper[label] end
  for _, v in pairs(paper) do if type(v) == "number" then return paper end end
  return {}
end

local function metric_names(reports, paper)
  local seen = {}
  for _, r in ipairs(reports) do
    for k, v in pairs(r.metrics) do if type(v) == "number" then seen[k] = true end end
    for k, v in pairs(runs.paper_of(paper, r.label)) do if type(v) == "number" then seen[k] = true end end
  end
  local names = util.keys(seen)
  table.sort(names, util.natural)
  return names
end

--- The report as text: ours, the paper's, and the gap in percent.
---@param paper table? { metric = value } or { label = { metric = value } }
---@return string
function Run:report_text(paper)
  local rows = { { "", "metric", "ours", "paper", "gap" } }
  for _, r in ipairs(self.reports) do
    local theirs, label = runs.paper_of(paper, r.label), r.label
    for _, name in ipairs(metric_names({ r }, paper)) do
      local a, b = r.metrics[name], theirs[name]
      local gap = a and b and b ~= 0 and ("%+.1f %%"):format((a - b) / math.abs(b) * 100) or ""
      rows[#rows + 1] = { label, name, a and util.number(a) or "-", b and util.number(b) or "", gap }
      label = ""
    end
    if r.note then rows[#rows + 1] = { "", r.note } end
  end
  local head = ("%s, seed %d\n\n"):format(self.name, self.seed)
  return head .. util.table(rows, { right = { [3] = true, [4] = true, [5] = true } }) .. "\n"
end

-- ---- Finding ------------------------------------------------------------------------------------

local function read_json(path)
  local text = sys.try_read(path)
  return text and quern.json.decode(text) or nil
end

--- The run to continue: a folder, a run's name under `parent`, or the newest unfinished one of a recipe.
---@param parent string
---@param name string the recipe's
---@param which string? a folder, or a name under parent
---@return string folder
---@return table settings what settings.json holds
function runs.find(parent, name, which)
  local function settings_of(folder)
    return read_json(folder .. "/settings.json")
      or util.fail("not_found", folder .. " is not a run", "it has no settings.json")
  end
  if which then
    local folder = sys.exists(which .. "/settings.json") and which or parent .. "/" .. which
    return folder, settings_of(folder)
  end
  local newest
  for _, entry in ipairs(sys.list(parent)) do
    local folder = parent .. "/" .. entry
    if entry:sub(1, #name + 1) == name .. "-" and entry:sub(#name + 2):match("^%d%d%d%d%d%d%d%d%-%d+")
        and sys.exists(folder .. "/settings.json") then
      local state = read_json(folder .. "/state.json")
      if not state or state.status ~= "done" then newest = folder end
    end
  end
  if not newest then
    util.fail("not_found", ("there is no unfinished run of %s to resume"):format(name), "looked in " .. parent,
              "run without --resume, or name the folder: --resume DIR")
  end
  return newest, settings_of(newest)
end

return runs
