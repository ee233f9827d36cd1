--- Plans: what is foretold of memory, steps, parameters and disk, beside what a run then takes.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local cli = require "quern.cli"
local plan = require "quern.plan"
local sys = require "quern.sys"
local tiny = require "train_recipe"

-- The greatest batch comes late, in an epoch of its own; nearly all memory is alive in one step.
local WIDE = [[
local quern = require "quern"
local r = quern.recipe { name = "wide", params = {
  width = { "int", 64, "", min = 1 }, rows = { "int", 40, "", min = 1 } } }
local Loader = {}
Loader.__index = Loader
function Loader:batches() return 6 end
function Loader:next()
  if self.at == 6 then self.epoch, self.at = self.epoch + 1, 0 return nil end
  self.at = self.at + 1
  local n = (self.at == 5 and self.epoch == 2) and 4 * self.rows or self.rows
  return { n = n, x = quern.normal { shape = { n, 32 } } }
end
function Loader:tell() return { epoch = self.epoch, index = self.at } end
function Loader:seek(s) self.epoch, self.at = s.epoch, s.index end
function r:main(cfg)
  local nn = quern.nn
  local model = nn.Sequential(nn.Linear(32, cfg.width), nn.Tanh(), nn.Linear(cfg.width, cfg.width), nn.Tanh(),
                              nn.Linear(cfg.width, 1))
  local loader = setmetatable({ rows = cfg.rows, epoch = 0, at = 0 }, Loader)
  local f = quern.fit(model, loader, { epochs = 4, progress = false,
    loss = function(m, b) return quern.mean(quern.square(m(b.x))) end })
  self:report("wide", { loss = f.history[#f.history].loss })
end
return r
]]

-- A command line as a process of its own: peaks begin at zero there.
local function quern_says(words, log)
  local how, number = tiny.wait(tiny.start(words, log))
  local text = check.read(log)
  check.equal({ how, number }, { "exit", 0 }, text)
  return text
end

local function with_sets(words, sets)
  for _, s in ipairs(sets or {}) do table.move({ "--set", s }, 1, 2, #words + 1, words) end
  return words
end

local function compare(path, sets)
  local out = check.folder()
  local p = quern.json.decode(quern_says(with_sets({ "plan", path, "--json" }, sets), out .. "/plan"):match("{.*}"))
  quern_says(with_sets({ "run", path, "--out", out, "--id", "r" }, sets), out .. "/log")
  local measured = quern.json.decode(check.read(out .. "/r/state.json")).peak
  check.yes(math.abs(p.memory / measured - 1) < 0.1,
            ("%s: %d bytes foretold, %d measured"):format(path, p.memory, measured))
  for _, f in ipairs(p.fits) do
    check.equal(#check.read(("%s/r/checkpoints/%s/losses.txt"):format(out, f.name)), 17 * f.steps, f.name)
  end
  return p, measured
end

return {
  { "the peak of memory is foretold within a tenth, the steps exactly", function()
    compare((tiny.write()))
    compare((tiny.write "crash"))
    local folder = check.folder()
    check.write(folder .. "/wide.lua", WIDE)
    for _, sets in ipairs { { "rows=40", "width=700" }, { "rows=2000", "width=100" } } do
      local p, measured = compare(folder .. "/wide.lua", sets)
      check.equal(p.fits[1].largest_batch, sets[1] == "rows=40" and 160 or 8000)
      check.yes(measured > 10e6, measured)                -- not just what each process begins with
    end
  end },

  { "the HSTU recipe's peak is foretold within a tenth", function()
    local here = debug.getinfo(1, "S").source:match("^@(.*)/tests/") or "."
    local p = compare(here .. "/recipes/10_hstu_ml100k.lua", { "data.set=dirichlet", "data.max_len=20",
      "train.epochs=2", "train.models=hstu", "model.dim=16", "model.blocks=1" })
    check.equal({ #p.fits, p.fits[1].epochs }, { 1, 2 })
    check.yes(p.fits[1].flops_per_step > 1e6)
  end },

  { "the command prints it all, leaves nothing behind, and refuses what does not fit into memory", function()
    local path = tiny.write()
    local lines, print_ = {}, print
    print = function(text) lines[#lines + 1] = text end                 -- luacheck: ignore 121
    local code = cli.main { "plan", path, "--set", "epochs=7" }
    print = print_                                                       -- luacheck: ignore 121
    check.equal(code, 0)
    local text = table.concat(lines, "\n")
    for _, part in ipairs { "65 parameters (260 B)", "84 (7 epochs of 12)", "memory", "disk", "time",
                            "evaluations  7", "captured     trained eagerly: add" } do
      check.yes(text:find(part, 1, true), part .. " is missing in\n" .. text)
    end
    check.equal(sys.exists(("/tmp/quern-plan-%d"):format(require("quern.core").pid())), false)
    local available = plan.available
    plan.available = function() return 1000 end
    print = function() end                                               -- luacheck: ignore 121
    local ok, e = pcall(require "quern.cli.plan", { recipe = path, set = {}, json = true })
    print, plan.available = print_, available                            -- luacheck: ignore 121
    check.equal({ ok, e.status }, { false, "nomem" })
  end },
}
