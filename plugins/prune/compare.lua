--- Compare: several ways of pruning under one training and paired seeds.
--
--   local c = prune.compare { make = make, train = train, evaluate = evaluate, data = set, loss = loss,
--     methods = { "magnitude", "snip", { name = "ours", how = scorer } }, densities = { 0.05, 0.01 },
--     seeds = { 1, 2, 3 } }
--   print(c:table "top1")
--
-- For each seed a dense model is trained; then for each density and method the same fresh model is pruned, trained in
-- the same way, and tested. What differs is the mask alone. The variant says when it is made (variants.lua).
-- SPDX-License-Identifier: MIT

local class = require "quern.class"
local util = require "quern.util"
local variants = require "prune.variants"

local known = { make = 1, train = 1, evaluate = 1, data = 1, loss = 1, methods = 1, densities = 1, seeds = 1, say = 1,
                dense = 1, batch = 1, only = 1, effective = 1, variant = 1, select = 1 }

---@class prune.Comparison
---@field records table[] method, density, seed, metrics; of pruned models also collapsed (how many layers) and layers
---  (densities in the model's order), and in the metrics density and effective (the share of weights that lie on a
---  path from input to output)
local Comparison = class "PruneComparison"

---@class prune.CompareMethod
---@field name string
---@field how string|table? a scorer's name or a scorer; default: name
---@field options table? of the scorer
---@field select table? prune.SelectOptions that go before the comparison's

local function method_of(m)
  if type(m) == "string" then m = { name = m } end
  return { name = m.name, how = m.how or m.name, options = m.options or {}, select = m.select or {} }
end

local function layers_of(mask)
  local densities, out = mask:densities(), {}
  for i, name in ipairs(mask.names) do out[i] = densities[name] end
  return out
end

-- ---- Runs -----------------------------------------------------------------------------------------

local function score_options(o, m, seed)
  local options = { seed = seed, batch = o.batch, only = o.only }
  for k, v in pairs(m.options) do options[k] = v end
  return options
end

local function select_options(o, m, density)
  local options = { guard = "report" }
  for _, given in ipairs { o.select or {}, m.select } do
    for k, v in pairs(given) do options[k] = v end
  end
  options.groups = util.copy(options.groups or {})
  options.groups.dense = density
  return options
end

-- A model pruned by one method to one density, trained and tested.
local function pruned(o, m, seed, density, dense)
  local name = ("%s-%g-%d"):format(m.name, 100 * density, seed)
  local model, mask = variants.run { variant = o.variant, how = m.how, data = o.data, loss = o.loss, dense = dense,
    make = function() return o.make(seed) end,
    train = function(model, share) o.train(model, { seed = seed, name = name, share = share }) end,
    select = select_options(o, m, density), score = score_options(o, m, seed) }
  local metrics = o.evaluate(model)
  metrics.density = mask:density()
  if o.effective ~= false then metrics.effective = mask:effective() end
  return { method = m.name, density = density, seed = seed, collapsed = #mask:collapsed(), layers = layers_of(mask),
           metrics = metrics }, model
end

local function trained(o, seed)
  local model = o.make(seed)
  o.train(model, { seed = seed, name = ("dense-%d"):format(seed), share = 1 })
  return { method = "dense", density = 1.0, seed = seed, metrics = o.evaluate(model) }, model
end

--- Runs a comparison.
---@param options table make: function(seed) -> a fresh model, equal each time; train: function(model, how), how with
---  seed, name and share (of the full training: post tunes for less); evaluate: function(model) -> metrics; data;
---  loss; methods: scorers' names or prune.CompareMethod; densities (of the dense matrices); seeds; variant: "pai"
---  (default), "lth", "post"; select: prune.SelectOptions for all (groups: densities of further groups); batch: rows of
---  a scoring batch; only; dense: false leaves the dense training out; effective: false leaves out counting paths;
---  say: function(record, model) is told of each result
function Comparison:init(options)
  local o = util.options(options, known, "prune.compare")
  self.records = {}
  local function add(record, model)
    self.records[#self.records + 1] = record
    if o.say then o.say(record, model) end
    return model
  end
  for _, seed in ipairs(o.seeds) do
    local dense = o.dense ~= false and add(trained(o, seed)) or nil
    for _, density in ipairs(o.densities) do
      for _, m in ipairs(o.methods) do add(pruned(o, method_of(m), seed, density, dense)) end
    end
  end
end

-- ---- Reading it -------------------------------------------------------------------------------------

--- Iterates over method, density and the metrics of each seed, in the order of the first seed.
---@return fun(): string?, number?, table<string, number>[]?
function Comparison:each()
  local results, order, at = {}, {}, 0
  for _, r in ipairs(self.records) do
    local key = ("%s %.17g"):format(r.method, r.density)
    if not results[key] then results[key], order[#order + 1] = {}, r end
    table.insert(results[key], r.metrics)
  end
  return function()
    at = at + 1
    local r = order[at]
    if r then return r.method, r.density, results[("%s %.17g"):format(r.method, r.density)] end
  end
end

--- A metric of the pruned models over that of the dense one of their seed, into every record's metrics.
---@param metric string
---@param name string of the quotient
function Comparison:relate(metric, name)
  local dense = {}
  for _, r in ipairs(self.records) do
    if r.method == "dense" then dense[r.seed] = r.metrics[metric] end
  end
  for _, r in ipairs(self.records) do
    if r.method ~= "dense" and dense[r.seed] then r.metrics[name] = r.metrics[metric] / dense[r.seed] end
  end
end

local function statistics(values)
  local n, mean, square = #values, 0.0, 0.0
  for _, v in ipairs(values) do mean = mean + v / n end
  for _, v in ipairs(values) do square = square + (v - mean) ^ 2 end
  return { mean = mean, sd = n > 1 and math.sqrt(square / (n - 1)) or 0.0, n = n }
end

--- Mean and deviation over seeds of a metric, by method and density.
---@param metric string
---@return table<string, table<number, {mean: number, sd: number, n: integer}>>
function Comparison:summary(metric)
  local out = {}
  for method, density, results in self:each() do
    local values = {}
    for i, m in ipairs(results) do values[i] = m[metric] end
    out[method] = out[method] or {}
    out[method][density] = statistics(values)
  end
  return out
end

--- The means of a metric by method, as a recipe reports them: "METRIC at 5 %" for each density.
---@param metric string
---@return table<string, table<string, number>>
function Comparison:means(metric)
  local out = {}
  for method, by in pairs(self:summary(metric)) do
    out[method] = {}
    for density, cell in pairs(by) do out[method][("%s at %g %%"):format(metric, 100 * density)] = cell.mean end
  end
  return out
end

--- The summary as text: a line for each method, a column for each density.
---@param metric string
---@return string
function Comparison:table(metric)
  local summary, densities, order, seen = self:summary(metric), {}, {}, {}
  for method, density in self:each() do
    if not seen[method] then seen[method], order[#order + 1] = true, method end
    if not seen[density] then seen[density], densities[#densities + 1] = true, density end
  end
  table.sort(densities, function(a, b) return a > b end)
  local rows, right = { { metric } }, {}
  for i, d in ipairs(densities) do rows[1][i + 1], right[i + 1] = ("%g %%"):format(100 * d), true end
  for _, method in ipairs(order) do
    local row = { method }
    for i, d in ipairs(densities) do
      local c = summary[method][d]
      row[i + 1] = c and ("%.2f ± %.2f"):format(c.mean, c.sd) or ""
    end
    rows[#rows + 1] = row
  end
  return util.table(rows, { right = right })
end

return Comparison
