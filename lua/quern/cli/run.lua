--- quern run: loads a recipe, shows its settings or runs it, and reports.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local recipe = require "quern.recipe"
local params = require "quern.params"
local runs = require "quern.runs"
local errors = require "quern.cli.errors"
local lock = require "quern.lock"
local execution = require "quern.execution"

local function started(r, run, size)
  local _, flat = r:resolve(nil, nil)
  local now = r.flat or flat
  local changed = params.changed(r.leaves, now)
  print(("%s%s, seed %d -> %s"):format(r.name, size and " (" .. size .. ")" or "", run.seed, run.folder))
  if #changed > 0 then print(util.wrap("settings: " .. table.concat(changed, " "), 100)) end
  if not run.resumed then lock.write(run) end
  run:log(("%s: seed %d, %d threads"):format(run.resumed and "resumed" or "started", run.seed, quern.threads()))
end

local function show_profile(run)
  print(quern.profile("table"))
  for name, plan in util.sorted(run.plans) do
    print(("\n%s, captured: %s"):format(name, table.concat(plan:summary(), "\n  ")))
  end
  quern.profile("trace", run.folder .. "/trace.json")
end

-- A usage error is one that stands before the recipe's own code runs.
local function as_usage(fn, ...)
  local result = table.pack(pcall(fn, ...))
  if result[1] then return table.unpack(result, 2, result.n) end
  local e = errors.handler(result[2])
  if e.status == "argument" then e.status, e.source = "usage", nil end
  error(e, 0)
end

local function set_execution(args)
  if args.slice_kib and args.slice_kib < 1 then
    util.fail("argument", ("--slice-kib is %d, it must be 1 or more"):format(args.slice_kib))
  end
  execution.eager, execution.fuse, execution.slice_kib = args.eager == true, not args.no_fuse, args.slice_kib
end

local function note_failure(e)
  local run = runs.current
  if not run then return end
  local status = (e.status == "interrupted" or e.status == "cancelled") and "interrupted" or "failed"
  pcall(run.log, run, errors.text(e))
  pcall(run.finish, run, status, e.what, e.status)
end

local function run_recipe(args)
  local r = recipe.load(args.recipe)
  if args.help then
    print(r:help())
    return 0
  end
  local sets = args.set or {}
  as_usage(r.resolve, r, args.size, sets)
  if args.threads then as_usage(quern.threads, args.threads) end
  if args.profile then quern.profile("start", true) end
  quern.check_finite(args.check == "finite")
  as_usage(set_execution, args)
  local resume = args.resume and (args.resume[1] or args.resume ~= nil and true) or nil
  if type(args.resume) == "string" then resume = args.resume end
  if args.id and runs.is_done(args.out .. "/" .. args.id) then
    print(("run folder %s/%s is done"):format(args.out, args.id))
    return 0
  end
  local run = recipe.run(r, { size = args.size, sets = sets, seed = args.seed, out = args.out, resume = resume,
                              id = args.id, record_ops = args.record_ops, started = started })
  lock.write(run)
  if run.text then print("\n" .. run.text) end
  if args.profile then show_profile(run) end
  local memory = quern.memory()
  run:log(("done; peak memory %s"):format(util.bytes(memory.peak)))
  run:finish("done")
  print(("run folder %s, peak memory %s"):format(run.folder, util.bytes(memory.peak)))
  return 0
end

---@param args table parsed options
---@return integer exit code
return function(args, parser)
  if not args.recipe then
    for _, c in ipairs(parser._commands) do
      if c._name == "run" then print(c:get_help()) end
    end
    if args.help then return 0 end
    util.fail("usage", "run: which recipe?", nil, "quern run recipes/00_hello.lua")
  end
  local ok, result = xpcall(run_recipe, errors.handler, args)
  if ok then return result end
  note_failure(result)
  error(result, 0)
end
