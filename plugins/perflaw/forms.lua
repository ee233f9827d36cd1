--- Forms: the shapes that a metric is fitted by, over x = ln of depth, width and data.
--
--   repo       sum_k b_k g(x_k; a_k, p_k) + c     g(x; a, p) = -a x - exp(-a x) / p
--   paper      sum_k b_k (x_k + p_k exp(-a_k x_k)) + c
--   power      sum_k b_k exp(-a_k x_k) + c,  a_k > 0
--   loglinear  sum_k b_k x_k + c
--   quadlog    sum_k (b_k x_k + e_k x_k^2) + c
--
-- g is concave in x for both signs of a, with its only stationary point, a maximum of
-- ln p - 1, at x = -ln(p) / a: a depth or width of p^(-1/a). (Shen et al. 2024; the first two
-- differ in that the repository ties the power's coefficient to its exponent.)
-- SPDX-License-Identifier: MIT

local util = require "quern.util"

local forms = {}

forms.names = { "repo", "paper", "power", "loglinear", "quadlog" }

--- g of the repository form.
---@param x number depth, width or data, > 0
---@param a number exponent, not 0
---@param p number shape, > 0
---@return number
function forms.g(x, a, p) return -a * math.log(x) - x ^ -a / p end

--- Its derivatives by a, by ln x and by p.
---@return number da, number dlnx, number dp
function forms.g_slopes(x, a, p)
  local e, l = x ^ -a, math.log(x)
  return l * (e / p - 1), a * (e / p - 1), e / p ^ 2
end

local axis = {
  repo = function(x, a, p) return -a * x - math.exp(-a * x) / p end,
  paper = function(x, a, p) return x + p * math.exp(-a * x) end,
  power = function(x, a) return math.exp(-a * x) end,
}

--- Does a form search exponents? The others are solved at once.
---@param form string
---@return boolean
function forms.curved(form) return axis[form] ~= nil end

--- The value of an axis' term without its weight.
---@param form string
---@param x number ln of the axis' value
---@param a number exponent
---@param p number shape
---@return number
function forms.term(form, x, a, p) return axis[form](x, a, p) end

--- The linear columns of a form at a point, the constant not among them.
---@param form string
---@param x number[] ln of each axis
---@return number[]
function forms.columns(form, x)
  local out = {}
  if forms.curved(form) then return out end
  for k, v in ipairs(x) do out[k] = v end
  for _, v in ipairs(form == "quadlog" and x or {}) do out[#out + 1] = v * v end
  return out
end

--- Where an axis' term is stationary, in its own units; nil where it is nowhere.
---@param form string
---@param a number? exponent; of quadlog: b, the linear coefficient
---@param p number? shape; of quadlog: e, the quadratic one
---@return number?
function forms.stationary(form, a, p)
  local x
  if form == "repo" then x = -math.log(p) / a
  elseif form == "paper" and a * p > 0 then x = math.log(a * p) / a
  elseif form == "quadlog" and p ~= 0 then x = -a / (2 * p) end
  return x and x < 700 and math.exp(x) or nil
end

---@param form string
function forms.check(form, who)
  for _, name in ipairs(forms.names) do if name == form then return form end end
  util.fail("argument", ("%s: there is no form %q"):format(who, tostring(form)), nil,
            util.suggest(tostring(form), forms.names))
end

return forms
