--- The training loop: learning, resuming with the same bits, stopping, checkpoints, hooks.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local sys = require "quern.sys"
local nn = quern.nn

-- y = 2 a - b on random points; a model with dropout, so that random numbers matter.
local function problem(n)
  quern.seed(7)
  local x = quern.normal { shape = { n, 2 } }
  local y = quern.matmul(x, quern.tensor { { 2 }, { -1 } })
  return x, y
end

local Net = nn.class "Net"
function Net:init(p)
  self.one, self.drop, self.two = nn.Linear(2, 8), nn.Dropout(p or 0), nn.Linear(8, 1)
end
function Net:forward(x) return self.two(self.drop(quern.tanh(self.one(x)))) end
function Net:loss(batch) return quern.mse(self(batch.x), batch.y) end

local function train(options, o)
  o = o or {}
  local x, y = problem(o.rows or 40)
  quern.seed(3)
  local model = Net(o.dropout)
  local loader = quern.data.tensors({ x = x, y = y }, { batch = o.batch or 8, seed = 3, shuffle = o.shuffle })
  options.progress = false
  options.seed, options.name = 3, options.name or "t"
  options.optim = options.optim or { name = "adamw", lr = 0.02 }
  return quern.fit(model, loader, options), model
end

local function weights(model)
  local out = {}
  for name, t in pairs(model:state()) do out[name] = t:totable() end
  return out
end

-- Runs fn with the user's Ctrl-C arriving when the n-th step looks for it.
local function interrupted_at(n, fn)
  local real, looks = sys.interrupted, 0
  sys.interrupted = function()
    looks = looks + 1
    return looks == n
  end
  local ok, e = pcall(fn)
  sys.interrupted = real
  return ok, e
end

local function mse(model)
  local x, y = problem(40)
  return { mse = quern.mse(model(x), y):item() }
end

return {
  { "a small model learns, and the result says how it went", function()
    local r, model = train({ epochs = 40 })
    check.equal({ r.epochs, r.steps, r.stopped, #r.history }, { 40, 200, "epochs", 40 })
    check.yes(r.history[40].loss < 0.05, "loss " .. r.history[40].loss)
    check.yes(r.history[40].loss < r.history[1].loss / 10)
    check.equal(model.training, false)
  end },

  { "the same seed gives the same bits, another seed others", function()
    local _, a = train({ epochs = 3 }, { dropout = 0.3 })
    local _, b = train({ epochs = 3 }, { dropout = 0.3 })
    check.equal(weights(a), weights(b))
  end },

  { "interrupted in mid-epoch and resumed ends with the bits of an unbroken run", function()
    local function options(folder)
      return { epochs = 4, folder = folder, resume = true, evaluate = mse, select = "mse", patience = 9,
               schedule = { name = "cosine", steps = 20 }, clip = 1.0 }
    end
    local whole, model = train(options(check.folder()), { dropout = 0.3 })
    for _, at in ipairs { 1, 3, 5, 6, 13 } do
      local folder = check.folder()
      local ok, e = interrupted_at(at, function() train(options(folder), { dropout = 0.3 }) end)
      check.equal(ok, false)
      check.equal(e.status, "interrupted")
      local again, resumed = train(options(folder), { dropout = 0.3 })
      check.equal(again.history, whole.history, "interrupted at look " .. at)
      check.equal(weights(resumed), weights(model), "interrupted at look " .. at)
      check.equal(again.best, whole.best)
    end
  end },

  { "a finished training is not repeated but loaded", function()
    local folder = check.folder()
    local options = { epochs = 2, folder = folder, resume = true }
    local _, a = train(options)
    local steps = 0
    options.hooks = { { after_step = function() steps = steps + 1 end } }
    local r, b = train(options)
    check.equal(steps, 0)
    check.equal(r.steps, 10)
    check.equal(weights(a), weights(b))
  end },

  { "early stopping keeps the best parameters", function()
    local scores, best = { 0.1, 0.5, 0.4, 0.3, 0.2, 0.9 }, nil
    local calls = 0
    local r, model = train({ epochs = 6, select = "score", patience = 1, evaluate = function(m)
      calls = calls + 1
      if calls == 2 then best = weights(m) end
      return { score = scores[calls] }
    end })
    check.equal({ r.stopped, r.epochs, r.best.epoch, r.best.value }, { "early", 4, 2, 0.5 })
    check.equal(weights(model), best)
  end },

  { "metrics with loss in their name are better when smaller; every = n evaluates each n epochs", function()
    local calls = 0
    local r = train({ epochs = 5, every = 2, select = "val_loss", evaluate = function()
      calls = calls + 1
      return { val_loss = calls == 2 and 0.1 or 0.5 }
    end })
    check.equal({ calls, r.best.epoch, r.best.value }, { 3, 4, 0.1 })   -- epochs 2, 4 and the last
  end },

  { "a loss that is not a number stops the run and spares the checkpoint", function()
    local folder = check.folder()
    local now = 0
    local e = check.fails(function()
      train({ epochs = 3, folder = folder, hooks = { { before_step = function(_, fit) now = fit.step + 1 end } },
              loss = function(model, batch)
                local loss = model:loss(batch)
                return now == 8 and loss * (0 / 0) or loss
              end })
    end, "the loss is", "epoch 2, step 8")
    check.equal(e.status, "numeric")
    local state = quern.json.decode(check.read(folder .. "/last.json"))
    check.equal({ state.step, state.epoch }, { 5, 1 })
  end },

  { "a checkpoint holds parameters, moments, position and metrics, readable by others", function()
    local folder = check.folder()
    train({ epochs = 2, folder = folder })
    local tensors = quern.load(folder .. "/last.safetensors")
    for _, name in ipairs { "model/one.weight", "optim/one.weight:m", "optim/two.bias:v" } do
      check.yes(tensors[name], name .. " is missing")
    end
    local state = quern.json.decode(check.read(folder .. "/last.json"))
    check.equal({ state.seed, state.step, state.epoch, state.loader.epoch, state.loader.index, state.optim.t },
                { 3, 10, 2, 2, 0, 10 })
  end },

  { "resuming with another seed is refused", function()
    local folder = check.folder()
    train({ epochs = 1, folder = folder })
    check.fails(function()
      local x, y = problem(8)
      quern.fit(Net(), quern.data.tensors { x = x, y = y },
                { folder = folder, resume = true, seed = 4, progress = false })
    end, "seed 3", "seed")
  end },

  { "hooks are called in order with the training", function()
    local said = {}
    local hook = setmetatable({}, { __index = function(_, event)
      if event == "state" or event == "load_state" then return nil end
      return function(_, fit) said[#said + 1] = event .. fit.step end
    end })
    train({ epochs = 1, hooks = { hook }, evaluate = function() return {} end }, { rows = 16 })
    check.equal(said, { "before_epoch0", "before_step0", "after_backward0", "after_step1", "before_step1",
      "after_backward1", "after_step2", "after_evaluate2", "after_epoch2", "finish2" })
  end },

  { "a hook's state travels with the checkpoint", function()
    local function counter()
      return { n = 0, t = quern.zeros({ 1 }),
        after_step = function(h) h.n = h.n + 1 end,
        state = function(h) return { t = h.t + h.n }, { n = h.n } end,
        load_state = function(h, tensors, values) h.n, h.t = values.n, tensors.t end }
    end
    local folder, first, second = check.folder(), counter(), counter()
    train({ epochs = 2, folder = folder, hooks = { first } })
    train({ epochs = 2, folder = folder, resume = true, hooks = { second } })
    check.equal({ second.n, second.t:item() }, { 10, 10.0 })
  end },

  { "two accumulated batches are one of twice the size", function()
    local sgd = { name = "sgd", lr = 0.1 }
    local _, a = train({ epochs = 2, optim = sgd, accumulate = 2 }, { batch = 4, shuffle = false })
    local _, b = train({ epochs = 2, optim = sgd }, { batch = 8, shuffle = false })
    for name, w in pairs(weights(a)) do check.near(w, weights(b)[name], 1e-5, name) end
  end },

  { "max_steps stops, checkpoint_steps writes in between", function()
    local folder, steps = check.folder(), {}
    local r = train({ epochs = 9, max_steps = 7, folder = folder, checkpoint_steps = 3,
      hooks = { { after_step = function(_, fit)
        local text = sys.try_read(folder .. "/last.json")
        steps[fit.step] = text and quern.json.decode(text).step or 0
      end } } })
    check.equal({ r.steps, r.stopped }, { 7, "steps" })
    check.equal(steps[4], 3)
  end },

  { "memory stays flat over the steps", function()
    local live = {}
    train({ epochs = 30, hooks = { { after_epoch = function()
      collectgarbage()
      live[#live + 1] = quern.memory().live
    end } } })
    check.yes(live[30] <= live[5] + 4096, ("%d bytes after 5 epochs, %d after 30"):format(live[5], live[30]))
  end },

  { "unknown and missing options are named", function()
    check.fails(function() train({ epoch = 3 }) end, '"epoch"', '"epochs"')
    check.fails(function() train({ patience = 3 }) end, "evaluate")
    check.fails(function() quern.fit(nn.Linear(1, 1), { next = 1, seek = 1 }, {}) end, "what the loss is")
    check.fails(function() train({ epochs = 1, select = "ndgc", evaluate = function() return { ndcg = 1 } end }) end,
                '"ndgc"', '"ndcg"')
  end },

  { "a loader of tensors gives every row once per epoch, in an order of seed and epoch", function()
    local function order(seed, epoch)
      local loader = quern.data.tensors({ i = quern.arange(0, 10, 1, "i64") }, { batch = 4, seed = seed })
      loader:seek { seed = seed, epoch = epoch, index = 0 }
      local out = {}
      for b in loader:epoch() do
        for _, v in ipairs(b.i:totable()) do out[#out + 1] = v end
      end
      return out
    end
    local a = order(1, 0)
    check.equal(order(1, 0), a)
    check.yes(check.show(order(1, 1)) ~= check.show(a) and check.show(order(2, 0)) ~= check.show(a))
    table.sort(a)
    check.equal(a, { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 })
  end },
}
