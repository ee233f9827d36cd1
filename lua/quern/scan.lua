--- Looking at a plugin's library before it may enter this process.
--
-- 1. Its descriptor is read out of the file: magic, versions, needs, schemas; nothing of it runs.
-- 2. Its verdict is looked up by the SHA-256 of the file. If there is none, a helper process loads
--    it, with limits of time, memory and core files, and the verdict is kept:
--    $XDG_CACHE_HOME/quern/verdicts, or ~/.cache/quern/verdicts. One on time alone is not: a machine
--    may have been busy.
-- A helper that cannot be started is an error; a library is never tried out in this process.
-- SPDX-License-Identifier: MIT

local core = require "quern.core"
local util = require "quern.util"

local scan = { seconds = 30, memory = 8 << 30 }

local signals = { [4] = "illegal instruction", [6] = "abort", [7] = "bus error", [8] = "arithmetic error",
                  [9] = "killed", [11] = "segmentation fault", [24] = "too much processor time" }

-- ---- The cache ----------------------------------------------------------------------------------

--- Where verdicts are kept; nil where there is no home.
---@return string?
function scan.folder()
  local cache, home = os.getenv "XDG_CACHE_HOME", os.getenv "HOME"
  if cache and cache ~= "" then return cache .. "/quern/verdicts" end
  if home and home ~= "" then return home .. "/.cache/quern/verdicts" end
end

-- A verdict holds for one file and one build of the host.
local function place(sha256)
  local folder = scan.folder()
  return folder and ("%s/%s-%s-%s.json"):format(folder, sha256, core.version(), core.abi())
end

local function cached(path, sha256)
  if not path or not core.exists(path) then return nil end
  local ok, v = pcall(function() return core.json.decode(core.read_file(path)) end)
  if ok and type(v) == "table" and v.sha256 == sha256 and type(v.ok) == "boolean" then return v end
end

-- A cache that cannot be written costs time, nothing else.
local function keep(path, verdict)
  if not path then return end
  pcall(function()
    core.mkdir(scan.folder())
    core.write_file(path, core.json.encode(verdict))
  end)
end

-- ---- The helper ----------------------------------------------------------------------------------

--- In the helper: loads a library under limits and prints the verdict in a frame.
---@param file string
---@param frame string
---@return integer exit code
function scan.one(file, frame)
  core.limit_resources(scan.seconds, scan.memory)
  local ok, result = pcall(core.plugin_load, file)
  local verdict = { ok = ok }
  if ok then
    verdict.id, verdict.version, verdict.ops = result.id, result.version, result.ops
  else
    local e = util.as_error(result)
    verdict.status, verdict.what, verdict.detail, verdict.hint = e.status, e.what, e.detail, e.hint
  end
  io.stdout:write("\n", frame, " ", core.json.encode(verdict), "\n")
  return 0
end

local function bad(what, hint) return { ok = false, status = "plugin", what = what, hint = hint } end

local function ask_helper(file)
  local frame = ("quern-scan-%d-%x"):format(core.pid(), core.nanoseconds())
  local child <close> = core.child_start({ core.program(), "plugin", "scan-one", file, "--frame", frame }, scan.seconds)
  local _, r = core.child_wait { child }
  local text = r.output:match("\n" .. frame:gsub("%-", "%%-") .. " ([^\n]*)\n")
  if text then return core.json.decode(text) end
  local last = "its constructors run when it is loaded; see what they do"
  if r.timed_out then
    local slow = bad(("%s does not finish loading within %d seconds"):format(file, scan.seconds), last)
    slow.passing = true
    return slow
  elseif r.signal ~= 0 then
    return bad(("%s crashes while it is loaded: signal %d, %s"):format(file, r.signal, signals[r.signal] or "unknown"),
      last)
  end
  return bad(("%s ends the process while it is loaded, with exit code %d"):format(file, r.exit_code), last)
end

-- ---- Verdicts -------------------------------------------------------------------------------------

--- The verdict on a library: { ok, id, version, ops } or { ok = false, status, what, detail, hint }.
---@param file string
---@return table verdict
---@return boolean cached
function scan.verdict(file)
  local sha256 = core.sha256_file(file)
  local path = place(sha256)
  local found = cached(path, sha256)
  if found then return found, true end
  local verdict = ask_helper(file)
  verdict.sha256, verdict.file = sha256, file
  if not verdict.passing then keep(path, verdict) end
  return verdict, false
end

--- Raises why a library may not be loaded; returns if it may.
---@param file string
function scan.admit(file)
  local _ = core.plugin_read(file)                 -- raises for what can be seen without running it
  local v = scan.verdict(file)
  if v.ok then return end
  local what = v.file and v.file ~= file and v.what:gsub(v.file, file, 1) or v.what
  util.fail(v.status, what, v.detail, v.hint)
end

return scan
