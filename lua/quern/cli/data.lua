--- quern data: list, get, import, pack, verify, stats.
-- SPDX-License-Identifier: MIT

local util = require "quern.util"
local data = require "quern.data"
local store = require "quern.data.store"

local actions = {}

function actions.list()
  local rows = {}
  for name, entry in util.sorted(data.registry) do
    local path = store.find(name)
    rows[#rows + 1] = { name, entry.generated and "generated" or path and "present" or "-", path or "", entry.doc }
  end
  for i, row in ipairs(rows) do
    print(("%-16s %-10s %s"):format(row[1], row[2], row[3]))
    print(util.wrap(row[4], 100, "    "))
    local entry = data.registry[row[1]]
    print(util.wrap("terms: " .. entry.terms, 100, "    "))
    print(util.wrap("cite: " .. entry.cite, 100, "    "))
    if i < #rows then print() end
  end
  return 0
end

local function present(name, path, digest, source)
  print(("%s: %s"):format(name, path))
  local said = { published = "as published", recorded = "as recorded when it came in",
                 unknown = "not known before; recorded now" }
  print(("SHA-256 %s (%s)"):format(digest, said[source]))
end

function actions.get(args)
  if store.entry(args.set).generated then
    print(args.set .. " is generated when it is used; there is nothing to get")
    return 0
  end
  present(args.set, store.get(args.set, { offline = args.offline }))
  return 0
end

function actions.import(args)
  present(args.set, store.import(args.set, args.file))
  return 0
end

function actions.pack(args)
  local set, format = data.pack(args.source, args.folder)
  print(("%s: %s images for training, %s for testing, %d classes, as %s"):format(args.folder,
    util.thousands(set.train.images.shape[1]), util.thousands(set.test.images.shape[1]), #set.names, format))
  return 0
end

local function verify(name)
  local entry = store.entry(name)
  if entry.generated then return true end
  local path, form = store.locate(name)
  local digest, source = store.check(name, path, form)
  if entry.image then
    local set = data.images { set = name }
    print(("%-16s ok  %s + %s images  SHA-256 %s %s"):format(name, util.thousands(set:rows("train")),
      util.thousands(set:rows("test")), digest, source))
    return true
  end
  local d = data.sequences { set = name, cache = "" }
  print(("%-16s ok  %s events  SHA-256 %s %s"):format(name, util.thousands(d.stats.rows), digest, source))
  return true
end

function actions.verify(args)
  if args.set then
    verify(args.set)
    return 0
  end
  local worst = 0
  for name, entry in util.sorted(data.registry) do
    if not entry.generated and store.find(name) then
      local ok, e = pcall(verify, name)
      if not ok then
        e = util.as_error(e)
        print(("%-16s BAD %s"):format(name, e.what))
        worst = 6
      end
    end
  end
  return worst
end

local function date(t) return os.date("!%Y-%m-%d", t) end

local function list(numbers, format)
  local out = {}
  for i, v in ipairs(numbers) do out[i] = format:format(v) end
  return table.concat(out, " ")
end

local function image_stats(options)
  local d = data.images(options)
  print(tostring(d))
  print(util.table({ { "normalised by", list(d.mean, "%.4f") }, { "and divided by", list(d.std, "%.4f") },
    { "train by class", list(d:histogram("train"), "%d") }, { "test by class", list(d:histogram("test"), "%d") },
    { "classes", d.names and table.concat(d.names, ", ") or "unnamed" } }, { indent = "  " }))
  print("  SHA-256  " .. d.sha256)
  return 0
end

function actions.stats(args)
  local known = data.registry[args.set] ~= nil
  local info = not known and require("quern.sys").stat(args.set)
  if known and data.registry[args.set].image then return image_stats { set = args.set } end
  if info and info.folder then return image_stats { folder = args.set, format = args.format } end
  if not known and not require("quern.sys").exists(args.set) then
    util.fail("not_found", ("cannot find %s: no dataset and no file of that name"):format(args.set), nil,
              util.suggest(args.set, util.keys(data.registry)))
  end
  local d = data.sequences { set = known and args.set or nil, file = not known and args.set or nil,
                             format = args.format, protocol = "whole", min_events = 2, check = false }
  local s = d.stats
  local rows = { { "users", util.thousands(s.users) }, { "items", util.thousands(s.items) },
    { "items seen", util.thousands(s.items_seen) }, { "events", util.thousands(s.rows) },
    { "density", ("%.4f %%"):format(s.density * 100) },
    { "length", ("%d .. %d, mean %.2f"):format(s.length_min, s.length_max, s.length_mean) },
    { "duplicates", util.thousands(s.duplicates) }, { "reordered users", util.thousands(s.reordered) } }
  if d.has_times then
    local ok, text = pcall(function() return ("%s .. %s"):format(date(s.time_min), date(s.time_max)) end)
    rows[#rows + 1] = { "time", ok and text or ("%d .. %d"):format(s.time_min, s.time_max) }
  end
  if s.rating_mean and s.rating_mean ~= 0 then rows[#rows + 1] = { "mean rating", ("%.4f"):format(s.rating_mean) } end
  print(tostring(d.set or d.file))
  print(util.table(rows, { indent = "  " }))
  print("  SHA-256  " .. tostring(d.sha256))
  return 0
end

---@param args table parsed options
---@return integer exit code
return function(args)
  return actions[args.action](args)
end
