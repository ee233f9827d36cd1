--- Datasets: lookup, checksums, import, sequences and their batches; real data when there.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local data = quern.data
local store = require "quern.data.store"

local function sequences_file(lines)
  local path = check.folder() .. "/s.txt"
  check.write(path, table.concat(lines, "\n") .. "\n")
  return path
end

return {
  { "a batch holds inputs, targets and offsets of each sequence", function()
    local d = data.sequences { file = sequences_file { "1 2 3 4 5", "3 1 2", "2 5 4 1" }, format = "sequences",
                               cache = "" }
    check.equal({ d.n_users, d.n_items, d.has_times }, { 3, 5, false })
    local b = d:batch("test", { 1, 2 })
    check.equal(b.offsets:totable(), { 0, 4, 6 })
    check.equal(b.items:totable(), { { 1, 2, 3, 4 }, { 3, 1 } })
    check.equal(b.targets:totable(), { { 2, 3, 4, 5 }, { 1, 2 } })
    check.equal(b.users:totable(), { 1, 2 })
    check.equal(b.weights:totable(), { 1, 1, 1, 1, 1, 1 })
    check.equal({ b.n_sequences, b.n_tokens, b.times }, { 2, 6, nil })
    check.equal(d:batch("valid", { 1 }).targets:totable(), { { 2, 3, 4 } })
  end },

  { "the most recent max_len events stay", function()
    local file = sequences_file { "1 2 3 4 5 6 7" }
    local d = data.sequences { file = file, format = "sequences", max_len = 2, cache = "" }
    check.equal(d:batch("test", { 1 }).items:totable(), { { 5, 6 } })
  end },

  { "protocol meta trains one event further and has no validation", function()
    local file = sequences_file { "1 2 3 4 5" }
    local s = data.sequences { file = file, format = "sequences", cache = "" }
    local m = data.sequences { file = file, format = "sequences", protocol = "meta", cache = "" }
    check.equal(s:batch("train", { 1 }).targets:totable(), { { 2, 3 } })
    check.equal(m:batch("train", { 1 }).targets:totable(), { { 2, 3, 4 } })
    check.equal(m:rows("valid"), 0)
  end },

  { "the loader's order follows seed and epoch, and its position can be restored", function()
    local lines = {}
    for u = 1, 30 do lines[u] = ("%d %d %d %d"):format(u, u + 1, u + 2, u + 3) end
    local d = data.sequences { file = sequences_file(lines), format = "sequences", cache = "" }
    local function users(loader, n)
      local out = {}
      for _ = 1, n do
        local b = loader:next()
        out[#out + 1] = b and b.users:totable() or "end"
      end
      return out
    end
    local a = users(d:loader("train", { batch = 4, seed = 1 }), 20)
    check.equal(users(d:loader("train", { batch = 4, seed = 1, prefetch = 0 }), 20), a)
    check.yes(check.show(users(d:loader("train", { batch = 4, seed = 2 }), 20)) ~= check.show(a))
    local l = d:loader("train", { batch = 4, seed = 1 })
    users(l, 5)
    local at = l:tell()
    check.equal({ at.epoch, at.index }, { 0, 5 })
    local other = d:loader("train", { batch = 4, seed = 1 })
    other:seek(at)
    check.equal(users(other, 10), { table.unpack(a, 6, 15) })
    local seen = {}
    for b in d:batches("train", 7) do
      for _, u in ipairs(b.users:totable()) do seen[#seen + 1] = u end
    end
    check.equal(#seen, 30)
    check.equal(seen[30], 30)
  end },

  { "a bad line is an error with file and line", function()
    local bad = sequences_file { "1 2 3", "1 x 3" }
    check.fails(function() data.sequences { file = bad, format = "sequences", cache = "" } end, "s.txt", "2")
    check.fails(function() data.sequences { file = "/nowhere/at/all.txt" } end, "/nowhere/at/all.txt")
    check.fails(function() data.sequences {} end, "set =")
    check.fails(function() data.sequences { set = "ml100k" } end, '"ml-100k"')
    check.fails(function() data.sequences { fil = "x" } end, '"fil"', '"file"')
  end },

  { "the generator is a dataset, and follows its seed", function()
    local function first(seed)
      local d = data.sequences { set = "dirichlet",
        dirichlet = { n_items = 200, n_categories = 5, n_records = 20, length = 16, seed = seed } }
      check.equal({ d.n_users, d.protocol }, { 20, "whole" })
      return d:batch("train", { 1, 2 }).items:totable()
    end
    check.equal(first(1), first(1))
    check.yes(check.show(first(1)) ~= check.show(first(2)))
  end },

  { "a dataset that is nowhere names the command that gets it, and is not downloaded", function()
    check.with_env({ QUERN_DATA = "", QUERN_CACHE = check.folder() }, function()
      local e = check.fails(function() data.sequences { set = "ml-20m" } end, "cannot find dataset ml-20m",
                            "quern data get ml-20m")
      check.equal(e.status, "not_found")
      check.equal(data.have("ml-20m"), false)
      check.equal(data.have("dirichlet"), true)
    end)
  end },

  { "an unknown checksum is recorded at import and holds afterwards", function()
    local cache = check.folder()
    check.with_env({ QUERN_DATA = "", QUERN_CACHE = cache }, function()
      local file = check.folder() .. "/ratings.dat"
      check.write(file, "1::10::5::978300760\n1::11::3::978300761\n1::12::3::978300762\n")
      local path, _, source = store.import("ml-1m", file)
      check.equal(path, cache .. "/data/ml-1m/ratings.dat")
      check.equal(source, "unknown")
      local found, form = store.find("ml-1m")
      check.equal(found, path)
      check.equal(select(2, store.check("ml-1m", found, form)), "recorded")
      check.write(path, "1::10::5::978300760\n1::11::3::978300761\n1::12::4::978300762\n")
      check.fails(function() store.check("ml-1m", found, form) end, "is not the file", "recorded")
      local e = check.fails(function() data.sequences { set = "ml-1m", cache = "" } end, "ml-1m has")
      check.equal(e.status, "format")
    end)
  end },

  { "a file that differs from the published checksum is refused and not kept", function()
    local cache = check.folder()
    check.with_env({ QUERN_DATA = "", QUERN_CACHE = cache }, function()
      local file = check.folder() .. "/u.data"
      check.write(file, "1\t1\t5\t881250949\n")
      check.fails(function() store.import("ml-100k", file) end, "is not the file", "published")
      check.equal(store.find("ml-100k"), nil)
      check.fails(function() store.import("ml-100k", file .. "x") end, "cannot read")
      check.write(file .. "x", "?")
      check.fails(function() store.import("ml-100k", file .. "x") end, "no known form", "ml-100k.inter")
    end)
  end },

  { "real: MovieLens 100K has its published counts and checksum", function()
    check.data("ml100k/ml-100k.inter")
    local d = data.sequences { set = "ml-100k", max_len = 200, cache = "" }
    check.equal({ d.n_users, d.n_items, d.stats.rows, d.has_times }, { 943, 1682, 100000, true })
    check.equal({ d:rows("train"), d:rows("valid"), d:rows("test") }, { 943, 943, 943 })
    local path, form = store.find("ml-100k")
    check.equal(select(2, store.check("ml-100k", path, form)), "published")
    local b = d:batch("test", { 1 })
    check.equal(b.next_times:totable()[1][1], b.times:totable()[1][2])
  end },

  { "real: sequence sets have their published counts", function()
    check.data("s3rec/Beauty.txt")
    for _, set in ipairs { "beauty", "lastfm", "ml-1m-sequences" } do
      local d = data.sequences { set = set, cache = "" }       -- compares with the registry
      check.yes(d.stats.rows > 50000)
    end
  end },

  { "every entry of the registry says terms, citation and counts", function()
    for name, e in pairs(data.registry) do
      check.yes(e.doc and e.terms and e.cite, name)
      check.yes(e.generated or (#e.files > 0 and (e.stats.rows or e.image and e.stats.train)), name)
      for _, f in ipairs(e.files) do
        check.yes(not f.sha256 or f.sha256:match("^%x+$") and #f.sha256 == 64, name)
        check.yes(not f.url or f.url:match("^https://"), name)
      end
    end
  end },
}
