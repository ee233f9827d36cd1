--- Stats: mean, spread, and the paired t-test with Holm's correction.
--
-- t = mean(d) / (sd(d) / sqrt n),  d_i = a_i - b_i,  n - 1 degrees of freedom (Student 1908)
-- p = I_x(nu/2, 1/2),  x = nu / (nu + t^2)      two-sided
-- I_x(a, b) is the regularized incomplete beta function, by its continued fraction
-- (DLMF 8.17.22) in Lentz's form. Holm (1979): the i-th smallest of m values is multiplied
-- by m - i + 1, and none is less than one before it.
-- SPDX-License-Identifier: MIT

local stats = {}

---@param list number[]
---@return number
function stats.mean(list)
  local sum = 0.0
  for _, v in ipairs(list) do sum = sum + v end
  return sum / #list
end

--- The standard deviation of a sample; 0 of a single value.
---@param list number[]
---@return number
function stats.sd(list)
  if #list < 2 then return 0.0 end
  local mean, sum = stats.mean(list), 0.0
  for _, v in ipairs(list) do sum = sum + (v - mean) ^ 2 end
  return math.sqrt(sum / (#list - 1))
end

-- ln Gamma(x), x > 0: Stirling's series after shifting x above 10.
local function log_gamma(x)
  local shift = 0.0
  while x < 10 do
    shift = shift + math.log(x)
    x = x + 1
  end
  local r = 1 / (x * x)
  return (x - 0.5) * math.log(x) - x + 0.5 * math.log(2 * math.pi) - shift
    + (1 / 12 - r * (1 / 360 - r * (1 / 1260 - r / 1680))) / x
end

local TINY, CLOSE, MOST = 1e-300, 1e-15, 500

local function not_zero(x) return math.abs(x) < TINY and TINY or x end

-- The continued fraction of I_x(a, b), which converges fast for x < (a + 1) / (a + b + 2).
local function fraction(x, a, b)
  local c, d = 1.0, 1 / not_zero(1 - (a + b) * x / (a + 1))
  local f = d
  for m = 1, MOST do
    local even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
    d, c = 1 / not_zero(1 + even * d), not_zero(1 + even / c)
    f = f * d * c
    local odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
    d, c = 1 / not_zero(1 + odd * d), not_zero(1 + odd / c)
    f = f * d * c
    if math.abs(d * c - 1) < CLOSE then break end
  end
  return f
end

--- The regularized incomplete beta function I_x(a, b).
---@param x number in 0..1
---@param a number positive
---@param b number positive
---@return number
function stats.beta(x, a, b)
  if x <= 0 then return 0.0 elseif x >= 1 then return 1.0 end
  local front = math.exp(log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * math.log(x) + b * math.log(1 - x))
  if x < (a + 1) / (a + b + 2) then return front * fraction(x, a, b) / a end
  return 1 - front * fraction(1 - x, b, a) / b
end

--- The two-sided paired t-test; nil for fewer than two pairs.
---@param a number[]
---@param b number[]
---@return number? p
---@return number? t
function stats.paired_t(a, b)
  local d = {}
  for i = 1, #a do d[i] = a[i] - b[i] end
  if #d < 2 then return nil end
  local mean, sd = stats.mean(d), stats.sd(d)
  if sd == 0 then return mean == 0 and 1.0 or 0.0, mean == 0 and 0.0 or mean / 0.0 end
  local t, nu = mean / (sd / math.sqrt(#d)), #d - 1
  return stats.beta(nu / (nu + t * t), nu / 2, 0.5), t
end

--- Holm's correction of p values; places without one (false) stay.
---@param list (number|false)[]
---@return (number|false)[]
function stats.holm(list)
  local order, out, least = {}, {}, 0.0
  for i, p in ipairs(list) do
    out[i] = false
    if p then order[#order + 1] = i end
  end
  table.sort(order, function(i, j) return list[i] < list[j] or list[i] == list[j] and i < j end)
  for rank, i in ipairs(order) do
    least = math.max(least, math.min(1.0, list[i] * (#order - rank + 1)))
    out[i] = least
  end
  return out
end

return stats
