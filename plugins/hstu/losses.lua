--- Losses of sequence models: objects that fit calls as loss(model, batch).
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"
local util = require "quern.util"

local losses = {}

local samplers = { uniform = true, shared = true, in_batch = true, full = true }

-- "full", a count, or { n =, sampler = }.
local function negatives_of(given, otherwise, who)
  local n, sampler = given, otherwise
  if given == nil then n = nil
  elseif given == "full" then n, sampler = 1, "full"
  elseif type(given) == "table" then
    util.options(given, { n = 1, sampler = 1 }, who .. ": negatives")
    n, sampler = given.n, given.sampler or otherwise
  end
  if not samplers[sampler] then
    util.fail("argument", ("%s: unknown sampler %q"):format(who, tostring(sampler)), nil,
              util.suggest(tostring(sampler), util.keys(samplers)))
  end
  return n, sampler
end

local function positive(x, what)
  if type(x) == "number" and x > 0 then return x end
  util.fail("argument", ("%s must be above 0, not %s"):format(what, tostring(x)))
end

local function item_list(items) return type(items) == "table" and quern.tensor(items, "i64") or items end

-- ---- Sampled softmax --------------------------------------------------------------------

---@class hstu.Softmax
local Softmax = class "SoftmaxLoss"

function Softmax:init(options)
  local o = util.options(options, { temperature = 1, negatives = 1, items = 1 }, "hstu.softmax")
  self.temperature = positive(o.temperature or 0.05, "hstu.softmax: temperature")
  self.n, self.sampler = negatives_of(o.negatives, "uniform", "hstu.softmax")
  self.n = util.integer(self.n or 128, "hstu.softmax: negatives", 1)
  self.items = item_list(o.items)
end

--- Mean over the batch's supervised positions.
function Softmax:__call(model, batch)
  if model.norm == "none" then
    util.fail("argument", "hstu.softmax works on unit vectors, the model has norm = \"none\"", nil,
              "train it with hstu.bce, or make it with norm = \"l2\"")
  end
  return quern.sampled_softmax_l2(model:encode(batch), batch.targets, model.item.weight, batch.loss_weights,
    self.items, { sampler = self.sampler, negatives = self.n, temperature = self.temperature, sparse = model.sparse })
end

--- Softmax against drawn items, or against all, on unit vectors.
---@param options {temperature: number?, negatives: any, items: any}? temperature: 0.05; negatives: "full", a
---  count (128 by default, drawn per position), or { n =, sampler = "uniform|shared|in_batch" }; items: the ids
---  to draw from, default all
function losses.softmax(options) return Softmax(options or {}) end

-- ---- Binary cross-entropy ------------------------------------------------------------------

---@class hstu.Bce
local Bce = class "BceLoss"

function Bce:init(options)
  local o = util.options(options, { temperature = 1, negatives = 1, items = 1 }, "hstu.bce")
  self.temperature = positive(o.temperature or 1.0, "hstu.bce: temperature")
  self.n = util.integer(o.negatives or 1, "hstu.bce: negatives", 1)
  self.items = item_list(o.items)
end

function Bce:__call(model, batch)
  return quern.sampled_bce(model:encode(batch), batch.targets, model.item.weight, batch.loss_weights, self.items,
    { negatives = self.n, temperature = self.temperature, l2 = model.norm == "l2", sparse = model.sparse })
end

--- Each positive against drawn negatives, by binary cross-entropy.
---@param options {temperature: number?, negatives: integer?, items: any}? negatives per position: 1
function losses.bce(options) return Bce(options or {}) end

return losses
