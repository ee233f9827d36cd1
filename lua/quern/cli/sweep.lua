--- quern sweep: runs what is missing of a set of wanted runs, and shows the table.
--
-- Successive halving (Jamieson and Talwalkar 2016): one setting, such as train.epochs, takes
-- rising values; after each the better part of the points goes on. Each rung is a set of
-- wanted runs like any other, so a halving may be killed and said again too.
-- SPDX-License-Identifier: MIT

local util = require "quern.util"
local recipe = require "quern.recipe"
local store = require "quern.store"
local sweep = require "quern.sweep"
local sweep_table = require "quern.sweep_table"
local lock = require "quern.lock"
local quern = require "quern"
local sys = require "quern.sys"

local function check(args)
  if args.seeds < 1 or args.jobs < 1 or (args.random and args.random < 1) then
    util.fail("usage", "sweep: --seeds, --jobs and --random are numbers of at least 1")
  end
  if args.random and #args.grid == 0 then
    util.fail("usage", "sweep: --random draws from what?", nil, "--grid train.lr=1e-4..1e-2:log")
  end
  if not args.keep or args.keep <= 0 or args.keep >= 1 then
    util.fail("usage", "sweep: --keep is a share between 0 and 1", nil, "0.5 keeps the better half")
  end
end

-- Warns when runs of the table were made under different conditions.
local function compare_locks(wanted, here)
  local first, warned
  for _, w in ipairs(wanted) do
    local s = here[w.key]
    local text = s and s.status == "done" and sys.try_read(s.folder .. "/lock.json")
    local now = text and quern.json.decode(text)
    first = first or now
    for _, d in ipairs(now and now ~= first and not warned and lock.differences(first, now) or {}) do
      if d.grave then
        print(("note: runs were made under different conditions: %s"):format(lock.text(d)))
        warned = true
        break
      end
    end
  end
end

-- Runs a set and prints its table; the points and the metric that decides.
local function stage(args, r, points, sets)
  local wanted = sweep.wanted(r, points, { size = args.size, sets = sets, seeds = args.seeds })
  if not args.table then
    sweep.run(wanted, { recipe = args.recipe, out = args.out, size = args.size, jobs = args.jobs,
                        threads = args.threads, retry = args.retry, say = print })
  end
  local here = sweep.by_key(store.list(args.out))
  local rows = sweep_table.points(wanted, here)
  local metric = sweep_table.metric(rows, args.by, r.paper)
  print("\n" .. sweep_table.text(rows, metric))
  compare_locks(wanted, here)
  return rows, metric
end

local function halve(args, r, points)
  local path, values = args.halving:match("^([^=]+)=(.+)$")
  local last
  if not path then util.fail("usage", ("--halving %s: this is not NAME=VALUES"):format(args.halving)) end
  for value in values:gmatch("[^,]+") do
    local sets = table.move(args.set, 1, #args.set, 1, {})
    sets[#sets + 1] = path .. "=" .. value
    print(("\n%s=%s: %d points"):format(path, value, #points))
    local rows, metric = stage(args, r, points, sets)
    if not metric then return rows end
    local ranked, kept = sweep_table.ranked(rows, metric), {}
    for i = 1, math.max(1, math.ceil(#ranked * args.keep)) do kept[i] = ranked[i].sets end
    points = kept
    last = rows
  end
  return last
end

---@param args table recipe, grid, random, halving, keep, by, seeds, set, size, jobs, threads, retry, table, out
---@return integer exit code
return function(args)
  check(args)
  local r = recipe.load(args.recipe)
  local points = sweep.points(r.leaves, args.grid, args.random)
  local rows
  if args.halving then rows = halve(args, r, points) else rows = stage(args, r, points, args.set) end
  for _, p in ipairs(rows) do
    if (p.states.done or 0) < p.n and not args.table then return 2 end
  end
  return 0
end
