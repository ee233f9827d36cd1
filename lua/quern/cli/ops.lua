--- quern ops: all ops with their summaries, those of plugins that can be found too (read out of
--- their files, not loaded), or one with everything known about it.
-- SPDX-License-Identifier: MIT

local core = require "quern.core"
local plugin = require "quern.plugin"
local sys = require "quern.sys"
local util = require "quern.util"

local function list()
  local rows = {}
  local ops = sys.ops()
  for _, op in ipairs(ops) do
    rows[#rows + 1] = { op.full_name, op.summary, op.plugin.core and "" or op.plugin.name .. " " .. op.plugin.version }
  end
  for _, op in ipairs(plugin.unloaded_ops()) do
    rows[#rows + 1] = { op.name, op.summary, op.plugin .. " " .. op.version }
  end
  table.sort(rows, function(a, b) return a[1] < b[1] end)
  print(util.table(rows))
  print(("%d ops; `quern ops NAME` shows one"):format(#rows))
  return 0
end

-- Loads the plugin that has an op of this name, if no loaded one has.
local function load_for(name)
  if core.op(name) then return end
  for _, op in ipairs(plugin.unloaded_ops()) do
    if name == op.name or name == op.plugin .. "." .. op.name then
      plugin(op.plugin)
      return
    end
  end
end

---@param args {name: string?}
---@return integer exit code
return function(args)
  if not args.name then return list() end
  load_for(args.name)
  local op = core.op_info(args.name)
  print(op.schema)
  print("\n" .. op.summary)
  if op.doc then print(op.doc) end
  print()
  local p = op.plugin
  local rows = { { "from", p.core and "the core" or ("%s %s, %s"):format(p.name, p.version, p.path) },
    { "gradient", op.differentiable and (op.second_order and "yes, of any order" or "yes, first order") or "no" },
    { "bits", op.determinism == "bitwise" and "the same for any number of threads" or op.determinism } }
  if op.cite then rows[#rows + 1] = { "see", op.cite } end
  if op.example then rows[#rows + 1] = { "example", op.example } end
  print(util.table(rows))
  return 0
end
