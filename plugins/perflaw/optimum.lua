--- Optimum: where a fitted law peaks, the best size within a budget, and what to train next.
--
-- Axes are independent of each other: depth peaks at p^(-1/a1), width at p^(-1/a2), whatever
-- the data. A flag says what the fit shows of an axis:
--   interior     a peak inside the trained sizes
--   beyond_grid  a peak outside them; at most max_extrapolation times beyond is used
--   valley       a negative weight: a minimum, at a size above 1, and no peak
--   none         rising or falling at all sizes above 1
-- Costs of a model of N layers of width d over V items: parameters V d + N c d^2, with c = 5
-- for HSTU whose heads fill the width (4 d^2 in, d^2 out), 12 for GPT and LLaMA; FLOPs of a
-- token forward 2 N c d^2; bytes of training 16 a parameter (weight, gradient, two moments).
-- SPDX-License-Identifier: MIT

local forms = require "perflaw.forms"
local law = require "perflaw.law"
local util = require "quern.util"

local optimum = {}

-- ---- One axis -----------------------------------------------------------------------------

local function range_of(fit, k)
  local low, high = math.huge, -math.huge
  for _, pt in ipairs(fit.points) do
    low, high = math.min(low, pt.cell.x[k]), math.max(high, pt.cell.x[k])
  end
  return low, high
end

-- Stationary place of axis k and whether it is a peak.
local function stationary(fit, solution, k)
  if fit.form == "quadlog" then
    local b, e = solution.beta[k], solution.beta[#fit.axes + k]
    return forms.stationary("quadlog", b, e), e < 0
  elseif not forms.curved(fit.form) then return nil, false end
  local weight = solution.beta[(k - 1) * fit.split + 1]
  local x = forms.stationary(fit.form, solution.theta[k], fit.p)
  return x, (fit.form == "paper") == (weight < 0)
end

--- Where a solution of the fit peaks along axis k; nil where it does not.
function law.Fit:peak_of(solution, k)
  local x, peak = stationary(self, solution, k)
  return peak and x or nil
end

local function flag_of(fit, k)
  local low, high = range_of(fit, k)
  local x, peak = stationary(fit, fit.solution, k)
  if not x then return "none", nil end
  if x <= 1 then return "none", x end
  if not peak then return "valley", x end
  return x >= low and x <= high and "interior" or "beyond_grid", x
end

-- The best value of axis k within low..high: the peak where it lies inside, else an end.
local function best_within(fit, k, low, high, other, s)
  local x, peak = stationary(fit, fit.solution, k)
  local best, best_value
  for _, v in ipairs { low, high, peak and x or low } do
    v = math.min(math.max(v, low), high)
    local cell = k == 1 and { v, other } or { other, v }
    local value = fit:predict(cell, s)
    if not best or value > best_value then best, best_value = v, value end
  end
  return best, best_value
end

-- ---- Budgets --------------------------------------------------------------------------------

local BLOCK = { hstu = 5, sasrec = 12, gpt = 12, llama = 12 }
local BYTES_PER_PARAMETER = 16

local function costs_of(o)
  local c = o.c or BLOCK[o.backbone or "hstu"] or 12
  local items = o.items or 0
  local function parameters(N, d) return items * d + N * c * d * d end
  return { params = parameters, flops = function(N, d) return 2 * N * c * d * d end,
           memory = function(N, d) return BYTES_PER_PARAMETER * parameters(N, d) end, cost = o.cost }
end

local budget_options = { params = 1, flops = 1, memory = 1, cost = 1, limit = 1, items = 1, c = 1, backbone = 1 }

-- The largest width within all limits at depth N; 0 where there is none.
local function widest(N, budget, costs, most)
  local function fits(d)
    for name, limit in pairs { params = budget.params, flops = budget.flops, memory = budget.memory,
                               cost = budget.cost and budget.limit } do
      if costs[name](N, d) > limit then return false end
    end
    return true
  end
  if fits(most) then return most end
  local low, high = 0.0, most
  for _ = 1, 60 do
    local middle = (low + high) / 2
    if middle > 0 and fits(middle) then low = middle else high = middle end
  end
  return low
end

local function within_budget(fit, o, reach, s)
  local budget = util.options(o.budget, budget_options, "optimum: budget")
  if not (budget.params or budget.flops or budget.memory or budget.cost and budget.limit) then
    util.fail("argument", "optimum: the budget limits nothing", nil, "give params, flops, memory, or cost and limit")
  end
  local costs, best = costs_of(budget), nil
  for N = math.max(1, math.ceil(reach[1].low)), math.floor(reach[1].high) do
    local most = math.min(widest(N, budget, costs, reach[2].high), reach[2].high)
    if most >= reach[2].low then
      local d, value = best_within(fit, 2, reach[2].low, most, N, s)
      if not best or value > best.value then best = { N, d, value = value } end
    end
  end
  if not best then
    util.fail("argument", "optimum: no size within reach of the fit keeps the budget", nil,
              "raise it, or train smaller sizes first")
  end
  return best
end

-- ---- The optimum ------------------------------------------------------------------------------

--- The size that the law calls best.
---@param o { budget: table?, max_extrapolation: number?, force: boolean?, surface: integer|string? }?
---@return table { [axis] = value, flags = { [axis] = flag }, peaks = { [axis] = place }, value, flag, clipped }
function law.Fit:optimum(o)
  o = util.options(o, { budget = 1, max_extrapolation = 1, force = 1, surface = 1 }, "optimum")
  if #self.axes ~= 2 then
    util.fail("unsupported", ("optimum: the fit has %d axes, not 2"):format(#self.axes))
  end
  local s, most = self:surface_index(o.surface), o.force and math.huge or o.max_extrapolation or 2.0
  local out, reach = { flags = {}, peaks = {}, clipped = false }, {}
  for k, name in ipairs(self.axes) do
    local low, high = range_of(self, k)
    out.flags[name], out.peaks[name] = flag_of(self, k)
    reach[k] = { low = low / math.min(most, 1e6), high = high * math.min(most, 1e6) }
  end
  local best
  if o.budget then
    best = within_budget(self, o, reach, s)
  else
    best = {}
    for k in ipairs(self.axes) do
      best[k] = best_within(self, k, reach[k].low, reach[k].high, self.points[1].cell.x[3 - k], s)
    end
    best.value = self:predict(best, s)
  end
  out.value = best.value
  out.flag = "interior"
  for k, name in ipairs(self.axes) do
    out[name] = best[k]
    if out.flags[name] ~= "interior" then out.flag = out.flags[name] end
    local x = out.peaks[name]
    out.clipped = out.clipped or out.flags[name] == "beyond_grid" and not o.budget and best[k] ~= x
  end
  return out
end

-- ---- What to train next ---------------------------------------------------------------------------

--- Cells in the order in which training them says most about the law: predictive variance
--- per training FLOP.
---@param fit perflaw.Fit
---@param o { candidates: number[][]?, bootstrap: table?, surface: integer?, items: integer?, c: number?,
---  backbone: string?, most: integer? }? candidates: cells { layers, dim }; default: the grid, doubled once
---@return table[] { x, spread, flops, score }
function optimum.plan(fit, o)
  o = util.options(o, { candidates = 1, bootstrap = 1, surface = 1, items = 1, c = 1, backbone = 1, most = 1 },
                   "perflaw.plan")
  local draws = o.bootstrap or fit:bootstrap { n = 200 }
  local s, costs, trained, rows = fit:surface_index(o.surface), costs_of(o), {}, {}
  for _, pt in ipairs(fit.points) do
    if pt.surface == s then trained[table.concat(pt.cell.x, "/")] = true end
  end
  for _, x in ipairs(o.candidates or optimum.grid(fit)) do
    if not trained[table.concat(x, "/")] then
      local spread, flops = draws:spread(x, s), costs.flops(x[1], x[2])
      rows[#rows + 1] = { x = x, spread = spread, flops = flops, score = spread ^ 2 / flops }
    end
  end
  table.sort(rows, function(a, b)
    if a.score ~= b.score then return a.score > b.score end
    return a.x[1] < b.x[1] or a.x[1] == b.x[1] and a.x[2] < b.x[2]
  end)
  return table.move(rows, 1, math.min(o.most or 10, #rows), 1, {})
end

--- The trained values of both axes and twice the largest, crossed.
function optimum.grid(fit)
  local axes, out = {}, {}
  for k = 1, 2 do
    local seen, list = {}, {}
    for _, pt in ipairs(fit.points) do
      if not seen[pt.cell.x[k]] then seen[pt.cell.x[k]], list[#list + 1] = true, pt.cell.x[k] end
    end
    table.sort(list)
    list[#list + 1] = 2 * list[#list]
    axes[k] = list
  end
  for _, N in ipairs(axes[1]) do
    for _, d in ipairs(axes[2]) do out[#out + 1] = { N, d } end
  end
  return out
end

return optimum
