--- quern plugin: list, info, check, load.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local sys = require "quern.sys"
local util = require "quern.util"

local actions = {}

function actions.list()
  local rows = {}
  for _, p in ipairs(quern.plugin.list()) do
    rows[#rows + 1] = { p.name, p.version or "", p.note or p.summary or "", p.path }
  end
  if #rows == 0 then
    print("no plugins on the search path: " .. table.concat(quern.plugin.path(), ", "))
    return 0
  end
  print(util.table(rows))
  return 0
end

local function show(manifest, title)
  print(title)
  for _, key in ipairs { "id", "version", "abi", "license", "summary", "path", "library" } do
    if manifest[key] then print(("  %-8s %s"):format(key, tostring(manifest[key]))) end
  end
  if type(manifest.paper) == "table" then
    print(("  %-8s %s%s"):format("paper", manifest.paper.title or "",
      manifest.paper.year and (" (%d)"):format(manifest.paper.year) or ""))
  end
  if type(manifest.needs) == "table" and #manifest.needs > 0 then
    print(("  %-8s %s"):format("needs", table.concat(manifest.needs, ", ")))
  end
end

function actions.info(args)
  show(quern.plugin.info(args.name), args.name)
  return 0
end

local function ops_by_name()
  local names = {}
  for _, op in ipairs(sys.ops()) do names[op.full_name] = op end
  return names
end

function actions.load(args)
  local before = ops_by_name()
  quern.plugin(args.name)
  print(args.name .. " is loaded; its ops:")
  for key, op in util.sorted(ops_by_name()) do
    if not before[key] then print("  " .. op.schema) end
  end
  return 0
end

local function print_result(r)
  print(("%-14s %-3s %-7s %s"):format(r.check, r.level, r.ok and "passed" or "FAILED",
    r.text:gsub("%s+$", ""):gsub("\n", "\n    ")))
end

function actions.check(args)
  local only = args.only and args.only[1] and args.only or nil
  print(("%s, seed %d"):format(args.name, args.seed or 1))
  local results = quern.plugin.check(args.name, { seed = args.seed, only = only, each = print_result })
  local failed = 0
  for _, r in ipairs(results) do failed = failed + (r.ok and 0 or 1) end
  print(("%d checks, %d failed"):format(#results, failed))
  return failed == 0 and 0 or 3
end

---@param args table parsed options
---@return integer exit code
return function(args) return actions[args.action](args) end
