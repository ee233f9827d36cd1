--- Sweeps: which runs are wanted, what a kill leaves, the table, the statistics.
-- SPDX-License-Identifier: MIT

local check = require "check"
local cli = require "quern.cli"
local det = require "quern.det"
local params = require "quern.params"
local recipe = require "quern.recipe"
local stats = require "quern.stats"
local store = require "quern.store"
local sweep = require "quern.sweep"
local sweep_table = require "quern.sweep_table"
local sys = require "quern.sys"
local tiny = require "train_recipe"
local process = require "quern.process"

local leaves = params.read { lr = { "num", 0.1, "rate", min = 0 }, n = { "int", 3, "count", min = 1, max = 9 },
                             kind = { "enum", "a", "which", of = { "a", "b" } } }

local function sweeping(path, out, ...)
  return { "sweep", path, "--out", out, "--grid", "lr=0.01,0.05", "--seeds", "2", "--jobs", "2", "--threads", "1",
           "--set", "epochs=2", ... }
end

-- What `quern sweep --table` prints.
local function table_of(path, out)
  local lines, real_print = {}, print
  print = function(...) lines[#lines + 1] = table.concat({ ... }, "\t") end         -- luacheck: ignore 121
  local ok, code = pcall(cli.main, sweeping(path, out, "--table"))
  print = real_print                                                               -- luacheck: ignore 121
  check.equal({ ok, code }, { true, 0 })
  return table.concat(lines, "\n")
end

local function finished(path, out)
  local log = out .. ".log"
  local how, number = tiny.wait(tiny.start(sweeping(path, out), log))
  check.equal({ how, number }, { "exit", 0 }, sys.try_read(log))
  return sys.read_file(log)
end

return {
  { "a grid wants the product of its values, in order; values are checked against the settings", function()
    local points = sweep.points(leaves, { "lr=1e-3,3e-4", "kind=a,b" })
    check.equal(points, { { "lr=0.001", "kind=a" }, { "lr=0.001", "kind=b" }, { "lr=0.0003", "kind=a" },
                          { "lr=0.0003", "kind=b" } })
    check.equal(sweep.points(leaves, {}), { {} })
    check.fails(function() sweep.points(leaves, { "lrr=1" }) end, '"lrr"', '"lr"')
    check.fails(function() sweep.points(leaves, { "n=1,20" }) end, "setting n", "1..9")
    check.fails(function() sweep.points(leaves, { "lr=1e-4..1e-2" }) end, "a range needs --random")
    check.fails(function() sweep.points(leaves, { "lr=0..1:log" }, 2) end, "not a range")
    check.fails(function() sweep.points(leaves, { "lr" }) end, "not NAME=VALUES")
  end },

  { "random draws lie in their ranges, do not repeat, and a longer list begins with the shorter", function()
    local grid = { "lr=1e-4..1e-1:log", "n=2..5", "kind=a,b" }
    local long, short = sweep.points(leaves, grid, 40), sweep.points(leaves, grid, 7)
    check.equal(#long, 40)
    check.equal(table.move(long, 1, 7, 1, {}), short)
    local small, seen = 0, {}
    for _, p in ipairs(long) do
      local lr, n = tonumber(p[1]:sub(4)), math.tointeger(tonumber(p[2]:sub(3)))
      check.yes(lr >= 1e-4 and lr <= 1e-1 and n >= 2 and n <= 5)
      if lr < 3.2e-3 then small = small + 1 end
      seen[n] = true
    end
    check.yes(small > 10 and small < 30, "half of the draws lie below the geometric mean, not " .. small)
    check.equal(seen, { [2] = true, [3] = true, [4] = true, [5] = true })
    check.equal(#sweep.points(leaves, { "kind=a,b" }, 10), 2)
  end },

  { "a second sweep does nothing; merging is copying folders; foreign names count", function()
    local path, folder = tiny.write()
    local a, b = folder .. "/a", folder .. "/b"
    local text = finished(path, a)
    check.yes(text:find("4 runs wanted, 4 to do", 1, true), text)
    local whole = table_of(path, a)
    check.yes(whole:find("2/2", 1, true), whole)
    check.yes(finished(path, a):find("4 runs wanted, 0 to do", 1, true))
    sys.mkdir(b)
    local list = store.list(a)
    os.execute(("cp -r '%s' '%s/renamed' && cp -r '%s' '%s/'"):format(list[1].folder, b, list[2].folder, b))
    check.yes(finished(path, b):find("4 runs wanted, 2 to do", 1, true))
    check.equal(table_of(path, b), whole)
    check.write(path, check.read(path) .. "-- other code is another experiment\n")
    check.yes(table_of(path, a):find("nothing yet", 1, true) or table_of(path, a):find("no run has reported", 1, true))
  end },

  { "killed at random instants and said again, a sweep ends with the table of an unbroken one", function()
    local path, folder = tiny.write()
    local began = sys.clock()
    finished(path, folder .. "/whole")
    local seconds, random, out = sys.clock() - began, det.random(os.time()), folder .. "/broken"
    local kills = 0
    for _ = 1, 10 do
      local id = tiny.start(sweeping(path, out), out .. ".log")
      local ended, how, number = process.wait(random:float() * 0.5 * seconds)
      if ended then check.equal({ how, number }, { "exit", 0 }, sys.try_read(out .. ".log")) break end
      process.kill(id, "kill")
      tiny.wait(id)
      kills = kills + 1
    end
    finished(path, out)
    check.equal(table_of(path, out), table_of(path, folder .. "/whole"))
    print(("sweep: %d kills, the same table"):format(kills))
    check.equal(#store.list(out), 4)
  end },

  { "a run that fails does not stop the others, and a NaN is not tried again", function()
    local folder = check.folder()
    check.write(folder .. "/f.lua", [[
local quern = require "quern"
return quern.recipe { name = "f", params = { x = { "num", 1.0, "" } }, main = function(self, cfg)
  if cfg.x == 0 then
    local p = quern.nn.Linear(1, 1)
    quern.fit(p, quern.data.tensors({ x = quern.ones({ 4, 1 }) }, { batch = 4 }), { progress = false,
      loss = function(m, b) return quern.sum(m(b.x)) * (0/0) end })
  end
  self:report("r", { score = cfg.x })
end }
]])
    local words = { "sweep", folder .. "/f.lua", "--grid", "x=1,0,2", "--out", folder .. "/runs" }
    local how, number = tiny.wait(tiny.start(words, folder .. "/log"))
    local text = check.read(folder .. "/log")
    check.equal({ how, number }, { "exit", 2 }, text)
    for _, part in ipairs { "x=0, seed 1: ended with exit code 4", "1 failed", "x=2" } do
      check.yes(text:find(part, 1, true), part .. " is missing in\n" .. text)
    end
    tiny.wait(tiny.start(words, folder .. "/log2"))
    check.yes(check.read(folder .. "/log2"):find("3 runs wanted, 0 to do", 1, true))
  end },

  { "the wanted runs of equal settings are one", function()
    local path = tiny.write()
    local r = recipe.load(path)
    local wanted = sweep.wanted(r, { { "lr=0.02" }, {} }, { seeds = 3 })
    check.equal(#wanted, 3)
    check.equal({ wanted[1].seed, wanted[3].seed, wanted[1].label }, { 1, 3, "lr=0.02" })
  end },

  { "the table ranks by the metric's direction and compares over common seeds", function()
    local function point(label, values)
      local p = { label = label, sets = { label }, n = 3, by_seed = {}, states = { done = #values } }
      for seed, v in ipairs(values) do p.by_seed[seed] = { ["NDCG@10"] = v, loss = 1 - v } end
      return p
    end
    local points = { point("a", { 0.1, 0.2, 0.3 }), point("b", { 0.2, 0.3, 0.41 }), point("c", {}) }
    check.equal(sweep_table.metric(points, nil, { ["NDCG@10"] = 0.3 }), "NDCG@10")
    check.equal(sweep_table.ranked(points, "NDCG@10")[1].label, "b")
    check.equal(sweep_table.ranked(points, "loss")[1].label, "b")
    check.equal(sweep_table.ranked(points, "loss")[3].label, "c")
    local text = sweep_table.text(points, "NDCG@10")
    for _, part in ipairs { "best", "0.2 ± 0.1", "0.0010", "3/3", "0/3" } do
      check.yes(text:find(part, 1, true), part .. " is missing in\n" .. text)
    end
    check.fails(function() sweep_table.metric(points, "NDGC@10") end, '"NDGC@10"', '"NDCG@10"')
  end },

  { "the paired t-test agrees with tables, and Holm's correction with its definition", function()
    -- two-sided 5 % points of Student's t: 12.7062 (1), 2.77645 (4), 2.04523 (29) degrees of freedom
    for nu, t in pairs { [1] = 12.7062047364, [4] = 2.7764451052, [29] = 2.0452296421 } do
      check.near(stats.beta(nu / (nu + t * t), nu / 2, 0.5), 0.05, 1e-10)
    end
    check.near(stats.beta(0.5, 0.5, 0.5), 0.5, 1e-10)
    check.near(stats.beta(0.25, 2, 3), 0.26171875, 1e-10)
    local p, t = stats.paired_t({ 1, 2, 3, 4 }, { 2, 2, 5, 7 })
    check.near({ p, t }, { 0.1027277, -2.3237900 }, 1e-6)
    check.equal((stats.paired_t({ 1 }, { 2 })), nil)
    check.equal((stats.paired_t({ 1, 2 }, { 1, 2 })), 1.0)
    check.near(stats.sd { 2, 4, 4, 4, 5, 5, 7, 9 }, 2.13808993529, 1e-10)
    check.near(stats.holm { 0.01, 0.04, 0.03 }, { 0.03, 0.06, 0.06 }, 1e-12)
    check.equal(stats.holm { false, 0.5, 0.9 }, { false, 1.0, 1.0 })
  end },
}
