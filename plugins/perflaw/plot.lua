--- Plots of a fitted law as SVG, in the colours of the reports' charts.
--
--   fit:plot { file = "law.svg", kind = "contour" }
--
--   contour    the law over depth and width, both logarithmic: shades and lines of equal value,
--              a dot for each trained cell, a cross at the optimum where it lies on the map
--   slices     metric against depth, one line for each width, with the bootstrap's 95 % band
--   residuals  value less fit of each cell, against depth
--   holdout    error of the held-out largest sizes against their value
-- SPDX-License-Identifier: MIT

local chart = require "quern.chart"
local sys = require "quern.sys"
local util = require "quern.util"
local compare = require "perflaw.compare"

local plot = {}

local WIDTH, HEIGHT = 420, 300
local BOX = { left = 48, right = 410, top = 28, bottom = 262 }
local COLUMNS, ROWS, LINES = 36, 24, 8   -- of the map, and how many lines of equal value

-- ---- The map ------------------------------------------------------------------------------

local function range_of(fit, k)
  local low, high = math.huge, -math.huge
  for _, pt in ipairs(fit.points) do
    low, high = math.min(low, pt.cell.x[k]), math.max(high, pt.cell.x[k])
  end
  return low / 1.3, high * 1.3
end

local function axis(low, high, from, to)
  local span = math.log(high / low)
  return { low = low, high = high, place = function(v) return from + (to - from) * math.log(v / low) / span end,
           value = function(share) return low * math.exp(share * span) end }
end

local function map_of(fit, x, y, s)
  local map, low, high = {}, math.huge, -math.huge
  for i = 0, COLUMNS do
    map[i] = {}
    for j = 0, ROWS do
      local v = fit:predict({ x.value(i / COLUMNS), y.value(j / ROWS) }, s)
      map[i][j], low, high = v, math.min(low, v), math.max(high, v)
    end
  end
  return map, low, high
end

local function shades(out, map, low, high)
  local w, h = (BOX.right - BOX.left) / COLUMNS, (BOX.bottom - BOX.top) / ROWS
  for i = 0, COLUMNS - 1 do
    for j = 0, ROWS - 1 do
      local v = (map[i][j] + map[i + 1][j] + map[i][j + 1] + map[i + 1][j + 1]) / 4
      out[#out + 1] = ('<rect x="%.1f" y="%.1f" width="%.2f" height="%.2f" fill="var(--c1)" opacity="%.2f"'
        .. ' shape-rendering="crispEdges"/>'):format(BOX.left + i * w, BOX.bottom - (j + 1) * h, w, h,
        high > low and 0.05 + 0.6 * (v - low) / (high - low) or 0.3)
    end
  end
end

-- Where a line of `level` crosses the edge between two corners, 0..1; nil where it does not.
local function crossing(a, b, level)
  if (a < level) == (b < level) then return nil end
  return (level - a) / (b - a)
end

-- Marching squares: a stroke for each pair of crossed edges of each square.
local function line_of(map, level)
  local w, h = (BOX.right - BOX.left) / COLUMNS, (BOX.bottom - BOX.top) / ROWS
  local path = {}
  for i = 0, COLUMNS - 1 do
    for j = 0, ROWS - 1 do
      local a, b, c, d = map[i][j], map[i + 1][j], map[i + 1][j + 1], map[i][j + 1]
      local ends, t = {}, crossing(a, b, level)
      if t then ends[#ends + 1] = { i + t, j } end
      t = crossing(b, c, level)
      if t then ends[#ends + 1] = { i + 1, j + t } end
      t = crossing(d, c, level)
      if t then ends[#ends + 1] = { i + t, j + 1 } end
      t = crossing(a, d, level)
      if t then ends[#ends + 1] = { i, j + t } end
      for e = 1, #ends - 1, 2 do
        path[#path + 1] = ("M%.1f %.1fL%.1f %.1f"):format(BOX.left + ends[e][1] * w, BOX.bottom - ends[e][2] * h,
          BOX.left + ends[e + 1][1] * w, BOX.bottom - ends[e + 1][2] * h)
      end
    end
  end
  return table.concat(path)
end

local function text(anchor, x, y, s)
  return ('<text text-anchor="%s" x="%.1f" y="%.1f">%s</text>'):format(anchor, x, y, chart.escape(s))
end

local function lines(out, map, low, high)
  local labels = {}
  for _, level in ipairs((chart.ticks(low, high, LINES))) do
    local path = line_of(map, level)
    if path ~= "" then
      out[#out + 1] = ('<path class="rule" fill="none" style="stroke:var(--ink)" stroke-width="0.8" d="%s"><title>%s'
        .. '</title></path>'):format(path, util.number(level))
      local x, y = path:match("^M([%d.]+) ([%d.]+)")
      x, y = tonumber(x), tonumber(y)
      local free = true
      for _, other in ipairs(labels) do
        free = free and (math.abs(x - other[1]) > 40 or math.abs(y - other[2]) > 13)
      end
      if free then
        labels[#labels + 1] = { x, y }
        out[#out + 1] = text("start", x + 2, y - 2, util.number(level))
      end
    end
  end
end

local function marks(out, fit, x, y, s)
  for _, pt in ipairs(fit.points) do
    if pt.surface == s then
      local px, py = x.place(pt.cell.x[1]), y.place(pt.cell.x[2])
      out[#out + 1] = ('<circle class="dot" cx="%.1f" cy="%.1f" r="3.5" fill="var(--c2)"><title>%s %g, %s %g: %s'
        .. '</title></circle>'):format(px, py, fit.axes[1], pt.cell.x[1], fit.axes[2], pt.cell.x[2],
        util.number(pt.cell.value))
    end
  end
  for k = 1, 2 do                                        -- ticks at the trained sizes
    local seen = {}
    for _, pt in ipairs(fit.points) do
      local v = pt.cell.x[k]
      if not seen[v] then
        seen[v] = true
        out[#out + 1] = k == 1 and text("middle", x.place(v), BOX.bottom + 15, ("%g"):format(v))
          or text("end", BOX.left - 6, y.place(v) + 4, ("%g"):format(v))
      end
    end
  end
end

local function cross(out, fit, x, y)
  local px, py = fit:peak_of(fit.solution, 1), fit:peak_of(fit.solution, 2)
  if not px or not py or px < x.low or px > x.high or py < y.low or py > y.high then return end
  out[#out + 1] = ('<path class="axis" style="stroke:var(--ink)" stroke-width="2.2" d="M%.1f %.1fm-6 -6l12 12m0 -12l'
    .. '-12 12"><title>optimum: %s %.1f, %s %.1f</title></path>'):format(x.place(px), y.place(py), fit.axes[1], px,
    fit.axes[2], py)
end

--- The law over both axes.
---@param fit perflaw.Fit
---@param o { surface: integer|string?, title: string? }?
---@return string svg
function plot.contour(fit, o)
  local s = fit:surface_index(o and o.surface)
  local title = o and o.title or ("%s of %s, %s"):format(fit.metric, fit.surfaces[s].label, fit.form)
  local x, y = axis(range_of(fit, 1)), axis(range_of(fit, 2))
  x, y = axis(x.low, x.high, BOX.left, BOX.right), axis(y.low, y.high, BOX.bottom, BOX.top)
  local out = { ('<svg class="chart" role="img" viewBox="0 0 %d %d" aria-label="%s"><text class="title" x="4" y="15">'
    .. '%s</text>'):format(WIDTH, HEIGHT, chart.escape(title), chart.escape(title)) }
  local map, low, high = map_of(fit, x, y, s)
  shades(out, map, low, high)
  lines(out, map, low, high)
  marks(out, fit, x, y, s)
  cross(out, fit, x, y)
  out[#out + 1] = text("end", BOX.right, HEIGHT - 6, ("%s; up: %s"):format(fit.axes[1], fit.axes[2]))
  out[#out + 1] = "</svg>"
  return table.concat(out)
end

-- ---- Lines and dots ---------------------------------------------------------------------------

local function by_width(fit, s)
  local groups, order = {}, {}
  for i, pt in ipairs(fit.points) do
    if pt.surface == s then
      local d = pt.cell.x[2]
      if not groups[d] then groups[d], order[#order + 1] = {}, d end
      table.insert(groups[d], { pt.cell.x[1], pt.cell.value, fit.fitted[i] })
    end
  end
  table.sort(order)
  return groups, order
end

--- Metric against the first axis: the law as lines with its band, the trained values as dots.
---@param fit perflaw.Fit
---@param o { surface: integer|string?, band: table?, title: string? }? band: a bootstrap
function plot.slices(fit, o)
  o = o or {}
  local s, series = fit:surface_index(o.surface), {}
  local groups, order = by_width(fit, s)
  for _, d in ipairs(order) do
    local points, band, law = groups[d], {}, {}
    for i, p in ipairs(points) do
      law[i] = { p[1], p[3] }
      if o.band then
        local v = o.band:predict({ p[1], d }, s)
        band[i] = { p[1], v.lo, v.hi }
      end
    end
    series[#series + 1] = { name = ("%s %g"):format(fit.axes[2], d), points = law, dots = points,
                            band = o.band and band }
  end
  return chart.line { title = o.title or ("%s against %s, %s"):format(fit.metric, fit.axes[1], fit.surfaces[s].label),
    x = fit.axes[1], series = series }
end

--- What the law leaves of each cell.
function plot.residuals(fit, o)
  o = o or {}
  local s, series = fit:surface_index(o.surface), {}
  local groups, order = by_width(fit, s)
  for i, d in ipairs(order) do
    local points = {}
    for j, p in ipairs(groups[d]) do points[j] = { p[1], p[2] - p[3] } end
    series[i] = { name = ("%s %g"):format(fit.axes[2], d), points = points }
  end
  return chart.line { title = o.title or ("residuals of %s, %s"):format(fit.metric, fit.surfaces[s].label),
    x = fit.axes[1], series = series, reference = { value = 0.0, name = "fit" } }
end

--- Errors of the held-out largest sizes.
function plot.holdout(fit, o)
  local groups = {}
  for name, h in util.sorted(compare.holdout(fit)) do
    local values, labels = {}, {}
    for i, c in ipairs(h.cells) do
      values[i], labels[i] = c.error, ("%s %g, %s %g"):format(fit.axes[1], c.x[1], fit.axes[2], c.x[2])
    end
    groups[#groups + 1] = { name = name, values = values, labels = labels }
  end
  return chart.dots { title = o and o.title or ("error of held-out cells, %s, %s"):format(fit.metric, fit.form),
    groups = groups, reference = { value = 0.0, name = "no error" } }
end

--- A plot of a fit, written to a file when one is named.
---@param fit perflaw.Fit
---@param o { kind: string?, file: string?, surface: integer|string?, band: table?, title: string? }?
---@return string svg
function plot.of(fit, o)
  o = util.options(o, { kind = 1, file = 1, surface = 1, band = 1, title = 1 }, "plot")
  local kinds = { contour = plot.contour, slices = plot.slices, residuals = plot.residuals, holdout = plot.holdout }
  local draw = kinds[o.kind or "contour"]
  if not draw then
    util.fail("argument", ("plot: there is no kind %q"):format(tostring(o.kind)), nil,
              util.suggest(tostring(o.kind), util.keys(kinds)))
  end
  local svg = draw(fit, o)
  if o.file then sys.write_file(o.file, chart.file(svg)) end
  return svg
end

return plot
