--- The store of runs: its index, filters, and the commands that list, compare, export, delete.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local cli = require "quern.cli"
local sys = require "quern.sys"
local store = require "quern.store"
local recipe = require "quern.recipe"
local sqlite = require "quern.sqlite"

local TEXT = [[
local quern = require "quern"
return quern.recipe { name = "sum", params = { a = { "int", 1, "a number", min = 0 },
  b = { c = { "num", 0.5, "another" } } },
  main = function(self, cfg)
    self:metric { a = cfg.a, half = cfg.b.c }
    self:report("ours", { ["sum@1"] = cfg.a + cfg.b.c, note = 1.0 })
  end }
]]

local function run(out, id, sets, seed, text)
  check.write(out .. "/sum.lua", text or TEXT)
  local r = recipe.run(recipe.load(out .. "/sum.lua"), { out = out .. "/runs", id = id, sets = sets, seed = seed })
  require("quern.lock").write(r)
  r:finish("done")
end

local function three()
  local out = check.folder()
  run(out, "one", {})
  run(out, "two", { "a=2" }, 7)
  run(out, "three", { "b.c=0.25" }, 1, TEXT .. "-- changed\n")
  return out .. "/runs"
end

local function ids(list)
  local out = {}
  for i, r in ipairs(list) do out[i] = r.id end
  table.sort(out)
  return out
end

local function command(...)
  local out, real_print, real_out = {}, print, io.stdout
  print = function(...) out[#out + 1] = table.concat({ ... }, "\t") .. "\n" end     -- luacheck: ignore 121
  io.stdout = { write = function(_, text) out[#out + 1] = text end, flush = function() end } -- luacheck: ignore 122
  local ok, code = pcall(cli.main, { ... })
  print, io.stdout = real_print, real_out                                          -- luacheck: ignore 121 122
  if not ok then error(code, 0) end
  return table.concat(out), code
end

local function contains(text, ...)
  for _, part in ipairs { ... } do check.yes(text:find(part, 1, true), part .. " is missing in\n" .. text) end
end

return {
  { "SQLite keeps values in their types and refuses what is no database by name", function()
    local path = check.folder() .. "/x.sqlite"
    do
      local db <close> = sqlite.open(path)
      db:run("CREATE TABLE t (a, b, c, d)")
      check.equal(db:run("INSERT INTO t VALUES (?, ?, ?, ?)", 1 << 60, 0.1, "a\0b", nil), 1)
      check.equal(db:rows("SELECT * FROM t"), { { a = 1 << 60, b = 0.1, c = "a\0b" } })
      check.fails(function() db:rows("SELEC") end, "SELEC")
      check.fails(function() db:run("INSERT INTO t VALUES (?, 1, 1, 1)") end, "takes 1 values, not 0")
      check.fails(function() db:run("INSERT INTO t VALUES (?, 1, 1, 1)", {}) end, "value")
    end
    check.write(path, ("no database "):rep(100))
    local e = check.fails(function()
      local db <close> = sqlite.open(path)
      db:rows("SELECT * FROM t")
    end, "SQLite cannot")
    check.equal(e.status, "format")
  end },

  { "a deleted, damaged or old index is rebuilt from the folders with the same listing", function()
    local parent = three()
    local first = store.list(parent)
    check.equal(ids(store.list(parent)), { "one", "three", "two" })
    sys.remove(parent .. "/index.sqlite")
    check.equal(store.list(parent), first)
    check.write(parent .. "/index.sqlite", ("damaged "):rep(1000))
    check.equal(store.list(parent), first)
    do
      local db <close> = sqlite.open(parent .. "/index.sqlite")
      db:run("PRAGMA user_version = 99")
    end
    check.equal(store.list(parent), first)
  end },

  { "the index follows folders that are changed, copied in and deleted", function()
    local parent = three()
    store.list(parent)
    check.write(parent .. "/one/report.json", '[{"label":"ours","metrics":{"sum@1":9.0}}]')
    os.execute(("cp -r '%s/two' '%s/four' && rm -r '%s/three'"):format(parent, parent, parent))
    local list = store.list(parent)
    check.equal(ids(list), { "four", "one", "two" })
    check.equal(store.field(store.find(parent, "one"), "sum@1"), 9.0)
    check.equal(store.find(parent, "four").folder, parent .. "/four")
  end },

  { "filters compare settings, metrics, seeds and names", function()
    local list = store.list(three())
    local function kept(...) return ids(store.filter(list, { ... })) end
    check.equal(kept("a=2"), { "two" })
    check.equal(kept("a!=2"), { "one", "three" })
    check.equal(kept("b.c<0.5"), { "three" })
    check.equal(kept("sum@1>=1.5", "seed=1"), { "one" })
    check.equal(kept("ours/sum@1>1.5"), { "two" })
    check.equal(kept("wo"), { "two" })
    check.equal(kept("nothing=1"), {})
    check.equal(kept("status=done"), { "one", "three", "two" })
  end },

  { "runs are found by a part of the name; a vague one and an unknown one are refused", function()
    local parent = three()
    check.equal(store.find(parent, "thr").id, "three")
    check.equal(store.find(parent, parent .. "/one/").id, "one")
    check.fails(function() store.find(parent, "o") end, "part of the names of 2 runs")
    check.fails(function() store.find(parent, "onne") end, 'no run "onne"', 'did you mean "one"')
  end },

  { "equal code, settings and seed have one key, whatever the folder is called", function()
    local out = check.folder()
    run(out, "x", { "a=2" })
    run(out, "y", { "a=2" })
    run(out, "z", { "a=2" }, 2)
    local parent = out .. "/runs"
    check.equal(store.find(parent, "x").key, store.find(parent, "y").key)
    check.yes(store.find(parent, "x").key ~= store.find(parent, "z").key)
  end },

  { "the commands list, show, compare, export and delete", function()
    local parent = three()
    contains(command("runs", "--out", parent), "one", "two", "three", "a=2", "b.c=0.25", "sum@1 2.5")
    contains(command("runs", "a=5", "--out", parent), "no run in")
    contains(command("show", "two", "--out", parent), "two: done, seed 7", "settings", "ran on",
             "metrics.jsonl, 1 lines")
    local text = command("diff", "one", "three", "--out", parent)
    contains(text, "code\n  recipe.lua", "-- changed", "data: the same",
             "settings\n  b.c  0.5  0.25",
             "ours/sum@1", "-0.25")
    check.yes(text:find("code", 1, true) < text:find("data", 1, true)
              and text:find("data", 1, true) < text:find("settings", 1, true)
              and text:find("settings", 1, true) < text:find("numbers", 1, true), text)
    local csv = command("export", "--csv", "--out", parent)
    contains(csv, "run,recipe,status,seed", "settings.b.c", "two,sum,done,7", "2.5\r\n")
    contains(command("export", "--curves", "--out", parent), "run,seed,a,half", "one,1,1,0.5")
    local _, code = command("rm", "one", "two", "--yes", "--out", parent)
    check.equal(code, 0)
    check.equal(ids(store.list(parent)), { "three" })
    check.equal(sys.exists(parent .. "/one"), false)
  end },

  { "a run whose process is gone is shown as killed", function()
    local parent = three()
    check.write(parent .. "/one/state.json", quern.json.encode { status = "running", process = "x:1:2" })
    check.equal(store.find(parent, "one").status, "killed")
    check.write(parent .. "/one/state.json", quern.json.encode { status = "running", process = sys.process() })
    check.equal(store.find(parent, "one").status, "running")
  end },
}
