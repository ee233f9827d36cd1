--- quern plugin: list, info, read, new, check, load.
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

actions["scan-one"] = function(args) return require("quern.scan").one(args.path, args.frame) end

function actions.new(args)
  local folder, files = require("quern.plugin_new").write(args.name, { op = args.op, dir = args.dir, id = args.id,
    paper = args.paper, year = args.year, equation = args.equation, summary = args.summary })
  for _, file in ipairs(files) do print(("wrote %s/%s"):format(folder, file)) end
  print(("build it with `make -C %s`, judge it with `quern plugin check %s`"):format(folder, folder))
  return 0
end

-- What a library says of itself; nothing of it runs.
function actions.read(args)
  local r, why = quern.plugin.read(args.name)
  if not r then util.fail("unsupported", why) end
  print(args.name)
  for _, key in ipairs { "file", "id", "version", "abi", "build" } do
    if r[key] then print(("  %-8s %s"):format(key, r[key])) end
  end
  print(("  %-8s plugin ABI %s.%d or later"):format("host", r.abi:match("^%d+"), r.least))
  if #r.needs > 0 then print(("  %-8s %s"):format("needs", table.concat(r.needs, ", "))) end
  for _, op in ipairs(r.ops) do print(("  op       %s\n           %s"):format(op.schema, op.summary or "")) end
  return 0
end

actions["check-one"] = function(args)
  return require("quern.check").one(args.path, args.check,
    { seed = args.seed or 1, frame = args.frame, quick = args.quick, seconds = args.seconds })
end

---@param args table parsed options
---@return integer exit code
return function(args) return actions[args.action](args) end
