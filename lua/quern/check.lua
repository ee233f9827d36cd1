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

--- Runs one check here and prints its findings. Exit code 0: passed; 1: findings; 3: it does not load.
---@param path string
---@param name string
---@param seed integer
---@param frame string? a word to put around the findings
---@return integer exit code
function check.one(path, name, seed, frame)
  mark(frame, "begin")
  local ok, passed, text = pcall(core.check_here, path, name, seed)
  if not ok then
    local e = util.as_error(passed)
    passed, text = nil, table.concat({ e.what, e.detail or "", e.hint or "" }, "\n"):gsub("\n+", "\n")
  elseif name == "schema" and path ~= "core" and (core.stat(path) or {}).folder then
    for _, line in ipairs(compare_manifest(path)) do
      passed, text = false, (text == "" and "" or text .. "\n") .. line
    end
  end
  mark(frame, "findings")
  io.stdout:write(text, text == "" and "" or "\n")
  mark(frame, "end")
  return passed and 0 or passed == nil and REFUSED or 1
end

-- ---- In the parent ------------------------------------------------------------------------------

local counter = 0

local function new_frame()
  counter = counter + 1
  return ("quern-check-%d-%d-%x"):format(core.pid(), counter, core.nanoseconds())
end

local function trim(text) return (text:gsub("^%s+", ""):gsub("%s+$", "")) end

-- Findings, and what the plugin wrote itself.
local function unframe(output, frame)
  local function after(text, what)
    local _, last = text:find("\n" .. frame .. " " .. what .. "\n", 1, true)
    return last and text:sub(last + 1), last and text:sub(1, last - #frame - #what - 3)
  end
  local rest = after(output, "begin") or output
  local findings, stray = after(rest, "findings")
  if not findings then return "", trim(rest) end
  local tail, inner = after(findings, "end")
  return trim(inner or findings), trim(stray .. (tail or ""))
end

local function first_lines(text, n)
  local lines = {}
  for line in text:gmatch("[^\n]+") do
    if #lines == n then break end
    lines[#lines + 1] = line
  end
  return table.concat(lines, "\n")
end

-- status ("passed", "failed", "refused", "ended") and text of one child's end.
local function judge(r, job, seconds)
  local findings, stray = unframe(r.output, job.frame)
  local again = ("\nto see it alone: quern plugin check-one %s %s --seed %d"):format(job.path, job.name, job.seed)
  if r.timed_out then
    local text = "does not come to an end within %g seconds; look for a loop that never stops, or give --timeout"
    return "ended", text:format(seconds) .. again
  elseif r.signal ~= 0 then
    return "ended", ("crashes the process: signal %d, %s%s"):format(r.signal, signals[r.signal] or "unknown",
      stray ~= "" and "\n" .. first_lines(stray, 20) or "") .. again
  elseif r.exit_code == REFUSED then
    return "refused", findings
  elseif r.exit_code == 1 and findings ~= "" then
    return "failed", findings
  elseif r.exit_code ~= 0 or not r.output:find(job.frame .. " end", 1, true) then
    return "ended", ("ends the process with exit code %d; return an error status through h->fail instead%s"):format(
      r.exit_code, stray ~= "" and "\n" .. first_lines(stray, 20) or "") .. again
  elseif stray ~= "" then
    return "failed", "writes to standard output or error (a plugin speaks through h->fail alone):\n" ..
      first_lines(stray, 5)
  end
  return "passed", ""
end

local function start(job, seconds)
  job.frame = new_frame()
  local words = { core.program(), "plugin", "check-one", job.path, job.name, "--seed", tostring(job.seed),
                  "--frame", job.frame }
  job.child = core.child_start(words, seconds)
end

-- Runs a list of jobs, at most n at once; fills in status and text.
local function run_all(jobs, n, seconds, each)
  local running, nexts = {}, 1
  while nexts <= #jobs or #running > 0 do
    while #running < n and nexts <= #jobs do
      start(jobs[nexts], seconds)
      running[#running + 1] = jobs[nexts]
      nexts = nexts + 1
    end
    local children = {}
    for i, job in ipairs(running) do children[i] = job.child end
    local at, result = core.child_wait(children)
    local job = table.remove(running, at)
    job.status, job.text = judge(result, job, seconds)
    job.child:close()
    each(job)
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
                          seed = options.seed or 1 }
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
  for _, l in ipairs { "L1", "L2", "L3" } do
    local any, all = false, true
    for _, r in ipairs(results) do
      if r.level == l then any, all = true, all and r.ok end
    end
    if not any or not all then return level end
    level = l
  end
  return level
end

--- Checks a plugin: every check in a child.
---@param path string folder or .so file; "core": the core's own ops
---@param options {seed: integer?, only: string[]?, jobs: integer?, timeout: number?}?
---@return {check: string, level: string, result: "passed"|"failed"|"skipped", ok: boolean, text: string}[]
function check.run(path, options)
  local o = options or {}
  local jobs, first, rest, seconds = make_jobs(path, o), {}, {}, o.timeout or check.seconds
  for _, job in ipairs(jobs) do
    local list = (job.name == "load" or job.name == "symbols") and first or rest
    list[#list + 1] = job
  end
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
