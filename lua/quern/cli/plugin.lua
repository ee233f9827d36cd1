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

local function ops_by_name()
  local names = {}
  for _, op in ipairs(sys.ops()) do names[op.full_name] = op end
  return names
end

function actions.info(args)
  show(quern.plugin.info(args.name), args.name)
  local before = ops_by_name()
  quern.plugin(args.name)
  for key, op in util.sorted(ops_by_name()) do
    if not before[key] then print(("  op       %s\n           %s"):format(op.schema, op.summary)) end
  end
  return 0
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

actions.check = require "quern.cli.plugin_check"

actions["check-one"] = function(args)
  return require("quern.check").one(args.path, args.check,
    { seed = args.seed or 1, frame = args.frame, quick = args.quick, seconds = args.seconds })
end

---@param args table parsed options
---@return integer exit code
return function(args) return actions[args.action](args) end
