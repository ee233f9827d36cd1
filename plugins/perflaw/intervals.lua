--- Intervals: the bootstrap of a fit, and profiles of its exponents.
--
-- residual  y* = fitted + residual * sign * sqrt(n / (n - k)),  signs of Rademacher
-- case      each cell's seeds drawn again with replacement (needs several seeds in a cell)
-- Intervals are percentiles of the draws, or BCa (Efron 1987): percentiles moved by the
-- bias z0 of the draws and the acceleration of the jackknife over cells.
-- A profile is the range of one exponent in which the best fit of the others keeps
-- n ln(SSE / SSE_min) below the chi-square bound of the level.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"
local det = require "quern.det"
local forms = require "perflaw.forms"
local util = require "quern.util"

local intervals = {}

-- ---- The normal distribution --------------------------------------------------------------

-- Phi(z) = erfc(-z / sqrt 2) / 2 of the core's erf, in double.
local function normal_cdf(z) return 0.5 * (1 + quern.erf(quern.f64 { z / math.sqrt(2) }):item()) end

-- Its inverse by bisection: few are asked for.
local function normal_quantile(p)
  if p <= 0 then return -math.huge elseif p >= 1 then return math.huge end
  local low, high = -40.0, 40.0
  for _ = 1, 80 do
    local middle = (low + high) / 2
    if normal_cdf(middle) < p then low = middle else high = middle end
  end
  return (low + high) / 2
end

--- The quantile of sorted values, between neighbours in proportion.
local function quantile(sorted, p)
  local at = 1 + p * (#sorted - 1)
  local i = math.min(math.max(math.floor(at), 1), #sorted)
  local j = math.min(i + 1, #sorted)
  local a, b = sorted[i], sorted[j]
  if a == b then return a end
  return a + (at - i) * (b - a)
end

-- ---- Bootstrap ------------------------------------------------------------------------------

---@class perflaw.Bootstrap
local Bootstrap = class("Bootstrap")

local function linked_values(fit)
  local fitted = {}
  for i, pt in ipairs(fit.points) do fitted[i] = fit:linked(fit.solution, pt.x, pt.surface) end
  return fitted
end

local function residual_draws(fit, n, random)
  local fitted, out, points = linked_values(fit), {}, #fit.points
  if points <= fit.k then
    util.fail("argument", ("bootstrap: %d cells leave no residuals beside %d parameters"):format(points, fit.k))
  end
  local factor = math.sqrt(points / (points - fit.k))
  for r = 1, n do
    local y = {}
    for i, pt in ipairs(fit.points) do
      y[i] = fitted[i] + (random:next() < 0 and -1 or 1) * factor * (pt.y - fitted[i])
    end
    out[r] = y
  end
  return out
end

local function case_draws(fit, n, random)
  local several, out = false, {}
  for _, pt in ipairs(fit.points) do several = several or #pt.cell.values > 1 end
  if not several then
    util.fail("argument", "bootstrap: no cell has more than one seed", nil, "use kind = \"residual\"")
  end
  for r = 1, n do
    local y = {}
    for i, pt in ipairs(fit.points) do
      local values, sum = pt.cell.values, 0.0
      for _ = 1, #values do sum = sum + values[random:range(1, #values)] end
      y[i] = fit.link.to(sum / #values)
    end
    out[r] = y
  end
  return out
end

function Bootstrap:init(fit, o)
  o = util.options(o, { n = 1, kind = 1, seed = 1, level = 1 }, "bootstrap")
  self.fit, self.level = fit, o.level or 0.95
  local n = util.integer(o.n or 2000, "bootstrap: n", 1)
  local kind = o.kind or "residual"
  local make = ({ residual = residual_draws, case = case_draws })[kind]
  if not make then
    util.fail("argument", ("bootstrap: there is no kind %q"):format(tostring(kind)), nil,
              util.suggest(tostring(kind), { "residual", "case" }))
  end
  local values = make(fit, n, det.random(o.seed or 1))
  self.draws = {}
  for _, s in ipairs(fit:solve(fit:problem(fit.points), values, fit.theta)) do
    if s.sse == s.sse then self.draws[#self.draws + 1] = s end
  end
end

-- Fits without one cell each, for BCa; made once.
local function jackknife(self)
  if self.leave_one_out then return self.leave_one_out end
  local fit, out = self.fit, {}
  for skip = 1, #fit.points do
    local points, y = {}, {}
    for i, pt in ipairs(fit.points) do
      if i ~= skip then points[#points + 1], y[#y + 1] = pt, pt.y end
    end
    out[skip] = fit:solve(fit:problem(points), { y }, fit.theta)[1]
  end
  self.leave_one_out = out
  return out
end

-- The levels at which BCa reads the draws.
local function bca_levels(self, values, estimate, statistic, tails)
  local below = 0
  for _, v in ipairs(values) do below = below + (v < estimate and 1 or v == estimate and 0.5 or 0) end
  local z0 = normal_quantile(below / #values)
  local left_out, mean = {}, 0.0
  for i, s in ipairs(jackknife(self)) do left_out[i] = statistic(s) or estimate end
  for _, v in ipairs(left_out) do mean = mean + v / #left_out end
  local cubes, squares = 0.0, 0.0
  for _, v in ipairs(left_out) do
    cubes, squares = cubes + (mean - v) ^ 3, squares + (mean - v) ^ 2
  end
  local a = squares > 0 and cubes / (6 * squares ^ 1.5) or 0.0
  local out = {}
  for i, p in ipairs(tails) do
    local z = z0 + normal_quantile(p)
    out[i] = math.abs(z0) == math.huge and p or normal_cdf(z0 + z / (1 - a * z))
  end
  return out
end

--- The interval of a statistic.
---@param statistic fun(solution: table): number? of a solution { theta, beta }; nil: it has none
---@param o { method: string?, level: number? }? method "percentile" (default) or "bca"
---@return { lo: number, hi: number, estimate: number?, share: number } share: of the draws that have the statistic
function Bootstrap:interval(statistic, o)
  o = util.options(o, { method = 1, level = 1 }, "bootstrap:interval")
  local values = {}
  for _, s in ipairs(self.draws) do
    local v = statistic(s)
    if v and v == v then values[#values + 1] = v end
  end
  local estimate = statistic(self.fit.solution)
  if #values == 0 then return { lo = math.huge, hi = -math.huge, estimate = estimate, share = 0.0 } end
  table.sort(values)
  local tail = (1 - (o.level or self.level)) / 2
  local levels = { tail, 1 - tail }
  if o.method == "bca" and estimate then levels = bca_levels(self, values, estimate, statistic, levels) end
  return { lo = quantile(values, levels[1]), hi = quantile(values, levels[2]), estimate = estimate,
           share = #values / #self.draws }
end

--- The interval of where axis k has its peak.
---@param k integer
function Bootstrap:peak(k, o)
  local fit = self.fit
  return self:interval(function(s) return fit:peak_of(s, k) end, o)
end

--- The interval of a prediction.
---@param cell table
---@param surface integer|string?
function Bootstrap:predict(cell, surface, o)
  local fit = self.fit
  return self:interval(function(s) return fit:predict(cell, surface, s) end, o)
end

--- The standard deviation of a prediction over the draws.
function Bootstrap:spread(cell, surface)
  local sum, squares, n = 0.0, 0.0, #self.draws
  for _, s in ipairs(self.draws) do
    local v = self.fit:predict(cell, surface, s)
    sum, squares = sum + v, squares + v * v
  end
  return math.sqrt(math.max(squares / n - (sum / n) ^ 2, 0))
end

function intervals.bootstrap(fit, o) return Bootstrap(fit, o) end

-- ---- Profiles ---------------------------------------------------------------------------------

-- The least SSE with exponent k held at a: its terms become linear columns.
local function held_sse(fit, k, a)
  local x, z, w, y = {}, {}, {}, {}
  for i, pt in ipairs(fit.points) do
    local others, columns = {}, { forms.term(fit.form, pt.x[k], a, fit.p) }
    for j, v in ipairs(pt.x) do if j ~= k then others[#others + 1] = v end end
    for s = 1, #fit.surfaces do columns[#columns + 1] = s == pt.surface and 1.0 or 0.0 end
    x[i], z[i], w[i], y[i] = others, columns, pt.w, pt.y
  end
  local _, _, sse = quern.law_fit(quern.f64(x), quern.f64(z), quern.f64 { y }, quern.full({ #x[1] }, fit.p, "f64"),
    quern.f64(w), nil, nil, { form = fit.form, guard = fit.guard })
  return sse[1]:item()
end

-- From the estimate outwards, doubling the step until the bound is passed, then bisection.
local function edge(fit, k, bound, toward)
  local a0 = fit.theta[k]
  local function beyond(a) return fit.n * math.log(held_sse(fit, k, a) / fit.sse) > bound end
  local inside, step = a0, math.abs(a0) * 0.05 * toward
  local limit = toward * a0 > 0 and a0 * 20 or 0.0         -- away from zero, or to it
  local outside
  while not outside do
    local a = inside + step
    if (toward > 0) == (a > limit) and (limit ~= 0 or a * a0 <= 0) then return limit, true end
    if beyond(a) then outside = a else inside, step = a, step * 2 end
  end
  for _ = 1, 40 do
    local middle = (inside + outside) / 2
    if beyond(middle) then outside = middle else inside = middle end
  end
  return inside, false
end

--- The profile-likelihood interval of an exponent.
---@param fit perflaw.Fit one weight for all surfaces, squared loss
---@param k integer axis
---@param level number? 0.95
---@return { lo: number, hi: number, open_lo: boolean, open_hi: boolean } open: the bound is not reached there
function intervals.profile(fit, k, level)
  if not forms.curved(fit.form) or fit.split > 1 or fit.measured or fit.huber > 0 then
    util.fail("unsupported", "profile: needs a fit of repo, paper or power with shared weights and squared loss")
  end
  local z = normal_quantile(0.5 + (level or 0.95) / 2)
  local lo, open_lo = edge(fit, k, z * z, -1)
  local hi, open_hi = edge(fit, k, z * z, 1)
  return { lo = lo, hi = hi, open_lo = open_lo, open_hi = open_hi }
end

return intervals
