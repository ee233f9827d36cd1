--- Report: what a set of runs says together: results beside the paper's, spread, curves, conditions.
--
--   local r = quern.report.gather { "runs/hstu-20260101-120000", "runs/hstu-20260101-130000" }
--   local html, charts = quern.report.page(r)
--
-- Runs of the same recipe text, size and settings differ by their seeds alone and form a
-- group: its numbers are a mean and a standard deviation (n - 1) over the seeds. All comes
-- from the runs' folders and nothing from the clock: equal folders give an equal page.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local sys = require "quern.sys"
local runs = require "quern.runs"
local chart = require "quern.chart"

local report = {}

local MOST_CURVES = 24

-- ---- Reading a run's folder --------------------------------------------------------------

local function read_json(path)
  local text = sys.try_read(path)
  if not text then return nil end
  local ok, value = pcall(quern.json.decode, text)
  if not ok then util.fail("format", path .. " is not sound JSON", util.as_error(value).what) end
  return value
end

local function read_records(path)
  local records, text = {}, sys.try_read(path) or ""
  for line in text:gmatch("([^\n]*)\n") do      -- a last line without its end was cut by a kill
    local ok, record = pcall(quern.json.decode, line)
    if ok and type(record) == "table" then records[#records + 1] = record end
  end
  return records
end

local function seconds_of(stamp)
  local y, mo, d, h, mi, s = stamp:match("^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)Z")
  return y and os.time { year = y, month = mo, day = d, hour = h, min = mi, sec = s, isdst = false }
end

-- When a run began, and how long it worked: the pauses before a resume do not count.
local function read_times(run, text)
  local began, last, worked = nil, nil, 0
  for stamp, words in text:gmatch("(%d+%-%d+%-%d+T%d+:%d+:%d+Z) ([^\n]*)") do
    local t = seconds_of(stamp)
    if words:match("^started") or words:match("^resumed") then
      worked = worked + (began and last - began or 0)
      began = t
      run.began = run.began or stamp:sub(1, 16):gsub("T", " ")
    end
    last = t
    run.peak = words:match("^done; peak memory (.+)$") or run.peak
  end
  if began and last then run.seconds = worked + last - began end
end

local function flatten(value, prefix, out)
  for k, v in util.sorted(value) do
    if type(v) == "table" then flatten(v, prefix .. tostring(k) .. ".", out) else out[prefix .. tostring(k)] = v end
  end
  return out
end

-- The recipe's paper numbers: noted by the run; older runs are asked through their recipe.
local function read_about(run)
  local about = read_json(run.folder .. "/about.json")
  if about then return about end
  local ok, r = pcall(function() return require("quern.recipe").load(run.folder .. "/recipe.lua") end)
  return ok and { doc = r.doc, paper = r.paper } or {}
end

--- All that a run's folder says.
---@param folder string
---@return table run
function report.read(folder)
  local found = read_json(folder .. "/settings.json")
  if not found then util.fail("not_found", folder .. " is not a run", "it has no settings.json") end
  local run = { folder = folder, id = folder:match("([^/]+)/*$"), name = found.name, seed = found.seed,
                size = found.size, settings = flatten(found.settings or {}, "", {}),
                text = sys.try_read(folder .. "/recipe.lua") or "" }
  local state = read_json(folder .. "/state.json") or {}
  run.status, run.message = state.status or "unknown", state.message
  run.records = read_records(folder .. "/metrics.jsonl")
  run.reports = read_json(folder .. "/report.json") or {}
  run.figures = read_json(folder .. "/figures.json") or {}
  run.lock = read_json(folder .. "/lock.json") or {}
  run.about = read_about(run)
  read_times(run, sys.try_read(folder .. "/log.txt") or "")
  for _, r in ipairs(run.records) do run.epochs = math.max(run.epochs or 0, math.tointeger(r.epoch) or 0) end
  return run
end

-- ---- Groups --------------------------------------------------------------------------------

local function key_of(run)
  return table.concat({ run.name, run.size or "", quern.json.encode(run.settings), run.text }, "\0")
end

-- Settings that differ between groups, as "a.b=1 c=2".
local function difference(group, groups)
  local parts = {}
  for path, v in util.sorted(group.settings) do
    for _, other in ipairs(groups) do
      if other.name == group.name and not util.same(other.settings[path], v) then
        parts[#parts + 1] = path .. "=" .. util.number(v)
        break
      end
    end
  end
  return table.concat(parts, " ")
end

local function label_groups(groups)
  local taken = {}
  for _, g in ipairs(groups) do
    local alike, sizes = 0, {}
    for _, other in ipairs(groups) do
      if other.name == g.name then
        alike = alike + 1
        sizes[other.size or ""] = true
      end
    end
    local label = g.name
    if alike > 1 then
      if next(sizes, next(sizes)) then label = label .. " " .. (g.size or "") end
      local differs = difference(g, groups)
      if differs ~= "" and #differs <= 60 then label = label .. " " .. differs end
    end
    taken[label] = (taken[label] or 0) + 1
    g.label = taken[label] > 1 and ("%s (%d)"):format(label, taken[label]) or label
  end
end

local function group_runs(list)
  local groups, by_key = {}, {}
  for _, run in ipairs(list) do
    local key = key_of(run)
    if not by_key[key] then
      by_key[key] = { name = run.name, size = run.size, settings = run.settings, about = run.about,
                      text = run.text, runs = {} }
      groups[#groups + 1] = by_key[key]
    end
    table.insert(by_key[key].runs, run)
  end
  label_groups(groups)
  return groups
end

-- ---- Results ---------------------------------------------------------------------------------

--- Mean, standard deviation (n - 1; nil for one value), least and greatest.
---@param values number[]
function report.spread(values)
  if #values == 0 then return nil end
  local sum, low, high = 0.0, math.huge, -math.huge
  for _, v in ipairs(values) do sum, low, high = sum + v, math.min(low, v), math.max(high, v) end
  local mean, squares = sum / #values, 0.0
  for _, v in ipairs(values) do squares = squares + (v - mean) ^ 2 end
  local sd = #values > 1 and math.sqrt(squares / (#values - 1)) or nil
  return { n = #values, mean = mean, sd = sd, low = low, high = high }
end

-- Labels in the order of their appearance, and their metrics.
local function labels_of(groups)
  local order, metrics, notes = {}, {}, {}
  for _, g in ipairs(groups) do
    for _, run in ipairs(g.runs) do
      for _, r in ipairs(run.reports) do
        if not metrics[r.label] then
          order[#order + 1] = r.label
          metrics[r.label] = {}
        end
        for k, v in pairs(r.metrics or {}) do if type(v) == "number" then metrics[r.label][k] = true end end
        for k, v in pairs(runs.paper_of(g.about.paper, r.label)) do
          if type(v) == "number" then metrics[r.label][k] = true end
        end
        notes[r.label] = r.note or notes[r.label]
      end
    end
  end
  return order, metrics, notes
end

local function values_of(group, label, metric)
  local values, seeds = {}, {}
  for _, run in ipairs(group.runs) do
    for _, r in ipairs(run.reports) do
      local v = r.label == label and r.metrics and r.metrics[metric]
      if type(v) == "number" then
        values[#values + 1] = v
        seeds[#seeds + 1] = ("seed %d"):format(run.seed)
      end
    end
  end
  return values, seeds
end

-- Rows: one for each label, metric and group, with ours, the paper's, and the gap in percent.
local function results_of(groups)
  local rows = {}
  local order, metrics, notes = labels_of(groups)
  for _, label in ipairs(order) do
    local names = util.keys(metrics[label])
    table.sort(names, util.natural)
    for _, metric in ipairs(names) do
      for _, g in ipairs(groups) do
        local values, seeds = values_of(g, label, metric)
        local paper = runs.paper_of(g.about.paper, label)[metric]
        if #values > 0 or type(paper) == "number" then
          local s = report.spread(values)
          rows[#rows + 1] = { label = label, metric = metric, group = g, values = values, seeds = seeds, spread = s,
            note = notes[label], paper = type(paper) == "number" and paper or nil,
            gap = s and type(paper) == "number" and paper ~= 0 and (s.mean - paper) / math.abs(paper) * 100 or nil }
        end
      end
    end
  end
  return rows
end

-- ---- Curves ----------------------------------------------------------------------------------

local places = { epoch = true, step = true }

local function add_point(curves, order, title, axis, group, run, x, v)
  local curve = curves[title]
  if not curve then
    curve = { title = title, axis = axis, by_run = {} }
    curves[title] = curve
    order[#order + 1] = curve
  end
  local mine = curve.by_run[run] or { group = group }
  curve.by_run[run] = mine
  mine[#mine + 1] = { x, type(v) == "number" and v or 0 / 0 }
end

-- What a record counts by: its epoch, else its step, else its place in the file.
local function place_of(record, index)
  if type(record.epoch) == "number" then return "epoch", record.epoch end
  if type(record.step) == "number" then return "step", record.step end
  return "record", index
end

local function number_like(v) return type(v) == "number" or v == "nan" or v == "-nan" or v == "inf" or v == "-inf" end

local function collect_curves(groups)
  local fits, curves, order = {}, {}, {}
  for _, g in ipairs(groups) do
    for _, run in ipairs(g.runs) do
      for _, r in ipairs(run.records) do if r.fit then fits[r.fit] = true end end
    end
  end
  local several = next(fits) and next(fits, next(fits))
  for _, g in ipairs(groups) do
    for _, run in ipairs(g.runs) do
      for i, r in ipairs(run.records) do
        local axis, x = place_of(r, i)
        local prefix = several and r.fit and r.fit .. ": " or ""
        for k, v in util.sorted(r) do
          if not places[k] and number_like(v) then add_point(curves, order, prefix .. k, axis, g, run, x, v) end
        end
        local metrics = type(r.metrics) == "table" and r.metrics or {}
        local names = util.keys(metrics)
        table.sort(names, util.natural)
        for _, k in ipairs(names) do
          if number_like(metrics[k]) then add_point(curves, order, prefix .. k, axis, g, run, x, metrics[k]) end
        end
      end
    end
  end
  return order
end

local function by_first(a, b) return a[1] < b[1] end

-- One series for a group: the run's own points, or mean and band over its runs.
local function series_of(curve, group)
  local lists = {}
  for _, run in ipairs(group.runs) do lists[#lists + 1] = curve.by_run[run] end
  if #lists == 0 then return nil end
  if #lists == 1 then return { name = group.label, points = lists[1] } end
  local at, points, band = {}, {}, {}
  for _, list in ipairs(lists) do
    for _, p in ipairs(list) do
      at[p[1]] = at[p[1]] or {}
      if p[2] == p[2] then table.insert(at[p[1]], p[2]) end
    end
  end
  for x, values in util.sorted(at) do
    local s = report.spread(values)
    points[#points + 1] = { x, s and s.mean or 0 / 0 }
    if s then band[#band + 1] = { x, s.low, s.high } end
  end
  table.sort(points, by_first)
  return { name = ("%s, mean of %d"):format(group.label, #lists), points = points, band = band }
end

-- The paper's number for a metric, if it has one and only one.
local function paper_value(groups, metric)
  local found
  for _, g in ipairs(groups) do
    for k, v in pairs(type(g.about.paper) == "table" and g.about.paper or {}) do
      local value = type(v) == "table" and v[metric] or k == metric and v
      if type(value) == "number" then
        if found and found ~= value then return nil end
        found = value
      end
    end
  end
  return found
end

-- A far reference would flatten the curve: it is drawn when it lies near.
local function near_reference(value, series)
  local low, high = math.huge, -math.huge
  for _, s in ipairs(series) do
    for _, p in ipairs(s.points) do
      if p[2] == p[2] then low, high = math.min(low, p[2]), math.max(high, p[2]) end
    end
  end
  local room = math.max(high - low, 1e-12)
  return value and value > low - room and value < high + room and { value = value, name = "paper" } or nil
end

local function curve_chart(curve, groups)
  local series, longest = {}, 0
  for _, g in ipairs(groups) do
    local s = series_of(curve, g)
    if s then
      series[#series + 1] = s
      longest = math.max(longest, #s.points)
    end
  end
  if longest < 2 then return nil end
  local metric = curve.title:match("^.-: (.*)$") or curve.title
  return { title = curve.title, axis = curve.axis, series = series,
           svg = chart.line { title = curve.title, x = curve.axis, whole = true, series = series,
                              log = metric:lower():find("loss") and "auto" or nil,
                              reference = near_reference(paper_value(groups, metric), series) } }
end

local function spread_charts(results, groups)
  local charts, by_name = {}, {}
  for _, row in ipairs(results) do
    local title = row.label .. ": " .. row.metric
    local c = by_name[title]
    if not c then
      c = { title = title, groups = {}, count = 0 }
      by_name[title] = c
      charts[#charts + 1] = c
    end
    for _, v in ipairs(row.values) do
      c.first = c.first or v
      c.differs = c.differs or v ~= c.first
    end
    if #row.values > 0 then
      c.groups[#c.groups + 1] = { name = row.group.label, values = row.values, labels = row.seeds }
      c.count = c.count + #row.values
    end
    c.reference = row.paper and { value = row.paper, name = "paper" } or c.reference
  end
  local out = {}
  for _, c in ipairs(charts) do
    if c.count > 1 and c.differs and #groups <= 12 then   -- equal values have no spread to show
      c.svg = chart.dots { title = c.title, groups = c.groups, reference = c.reference }
      out[#out + 1] = c
    end
  end
  return out
end

-- ---- All together ----------------------------------------------------------------------------

-- What recipes drew themselves; of several runs, whose.
local function figures_of(all)
  local out = {}
  for _, run in ipairs(all) do
    for _, f in ipairs(run.figures) do
      out[#out + 1] = { title = #all > 1 and ("%s, %s"):format(f.title, run.id) or f.title, svg = f.svg }
    end
  end
  return out
end

--- What the folders of runs say together.
---@param folders string[]
---@return table report runs, groups, results, figures, curves, spreads, left_out
function report.gather(folders)
  if #folders == 0 then util.fail("usage", "a report needs at least one run", nil, "quern report runs/NAME-TIME") end
  local r = { runs = {}, curves = {}, left_out = 0 }
  for i, folder in ipairs(folders) do r.runs[i] = report.read(folder) end
  r.figures = figures_of(r.runs)
  r.groups = group_runs(r.runs)
  r.results = results_of(r.groups)
  r.spreads = spread_charts(r.results, r.groups)
  for _, curve in ipairs(collect_curves(r.groups)) do
    local c = curve_chart(curve, r.groups)
    if c and #r.curves < MOST_CURVES then r.curves[#r.curves + 1] = c elseif c then r.left_out = r.left_out + 1 end
  end
  return r
end

--- The page of a report, and its charts as { title, svg }.
---@param r table of report.gather
---@return string html
---@return table[] charts
function report.page(r)
  local charts = {}
  for _, list in ipairs { r.curves, r.spreads, r.figures } do table.move(list, 1, #list, #charts + 1, charts) end
  return require("quern.report_page")(r), charts
end

-- What a name stands for: a folder, a run's name under `parent`, or its beginning if that is unique.
local function folder_of(name, parent, known)
  for _, path in ipairs { name, parent .. "/" .. name } do
    if sys.exists(path .. "/settings.json") then return (path:gsub("/+$", "")) end
  end
  local found = {}
  for _, entry in ipairs(known) do
    local folder = parent .. "/" .. entry
    if entry:sub(1, #name) == name and sys.exists(folder .. "/settings.json") then found[#found + 1] = folder end
  end
  if #found == 0 then
    util.fail("not_found", ("cannot find the run %s"):format(name), "looked in . and in " .. parent,
              util.suggest(name, known))
  elseif #found > 1 then
    util.fail("not_found", ("cannot tell which run %s is"):format(name),
              ("it begins the names of %d runs in %s"):format(#found, parent),
              ("for example %s; all of them by a filter, as name=... or status=done"):format(
                found[#found]:match("[^/]+$")))
  end
  return found[1]
end

--- The folders that words stand for: "last", a filter as `quern runs` has them (all that hold), or one run's name.
---@param words string[]
---@param parent string
---@return string[]
function report.folders(words, parent)
  local store = require "quern.store"
  local out, filters, known = {}, {}, sys.list(parent)
  for _, word in ipairs(words) do
    if word:find("[=<>]") and not sys.exists(word) then filters[#filters + 1] = word
    elseif word == "last" then out[#out + 1] = store.find(parent, word).folder
    else out[#out + 1] = folder_of(word, parent, known) end
  end
  if #filters == 0 then return out end
  for _, r in ipairs(store.filter(store.list(parent), filters)) do out[#out + 1] = r.folder end
  if #out == 0 then
    util.fail("not_found", ("no run in %s fits %s"):format(parent, table.concat(filters, " ")), nil,
              "`quern runs` lists them all")
  end
  return out
end

return report
