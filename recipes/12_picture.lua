-- HR@10 against depth, a line for each backbone, from the runs of recipe 12 below a folder:
--   quern lua recipes/12_picture.lua runs depth.svg
-- Runs that differ by their seed alone are averaged; of several learning rates each point takes the one with the best
-- NDCG@10 on the validation events. The points are printed too. SPDX-License-Identifier: MIT
local quern = require "quern"
local chart = require "quern.chart"
local sys = require "quern.sys"
local util = require "quern.util"

local folder, path, metric = arg[1] or "runs", arg[2] or "depth.svg", arg[3] or "HR@10"

local function mean(list, key)
  local sum = 0.0
  for _, m in ipairs(list) do sum = sum + (m[key] or 0.0) end
  return sum / #list
end

-- The table below t[key], made if it is not there.
local function below(t, key)
  t[key] = t[key] or {}
  return t[key]
end

-- backbone -> depth -> rate -> list of metrics
local found, n = {}, 0
for _, entry in ipairs(sys.list(folder)) do
  local text = sys.try_read(folder .. "/" .. entry .. "/report.json")
  for _, r in ipairs(text and quern.json.decode(text) or {}) do
    local m = r.metrics
    if m.depth and m.rate then
      table.insert(below(below(below(found, r.label), m.depth), m.rate), m)
      n = n + 1
    end
  end
end
if n == 0 then util.fail("not_found", "no finished runs of recipe 12 below " .. folder) end

local series = {}
for name, by_depth in util.sorted(found) do
  local points = {}
  for depth, by_rate in util.sorted(by_depth) do
    local best
    for rate, list in util.sorted(by_rate) do
      local valid = mean(list, "valid NDCG@10")
      if not best or valid > best.valid then best = { rate = rate, valid = valid, list = list } end
    end
    points[#points + 1] = { depth, mean(best.list, metric) }
    print(("%-8s %2d blocks  %s %.4f  loss %.3f  rate %g, best epoch %g, %d runs"):format(name, depth, metric,
      points[#points][2], mean(best.list, "loss"), best.rate, mean(best.list, "best_epoch"), #best.list))
  end
  table.sort(points, function(a, b) return a[1] < b[1] end)
  series[#series + 1] = { name = name, points = points }
end
sys.write_file(path, chart.file(chart.line { title = metric .. " against depth", x = "blocks", series = series }))
print(("%s: %d runs"):format(path, n))
