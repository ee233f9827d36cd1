--- A small recipe for tests of whole runs: dropout, random draws in the loss and in the
-- evaluation, a hook with state, checkpoints in mid-epoch; a tenth of a second.
-- SPDX-License-Identifier: MIT

local check = require "check"

local TEXT = [[
local quern = require "quern"
local nn = quern.nn
local r = quern.recipe { name = "tiny", params = {
  lr = { "num", 0.02, "rate", min = 0 }, epochs = { "int", 4, "passes", min = 1 },
  steps = { "int", 4, "between checkpoints", min = 1 } } }

function r:main(cfg)
  local x = quern.normal { shape = { 96, 2 } }
  local y = quern.sum(x, 2, true)
  local model = nn.Sequential(nn.Linear(2, 16), nn.Dropout(0.2), nn.Linear(16, 1))
  local seen = { count = 0 }
  function seen:after_step() self.count = self.count + 1 end
  function seen:state() return {}, { count = self.count } end
  function seen:load_state(_, values) self.count = values.count end
  local f = quern.fit(model, quern.data.tensors({ x = x, y = y }, { batch = 8 }), {
    epochs = cfg.epochs, progress = false, optim = { name = "adamw", lr = cfg.lr },
    checkpoint_steps = cfg.steps, clip = 1.0, hooks = { seen },
    loss = function(m, b) return quern.mse(m(b.x), b.y + 0.01 * quern.normal { shape = { b.n, 1 } }) end,
    evaluate = function(m) return { mse = quern.mse(m(x), y):item(), noise = math.random() } end, select = "mse" })
  self:report("ours", { mse = f.best.value, steps = seen.count + 0.0 })
end

return r
]]

local train_recipe = {}

--- Writes the recipe into a fresh folder.
---@return string path
---@return string folder
function train_recipe.write()
  local folder = check.folder()
  check.write(folder .. "/tiny.lua", TEXT)
  return folder .. "/tiny.lua", folder
end

--- Runs a command line as a process of its own.
---@param words string[]
---@param log string for its output
---@return integer id
function train_recipe.start(words, log)
  local sys = require "quern.sys"
  return require("quern.process").start({ sys.program(), table.unpack(words) }, { output = log })
end

--- Waits for a process.
---@return string how
---@return integer number
function train_recipe.wait(id)
  while true do
    local child, how, number = require("quern.process").wait()
    if child == id then return how, number end
    if not child then error("the process is gone", 2) end
  end
end

return train_recipe
