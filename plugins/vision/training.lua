--- Training and testing of image classifiers.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"

local training = {}

--- Cross-entropy of a batch, its mean.
---@param model quern.Module
---@param batch table x [B,...], y [B]
function training.loss(model, batch) return quern.cross_entropy(model(batch.x), batch.y) end

-- A model of this plugin states how many classes it tells apart.
local function check_classes(model, set, who)
  if model.classes and set.classes and model.classes ~= set.classes then
    util.fail("argument", ("%s: the model has %d classes, the images %d"):format(who, model.classes, set.classes), nil,
              "vision.make(name, set) makes one that fits")
  end
end

--- Accuracy and mean loss over all images of a phase, in evaluation mode.
---@param model quern.Module
---@param set quern.Images
---@param phase string
---@param batch integer? default 500
---@return {top1: number, loss: number, n: integer} top1 in percent
function training.evaluate(model, set, phase, batch)
  local hits, loss, n, was = 0, 0.0, 0, model.training
  check_classes(model, set, "vision.evaluate")
  model:eval()
  quern.no_grad(function()
    local logits_of = quern.inference(model, "logits", function(m, x) return m(x) end)
    for b in set:batches(phase, batch) do
      quern.scope(function()
        local logits = logits_of(b.x)
        hits = hits + quern.sum(quern.eq(quern.argmax(logits, { dim = 2 }), b.y):cast "i64"):item()
        loss = loss + quern.cross_entropy(logits, b.y, { reduction = "sum" }):item()
        n = n + b.n
      end)
    end
  end)
  model:train(was)
  return { top1 = n > 0 and 100 * hits / n or 0, loss = n > 0 and loss / n or 0, n = n }
end

local known = { epochs = 1, batch = 1, lr = 1, momentum = 1, nesterov = 1, weight_decay = 1, schedule = 1, drops = 1,
                gamma = 1, seed = 1, name = 1, folder = 1, resume = 1, progress = 1, every = 1, captured = 1, hooks = 1,
                checkpoints = 1, checkpoint_steps = 1, evaluate = 1, max_steps = 1 }

-- The factor falls by gamma after each of the given epochs.
local function drops(epochs, gamma, per_epoch)
  local kind = { kind = "drops" }
  function kind.at(_, step)
    local factor = 1.0
    for _, e in ipairs(epochs) do
      if step >= e * per_epoch then factor = factor * gamma end
    end
    return factor
  end
  function kind.observe() end
  function kind.state() return { kind = "drops" } end
  function kind.load_state() end
  return kind
end

local function schedule_of(o, per_epoch)
  if o.drops then return drops(o.drops, o.gamma or 0.1, per_epoch) end
  if o.schedule == "constant" then return nil end
  if o.schedule and o.schedule ~= "cosine" then return o.schedule end
  return { name = "cosine", steps = math.max(1, o.epochs * per_epoch) }
end

--- Trains by SGD. The same call serves every method of a comparison.
---@param model quern.Module
---@param set quern.Images
---@param options table epochs; batch (128); lr (0.1); momentum (0.9); nesterov (false); weight_decay (0);
---  schedule ("cosine" to 0, default; "constant"; or quern.schedule settings); drops, gamma: epochs at which the
---  rate is multiplied by gamma (0.1); seed; evaluate: a phase measured after each `every` epochs ("test", "valid"
---  or false, the default); and of quern.fit: name, folder, resume, checkpoints, checkpoint_steps, max_steps, hooks,
---  progress, captured
---@return table result of quern.fit
function training.train(model, set, options)
  local o = util.options(options, known, "vision.train")
  check_classes(model, set, "vision.train")
  local epochs = util.integer(o.epochs, "vision.train: epochs", 0)
  local batch = util.integer(o.batch or 128, "vision.train: batch", 1)
  local rows = set:rows("train")
  local per_epoch = (rows + batch - 1) // batch
  return quern.fit(model, set:loader("train", { batch = batch, seed = o.seed }), {
    loss = training.loss, epochs = epochs, seed = o.seed, restore_best = false,
    optim = { name = "sgd", lr = o.lr or 0.1, momentum = o.momentum or 0.9, nesterov = o.nesterov == true,
              weight_decay = o.weight_decay or 0.0 },
    schedule = schedule_of({ drops = o.drops, gamma = o.gamma, schedule = o.schedule, epochs = epochs }, per_epoch),
    evaluate = o.evaluate and function(m) return training.evaluate(m, set, o.evaluate) end or nil,
    every = o.every, name = o.name, folder = o.folder, resume = o.resume, checkpoints = o.checkpoints,
    checkpoint_steps = o.checkpoint_steps, max_steps = o.max_steps, hooks = o.hooks, progress = o.progress,
    captured = o.captured })
end

return training
