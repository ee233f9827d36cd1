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

-- Rows 1..items of a model's table: class 0 is item 1.
local function items_only(model) return quern.narrow(model:catalogue(), 1, 2, model.items) end

local function item_list(items) return type(items) == "table" and quern.tensor(items, "i64") or items end

-- ---- Sampled softmax --------------------------------------------------------------------

---@class hstu.Softmax
local Softmax = class "SoftmaxLoss"

function Softmax:init(options)
  local o = util.options(options, { temperature = 1, negatives = 1, items = 1 }, "hstu.softmax")
  self.temperature = positive(o.temperature or 0.05, "hstu.softmax: temperature")
  self.plain_temperature = o.temperature or 1.0
  self.n, self.sampler = negatives_of(o.negatives, "uniform", "hstu.softmax")
  self.n = util.integer(self.n or 128, "hstu.softmax: negatives", 1)
  self.items = item_list(o.items)
end

-- Against scores by plain product: core's losses, which count classes from row 0 of the table they are given.
local function plain_softmax(self, model, batch)
  local o, e, t = model:encode(batch):values(), items_only(model), self.plain_temperature
  local w, targets = batch.loss_weights, batch.targets:values() - 1
  if self.sampler == "full" then return quern.linear_cross_entropy(o, e, targets, w, { temperature = t }) end
  if self.sampler == "in_batch" or self.items then
    util.fail("unsupported", "hstu.softmax: a model with norm = \"none\" takes uniform, shared or full negatives")
  end
  local shape = self.sampler == "shared" and { self.n } or { o.shape[1], self.n }
  local drawn = quern.randint { shape = shape, low = 0, high = model.items }
  return quern.sampled_softmax(o, e, targets, drawn, w, { temperature = t })
end

-- Against all items the loss on unit vectors is core's too, which has it in one pass. It gives a dense gradient in f32.
local function is_plain_full(self, model)
  return self.sampler == "full" and not self.items and not model.sparse and model.item.weight.dtype ~= "bf16"
end

local function full(self, model, batch)
  local o = quern.l2_normalize(model:encode(batch):values(), { eps = 1e-6 })
  local e = quern.l2_normalize(items_only(model), { eps = 1e-6 })
  return quern.linear_cross_entropy(o, e, batch.targets:values() - 1, batch.loss_weights,
                                    { temperature = self.temperature })
end

-- Unit rows of a small table are made once for the whole batch, by an op of their own, instead of by each slice of a
-- captured step; of a large one the loss scales the rows that were drawn.
local SMALL_TABLE = 8 * 2 ^ 20

local function catalogue(model)
  local e = model:catalogue()
  local small = not model.sparse and e.dtype ~= "bf16" and 4 * e.shape[1] * e.shape[2] <= SMALL_TABLE
  return small and quern.l2_normalize(e, { eps = 1e-6 }) or e, small
end

--- Mean over the batch's supervised positions.
function Softmax:__call(model, batch)
  if model.norm == "none" then return plain_softmax(self, model, batch) end
  if is_plain_full(self, model) then return full(self, model, batch) end
  local o, e, unit = model:encode(batch), catalogue(model)
  return quern.sampled_softmax_l2(o, batch.targets, e, batch.loss_weights, self.items,
    { sampler = self.sampler, negatives = self.n, temperature = self.temperature, unit = unit, sparse = model.sparse })
end

--- Softmax against drawn items, or against all: on unit vectors, or for a model with norm = "none" by plain product.
---@param options {temperature: number?, negatives: any, items: any}? temperature: 0.05, by plain product 1;
---  negatives: "full", a count (128 by default, drawn per position), or { n =, sampler = "uniform|shared|in_batch" };
---  items: the ids to draw from, default all
function losses.softmax(options) return Softmax(options or {}) end

-- ---- Binary cross-entropy ------------------------------------------------------------------

---@class hstu.Bce
local Bce = class "BceLoss"

function Bce:init(options, who)
  local o = util.options(options, { temperature = 1, negatives = 1, items = 1, t = 1 }, who)
  self.temperature = positive(o.temperature or 1.0, who .. ": temperature")
  self.n = util.integer(o.negatives or 1, who .. ": negatives", 1)
  self.items, self.t = item_list(o.items), o.t
end

-- gBCE: a = n / (items - 1) is the share of negatives that is drawn; beta = a (t (1 - 1/a) + 1/a).
function Bce:beta(model)
  if not self.t then return 1.0 end
  local a = self.n / math.max(model.items - 1, 1)
  return a * (self.t * (1 - 1 / a) + 1 / a)
end

function Bce:__call(model, batch)
  return quern.sampled_bce(model:encode(batch), batch.targets, model:catalogue(), batch.loss_weights, self.items,
    { negatives = self.n, temperature = self.temperature, l2 = model.norm == "l2", beta = self:beta(model),
      sparse = model.sparse })
end

--- Each positive against drawn negatives, by binary cross-entropy.
---@param options {temperature: number?, negatives: integer?, items: any}? negatives per position: 1
function losses.bce(options) return Bce(options or {}, "hstu.bce") end

--- gBCE (Petrov and Macdonald 2023): binary cross-entropy whose positive term makes up for the items that are
--- not drawn. t = 0 is plain BCE, t = 1 undoes the bias of sampling.
---@param options {temperature: number?, negatives: integer?, t: number?, items: any}? t: 0.75; negatives: 256
function losses.gbce(options)
  local o = util.copy(options or {})
  o.t, o.negatives = o.t or 0.75, o.negatives or 256
  if type(o.t) ~= "number" or o.t < 0 or o.t > 1 then
    util.fail("argument", ("hstu.gbce: t must be in [0, 1], not %s"):format(tostring(o.t)))
  end
  return Bce(o, "hstu.gbce")
end

-- ---- By name ---------------------------------------------------------------------------------

local kinds = { full = 1, sampled = 1, shared = 1, in_batch = 1, bce = 1, gbce = 1 }

--- A loss by its name: "full", "sampled" (softmax against negatives of each position), "shared" (one pool),
--- "in_batch", "bce", "gbce".
---@param options {name: string, negatives: integer?, temperature: number?, t: number?}
function losses.make(options)
  local o = util.options(options, { name = 1, negatives = 1, temperature = 1, t = 1 }, "hstu.loss")
  local name = util.choose(o.name, util.keys(kinds), "hstu.loss: name")
  if name == "bce" then return losses.bce { negatives = o.negatives, temperature = o.temperature } end
  if name == "gbce" then return losses.gbce { negatives = o.negatives, temperature = o.temperature, t = o.t } end
  if name == "full" then return losses.softmax { negatives = "full", temperature = o.temperature } end
  return losses.softmax { temperature = o.temperature,
    negatives = { n = o.negatives, sampler = name == "sampled" and "uniform" or name } }
end

return losses
