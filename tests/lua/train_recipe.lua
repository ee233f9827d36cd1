--- Small recipes for tests of whole runs. tiny: dropout, random draws in the loss and in the
-- evaluation, a hook with state, checkpoints in mid-epoch; a tenth of a second. crash: an item
-- table with sampled negatives, dropout, two parameter groups, a schedule, an evaluation that
-- selects, and two trainings in one run: one with a pruner that grows its masks as it trains,
-- one with gradients by rows and a mask of the plugin prune.
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

local CRASH = [[
local quern = require "quern"
local nn, prune = quern.nn, quern.plugin "prune"
local r = quern.recipe { name = "crash", params = {
  epochs = { "int", 3, "passes", min = 1 }, steps = { "int", 3, "between checkpoints", min = 1 } } }
local ITEMS = 30

-- Every fourth update more of the smallest weights are cut, to 70 % in the end; the masks live in the optimizer.
local function pruner(optim, modules)
  local hook = { cuts = 0 }
  function hook:after_step(fit)
    if fit.step % 4 ~= 0 then return end
    self.cuts = self.cuts + 1
    local share = math.min(0.7, 0.1 * self.cuts)
    for name, module in pairs(modules) do
      local w = module.weight:abs():reshape { -1 }
      local least = quern.sort(w)[1 + math.floor(share * #w:totable())]
      optim:set_mask(name, quern.ge(module.weight:abs(), least))
    end
  end
  function hook:state() return {}, { cuts = self.cuts } end
  function hook:load_state(_, values) self.cuts = values.cuts end
  return hook
end

local function train(cfg, data, sparse)
  local model = nn.Sequential(nn.Embedding(ITEMS, 8, { init = { "normal", std = 0.3 } }), nn.Dropout(0.2),
                              nn.Linear(8, 8, { act = "silu" }), nn.Linear(8, 8))
  local table_of, others = {}, {}
  for _, p in ipairs(model:parameters()) do
    local list = p.role == "embedding" and table_of or others
    list[#list + 1] = p
  end
  local optim = quern.optim[sparse and "AdamRows" or "AdamW"]({ { params = table_of, lr = 0.03 },
    { params = others, lr = 0.01, weight_decay = 0.1 } })
  local mask = prune.mask("magnitude", model, data, { density = 0.5 })
  if sparse then mask:bind(model) end
  local cut = pruner(optim, { [others[1].name] = model[3], [others[3].name] = model[4] })
  local function loss(m, b)
    local negatives = quern.randint { low = 0, high = ITEMS, shape = { b.n, 5 } }
    return quern.sampled_softmax(m(b.item), model[1].weight, b.target, negatives, nil, { sparse = sparse })
  end
  local result = quern.fit(model, data, { epochs = cfg.epochs, progress = false, optim = optim,
    hooks = { sparse and mask or cut },
    checkpoint_steps = cfg.steps, clip = 1.0, loss = loss, schedule = { name = "cosine", steps = 100 },
    evaluate = function(m)
      local scores = quern.matmul(m(data.tensors.item), m[1].weight, { transpose_b = true })
      return { loss = quern.cross_entropy(scores, data.tensors.target):item(), noise = math.random() }
    end, select = "loss" })
  local kept = 0.0
  for _, w in ipairs(model[3].weight:reshape({ -1 }):totable()) do kept = kept + (w == 0 and 0 or 1) end
  return { loss = result.best.value, kept = kept, cuts = cut.cuts + 0.0, density = mask:density() }
end

function r:main(cfg)
  local item = quern.randint { low = 0, high = ITEMS, shape = { 72 } }
  local data = quern.data.tensors({ item = item, target = quern.remainder(item * 7 + 3, ITEMS) }, { batch = 8 })
  self:report("dense", train(cfg, data, false))
  self:report("rows", train(cfg, data, true))
end

return r
]]

local train_recipe = {}

--- Writes a recipe into a fresh folder.
---@param which string? "tiny" (default) or "crash"
---@return string path
---@return string folder
function train_recipe.write(which)
  local folder = check.folder()
  local path = ("%s/%s.lua"):format(folder, which or "tiny")
  check.write(path, which == "crash" and CRASH or TEXT)
  return path, folder
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
