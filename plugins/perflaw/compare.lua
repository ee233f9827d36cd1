--- Compare: forms beside each other, and how well they foretell sizes they have not seen.
--
-- For each form: R2, AICc, the root mean square error of leaving one cell out, and of
-- holding out the largest depth, the largest width, both, and the single largest model,
-- in percent of the surface's mean metric. A form wins by AICc; those within 2 of it are
-- named with it (Burnham and Anderson 2002).
-- SPDX-License-Identifier: MIT

local forms = require "perflaw.forms"
local law = require "perflaw.law"
local util = require "quern.util"

local compare = {}

local CLOSE = 2.0

local function values_of(points)
  local y = {}
  for i, pt in ipairs(points) do y[i] = pt.y end
  return y
end

-- Fits the points that keep says, predicts the others: their errors, and the points.
local function held_out(fit, keep)
  local train, test, errors = {}, {}, {}
  for _, pt in ipairs(fit.points) do
    local list = keep(pt) and train or test
    list[#list + 1] = pt
  end
  if #train <= fit.k or #test == 0 then return nil end
  local s = fit:solve(fit:problem(train), { values_of(train) })[1]
  for i, pt in ipairs(test) do
    errors[i] = fit.link.from(fit:linked(s, pt.x, pt.surface)) - pt.cell.value
  end
  return errors, test
end

local function percent(fit, errors)
  local squares, mean = 0.0, 0.0
  for _, e in ipairs(errors) do squares = squares + e * e end
  for _, pt in ipairs(fit.points) do mean = mean + pt.cell.value / #fit.points end
  return 100 * math.sqrt(squares / #errors) / mean
end

local function largest(fit, k)
  local most = -math.huge
  for _, pt in ipairs(fit.points) do most = math.max(most, pt.x[k]) end
  return function(pt) return pt.x[k] == most end
end

--- Errors of the largest sizes when fitted without them, in percent of the mean metric.
---@param fit perflaw.Fit
---@return table { [axis 1], [axis 2], both, largest } each { rmse, cells = { { x, value, error } } } or nil
function compare.holdout(fit)
  local at = { largest(fit, 1), #fit.axes > 1 and largest(fit, 2) or nil }
  local kinds = { [fit.axes[1]] = at[1] }
  if at[2] then
    kinds[fit.axes[2]] = at[2]
    kinds.both = function(pt) return at[1](pt) or at[2](pt) end
    kinds.largest = function(pt) return at[1](pt) and at[2](pt) end
  end
  local out = {}
  for name, is_out in pairs(kinds) do
    local errors, cells = held_out(fit, function(pt) return not is_out(pt) end)
    if errors then
      out[name] = { rmse = percent(fit, errors), cells = {} }
      for i, pt in ipairs(cells) do
        out[name].cells[i] = { x = pt.cell.x, value = pt.cell.value, error = errors[i], surface = pt.surface }
      end
    end
  end
  return out
end

--- The error of each cell when fitted without it, in percent of the mean metric.
---@param fit perflaw.Fit
---@return number? rmse
function compare.leave_one_out(fit)
  local all = {}
  for _, out in ipairs(fit.points) do
    local errors = held_out(fit, function(pt) return pt ~= out end)
    if not errors then return nil end
    all[#all + 1] = errors[1]
  end
  return percent(fit, all)
end

--- Does the value of the held-out largest model lie inside the 95 % band of a fit without it?
---@param fit perflaw.Fit
---@param o table? options of bootstrap
---@return table? { value, predicted, lo, hi, inside }
function compare.largest_inside(fit, o)
  local at = {}
  for k = 1, #fit.axes do at[k] = largest(fit, k) end
  local kept, out = {}, nil
  for _, pt in ipairs(fit.points) do
    local is_out = true
    for k = 1, #at do is_out = is_out and at[k](pt) end
    if is_out then out = pt else kept[#kept + 1] = pt end
  end
  if not out or #kept <= fit.k then return nil end
  local part = setmetatable({ points = kept }, { __index = fit })
  part.solution = fit:solve(fit:problem(kept), { values_of(kept) })[1]
  part.theta = part.solution.theta
  local band = require("perflaw.intervals").bootstrap(part, o):predict(out.cell.x, out.surface)
  return { value = out.cell.value, predicted = band.estimate, lo = band.lo, hi = band.hi,
           inside = band.lo <= out.cell.value and out.cell.value <= band.hi }
end

---@class perflaw.CompareRow
---@field form string
---@field fit perflaw.Fit
---@field r2 number
---@field aicc number
---@field loo_rmse number? percent of the mean metric
---@field holdout table see compare.holdout
---@field winner boolean
---@field close boolean within 2 AICc of the winner

--- Fits several forms to the same rows; the winner by AICc first in the second result.
---@param o table options of perflaw.fit, and forms = { "repo", ... }
---@return perflaw.CompareRow[]
---@return string verdict
function compare.forms(o)
  o = util.copy(o)
  local names, rows, best = o.forms or forms.names, {}, nil
  o.forms = nil
  for i, name in ipairs(names) do
    o.form = forms.check(name, "perflaw.compare")
    local fit = law.fit(o)
    rows[i] = { form = name, fit = fit, r2 = fit.r2, aicc = fit.aicc, loo_rmse = compare.leave_one_out(fit),
                holdout = compare.holdout(fit) }
    if not best or fit.aicc < best.aicc then best = rows[i] end
  end
  local close = {}
  for _, r in ipairs(rows) do
    r.winner, r.close = r == best, r.aicc - best.aicc <= CLOSE
    if r.close and not r.winner then close[#close + 1] = r.form end
  end
  local verdict = #close == 0 and best.form .. " wins by AICc"
    or ("%s is least in AICc; %s lies within %g of it: the cells do not tell them apart"):format(best.form,
       table.concat(close, ", "), CLOSE)
  return rows, verdict
end

return compare
