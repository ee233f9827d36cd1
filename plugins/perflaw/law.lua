--- Law: a fitted form, what it predicts and how well it fits.
--
--   local fit = perflaw.fit { data = rows, metric = "NDCG@10" }
--   print(fit.r2, fit.theta[1], fit:predict { 16, 64 })
--
-- A fit is a least-squares solution over all surfaces it was given. Each surface has a
-- constant of its own; exponents are shared, and so are weights unless share = "exponents".
-- For one surface the data term is a part of that constant and cannot be told from it:
-- fit:data_term() says so. With data_term = "measured" the constants give way to
-- kappa g(D_s / D_0; a_D, p2) + b over at least four surfaces, D_0 the geometric mean.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"
local util = require "quern.util"
local forms = require "perflaw.forms"
local surface = require "perflaw.surface"

local law = {}

local LEAST_SURFACES = 4         -- for a measured data term: three unknowns

local known = { data = 1, metric = 1, x = 1, form = 1, p = 1, p2 = 1, link = 1, share = 1, group = 1, where = 1,
  data_term = 1, quality = 1, weights = 1, huber = 1, guard = 1 }

---@class perflaw.FitOptions
---@field data table[] rows (perflaw.read, perflaw.runs, or by hand)
---@field metric string "HR@10", "NDCG@10", ...
---@field x string[]? axes, columns of the rows; { "layers", "dim" }
---@field form string? "repo" (default), "paper", "power", "loglinear", "quadlog"
---@field p number|number[]? shape of the axes' terms, 2; of several the best is taken
---@field p2 number? shape of the data term, 2
---@field link string? "identity" (default) or "logit": predictions stay in 0..1
---@field share string? of several surfaces: "all" (default) or "exponents"
---@field group string[]? columns that tell surfaces apart; { "dataset", "maxlen", "backbone" }
---@field where table|function? which rows
---@field data_term string? "constant" (default) or "measured"
---@field quality string|function? the measured data term; "tokens/apen"
---@field weights string? "none" (default), "seeds" (n per cell) or "binomial" (needs a column users)
---@field huber number? bound beyond which residuals count by their size; 0: squares
---@field guard number? most |exponent| times the range of ln x; 6, power laws 24

---@class perflaw.Fit
---@field form string
---@field theta number[] exponent of each axis (empty for loglinear, quadlog)
---@field weights number[][] [axis][surface or 1] of curved forms
---@field coefficients number[] of linear columns, then constants
---@field r2 number of the metric itself, pooled over surfaces
---@field sse number weighted, of the linked metric
---@field aicc number
---@field optima integer places at which the search ended
local Fit = class("PerformanceLaw")
law.Fit = Fit

-- ---- Links ------------------------------------------------------------------------------

local links = {
  identity = { to = function(v) return v end, from = function(v) return v end },
  logit = { to = function(v) return math.log(v / (1 - v)) end, from = function(v) return 1 / (1 + math.exp(-v)) end },
}

-- ---- The problem as tensors ---------------------------------------------------------------

local function matrix(rows, columns)
  if columns == 0 or #rows == 0 then return quern.zeros(#rows, columns, "f64") end
  return quern.f64(rows)
end

local function weight_of(cell, kind, who)
  if kind == "seeds" then return #cell.values end
  if kind ~= "binomial" then return 1 end
  if not surface.positive(cell.users) then
    util.fail("argument", ("%s: binomial weights need the number of users of each row"):format(who), nil,
              "add a column users, or use weights = \"none\"")
  end
  local v = math.min(math.max(cell.value, 1 / cell.users), 1 - 1 / cell.users)
  return cell.users / (v * (1 - v))
end

-- Points of all surfaces: ln x, the linked value, the surface.
local function points_of(self, who)
  local out = {}
  for s, surf in ipairs(self.surfaces) do
    for _, cell in ipairs(surf.cells) do
      local x = {}
      for k, v in ipairs(cell.x) do x[k] = math.log(v) end
      if self.measured then x[#x + 1] = surf.ln_d end
      local y = self.link.to(cell.value)
      if y ~= y or math.abs(y) == math.huge then
        util.fail("argument", ("%s: a value of %g has no logit"):format(who, cell.value), nil,
                  "use link = \"identity\"")
      end
      out[#out + 1] = { x = x, y = y, cell = cell, surface = s, w = weight_of(cell, self.weighting, who) }
    end
  end
  return out
end

-- Linear columns at a point: the form's own, then the constants.
local function linear_columns(self, x, s)
  local z = forms.columns(self.form, x)
  local n = self.measured and 1 or #self.surfaces
  for i = 1, n do z[#z + 1] = (n == 1 or i == s) and 1.0 or 0.0 end
  return z
end

local function problem(self, points)
  local x, z, w, group = {}, {}, {}, {}
  local curved = forms.curved(self.form)
  for i, pt in ipairs(points) do
    x[i], z[i], w[i], group[i] = pt.x, linear_columns(self, pt.x, pt.surface), pt.w, pt.surface - 1
  end
  local axes = curved and #points[1].x or 0
  return { x = matrix(curved and x or {}, axes), z = matrix(z, #z[1]), w = quern.f64(w), n = #points, axes = axes,
           group = self.split > 1 and quern.i64(group) or nil }
end

--- Fits rows of values over the cells of a problem.
---@param p table of law.problem
---@param values number[][]
---@param start number[]? exponents near which to search
---@return table[] { theta, beta, sse, optima }
function Fit:solve(p, values, start)
  local shapes = {}
  for k = 1, p.axes do shapes[k] = k == #self.axes + 1 and self.p2 or self.p end
  local x = p.axes == 0 and quern.zeros(p.n, 0, "f64") or p.x
  local theta, beta, sse, optima = quern.law_fit(x, p.z, quern.f64(values),
    p.axes == 0 and quern.zeros(0, "f64") or quern.f64(shapes), p.w, p.axes > 0 and p.group or nil,
    start and p.axes > 0 and quern.f64(start) or nil,
    { form = forms.curved(self.form) and self.form or "repo", split = p.axes > 0 and self.split or 1,
      guard = self.guard, huber = self.huber })
  local t, b, e, o = p.axes > 0 and theta:totable(), beta:totable(), sse:totable(), optima:totable()
  local out = {}
  for i = 1, #values do out[i] = { theta = t and t[i] or {}, beta = b[i], sse = e[i], optima = o[i] } end
  return out
end

function Fit:problem(points) return problem(self, points) end

-- ---- Values -------------------------------------------------------------------------------

--- The linked value that a solution gives at a point.
---@param solution table { theta, beta }
---@param x number[] ln of the axes
---@param s integer surface
---@return number
function Fit:linked(solution, x, s)
  local v, at = 0.0, 0
  if forms.curved(self.form) then
    for k = 1, #x do
      local p = k == #self.axes + 1 and self.p2 or self.p
      v = v + solution.beta[(k - 1) * self.split + (self.split > 1 and s or 1)]
        * forms.term(self.form, x[k], solution.theta[k], p)
    end
    at = #x * self.split
  end
  for l, z in ipairs(linear_columns(self, x, s)) do v = v + solution.beta[at + l] * z end
  return v
end

local function ln_cell(self, cell, s)
  local x = {}
  for k, name in ipairs(self.axes) do
    local v = cell[k] or cell[name]
    if not surface.positive(v) then
      util.fail("argument", ("predict: %s is %s; it must be a number above 0"):format(name, tostring(v)))
    end
    x[k] = math.log(v)
  end
  if self.measured then x[#x + 1] = self.surfaces[s].ln_d end
  return x
end

--- The metric predicted for a cell { layers, dim } of a surface.
---@param cell table values by position or by axis
---@param s integer|string? surface, by number or label; 1
---@param solution table? another solution than the fit's own, for instance a bootstrap draw
---@return number
function Fit:predict(cell, s, solution)
  local i = self:surface_index(s)
  return self.link.from(self:linked(solution or self.solution, ln_cell(self, cell, i), i))
end

---@param s integer|string?
---@return integer
function Fit:surface_index(s)
  if s == nil then return 1 end
  for i, surf in ipairs(self.surfaces) do if i == s or surf.label == s then return i end end
  local labels = {}
  for i, surf in ipairs(self.surfaces) do labels[i] = surf.label end
  util.fail("argument", ("the fit has no surface %s"):format(tostring(s)), "there are: " .. table.concat(labels, ", "))
end

-- ---- Goodness ---------------------------------------------------------------------------

local function r2_of(points, fitted)
  local mean, sse, sst = 0.0, 0.0, 0.0
  for _, pt in ipairs(points) do mean = mean + pt.cell.value / #points end
  for i, pt in ipairs(points) do
    sse = sse + (pt.cell.value - fitted[i]) ^ 2
    sst = sst + (pt.cell.value - mean) ^ 2
  end
  return sst > 0 and 1 - sse / sst or 0.0
end

local function goodness(self)
  local fitted, outside = {}, 0
  for i, pt in ipairs(self.points) do
    fitted[i] = self.link.from(self:linked(self.solution, pt.x, pt.surface))
    if fitted[i] < 0 or fitted[i] > 1 then outside = outside + 1 end
  end
  self.fitted, self.r2 = fitted, r2_of(self.points, fitted)
  for s, surf in ipairs(self.surfaces) do
    local points, own = {}, {}
    for i, pt in ipairs(self.points) do
      if pt.surface == s then points[#points + 1], own[#own + 1] = pt, fitted[i] end
    end
    surf.r2 = r2_of(points, own)
  end
  local n, k = #self.points, #self.solution.theta + #self.solution.beta + 1      -- and the variance
  self.n, self.k = n, k - 1
  self.aicc = n - k - 1 > 0 and n * math.log(math.max(self.sse, 1e-300) / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
    or math.huge
  if outside > 0 then
    self:warn(("%d fitted values lie outside 0..1; link = \"logit\" keeps them inside"):format(outside))
  end
end

function Fit:warn(text) self.warnings[#self.warnings + 1] = text end

-- ---- Fitting ------------------------------------------------------------------------------

local function set_data_term(self, o)
  if (o.data_term or "constant") ~= "measured" then return end
  if not forms.curved(self.form) then
    util.fail("argument", "law.fit: a measured data term goes with the forms repo, paper and power")
  end
  if #self.surfaces < LEAST_SURFACES then
    util.fail("argument", ("law.fit: a measured data term has three unknowns; %d surfaces do not identify it"):format(
              #self.surfaces), nil, ("give at least %d data sets or truncation lengths"):format(LEAST_SURFACES))
  end
  self.measured = true
  local mean = 0.0
  for _, s in ipairs(self.surfaces) do
    s.quality = surface.quality("law.fit", s, o.quality or "tokens/apen")
    mean = mean + math.log(s.quality) / #self.surfaces
  end
  self.ln_d0 = mean
  for _, s in ipairs(self.surfaces) do s.ln_d = math.log(s.quality) - mean end
end

local function choose(value, choices, what)
  for _, c in ipairs(choices) do if c == value then return value end end
  util.fail("argument", ("law.fit: %s cannot be %q"):format(what, tostring(value)), nil,
            util.suggest(tostring(value), choices))
end

local function take(self, solution)
  self.solution, self.theta, self.sse, self.optima = solution, solution.theta, solution.sse, solution.optima
  self.weights, self.coefficients = {}, {}
  local axes = #solution.theta
  for k = 1, axes do
    self.weights[k] = { table.unpack(solution.beta, (k - 1) * self.split + 1, k * self.split) }
  end
  for l = axes * self.split + 1, #solution.beta do self.coefficients[#self.coefficients + 1] = solution.beta[l] end
end

local function gather(o, who)
  o = util.options(o, known, who)
  local metric = o.metric or util.fail("argument", who .. ": name the metric", nil, "metric = \"NDCG@10\"")
  return surface.gather(who, o.data or {}, { metric = metric, x = o.x or { "layers", "dim" }, where = o.where,
    group = o.group or { "dataset", "maxlen", "backbone" } })
end

---@param surfaces table[] of surface.gather
---@param o perflaw.FitOptions
function Fit:init(surfaces, o)
  self.warnings, self.surfaces = {}, {}
  for i, s in ipairs(surfaces) do
    self.surfaces[i] = { label = s.label, cells = s.cells, first = s.first }
  end
  self.form = forms.check(o.form or "repo", "law.fit")
  self.axes, self.metric = o.x or { "layers", "dim" }, o.metric
  self.link_name = choose(o.link or "identity", { "identity", "logit" }, "link")
  self.link = links[self.link_name]
  self.weighting = choose(o.weights or "none", { "none", "seeds", "binomial" }, "weights")
  self.share = choose(o.share or "all", { "all", "exponents" }, "share")
  self.p2, self.huber = o.p2 or 2.0, o.huber or 0.0
  self.guard = o.guard or (self.form == "power" and 24.0 or 6.0)
  self.split = self.share == "exponents" and forms.curved(self.form) and #self.surfaces or 1
  set_data_term(self, o)
  self.points = points_of(self, "law.fit")
  self:search(type(o.p) == "table" and o.p or { o.p or 2.0 })
  goodness(self)
end

--- Tries every shape p and keeps the best fit.
function Fit:search(shapes)
  local values, best = {}, nil
  for i, pt in ipairs(self.points) do values[i] = pt.y end
  for _, p in ipairs(shapes) do
    self.p = p
    local s = self:solve(problem(self, self.points), { values })[1]
    if s.sse == s.sse and (not best or s.sse < best.sse) then
      s.p, best = p, s
    end
  end
  if not best then
    util.fail("numeric", "law.fit: no finite fit was found", nil, "look at the values; try form = \"quadlog\"")
  end
  self.p = best.p
  take(self, best)
end

--- The data term D of a surface: measured, or, for constants, a statement that it cannot be known.
---@param s integer|string?
---@return number? value kappa g(D/D0) + b of a measured term; nil otherwise
---@return string? warning
function Fit:data_term(s)
  local i = self:surface_index(s)
  if self.measured then
    local k = #self.axes + 1
    return self.weights[k][self.split > 1 and i or 1] * forms.term(self.form, self.surfaces[i].ln_d, self.theta[k],
      self.p2) + self.coefficients[1]
  end
  local warning = "the data term is a part of the surface's constant: any D gives the same predictions, so none is "
    .. "reported; fit at least four surfaces with data_term = \"measured\""
  self:warn(warning)
  return nil, warning
end

function Fit:__tostring()
  local parts = {}
  for k = 1, #self.theta do parts[k] = ("%s a=%.6g w=%.6g"):format(self.axes[k] or "D", self.theta[k],
    self.weights[k][1]) end
  for l, c in ipairs(self.coefficients) do parts[#parts + 1] = ("c%d=%.6g"):format(l, c) end
  return ("%s of %s: R2 %.6f, SSE %.6e, %d cells, AICc %.2f; %s"):format(self.form, self.metric, self.r2, self.sse,
    self.n, self.aicc, table.concat(parts, ", "))
end

--- Fits one law to all surfaces of the rows.
---@param o perflaw.FitOptions
---@return perflaw.Fit
function law.fit(o) return Fit(gather(o, "law.fit"), o) end

--- Fits a law to each surface of the rows apart.
---@param o perflaw.FitOptions
---@return perflaw.Fit[]
function law.fits(o)
  local out = {}
  for i, s in ipairs(gather(o, "law.fits")) do out[i] = Fit({ s }, o) end
  return out
end

return law
