--- Statistics of a fit: ranks, Spearman's correlation, the share of variance explained.
-- SPDX-License-Identifier: MIT

local quern = require "quern"

local statistics = {}

-- Ranks from 1; equal values share the mean of theirs.
local function ranks(t)
  local order, values, out = quern.argsort(t):totable(), t:totable(), {}
  local i, n = 1, #order
  while i <= n do
    local j = i
    while j < n and values[order[j + 1] + 1] == values[order[i] + 1] do j = j + 1 end
    for k = i, j do out[order[k] + 1] = (i + j) / 2 end
    i = j + 1
  end
  return out
end

--- Pearson's correlation of two lists; NaN when one of them is constant.
---@param a number[]
---@param b number[]
---@return number
function statistics.pearson(a, b)
  local n, ma, mb = #a, 0.0, 0.0
  for i = 1, n do ma, mb = ma + a[i] / n, mb + b[i] / n end
  local aa, bb, ab = 0.0, 0.0, 0.0
  for i = 1, n do
    local x, y = a[i] - ma, b[i] - mb
    aa, bb, ab = aa + x * x, bb + y * y, ab + x * y
  end
  return ab / math.sqrt(aa * bb)
end

--- Spearman's rank correlation of two vectors, ties sharing their mean rank.
---@param a userdata [N]
---@param b userdata [N]
---@return number
function statistics.spearman(a, b) return statistics.pearson(ranks(a), ranks(b)) end

--- 1 - SSE / SST; NaN when y is constant.
---@param y userdata [N]
---@param guess userdata [N]
---@return number
function statistics.r2(y, guess)
  y, guess = y:cast "f64", guess:cast "f64"
  local e, d = y - guess, y - y:mean():item()
  return 1 - (e * e):sum():item() / (d * d):sum():item()
end

--- The deviation of all values of some tensors together.
---@param tensors table<string, userdata>
---@param names string[]
---@return number std, number mean
function statistics.deviation(tensors, names)
  local n, sum, squares = 0, 0.0, 0.0
  for _, name in ipairs(names) do
    local t = tensors[name]:cast "f64"
    n, sum, squares = n + t:numel(), sum + t:sum():item(), squares + (t * t):sum():item()
  end
  local mean = sum / n
  return math.sqrt(math.max(squares / n - mean * mean, 0)), mean
end

return statistics
