--- Lock: what a run's results depend on, beside its recipe and settings.
-- Quern and its plugins with versions and hashes, op schemas, BLAS and its core type,
-- instruction level, threads, data. Two runs with equal locks give equal bits.
-- SPDX-License-Identifier: MIT

local sys = require "quern.sys"

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
           data = run and run.data or {} }
end

--- Writes lock.json into a run's folder.
---@param run quern.Run
function lock.write(run) return run:lock(lock.make(run)) end

return lock
