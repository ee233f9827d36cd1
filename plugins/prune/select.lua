--- From scores to a mask: how many weights of which parameter are kept, exactly.
--
-- Of N weights of a group and density d, N - floor((1 - d) N) are kept: the largest scores,
-- of equal ones those with the highest index (topk_select). alloc says how they are shared out:
--   global  one threshold for the whole group
--   layer   density d in each parameter
--   erk     d_l = eps sum(dims) / prod(dims), capped at 1, eps such that the total is d N
-- Guards: a parameter of which nothing is left is an error unless guard = "report";
-- min_per_layer and min_per_row keep the best few of each; fill_dead gives the budget of weights
-- that lie on no path from input to output to the next best.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local groups = require "prune.groups"
local Mask = require "prune.mask"

local select = { options = { density = 1, groups = 1, alloc = 1, guard = 1, alive = 1, min_per_layer = 1,
                             min_per_row = 1, fill_dead = 1 } }

local function numel(p) return p.tensor:numel() end

--- How many of n weights a density keeps.
---@param n integer
---@param d number
---@return integer
function select.count(n, d) return n - math.floor((1 - d) * n + 1e-6) end

-- ---- Sharing out ------------------------------------------------------------------------------

-- Whole numbers near the wanted ones, of a given sum and within 0..n: largest remainders first.
local function round_to(wanted, limits, sum)
  local counts, order, left = {}, {}, sum
  for i, w in ipairs(wanted) do
    counts[i] = math.min(limits[i], math.floor(w + 1e-9))
    left, order[i] = left - counts[i], i
  end
  table.sort(order, function(a, b)
    local x, y = wanted[a] - counts[a], wanted[b] - counts[b]
    if x ~= y then return x > y end
    return a < b
  end)
  while left ~= 0 do
    local moved = false
    for _, i in ipairs(order) do
      local to = counts[i] + (left > 0 and 1 or -1)
      if left ~= 0 and to >= 0 and to <= limits[i] then
        left, counts[i], moved = left - (to - counts[i]), to, true
      end
    end
    if not moved then break end
  end
  return counts
end

--- Densities by Erdos-Renyi kernels (Mocanu et al. 2018; Evci et al. 2020).
---@param shapes integer[][] of the parameters
---@param d number density of all together
---@return number[] densities, number eps
function select.erk(shapes, d)
  local n, raw, full, total = {}, {}, {}, 0
  for i, shape in ipairs(shapes) do
    local sum, product = 0, 1
    for _, s in ipairs(shape) do sum, product = sum + s, product * s end
    n[i], raw[i], total = product, sum / product, total + product
  end
  while true do
    local budget, weight, capped, out = d * total, 0, false, {}
    for i in ipairs(shapes) do
      if full[i] then budget = budget - n[i] else weight = weight + raw[i] * n[i] end
    end
    local eps = weight > 0 and budget / weight or 0
    for i in ipairs(shapes) do
      out[i] = full[i] and 1.0 or eps * raw[i]
      if not full[i] and out[i] > 1 then full[i], capped = true, true end
    end
    if not capped then return out, eps end
  end
end

--- Weights to keep of each parameter under "layer" or "erk"; together exactly the group's count.
---@param params quern.Parameter[]
---@param d number
---@param alloc string
---@return integer[]
function select.shares(params, d, alloc)
  local wanted, limits, shapes, total = {}, {}, {}, 0
  for i, p in ipairs(params) do limits[i], shapes[i], total = numel(p), p.tensor.shape, total + numel(p) end
  local densities = alloc == "erk" and select.erk(shapes, d)
  for i, n in ipairs(limits) do wanted[i] = (densities and densities[i] or d) * n end
  return round_to(wanted, limits, select.count(total, d))
end

-- ---- Choosing ------------------------------------------------------------------------------------

local function flat(t) return t:reshape({ t:numel() }) end

-- topk_select over some parameters together; `which` are their scores or truth values by name.
local function choose(params, scores, alive, k)
  local lines, living = {}, {}
  for i, p in ipairs(params) do
    lines[i] = flat(scores[p.name])
    living[i] = alive and flat(alive[p.name]) or nil
  end
  local kept = quern.topk_select(#lines > 1 and quern.concat(lines) or lines[1],
    alive and (#living > 1 and quern.concat(living) or living[1]) or nil, { k = k })
  local out, at = {}, 1
  for _, p in ipairs(params) do
    out[p.name] = kept:narrow(1, at, numel(p)):reshape(p.tensor.shape):contiguous()
    at = at + numel(p)
  end
  return out
end

local function count(kept, params)
  local n = 0
  for _, p in ipairs(params) do n = n + quern.sum(kept[p.name]:cast("i64")):item() end
  return n
end

-- The best few of each parameter, and of each row, that a guard holds on to.
local function guarded(params, scores, alive, o)
  if not o.min_per_layer and not o.min_per_row then return nil end
  local out = {}
  for _, p in ipairs(params) do
    local held = quern.full(p.tensor.shape, 0, "bool")
    local rows, living = p.tensor.shape[1], alive and alive[p.name]
    if o.min_per_layer then
      local most = living and quern.sum(living:cast("i64")):item() or numel(p)
      local least = math.min(util.integer(o.min_per_layer, "prune: min_per_layer", 0), most)
      held = choose({ p }, scores, alive, least)[p.name]
    end
    if o.min_per_row then
      local width = numel(p) // rows
      local k = math.min(util.integer(o.min_per_row, "prune: min_per_row", 0), width)
      local best = quern.topk_select(scores[p.name]:reshape({ rows, width }), nil, { k = k }):reshape(p.tensor.shape)
      held = quern.logical_or(held, living and quern.logical_and(best, living) or best)
    end
    out[p.name] = held
  end
  return out
end

local function with(params, a, b, op)
  local out = {}
  for _, p in ipairs(params) do out[p.name] = op(a[p.name], b[p.name]) end
  return out
end

local function minus(a, b) return quern.logical_and(a, quern.logical_not(b)) end

-- k of these parameters' weights: first what a guard holds, then the best of the others.
local function take(params, scores, alive, k, o)
  local held = guarded(params, scores, alive, o)
  local forced = held and count(held, params) or 0
  if forced == 0 then return choose(params, scores, alive, k) end
  if forced >= k then return choose(params, scores, held, k) end
  local rest = with(params, alive or Mask.full(params).kept, held, minus)
  return with(params, held, choose(params, scores, rest, k - forced), quern.logical_or)
end

-- Which tensor a NaN is in, for the error.
local function name_nan(params, scores, e)
  e = util.as_error(e)
  if e.status ~= "numeric" then error(e, 0) end
  for _, p in ipairs(params) do
    local s = scores[p.name]
    local bad = quern.sum(quern.ne(s, s):cast("i64")):item()
    if bad > 0 then
      util.fail("numeric", ("prune: %d of the scores of %s are NaN"):format(bad, p.name), nil,
                "quern.check_finite(true) finds the op that made the first one")
    end
  end
  error(e, 0)
end

local allocs = { global = true, layer = true, erk = true }

local function select_group(params, scores, alive, d, o)
  local alloc, kept, total = o.alloc or "global", {}, 0
  for _, p in ipairs(params) do total = total + numel(p) end
  if alloc == "global" then return take(params, scores, alive, select.count(total, d), o) end
  for i, k in ipairs(select.shares(params, d, alloc)) do
    kept[params[i].name] = take({ params[i] }, scores, alive, k, o)[params[i].name]
  end
  return kept
end

local function check_scores(params, scores)
  for _, p in ipairs(params) do
    local s = scores[p.name]
    if not s then util.fail("plugin", ("prune: the scorer gave no scores for %s"):format(p.name)) end
    if not util.same(s.shape, p.tensor.shape) then
      util.fail("shape", ("prune: scores of %s are [%s], the parameter [%s]"):format(p.name,
                table.concat(s.shape, ","), table.concat(p.tensor.shape, ",")))
    end
  end
end

local function select_all(params, scores, densities, alive, o)
  local kept, names, by_group = {}, {}, {}
  for i, p in ipairs(params) do
    names[i] = p.name
    by_group[p.group] = by_group[p.group] or {}
    table.insert(by_group[p.group], p)
  end
  for group, members in util.sorted(by_group) do
    local ok, got = pcall(select_group, members, scores, alive, densities[group], o)
    if not ok then name_nan(members, scores, got) end
    for name, t in pairs(got) do kept[name] = t end
  end
  return Mask(kept, names)
end

-- Gives dead weights' budget to the best others until nothing changes.
local function fill_dead(params, scores, densities, o, model, mask)
  local alive = o.alive and o.alive.kept or Mask.full(params).kept
  for _ = 1, 20 do
    local dead = mask & ~mask:live(model)
    if dead:count() == 0 then return mask end
    alive = with(params, alive, dead.kept, minus)
    local ok, better = pcall(select_all, params, scores, densities, alive, o)
    if not ok then return mask end           -- no others are left
    mask = better
  end
  return mask
end

local function guard(mask, o)
  local how = o.guard or "error"
  if how ~= "error" and how ~= "report" then
    util.fail("argument", ("prune: guard must be \"error\" or \"report\", not %q"):format(tostring(how)))
  end
  local gone = mask:collapsed()
  if how == "report" or #gone == 0 then return end
  local _, n = mask:count(gone[1])
  util.fail("state", ("mask: %s has 0 of %d weights"):format(gone[1], n),
    #gone > 1 and ("so have %s"):format(table.concat(gone, ", ", 2)) or nil,
    "the layer has collapsed: min_per_layer keeps the best of each, alloc = \"erk\" shares out by size, "
    .. "guard = \"report\" lets it pass")
end

---@class prune.SelectOptions
---@field density number? share of the dense matrices that is kept
---@field groups table<string, number>? or densities by group
---@field alloc string? "global" (default), "layer", "erk"
---@field guard string? "error" (default) or "report": what happens when a parameter has nothing left
---@field alive prune.Mask? choose among these only
---@field min_per_layer integer? weights kept of each parameter
---@field min_per_row integer? weights kept of each row (items of a table stay reachable)
---@field fill_dead boolean? move the budget of weights on no path

--- The mask that scores give.
---@param model quern.Module
---@param params quern.Parameter[] with their group (groups.of)
---@param scores table<string, userdata> a tensor of each parameter's shape; larger is kept
---@param options prune.SelectOptions
---@return prune.Mask
function select.mask(model, params, scores, options)
  local o = util.options(options, select.options, "prune: selection")
  local densities = groups.densities(o)
  if not allocs[o.alloc or "global"] then
    util.fail("argument", ("prune: unknown allocation %q"):format(tostring(o.alloc)), nil,
              util.suggest(tostring(o.alloc), util.keys(allocs)))
  end
  return quern.no_grad(function()
    check_scores(params, scores)
    local mask = select_all(params, scores, densities, o.alive and o.alive.kept, o)
    if o.fill_dead then mask = fill_dead(params, scores, densities, o, model, mask) end
    mask.model = model
    guard(mask, o)
    return mask
  end)
end

return select
