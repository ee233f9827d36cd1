-- HR@10 against depth, a line for each backbone, from the runs of recipe 12 below a folder:
--   quern lua recipes/12_picture.lua runs depth.svg
-- Runs that differ by their seed alone are averaged. SPDX-License-Identifier: MIT
local quern = require "quern"
local chart = require "quern.chart"
local sys = require "quern.sys"
local util = require "quern.util"

local folder, path, metric = arg[1] or "runs", arg[2] or "depth.svg", arg[3] or "HR@10"

-- backbone -> depth -> list of values
local found, n = {}, 0
for _, entry in ipairs(sys.list(folder)) do
  local text = entry:match "^backbone%-scaling" and sys.try_read(folder .. "/" .. entry .. "/report.json")
  for _, r in ipairs(text and quern.json.decode(text) or {}) do
    local by_depth = found[r.label] or {}
    found[r.label] = by_depth
    by_depth[r.metrics.depth] = by_depth[r.metrics.depth] or {}
    table.insert(by_depth[r.metrics.depth], r.metrics[metric])
    n = n + 1
  end
end
if n == 0 then util.fail("not_found", "no finished runs of recipe 12 below " .. folder) end

local series = {}
for name, by_depth in util.sorted(found) do
  local points = {}
  for depth, values in util.sorted(by_depth) do
    local sum = 0
    for _, v in ipairs(values) do sum = sum + v end
    points[#points + 1] = { depth, sum / #values }
  end
  table.sort(points, function(a, b) return a[1] < b[1] end)
  series[#series + 1] = { name = name, points = points }
end
sys.write_file(path, chart.file(chart.line { title = metric .. " against depth", x = "blocks", series = series }))
print(("%s: %d runs"):format(path, n))
