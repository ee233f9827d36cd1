--- Compare: several ways of pruning before training, under one training and paired seeds.
--
-- For each seed: a dense training; then for each method a score of the same fresh model, and for
-- each density a mask, the same training, a test. What differs is the mask alone.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"

local prune = quern.plugin "prune"

local compare = {}

local known = { make = 1, train = 1, evaluate = 1, data = 1, loss = 1, methods = 1, densities = 1, seeds = 1, say = 1,
                dense = 1, batch = 1, only = 1, effective = 1 }

---@class autosparse.CompareMethod
---@field name string
---@field how string|table? a scorer's name or a scorer; default: name
---@field options table? for prune.score
---@field alloc string?

local function method_of(m)
  if type(m) == "string" then m = { name = m } end
  return { name = m.name, how = m.how or m.name, options = m.options or {}, alloc = m.alloc }
end

local function score(o, m, model, seed)
  local options = { loss = o.loss, seed = seed, batch = o.batch, only = o.only }
  for k, v in pairs(m.options) do options[k] = v end
  return prune.score(m.how, model, o.data, options)
end

local function layers_of(mask)
  local out = {}
  for i, name in ipairs(mask.names) do out[i] = mask:densities()[name] end
  return out
end

-- One mask of a method's scores, one training of a fresh model, one test.
local function one(o, m, scores, seed, density)
  local mask = scores:select { density = density, alloc = m.alloc, guard = "report" }
  local model = o.make(seed)
  mask:bind(model)
  o.train(model, { seed = seed, name = ("%s-%g-%d"):format(m.name, 100 * density, seed) })
  return { method = m.name, density = density, seed = seed, collapsed = #mask:collapsed(), layers = layers_of(mask),
           effective = o.effective ~= false and mask:effective() or nil, metrics = o.evaluate(model) }
end

--- Runs a comparison.
---@param options table make: function(seed) -> a fresh model; train: function(model, how), how with seed and name;
---  evaluate: function(model) -> metrics; data; loss; methods: scorers' names or autosparse.CompareMethod;
---  densities; seeds; batch: rows of a scoring batch; dense: false leaves the dense training out;
---  effective: false leaves out the share of weights on a path from input to output;
---  say: function(record) is told of each result
---@return table[] records: method, density, seed, collapsed, effective, layers, metrics
function compare.run(options)
  local o = util.options(options, known, "autosparse.compare")
  local out = {}
  local function add(record)
    out[#out + 1] = record
    if o.say then o.say(record) end
  end
  for _, seed in ipairs(o.seeds) do
    if o.dense ~= false then
      local model = o.make(seed)
      o.train(model, { seed = seed, name = ("dense-%d"):format(seed) })
      add { method = "dense", density = 1.0, seed = seed, collapsed = 0, effective = 1.0, metrics = o.evaluate(model) }
    end
    for _, given in ipairs(o.methods) do
      local m = method_of(given)
      local scores = score(o, m, o.make(seed), seed)
      for _, density in ipairs(o.densities) do add(one(o, m, scores, seed, density)) end
    end
  end
  return out
end

--- Mean and deviation over seeds of a metric, by method and density.
---@param records table[]
---@param metric string
---@return table<string, table<number, {mean: number, sd: number, n: integer}>>
function compare.summary(records, metric)
  local sums, out = {}, {}
  for _, r in ipairs(records) do
    local by = sums[r.method] or {}
    sums[r.method] = by
    by[r.density] = by[r.density] or {}
    table.insert(by[r.density], r.metrics[metric])
  end
  for method, by in pairs(sums) do
    out[method] = {}
    for density, values in pairs(by) do
      local n, mean, square = #values, 0.0, 0.0
      for _, v in ipairs(values) do mean = mean + v / n end
      for _, v in ipairs(values) do square = square + (v - mean) ^ 2 end
      out[method][density] = { mean = mean, sd = n > 1 and math.sqrt(square / (n - 1)) or 0.0, n = n }
    end
  end
  return out
end

--- The summary as text: a line for each method, a column for each density.
---@param records table[]
---@param metric string
---@return string
function compare.table(records, metric)
  local summary, densities, order, seen = compare.summary(records, metric), {}, {}, {}
  for _, r in ipairs(records) do
    if not seen[r.method] then seen[r.method], order[#order + 1] = true, r.method end
    if not seen[r.density] then seen[r.density], densities[#densities + 1] = true, r.density end
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

return compare
