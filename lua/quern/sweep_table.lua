--- The table of a sweep: for each point the mean and spread of its metrics over seeds, and
-- how sure it is that the best is better: p of the paired t-test against the best point over
-- the seeds that both have, with Holm's correction for the number of points.
-- SPDX-License-Identifier: MIT

local util = require "quern.util"
local stats = require "quern.stats"

local sweep_table = {}

--- Is a metric better when smaller?
---@param metric string
---@return boolean
function sweep_table.smaller_is_better(metric)
  local m = metric:lower()
  return (m:find("loss") or m:find("rmse") or m:find("mse") or m:find("mae") or m:find("error")) ~= nil
end

-- Metrics of a run by name; LABEL/METRIC where its report has several labels.
local function metrics_of(s)
  local out = {}
  for _, report in ipairs(s.reports) do
    for name, v in pairs(report.metrics) do
      if type(v) == "number" then out[#s.reports > 1 and report.label .. "/" .. name or name] = v end
    end
  end
  return out
end

--- Points with what their runs gave, in the order of wanting.
---@param wanted quern.Wanted[]
---@param here table<string, quern.StoredRun> by key
---@return table[] points label, sets, n (wanted), by_seed (seed -> metrics), states (status -> count)
function sweep_table.points(wanted, here)
  local points, by_label = {}, {}
  for _, w in ipairs(wanted) do
    local p = by_label[w.label]
    if not p then
      p = { label = w.label, sets = w.sets, n = 0, by_seed = {}, states = {} }
      by_label[w.label], points[#points + 1] = p, p
    end
    local s = here[w.key]
    local status = s and s.status or "missing"
    p.n, p.states[status] = p.n + 1, (p.states[status] or 0) + 1
    if status == "done" then p.by_seed[w.seed] = metrics_of(s) end
  end
  return points
end

--- The values of a metric, by rising seed.
local function values_of(p, metric)
  local out = {}
  for _, seed in ipairs(util.keys(p.by_seed)) do out[#out + 1] = p.by_seed[seed][metric] end
  return out
end

local function metric_names(points)
  local seen = {}
  for _, p in ipairs(points) do
    for _, m in pairs(p.by_seed) do for name in pairs(m) do seen[name] = true end end
  end
  return util.keys(seen)
end

--- Points from best to worst by the mean of a metric; those without any come last.
---@param points table[]
---@param metric string
---@return table[]
function sweep_table.ranked(points, metric)
  local out, mean, at = {}, {}, {}
  local sign = sweep_table.smaller_is_better(metric) and 1 or -1
  for i, p in ipairs(points) do
    local values = values_of(p, metric)
    out[i], at[p] = p, i
    mean[p] = #values > 0 and sign * stats.mean(values) or math.huge
    if mean[p] ~= mean[p] then mean[p] = math.huge end
  end
  table.sort(out, function(a, b)
    if mean[a] ~= mean[b] then return mean[a] < mean[b] end
    return at[a] < at[b]
  end)
  return out
end

--- The metric that decides: the one asked for, else the first of the paper's, else the first.
---@param points table[]
---@param by string?
---@param paper table?
---@return string?
function sweep_table.metric(points, by, paper)
  local names = metric_names(points)
  local known = {}
  for _, name in ipairs(names) do known[name] = true end
  if by and #names > 0 and not known[by] then
    util.fail("usage", ("no run reports a metric %q"):format(by), nil, util.suggest(by, names))
  end
  if by then return by end
  for name in util.sorted(type(paper) == "table" and paper or {}) do if known[name] then return name end end
  return names[1]
end

-- p of each point against the best, corrected; false where seeds are too few.
local function against(best, points, metric)
  local list = {}
  for i, p in ipairs(points) do
    local a, b = {}, {}
    for _, seed in ipairs(util.keys(best.by_seed)) do
      local x, y = best.by_seed[seed][metric], p.by_seed[seed] and p.by_seed[seed][metric]
      if x and y then a[#a + 1], b[#b + 1] = x, y end
    end
    list[i] = p ~= best and stats.paired_t(a, b) or false
  end
  return stats.holm(list)
end

local function p_text(p, is_best)
  if is_best then return "best" end
  if not p then return "-" end
  return p < 1e-4 and "<0.0001" or ("%.4f"):format(p)
end

local function state_text(p)
  local parts = {}
  for status, n in util.sorted(p.states) do if status ~= "done" then parts[#parts + 1] = n .. " " .. status end end
  return table.concat(parts, ", ")
end

local function mean_text(values)
  if #values == 0 then return "-" end
  return util.number(stats.mean(values)) .. (#values > 1 and " ± " .. util.number(stats.sd(values)) or "")
end

--- The table as text, from the best point to the worst.
---@param points table[]
---@param metric string? that decides
---@return string
function sweep_table.text(points, metric)
  if not metric then return "no run has reported anything yet" end
  local ranked, names = sweep_table.ranked(points, metric), { metric }
  for _, name in ipairs(metric_names(points)) do if name ~= metric then names[#names + 1] = name end end
  local rows = { { "settings", "runs" } }
  for _, name in ipairs(names) do table.insert(rows[1], name) end
  table.insert(rows[1], 4, "p")
  table.insert(rows[1], "")
  local ps, right = against(ranked[1], ranked, metric), {}
  for i, p in ipairs(ranked) do
    local row = { p.label, ("%d/%d"):format(p.states.done or 0, p.n) }
    for _, name in ipairs(names) do row[#row + 1] = mean_text(values_of(p, name)) end
    table.insert(row, 4, p_text(ps[i], i == 1))
    row[#row + 1] = state_text(p)
    rows[#rows + 1] = row
  end
  for i = 2, #rows[1] - 1 do right[i] = true end
  local key = ("by %s, %s is better; mean ± standard deviation over seeds; p: paired t-test against the best, "
    .. "Holm-corrected"):format(metric, sweep_table.smaller_is_better(metric) and "smaller" or "larger")
  return util.table(rows, { right = right }) .. "\n\n" .. key
end

return sweep_table
