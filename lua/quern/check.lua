--- The conformance kit: every check of a plugin in a process of its own.
--
-- A child prints a frame around its findings, with a word only its parent knows, so that what
-- the plugin itself writes is told apart. A crash or an endless loop is a result like others;
-- a child that cannot be started is an error, never a reason to run a check in this process.
-- SPDX-License-Identifier: MIT

local core = require "quern.core"
local util = require "quern.util"

local check = { seconds = 120 }

local REFUSED = 3                -- exit code of a child whose plugin the loader refuses
local signals = { [4] = "illegal instruction", [6] = "abort", [7] = "bus error", [8] = "arithmetic error",
                  [9] = "killed", [11] = "segmentation fault", [15] = "terminated" }

-- ---- In the child -----------------------------------------------------------------------------

-- What the manifest and the library say differently.
local function compare_manifest(folder)
  local plugin = require "quern.plugin"
  local ok, m = pcall(plugin.manifest, folder)
  if not ok then return { "plugin.lua: " .. util.as_error(m).what } end
  local loaded, entry = pcall(core.plugin_load, folder)
  local found = {}
  for _, key in ipairs(loaded and { "id", "version", "ops" } or {}) do
    if m[key] ~= nil and m[key] ~= entry[key] then
      found[#found + 1] = ("plugin.lua says %s = %s, the library says %s; make them equal"):format(key,
        tostring(m[key]), tostring(entry[key]))
    end
  end
  return found
end

local function mark(frame, what)
  if not frame then return end
  io.stdout:write("\n", frame, " ", what, "\n")
  io.stdout:flush()
end

-- "op=2.5 other=1" out of the manifest's speed = { op = 2.5, other = 1 }.
local function recorded_speed(path)
  if path == "core" or not (core.stat(path) or {}).folder then return nil end
  local ok, m = pcall(require("quern.plugin").manifest, path)
  local parts = {}
  for name, times in util.sorted(ok and m.speed or {}) do parts[#parts + 1] = ("%s=%.17g"):format(name, times) end
  return table.concat(parts, " ")
end

-- What Lua has to add to a check: findings as lines.
local more = {}

function more.schema(path)
  return path ~= "core" and (core.stat(path) or {}).folder and compare_manifest(path) or {}
end

function more.docs(path) return require("quern.check_docs").check(path) end

local function judge_here(path, name, options)
  local passed, text, notes = core.check_here(path, name,
    { seed = options.seed, quick = options.quick, seconds = options.seconds or 0,
      recorded = name == "speed" and recorded_speed(path) or nil })
  for _, line in ipairs(more[name] and more[name](path) or {}) do
    passed, text = false, (text == "" and "" or text .. "\n") .. line
  end
  return passed, text, notes
end

-- One check, with its frame: true, false, or nil where the plugin does not load.
local function report_here(path, name, options, frame)
  mark(frame, "begin")
  local ok, passed, text, notes = pcall(judge_here, path, name, options)
  if not ok then
    local e = util.as_error(passed)
    passed, notes = nil, ""
    text = table.concat({ e.what, e.detail or "", e.hint or "" }, "\n"):gsub("\n+", "\n")
  end
  mark(frame, "findings")
  if text == "" and notes ~= "" then text = notes end
  io.stdout:write(text, text == "" and "" or "\n")
  mark(frame, "end " .. tostring(passed))
  return passed
end

--- Runs checks here and prints their findings. Exit code 0: passed; 1: findings; 3: it does not load.
---@param path string
---@param names string one check, or several as a,b
---@param options {seed: integer?, frame: string?, quick: boolean?, seconds: number?}
---@return integer exit code
function check.one(path, names, options)
  local worst = 0
  for name in names:gmatch("[^,]+") do
    local passed = report_here(path, name, options, options.frame and options.frame .. "-" .. name)
    worst = math.max(worst, passed and 0 or passed == nil and REFUSED or 1)
  end
  return worst
end

-- ---- In the parent ------------------------------------------------------------------------------

local counter = 0

local function new_frame()
  counter = counter + 1
  return ("quern-check-%d-%d-%x"):format(core.pid(), counter, core.nanoseconds())
end

local function trim(text) return (text:gsub("^%s+", ""):gsub("%s+$", "")) end

-- Findings of one check, what the plugin wrote itself while it ran, and how it ended: "true",
-- "false", "nil", or nothing when it did not come to its end.
local function unframe(output, frame)
  local function cut(text, what)
    local first, last = text:find("\n" .. frame .. " " .. what .. "\n", 1, true)
    return first and text:sub(1, first - 1), first and text:sub(last + 1)
  end
  local _, rest = cut(output, "begin")
  local stray, findings = cut(rest or output, "findings")
  if not stray then return "", trim(rest or output) end
  for _, passed in ipairs { "true", "false", "nil" } do
    local inner = cut(findings, "end " .. passed)
    if inner then return trim(inner), trim(stray), passed end
  end
  return trim(findings), trim(stray)
end

local function first_lines(text, n)
  local lines = {}
  for line in text:gmatch("[^\n]+") do
    if #lines == n then break end
    lines[#lines + 1] = line
  end
  return table.concat(lines, "\n")
end

-- status ("passed", "failed", "refused", "ended") and text of one check, from its child's end.
local function judge(r, job, frame, seconds)
  local findings, stray, passed = unframe(r.output, frame)
  local again = ("\nto see it alone: quern plugin check-one %s %s --seed %d"):format(job.path, job.name, job.seed)
  local wrote = stray ~= "" and "\n" .. first_lines(stray, 20) or ""
  if passed == "nil" then return "refused", findings end
  if passed == "false" and findings ~= "" then return "failed", findings end
  if passed == "true" then
    if stray == "" or job.path == "core" or job.name == "docs" then return "passed", findings end
    return "failed", "writes to standard output or error (a plugin speaks through h->fail alone):\n" ..
      first_lines(stray, 5)
  elseif r.timed_out then
    local text = "does not come to an end within %g seconds; look for a loop that never stops, or give --timeout"
    return "ended", text:format(seconds) .. again
  elseif r.signal ~= 0 then
    return "ended", ("crashes the process: signal %d, %s%s"):format(r.signal, signals[r.signal] or "unknown",
      wrote) .. again
  end
  return "ended", ("ends the process with exit code %d; return an error status through h->fail instead%s"):format(
    r.exit_code, wrote) .. again
end

-- One child for a list of jobs; one, unless work is shared.
local function start(group, seconds)
  local job, names = group[1], {}
  for i, j in ipairs(group) do names[i] = j.name end
  group.frame = new_frame()
  local words = { core.program(), "plugin", "check-one", job.path, table.concat(names, ","), "--seed",
                  tostring(job.seed), "--frame", group.frame }
  if job.quick then words[#words + 1] = "--quick" end
  if job.seconds then table.move({ "--seconds", tostring(job.seconds) }, 1, 2, #words + 1, words) end
  group.child = core.child_start(words, seconds)
end

-- Judges a child that ended; the jobs it did not come to, one by one, are left for children of their own.
local function finish(group, result, seconds, each)
  local left = {}
  for _, job in ipairs(group) do
    local frame = group.frame .. "-" .. job.name
    if #group > 1 and not result.output:find(frame .. " end ", 1, true) then
      left[#left + 1] = { job }
    else
      job.status, job.text = judge(result, job, frame, seconds)
      each(job)
    end
  end
  group.child:close()
  return left
end

-- Runs groups of jobs, at most n children at once; fills in status and text.
local function run_all(groups, n, seconds, each)
  local running, waiting = {}, table.move(groups, 1, #groups, 1, {})
  while #waiting > 0 or #running > 0 do
    while #running < n and #waiting > 0 do
      local group = table.remove(waiting, 1)
      start(group, seconds)
      running[#running + 1] = group
    end
    local children = {}
    for i, group in ipairs(running) do children[i] = group.child end
    local at, result = core.child_wait(children)
    local left = finish(table.remove(running, at), result, seconds, each)
    table.move(left, 1, #left, #waiting + 1, waiting)
  end
end

local function select_checks(only)
  local known, wanted, names = {}, {}, {}
  for _, c in ipairs(core.checks()) do
    known[c.name] = true
    names[#names + 1] = c.name
  end
  for _, list in ipairs(only or {}) do
    for name in list:gmatch("[^,%s]+") do
      if not known[name] then
        util.fail("usage", ("there is no check %q"):format(name), "checks: " .. table.concat(names, ", "),
                  util.suggest(name, names))
      end
      wanted[name] = true
    end
  end
  return wanted
end

-- The jobs, in the order of the kit.
local function make_jobs(path, options)
  local wanted, jobs = select_checks(options.only), {}
  for _, c in ipairs(core.checks()) do
    if not next(wanted) or wanted[c.name] then
      jobs[#jobs + 1] = { name = c.name, level = c.level, promise = c.promise, path = path,
                          seed = options.seed or 1, quick = options.quick, seconds = options.fuzz }
    end
  end
  return jobs
end

local function settle(job, why)
  job.ok = job.status == "passed"
  if why and job.status ~= "passed" and (job.status == "refused" or not job.status) then
    job.status, job.text = "skipped", why
  elseif not job.ok then
    job.status = "failed"
  end
  return { check = job.name, level = job.level, promise = job.promise, seed = job.seed, result = job.status,
           ok = job.ok, text = job.text or "" }
end

--- The level reached: "L1" and so on, or nil. Only whole runs have one.
function check.reached(results)
  local level
  if #results < #core.checks() then return nil end
  for _, l in ipairs { "L1", "L2", "L3", "L4" } do
    local any, all = false, true
    for _, r in ipairs(results) do
      if r.level == l then any, all = true, all and r.ok end
    end
    if not any or not all then return level end
    level = l
  end
  return level
end

local early = { symbols = true, load = true, versions = true, schema = true } -- see a fresh process each

--- Checks a plugin: every check in a child; with `shared`, those of loaded plugins in one, as long as
--- it lives.
---@param path string folder or .so file; "core": the core's own ops
---@param options {seed: integer?, only: string[]?, jobs: integer?, timeout: number?, quick: boolean?, fuzz: number?,
---  shared: boolean?}?
---@return {check: string, level: string, result: "passed"|"failed"|"skipped", ok: boolean, text: string}[]
function check.run(path, options)
  local o = options or {}
  local jobs, first, rest, seconds = make_jobs(path, o), {}, {}, o.timeout or check.seconds
  local together = {}
  for _, job in ipairs(jobs) do
    if job.name == "load" or job.name == "symbols" then first[#first + 1] = { job }
    elseif o.shared and not early[job.name] then together[#together + 1] = job
    else rest[#rest + 1] = { job } end
  end
  if #together > 0 then table.insert(rest, 1, together) end
  local why
  local function note(job)
    if job.name == "load" and job.status == "ended" then why = "not run: loading the plugin already fails" end
  end
  local n = math.max(1, math.min(o.jobs or core.threads(), 64))
  run_all(first, n, seconds, note)
  if not why then run_all(rest, n, seconds, note) end
  for _, job in ipairs(jobs) do
    local first_level = job.name == "load" or job.name == "versions" or job.name == "schema"
    if not why and first_level and job.status == "failed" then why = "not run: the plugin does not load" end
  end
  local results = {}
  for i, job in ipairs(jobs) do results[i] = settle(job, why) end
  return results
end

return check
