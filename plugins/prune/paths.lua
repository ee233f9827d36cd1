--- Scorers that build a sparse network from its paths: NPB and PHEW. No data.
--
-- Both share out by Erdos-Renyi kernels or walk a chain of layers in the model's order; the scores they
-- give put what they chose before everything else, and what they did not choose by size.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local det = require "quern.det"
local select = require "prune.select"
local scoring = require "prune.scoring"

-- Outputs, inputs and the size of a kernel.
local function dims(p)
  local s, size = p.tensor.shape, 1
  for i = 3, #s do size = size * s[i] end
  return s[1], s[2] or 1, size
end

local function by_group(params)
  local out = {}
  for _, p in ipairs(params) do
    out[p.group] = out[p.group] or {}
    table.insert(out[p.group], p)
  end
  return out
end

-- ---- NPB ----------------------------------------------------------------------------------------------

-- Chosen weights score above 2, others below 1: m [I,O] weights of each kernel, the best by `rank`.
local function choose(p, m, rank)
  local O, I, size = dims(p)
  local lines = rank:reshape { O, I, size }
  local place = quern.argsort(quern.argsort(lines, -1, true), -1)              -- 0 for the largest
  local kept = quern.lt(place, quern.transpose(m, 1, 2):reshape { O, I, 1 })
  return (lines + kept:cast "f64" * 2):reshape(p.tensor.shape)
end

local function npb(job)
  local o, out = job.options, {}
  for group, params in util.sorted(by_group(job.params)) do
    local shares, paths = select.shares(params, job.densities[group], "erk"), nil
    for l, p in ipairs(params) do
      local O, I, size = dims(p)
      if not paths or paths.shape[1] ~= I then paths = quern.ones({ I }, "f64") end
      local cap = math.min(o.cap or size, size)
      local m = quern.npb_kernels(paths, { outputs = O, budget = math.min(shares[l], I * O * cap), cap = cap,
                                           alpha = o.alpha, beta = o.beta })
      local rank = quern.abs(p.tensor:detach():to "f64")
      if o.magnitude then rank = rank / (quern.max(rank):item() * 1.01 + 1e-30)
      else rank = quern.uniform { shape = p.tensor.shape, dtype = "f64" } end
      out[p.name] = choose(p, m, rank)
      paths = quern.matmul(paths:reshape { 1, I }, m:cast "f64"):reshape { O }
      paths = paths / (quern.max(paths):item() + 1e-30)
    end
  end
  return out
end

scoring.register {
  name = "npb", summary = "node-path balancing: kernels by paths and nodes, shared out by Erdos-Renyi kernels",
  paper = "Pham et al. 2023", needs = { target = true }, alloc = "erk",
  options = { alpha = 0.01, beta = 1, cap = false, magnitude = true }, score = npb,
}

-- ---- PHEW ---------------------------------------------------------------------------------------------

-- One layer of a chain: edges from an input unit and into an output unit, with running sums of |w|.
local function layer_of(p)
  local O, I, size = dims(p)
  local l = { O = O, I = I, size = size, from = {}, into = {}, seen = {},
              w = quern.abs(p.tensor:detach():to "f64"):reshape { O * I * size }:totable() }
  local function edges(cache, unit, count, at)
    local e = cache[unit]
    if not e then
      local sum = 0.0
      e = { ids = {}, sums = {} }
      for other = 0, count - 1 do
        for k = 0, size - 1 do
          local id = at(unit, other) * size + k
          sum = sum + l.w[id + 1]
          e.ids[#e.ids + 1], e.sums[#e.sums + 1] = id, sum
        end
      end
      cache[unit] = e
    end
    return e
  end
  function l:forward(unit) return edges(self.from, unit, O, function(i, o) return o * I + i end) end
  function l:backward(unit) return edges(self.into, unit, I, function(o, i) return o * I + i end) end
  return l
end

-- An edge with probability in proportion to |w|; nil from a unit without weights.
local function draw(e, random)
  local total = e.sums[#e.sums]
  if total == 0 then return nil end
  local x, low, high = random:float() * total, 1, #e.sums
  while low < high do
    local mid = (low + high) // 2
    if e.sums[mid] > x then high = mid else low = mid + 1 end
  end
  return e.ids[low]
end

local function chain_of(params)
  local layers = {}
  for i, p in ipairs(params) do
    layers[i] = layer_of(p)
    if i > 1 and layers[i - 1].O ~= layers[i].I then
      util.fail("unsupported", ("prune: phew walks a chain of layers; %s has %d inputs, %s %d outputs"):format(p.name,
                layers[i].I, params[i - 1].name, layers[i - 1].O), nil, "npb and synflow take other networks")
    end
  end
  return layers
end

-- Walks from unit u between layers at-1 and at to both ends; `visit` gets each edge.
local function walk(layers, at, u, random, visit)
  local unit = u
  for l = at, #layers do
    local id = draw(layers[l]:forward(unit), random)
    if not id then break end
    visit(l, id)
    unit = id // layers[l].size // layers[l].I
  end
  unit = u
  for l = at - 1, 1, -1 do
    local id = draw(layers[l]:backward(unit), random)
    if not id then break end
    visit(l, id)
    unit = id // layers[l].size % layers[l].I
  end
end

local function phew(job)
  local out = {}
  for group, params in util.sorted(by_group(job.params)) do
    local layers, total, found, idle = chain_of(params), 0, 0, 0
    for _, p in ipairs(params) do total = total + p.tensor:numel() end
    local budget, random = select.count(total, job.densities[group]), det.random(job.options.walk_seed)
    local function visit(l, id)
      local seen = layers[l].seen
      if not seen[id] then found, idle, seen[id] = found + 1, 0, found + 1 end
    end
    while found < budget and idle < 1000 do
      for at = 1, #layers + 1 do
        local units = at <= #layers and layers[at].I or layers[#layers].O
        for u = 0, units - 1 do
          if found < budget then walk(layers, at, u, random, visit) end
        end
      end
      idle = idle + 1
    end
    for i, p in ipairs(params) do                -- found early: near 3; not found: below 1
      local l, scores, largest = layers[i], {}, 1e-30
      for _, w in ipairs(l.w) do largest = math.max(largest, w) end
      for id = 0, #l.w - 1 do
        local order = l.seen[id]
        scores[id + 1] = order and 3 - order / (found + 1) or 0.5 * l.w[id + 1] / largest
      end
      out[p.name] = quern.tensor(scores, "f64"):reshape(p.tensor.shape)
    end
  end
  return out
end

scoring.register {
  name = "phew", summary = "random walks from every unit to both ends, edges drawn by |w|, until the budget is met",
  paper = "Patil and Dovrolis 2021", needs = { target = true }, options = { walk_seed = 1 }, score = phew,
}
