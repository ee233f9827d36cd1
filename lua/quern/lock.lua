--- Lock: what a run's results depend on, beside its recipe and settings.
-- Quern and its plugins with versions and hashes, op schemas, BLAS and its core type,
-- instruction level, threads, data, how each training ran (captured or not, slices). Two runs
-- with equal locks give equal bits; the number of threads is noted, but makes no difference.
-- SPDX-License-Identifier: MIT

local sys = require "quern.sys"
local util = require "quern.util"

local lock = {}

--- The lock of this process as plain values.
---@param run quern.Run? whose data are listed
---@return table
function lock.make(run)
  local machine = sys.machine()
  local plugins, ops = {}, {}
  for _, p in ipairs(sys.plugins()) do
    plugins[p.id ~= "" and p.id or p.name] = { version = p.version, sha256 = p.sha256, build = p.build }
  end
  for _, op in ipairs(sys.ops()) do ops[op.full_name] = op.hash end
  return { quern = machine.version, build = machine.build, plugins = plugins, ops = ops, blas = machine.blas,
           blas_core = machine.blas_core, isa = machine.isa, cpu = machine.cpu, threads = machine.threads,
           data = run and run.data or {}, execution = run and run.execution or {} }
end

--- Writes lock.json into a run's folder.
---@param run quern.Run
function lock.write(run) return run:lock(lock.make(run)) end

-- ---- Comparing ----------------------------------------------------------------------------

local function short(text) return #text == 64 and text:match("^%x+$") and text:sub(1, 12) or text end

local function add(out, grave, what, before, now)
  if before == nil or now == nil or before == now then return end
  out[#out + 1] = { what = what, before = short(tostring(before)), now = short(tostring(now)), grave = grave }
end

local function compare_plugins(out, before, now)
  for name, a in util.sorted(before or {}) do
    local b = (now or {})[name]
    if b then
      add(out, true, ("plugin %s"):format(name), a.version, b.version)
      if a.version == b.version then add(out, false, ("plugin %s, its file"):format(name), a.sha256, b.sha256) end
    end
  end
end

local function compare_ops(out, before, now)
  for name, hash in util.sorted(before or {}) do
    add(out, true, ("schema of op %s"):format(name), hash, (now or {})[name])
  end
end

--- In what two locks differ. A grave difference changes results for certain or most
--- likely; others (a rebuilt binary of the same version, the processor) may or may not.
--- What only one of them names is no difference: plugins and data may still be to come.
---@param before table
---@param now table
---@return {what: string, before: string, now: string, grave: boolean}[]
function lock.differences(before, now)
  local out = {}
  add(out, true, "Quern", before.quern, now.quern)
  compare_plugins(out, before.plugins, now.plugins)
  compare_ops(out, before.ops, now.ops)
  for name, hash in util.sorted(before.data or {}) do
    add(out, true, ("data %s"):format(name), hash, (now.data or {})[name])
  end
  add(out, true, "instruction level", before.isa, now.isa)
  add(out, true, "BLAS core", before.blas_core, now.blas_core)
  add(out, false, "BLAS library", before.blas, now.blas)
  add(out, false, "build of Quern", before.build, now.build)
  add(out, false, "processor", before.cpu, now.cpu)
  return out
end

--- A difference as a line: "BLAS core: Haswell -> SkylakeX".
function lock.text(d) return ("%s: %s -> %s"):format(d.what, d.before, d.now) end

--- A lock with the plugins, ops and data of an earlier one beside its own.
---@param before table
---@param now table
---@return table
function lock.union(before, now)
  local out = util.copy(before)
  for _, part in ipairs { "plugins", "ops", "data", "execution" } do
    out[part] = out[part] or {}
    for name, value in pairs(now[part] or {}) do out[part][name] = value end
  end
  return out
end

return lock
