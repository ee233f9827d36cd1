--- Data beside plain sequences: mapped batches, merged domains, attributes, held-out events.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local merge = require "quern.data.merge"
local side = require "quern.data.side"
local core = require "quern.core"

local function parsed(rows, name)
  local x = core.parse_interactions("user\titem\ttime\n" .. table.concat(rows, "\n") .. "\n", name .. ".tsv",
    { format = "tsv", ids = "keep", columns = { user = "user", item = "item", time = "time" } })
  return { name = name, core = x, sha256 = "of " .. name }
end

local function events(x)
  local a = x:arrays()
  return a.offsets:totable(), a.items:totable(), a.times and a.times:totable()
end

return {
  { "a mapped dataset keeps order, position and phase of its source", function()
    local path = check.temporary "mapped.txt"
    check.write(path, "1 2 3 4 5\n3 1 2 4\n2 5 4 1\n5 4 3 2\n")
    local d = quern.data.sequences { file = path, format = "sequences", cache = "" }
    local seen = {}
    local m = quern.data.map(d, function(b, phase)
      seen[phase] = (seen[phase] or 0) + 1
      b.twice = b.items:values() * 2
      return b
    end)
    check.equal({ m.n_items, m:rows "test", m:longest "test" }, { 5, 4, 4 })
    check.equal(m:batch("test", { 1 }).twice:totable(), { 2, 4, 6, 8 })
    local a, b = d:loader("train", { batch = 2, seed = 3 }), m:loader("train", { batch = 2, seed = 3 })
    check.equal(b:batches(), 2)
    check.equal(b:next().users:totable(), a:next().users:totable())
    check.equal(b:tell(), a:tell())
    b:seek { seed = 3, epoch = 0, index = 0 }
    check.equal(b:next().users:totable(), d:loader("train", { batch = 2, seed = 3 }):next().users:totable())
    for batch in m:batches("valid", 3) do check.yes(batch.twice) end
    check.equal({ seen.test, seen.train, seen.valid }, { 1, 2, 2 })
  end },

  { "shared users of two domains have one sequence in order of time", function()
    local a = parsed({ "7\t1\t10", "7\t2\t30", "8\t1\t5", "8\t3\t6" }, "a")
    local b = parsed({ "9\t1\t1", "7\t2\t20", "7\t1\t30" }, "b")
    local x, domains = merge.join({ a, b }, "shared")
    local offsets, items, times = events(x)
    check.equal(offsets, { 0, 4, 6, 7 })
    check.equal(items, { 1, 5, 2, 4, 1, 3, 4 })           -- at time 30 the first domain goes first
    check.equal(times, { 10, 20, 30, 30, 5, 6, 1 })
    check.equal(domains, { { name = "a", first = 1, last = 3 }, { name = "b", first = 4, last = 5 } })
  end },

  { "separate users stay in their domains, whatever they are called", function()
    local a, b = parsed({ "7\t1\t10", "7\t2\t30" }, "a"), parsed({ "7\t2\t20", "7\t1\t30" }, "b")
    local offsets, items = events((merge.join({ a, b }, "separate")))
    check.equal({ offsets, items }, { { 0, 2, 4 }, { 1, 2, 4, 3 } })
    local c = { name = "c", core = core.interactions_from(2, quern.i64 { 0, 2 }, quern.i32 { 1, 2 }), sha256 = "c" }
    check.fails(function() merge.join({ a, c }, "shared") end, "c has none", "separate")
    local _, _, times = events((merge.join({ a, c }, "separate")))
    check.equal(times, nil)
    check.fails(function() merge.join({ a }, "separate") end, "at least two")
  end },

  { "attributes belong to items by name, and unknown ones are passed over", function()
    local path, items = check.temporary "attributes.json", check.temporary "attributes.txt"
    check.write(items, "1 2 3 4 5\n3 1 2 4\n")
    check.write(path, '{"2": [3, 1], "5": [2], "77": [4]}')
    local d = quern.data.sequences { file = items, format = "sequences", cache = "" }
    local a = quern.data.attributes(d, path)
    check.equal(a.lists:totable(), { {}, {}, { 3, 1 }, {}, {}, { 2 } })
    check.equal({ a.n, a.names }, { 4, 2 })
    check.write(path, '{"77": [4]}')
    check.fails(function() quern.data.attributes(d, path) end, "none of the 5 items")
    check.write(path, '{"2": [0]}')
    check.fails(function() quern.data.attributes(d, path) end, "item 2", "at least 1")
  end },

  { "held-out events stand behind their users' others", function()
    local path, tail = check.temporary "view.tsv", check.temporary "view.test.tsv"
    check.write(path, "user\titem\tbehaviour\ttime\n0\t3\t0\t50\n1\t4\t1\t70\n0\t4\t1\t60\n")
    check.write(tail, "user\titem\n0\t9\n1\t3\n")
    local x = side.with_held_out(path, tail, 2)
    local a = x:arrays()
    check.equal(a.behaviours:totable(), { 0, 1, 2, 1, 2 })
    check.equal(a.times:totable(), { 50, 60, 71, 70, 71 })
    check.equal(x:item_name(a.items:totable()[3]), "9")
    check.write(tail, "user\titem\n0 9\n")
    check.fails(function() side.with_held_out(path, tail, 2) end, "0 9", "user and item")
  end },

  { "RetailRocket has its known counts, and each test target is a purchase", function()
    check.data "multibehaviour/retailrocket.tsv"
    local d = quern.data.sequences { set = "retailrocket", protocol = "meta", max_len = 50 }
    check.equal({ d.n_users, d.stats.rows, d.behaviours, d.target_behaviour },
                { 2174, 99555, { "view", "cart", "buy" }, "buy" })
    for b in d:batches "test" do
      local offsets, what = b.items:offsets():totable(), b.target_behaviours:values():totable()
      for s = 2, #offsets do check.equal(what[offsets[s]], 2) end
    end
  end },

  { "Beauty has its known attributes", function()
    check.data "s3rec/Beauty_item2attributes.json"
    local a = quern.data.attributes(quern.data.sequences { set = "beauty" })
    check.equal({ a.n, a.names, a.lists.shape[1] }, { 637, 12101, 45037 })
  end },

  { "a companion file that is not there is named with where it was looked for", function()
    check.fails(function() require "quern.data.store".companion("ml-100k", "attributes") end, "no file of attributes")
  end },
}
