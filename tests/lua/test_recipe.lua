--- Recipes: typed settings, refusals with suggestions, the sealed environment, run folders.
-- SPDX-License-Identifier: MIT

local check = require "check"
local det = require "quern.det"
local params = require "quern.params"
local recipe = require "quern.recipe"
local quern = require "quern"

local declared = {
  data = { set = { "str", "ml-100k", "which dataset" }, max_len = { "int", 200, "events kept", min = 1, max = 5000 } },
  train = { lr = { "num", 1e-3, "learning rate", min = 0 }, epochs = 20, bucket = true,
            optim = { "enum", "adam", "which", of = { "adam", "sgd" } } },
}

local function write_recipe(folder, body, name)
  local path = folder .. "/" .. (name or "r.lua")
  check.write(path, body)
  return path
end

local hello = [[
local quern = require "quern"
return quern.recipe { name = "hello", doc = "a test",
  params = { train = { epochs = { "int", 2, "passes", min = 1 } }, word = "x" },
  sizes = { smoke = { train = { epochs = 1 } }, small = {} },
  paper = { score = 4.0 },
  main = function(self, cfg)
    self:metric { epochs = cfg.train.epochs, drawn = math.random(1000) }
    self:report("ours", { score = 2.0 + cfg.train.epochs })
  end }
]]

return {
  { "settings have types, defaults, ranges, from texts too", function()
    local leaves = params.read(declared)
    local cfg, flat = params.resolve(leaves, { { train = { epochs = 3 } }, { ["data.max_len"] = 50 } },
                                     { "train.lr=0.01", "train.bucket=off", "train.optim=sgd" })
    check.equal(cfg, { data = { set = "ml-100k", max_len = 50 },
                       train = { lr = 0.01, epochs = 3, bucket = false, optim = "sgd" } })
    check.equal(math.type(flat["train.epochs"]), "integer")
    check.equal(params.changed(leaves, flat),
      { "data.max_len=50", "train.bucket=false", "train.epochs=3", "train.lr=0.01", "train.optim=sgd" })
    check.equal(math.type(params.resolve(leaves, {}, { "train.lr=1" }).train.lr), "float")
  end },

  { "a mistyped name is refused with the nearest known one", function()
    local leaves = params.read(declared)
    check.fails(function() params.resolve(leaves, {}, { "train.epoch=3" }) end, '"train.epoch"',
                'did you mean "train.epochs"')
    check.fails(function() params.resolve(leaves, { { epochs = 3 } }) end, 'did you mean "train.epochs"')
    check.fails(function() params.resolve(leaves, {}, { "train=3" }) end, '"train"')
    check.fails(function() params.resolve(leaves, {}, { "train.lr" }) end, "not name=value")
  end },

  { "a value of the wrong type or out of range is refused by name", function()
    local leaves = params.read(declared)
    local function set(s) return function() params.resolve(leaves, {}, { s }) end end
    check.fails(set "data.max_len=0", "data.max_len", "an integer in 1..5000")
    check.fails(set "data.max_len=1.5", "an integer in 1..5000")
    check.fails(set "data.max_len=ten", "an integer in 1..5000", '"ten"')
    check.fails(set "train.lr=-1", "a number of at least 0")
    check.fails(set "train.lr=nan", "a number of at least 0")
    check.fails(set "train.bucket=maybe", "true or false")
    check.fails(set "train.optim=adm", "one of adam, sgd", 'did you mean "adam"')
  end },

  { "declarations themselves are checked", function()
    check.fails(function() params.read { x = { "int", 0, "doc", min = 1 } } end, "setting x", "at least 1")
    check.fails(function() params.read { x = { "int", 0, "doc", mim = 1 } } end, '"mim"', '"min"')
    check.fails(function() params.read { x = { "enum", "a", "doc" } } end, "of = ")
    check.fails(function() params.read { ["a b"] = 1 } end, "cannot name")
    check.fails(function() quern.recipe { name = "x", parms = {} } end, '"parms"', '"params"')
    check.fails(function() quern.recipe { name = "x", params = { a = 1 }, sizes = { full = { b = 2 } } } end,
                "size full", '"b"')
  end },

  { "the environment is closed, and says why", function()
    local env = det.environment { folder = ".", random = det.random(1) }
    local function try(code) return function() return assert(load(code, "=r", "t", env))() end end
    check.fails(try "return os.time()", "os.time is closed")
    check.fails(try "io.open('x', 'w')", "io.open is closed")
    check.fails(try "math.randomseed(1)", "--seed")
    check.fails(try "return debug.getinfo(1)", "closed")
    check.fails(try "require 'socket'", "socket", "own folder")
    check.equal(try "return dofile == nil or loadfile == nil or package == nil"(), true)
    check.equal(try "return string.dump"(), nil)
    check.equal(try "x = 1; return _G.x"(), 1)
    check.equal(rawget(_G, "x"), nil)
  end },

  { "pairs walks in a fixed order, numbers first", function()
    local env = det.environment { folder = ".", random = det.random(1) }
    local keys = load([[local k = {} for n in pairs{b=1, a=2, [10]=3, [2]=4, c=5} do k[#k+1] = n end return k]],
                      "=r", "t", env)()
    check.equal(keys, { 2, 10, "a", "b", "c" })
  end },

  { "math.random follows the seed alone", function()
    local function draw(seed)
      local env = det.environment { folder = ".", random = det.random(seed) }
      return load("return { math.random(), math.random(6), math.random(-3, 3), math.random() }", "=r", "t", env)()
    end
    check.equal(draw(1), draw(1))
    check.yes(check.show(draw(1)) ~= check.show(draw(2)))
    local d = draw(3)
    check.yes(d[1] >= 0 and d[1] < 1 and d[2] >= 1 and d[2] <= 6 and d[3] >= -3 and d[3] <= 3)
  end },

  { "a recipe requires files beside it, in the same environment", function()
    local folder = check.folder()
    check.write(folder .. "/lib.lua", "return { n = math.random(1000), os = pcall(function() return os.time() end) }")
    local env = det.environment { folder = folder, random = det.random(1) }
    local r = load("return require 'lib'", "=r", "t", env)()
    check.equal(r.os, false)
    check.yes(r == load("return require 'lib'", "=r", "t", env)())
  end },

  { "loading refuses what is no recipe, with file and line", function()
    local folder = check.folder()
    check.fails(function() recipe.load(folder .. "/none.lua") end, "cannot read")
    check.fails(function() recipe.load(write_recipe(folder, "return 1")) end, "is not a recipe")
    check.fails(function() recipe.load(write_recipe(folder, "x x")) end, "r.lua:1")
    check.fails(function() recipe.load(write_recipe(folder, "return require('quern').recipe{name='a'}")) end,
                "has no main")
  end },

  { "a run's folder holds text, settings, metrics, report; equal runs are equal", function()
    local folder = check.folder()
    local path = write_recipe(folder, hello)
    local function run(seed)
      local r = recipe.load(path)
      local done = recipe.run(r, { size = "smoke", out = folder .. "/runs", seed = seed })
      done:finish("done")
      return done
    end
    local a, b, c = run(1), run(1), run(2)
    check.yes(a.folder ~= b.folder)
    check.equal(check.read(a.folder .. "/metrics.jsonl"), check.read(b.folder .. "/metrics.jsonl"))
    check.yes(check.read(a.folder .. "/metrics.jsonl") ~= check.read(c.folder .. "/metrics.jsonl"))
    check.equal(check.read(a.folder .. "/recipe.lua"), hello)
    local settings = quern.json.decode(check.read(a.folder .. "/settings.json"))
    check.equal(settings.settings, { train = { epochs = 1 }, word = "x" })
    check.equal(settings.seed, 1)
    local report = check.read(a.folder .. "/report.txt")
    for _, part in ipairs { "ours", "score", "3.0", "4.0", "-25.0 %" } do
      check.yes(report:find(part, 1, true), part .. " is missing in\n" .. report)
    end
    check.equal(quern.json.decode(check.read(a.folder .. "/state.json")).status, "done")
  end },

  { "a resumed run says the same again without doubling lines, then goes on", function()
    local folder = check.folder()
    local runs = require "quern.runs"
    local function open(old)
      return runs.Run { name = "r", parent = folder, text = "", settings = {}, seed = 1, folder = old }
    end
    local first = open()
    for i = 1, 3 do first:metric { i = i } end
    first:finish("failed")
    local again = open(first.folder)
    for i = 1, 5 do again:metric { i = i } end
    again:finish("done")
    local five = check.read(first.folder .. "/metrics.jsonl")
    check.equal(select(2, five:gsub("\n", "")), 5)
    local other = open(first.folder)
    other:metric { i = 1 }
    other:metric { i = "different" }
    other:finish("done")
    check.equal(check.read(first.folder .. "/metrics.jsonl"):gsub("%s", ""), '{"i":1}{"i":"different"}')
  end },

  { "resume finds the newest unfinished run and refuses other settings", function()
    local folder = check.folder()
    local path = write_recipe(folder, hello)
    local out = folder .. "/runs"
    check.fails(function() recipe.run(recipe.load(path), { out = out, resume = true }) end, "no unfinished run")
    local run = recipe.run(recipe.load(path), { out = out, size = "smoke", seed = 5 })
    run:finish("interrupted")
    check.fails(function() recipe.run(recipe.load(path), { out = out, resume = true, sets = { "word=y" } }) end,
                "settings differ")
    check.fails(function() recipe.run(recipe.load(path), { out = out, resume = true, seed = 6 }) end, "seed 5")
    local again = recipe.run(recipe.load(path), { out = out, resume = true })
    check.equal(again.folder, run.folder)
    check.equal(again.seed, 5)
    again:finish("done")
  end },

  { "help shows settings with kinds, docs and what the sizes change", function()
    local r = recipe.load(write_recipe(check.folder(), hello))
    local text = r:help()
    for _, part in ipairs { "hello: a test", "train.epochs=2", "int 1..", "passes", "smoke", "train.epochs=1" } do
      check.yes(text:find(part, 1, true), part .. " is missing in\n" .. text)
    end
  end },
  { "figures are kept with the run, the last of a title", function()
    local folder = check.folder()
    local path = write_recipe(folder, [[
      return require "quern".recipe { name = "drawn", main = function(self)
        local svg = '<svg class="chart" viewBox="0 0 4 3"><text>%d</text></svg>'
        for i = 1, 2 do self:figure("a & b", svg:format(i)) end
        assert(not pcall(self.figure, self, "", "<svg></svg>"))
        assert(not pcall(self.figure, self, "x", "no chart"))
      end }]])
    local run = recipe.run(recipe.load(path), { out = folder .. "/runs" })
    run:finish("done")
    local kept = quern.json.decode(check.read(run.folder .. "/figures.json"))
    check.equal({ #kept, kept[1].title }, { 1, "a & b" })
    local r = require("quern.report").gather { run.folder }
    local html, charts = require("quern.report").page(r)
    check.yes(html:find("<text>2</text>", 1, true) and html:find("Figures", 1, true))
    check.equal(charts[#charts].title, "a & b")
  end },
  { "a remark in a table widens no column", function()
    check.equal(require("quern.util").table { { "a", "b", "c" }, { "", "a long remark" }, { "d", "e", "f" } },
                "a  b  c\n   a long remark\nd  e  f")
  end },
  { "metrics stand in the order of their numbers", function()
    local names = { "HR@200", "HR@10", "NDCG@10", "HR@50", "HR@10 sd" }
    table.sort(names, require("quern.util").natural)
    check.equal(names, { "HR@10", "HR@10 sd", "HR@50", "HR@200", "NDCG@10" })
  end },
}
