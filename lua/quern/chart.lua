--- Charts as SVG: lines with bands over a number axis, and dots of a few groups.
--
--   chart.line { title = "loss", x = "epoch", series = { { name = "seed 1", points = { { 1, 6.9 }, { 2, 6.1 } } } } }
--   chart.dots { title = "NDCG@10", groups = { { name = "hstu", values = { 0.090, 0.093 } } },
--                reference = { value = 0.172, name = "paper" } }
--
-- A chart is one <svg> text without any reference outside itself: it takes its colours from
-- the variables of chart.style, which the page holds once; chart.file makes it a file of
-- its own. Ticks stand at 1, 2 or 5 times a power of ten, about five of them; a logarithmic
-- axis has them at powers of ten, and at 2 and 5 between when the decades are few.
-- Long series are thinned by keeping the least and the greatest of each stretch of x.
-- SPDX-License-Identifier: MIT

local util = require "quern.util"

local chart = {}

local WIDTH, HEIGHT = 420, 280   -- units of the drawing; text is 12 of them high
local MOST_POINTS = 400          -- of a series, before it is thinned
local MARKED = 40                -- points of a series that still get a dot each
local COLOURS = 8                -- then dashes tell series apart
local CHARACTER = 6.4            -- width of a character of 12 units, near enough

--- The charts' colours, on light and on dark ground and on paper (Okabe and Ito's palette).
chart.style = [[
.chart{--ink:#1c2430;--soft:#5c6773;--rule:#dfe3e8;--ground:#fff;
--c1:#0072b2;--c2:#d55e00;--c3:#009e73;--c4:#cc79a7;--c5:#b98a00;
--c6:#3a9bd0;--c7:#6b4fa0;--c8:#444c56;font:12px system-ui,sans-serif}
.chart text{fill:var(--soft)}.chart .title{fill:var(--ink);font-weight:600}.chart .rule{stroke:var(--rule)}
.chart .axis{stroke:var(--soft)}.chart .line{fill:none;stroke-width:1.8;stroke-linejoin:round}.chart .band{opacity:.18}
.chart .reference{stroke:var(--ink);stroke-dasharray:5 4;stroke-width:1.3}
.chart .dot{stroke:var(--ground);stroke-width:1}
]]

--- The dark colours, to be put where a page knows that it is dark.
chart.dark_style = ".chart{--ink:#e6e9ee;--soft:#a4adb8;--rule:#333b46;--ground:#161b22;--c1:#56b4e9;--c2:#ff8c42;" ..
  "--c3:#2fc99a;--c4:#e79ac6;--c5:#f0c945;--c6:#8fd0f2;--c7:#b39ddb;--c8:#c3cad3}\n"

-- ---- Text and numbers -----------------------------------------------------------------------

--- Text safe between tags and in attributes.
---@param text any
---@return string
function chart.escape(text)
  return (tostring(text):gsub("[&<>\"']", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;",
                                             ["'"] = "&#39;" }):gsub("[%z\1-\8\11\12\14-\31]", "?"))
end

local escape = chart.escape

local function at(v) return (("%.1f"):format(v):gsub("%.0$", ""):gsub("^%-0$", "0")) end

local function width_of(text) return (utf8.len(text) or #text) * CHARACTER end

local function finite(v) return type(v) == "number" and v == v and v ~= math.huge and v ~= -math.huge end

local function decimals_of(step)
  local d = 0
  while d < 12 and math.abs(step * 10 ^ d - math.floor(step * 10 ^ d + 0.5)) > 1e-6 * step * 10 ^ d do d = d + 1 end
  return d
end

local function tick_text(v, step)
  local a = math.abs(v)
  if a >= 1e6 or (step < 1e-4 and a < 1e-2 and v ~= 0) then
    return (("%.3e"):format(v):gsub("%.?0+e", "e"):gsub("e([+-])0*(%d)", "e%1%2"):gsub("e%+", "e"))
  end
  if a >= 1e4 and step >= 1000 then return util.count(v) end
  return ("%." .. decimals_of(step) .. "f"):format(v)
end

-- ---- Scales ---------------------------------------------------------------------------------

--- Ticks inside low..high, about `wanted` of them, at 1, 2 or 5 times a power of ten.
---@param low number
---@param high number
---@param wanted integer?
---@param whole boolean? integers only
---@return number[] values
---@return number step
function chart.ticks(low, high, wanted, whole)
  local span = high - low
  if span ~= span or span <= 0 then return { low }, math.max(math.abs(low), 1) end
  local raw = span / (wanted or 5)
  local power = 10.0 ^ math.floor(math.log(raw, 10) + 1e-9)
  local step = power * (raw / power < 1.5 and 1 or raw / power < 3 and 2 or raw / power < 7 and 5 or 10)
  if whole then step = math.max(step, 1.0) end
  local values = {}
  for i = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) do values[#values + 1] = i * step + 0.0 end
  return values, step
end

local function log_ticks(low, high)
  local first, last = math.floor(math.log(low, 10) + 1e-9), math.ceil(math.log(high, 10) - 1e-9)
  local every, values = math.max(1, (last - first) // 6), {}
  local factors = last - first <= 2 and { 1, 2, 5 } or { 1 }
  for p = first, last do
    for _, f in ipairs(factors) do
      local v = f * 10.0 ^ p
      if (p - first) % every == 0 and v >= low * (1 - 1e-9) and v <= high * (1 + 1e-9) then values[#values + 1] = v end
    end
  end
  return values
end

-- An axis: from values to units of the drawing, with its ticks and their texts.
local function scale(low, high, from, to, o)
  local s = { low = low, high = high, log = o.log, ticks = {}, labels = {} }
  local a, b = low, high
  if s.log then a, b = math.log(low, 10), math.log(high, 10) end
  local factor = b > a and (to - from) / (b - a) or 0
  local middle = b > a and from or (from + to) / 2
  function s.place(v) return middle + ((s.log and math.log(v, 10) or v) - a) * factor end
  local step
  if s.log then s.ticks = log_ticks(low, high) else s.ticks, step = chart.ticks(low, high, o.wanted, o.whole) end
  for i, v in ipairs(s.ticks) do s.labels[i] = tick_text(v, step or math.min(v, 1)) end
  return s
end

-- Low and high with a little room; never equal.
local function widen(low, high, log)
  if log then return low / 1.1, high * 1.1 end
  local room = (high - low) * 0.05
  if room == 0 then room = low ~= 0 and math.abs(low) * 0.1 or 1 end
  return low - room, high + room
end

local function range_of(values)
  local low, high = math.huge, -math.huge
  for _, v in ipairs(values) do
    if finite(v) then low, high = math.min(low, v), math.max(high, v) end
  end
  if low > high then return nil end
  return low, high
end

-- ---- Series -----------------------------------------------------------------------------------

-- Least and greatest y of each stretch, in the order of x; points that are no numbers are kept as gaps.
local function thin(points)
  if #points <= MOST_POINTS then return points end
  local out, stretch = {}, math.ceil(#points / (MOST_POINTS // 2))
  for first = 1, #points, stretch do
    local low, high
    for i = first, math.min(first + stretch - 1, #points) do
      local y = points[i][2]
      if finite(y) and (not low or y < points[low][2]) then low = i end
      if finite(y) and (not high or y > points[high][2]) then high = i end
    end
    if low then
      out[#out + 1] = points[math.min(low, high)]
      if low ~= high then out[#out + 1] = points[math.max(low, high)] end
    end
  end
  return out
end

local function colour(i) return ("var(--c%d)"):format((i - 1) % COLOURS + 1) end

local function dash(i)
  local round = (i - 1) // COLOURS
  return round == 0 and "" or (' stroke-dasharray="%d 3"'):format(2 + 4 * round)
end

local function drawable(p, x, y)
  return finite(p[1]) and finite(p[2]) and (not y.log or p[2] > 0) and (not x.log or p[1] > 0)
end

local function path_of(points, x, y)
  local parts, open = {}, false
  for _, p in ipairs(points) do
    local fine = drawable(p, x, y)
    if fine then
      parts[#parts + 1] = (open and "L" or "M") .. at(x.place(p[1])) .. " " .. at(y.place(p[2]))
    end
    open = fine
  end
  return table.concat(parts)
end

local function band_path(band, x, y)
  local up, down = {}, {}
  for _, b in ipairs(band) do
    if drawable({ b[1], b[2] }, x, y) and drawable({ b[1], b[3] }, x, y) then
      up[#up + 1] = at(x.place(b[1])) .. " " .. at(y.place(b[3]))
      table.insert(down, 1, at(x.place(b[1])) .. " " .. at(y.place(b[2])))
    end
  end
  if #up < 2 then return nil end
  return "M" .. table.concat(up, "L") .. "L" .. table.concat(down, "L") .. "Z"
end

-- A dot that tells what it stands for.
local function dot(colour_index, x, y, radius, text)
  return ('<circle class="dot" fill="%s" cx="%s" cy="%s" r="%s"><title>%s</title></circle>'):format(
    colour(colour_index), at(x), at(y), radius, escape(text))
end

local function draw_series(out, s, i, x, y, x_name)
  local points = thin(s.points)
  local band = s.band and band_path(s.band, x, y)
  if band then out[#out + 1] = ('<path class="band" fill="%s" d="%s"/>'):format(colour(i), band) end
  out[#out + 1] = ('<path class="line" stroke="%s"%s d="%s"/>'):format(colour(i), dash(i), path_of(points, x, y))
  local marked = s.dots or #points <= MARKED and points or {}
  for _, p in ipairs(marked) do
    if drawable(p, x, y) then
      local text = ("%s: %s %s, %s"):format(s.name, x_name, util.number(p[1]), util.number(p[2]))
      out[#out + 1] = dot(i, x.place(p[1]), y.place(p[2]), s.dots and "3.5" or "2.8", text)
    end
  end
end

-- ---- The frame ----------------------------------------------------------------------------------

local function open_svg(o, height)
  return ('<svg class="chart" role="img" viewBox="0 0 %d %d" aria-label="%s">'):format(o.width, height, escape(o.title))
    .. ('<text class="title" x="4" y="15">%s</text>'):format(escape(o.title))
end

local function label(anchor, x, y, text)
  return ('<text text-anchor="%s" x="%s" y="%s">%s</text>'):format(anchor, at(x), at(y), escape(text))
end

local function draw_axes(out, x, y, box, o)
  for i, v in ipairs(y.ticks) do
    local h = at(y.place(v))
    out[#out + 1] = ('<path class="rule" d="M%s %sH%s"/>'):format(at(box.left), h, at(box.right))
    out[#out + 1] = label("end", box.left - 6, y.place(v) + 4, y.labels[i])
  end
  out[#out + 1] = ('<path class="axis" fill="none" d="M%s %sH%s"/>'):format(at(box.left), at(box.bottom), at(box.right))
  for i, v in ipairs(x and x.ticks or {}) do
    local w = at(x.place(v))
    out[#out + 1] = ('<path class="axis" d="M%s %sv4"/>'):format(w, at(box.bottom))
    out[#out + 1] = label("middle", x.place(v), box.bottom + 17, x.labels[i])
  end
  if o.x then
    out[#out + 1] = label("end", box.right, box.bottom + 31, o.x)
  end
end

-- Where the legend's entries go: rows of { name, index, x }.
local function legend_rows(entries, o)
  local rows, x = { {} }, 4
  for _, e in ipairs(entries) do
    local w = 26 + width_of(e.name)
    if x + w > o.width and #rows[#rows] > 0 then rows[#rows + 1], x = {}, 4 end
    table.insert(rows[#rows], { name = e.name, index = e.index, x = x })
    x = x + w + 8
  end
  return rows
end

local function draw_legend(out, rows, top)
  for r, row in ipairs(rows) do
    for _, e in ipairs(row) do
      local y = top + r * 18
      local style = e.index and ('class="line" stroke="%s"%s'):format(colour(e.index), dash(e.index))
        or 'class="reference"'
      out[#out + 1] = ('<path %s d="M%s %sh18"/>'):format(style, at(e.x), at(y - 4))
      out[#out + 1] = ('<text x="%s" y="%s">%s</text>'):format(at(e.x + 23), at(y), escape(e.name))
    end
  end
end

local function y_scale(values, o, top, bottom)
  local low, high = range_of(values)
  if not low then low, high = 0, 1 end
  local log = o.log == true or (o.log == "auto" and low > 0 and high / low > 300)
  if log and low <= 0 then log = false end
  local a, b = widen(low, high, log)
  if low >= 0 and a < 0 then a = 0 end
  return scale(a, b, bottom, top, { log = log })
end

local function left_of(y)
  local widest = 0
  for _, text in ipairs(y.labels) do widest = math.max(widest, width_of(text)) end
  return 12 + widest
end

local function defaults(o)
  o.width, o.height = o.width or WIDTH, o.height or HEIGHT
  return o
end

local function draw_reference(out, reference, y, box)
  if not reference then return end
  out[#out + 1] = ('<path class="reference" d="M%s %sH%s"><title>%s</title></path>'):format(at(box.left),
    at(y.place(reference.value)), at(box.right),
    escape(("%s: %s"):format(reference.name, util.number(reference.value))))
end

-- ---- Charts ---------------------------------------------------------------------------------------

---@class quern.ChartSeries
---@field name string
---@field points number[][] pairs of x and y in the order of x; values that are no numbers make gaps
---@field band number[][]? triples of x, low and high
---@field dots number[][]? pairs that get a dot each beside the line, instead of the line's own points

---@class quern.ChartOptions
---@field title string
---@field x string? what x is
---@field series quern.ChartSeries[]?
---@field groups {name: string, values: number[], labels: string[]?}[]?
---@field reference {value: number, name: string}? a dashed line
---@field log boolean|string|nil true, false or "auto": by the values
---@field whole boolean? x counts whole things
---@field width integer?
---@field height integer?

--- Lines over x, one for each series, with a legend.
---@param o quern.ChartOptions
---@return string svg
function chart.line(o)
  o = defaults(o)
  local xs, ys, entries = {}, {}, {}
  for i, s in ipairs(o.series) do
    for _, p in ipairs(s.points) do
      if finite(p[2]) then xs[#xs + 1], ys[#ys + 1] = p[1], p[2] end
    end
    for _, p in ipairs(s.dots or {}) do
      if finite(p[2]) then xs[#xs + 1], ys[#ys + 1] = p[1], p[2] end
    end
    for _, b in ipairs(s.band or {}) do ys[#ys + 1], ys[#ys + 2] = b[2], b[3] end
    entries[i] = { name = s.name, index = i }
  end
  if o.reference then
    ys[#ys + 1] = o.reference.value
    entries[#entries + 1] = { name = o.reference.name }
  end
  local rows = legend_rows(entries, o)
  local box = { top = 28, bottom = o.height - 38, right = o.width - 10 }
  local y = y_scale(ys, o, box.top, box.bottom)
  box.left = left_of(y)
  local low, high = range_of(xs)
  low, high = low or 0, high or 1
  if low == high then low, high = low - 1, high + 1 end
  local x = scale(low, high, box.left + 8, box.right - 8, { whole = o.whole })
  local out = { open_svg(o, o.height + #rows * 18) }
  draw_axes(out, x, y, box, o)
  draw_reference(out, o.reference, y, box)
  for i, s in ipairs(o.series) do draw_series(out, s, i, x, y, o.x or "x") end
  draw_legend(out, rows, o.height - 10)
  out[#out + 1] = "</svg>"
  return table.concat(out)
end

local function mean_of(values)
  local sum, n = 0.0, 0
  for _, v in ipairs(values) do
    if finite(v) then sum, n = sum + v, n + 1 end
  end
  return n > 0 and sum / n or nil
end

local function draw_group(out, g, i, centre, y)
  for k, v in ipairs(g.values) do
    if finite(v) then
      local shift = #g.values > 1 and ((k - 1) / (#g.values - 1) - 0.5) * 28 or 0
      local text = ("%s%s: %s"):format(g.name, g.labels and g.labels[k] and ", " .. g.labels[k] or "", util.number(v))
      out[#out + 1] = dot(i, centre + shift, y.place(v), "4", text)
    end
  end
  local mean = mean_of(g.values)
  if not mean then return end
  out[#out + 1] = ('<path class="line" stroke="%s" d="M%s %sh40"/>'):format(colour(i), at(centre - 20),
    at(y.place(mean)))
end

--- A column of dots for each group, with a bar at its mean: the spread over seeds.
---@param o quern.ChartOptions
---@return string svg
function chart.dots(o)
  o = defaults(o)
  local ys, entries = {}, {}
  for i, g in ipairs(o.groups) do
    table.move(g.values, 1, #g.values, #ys + 1, ys)
    entries[i] = { name = g.name, index = i }
  end
  if o.reference then
    ys[#ys + 1] = o.reference.value
    entries[#entries + 1] = { name = o.reference.name }
  end
  local rows = legend_rows(entries, o)
  local box = { top = 28, bottom = o.height - 38, right = o.width - 10 }
  local y = y_scale(ys, o, box.top, box.bottom)
  box.left = left_of(y)
  local out = { open_svg(o, o.height + #rows * 18 - 22) }
  draw_axes(out, nil, y, box, o)
  draw_reference(out, o.reference, y, box)
  local each = (box.right - box.left) / #o.groups
  for i, g in ipairs(o.groups) do draw_group(out, g, i, box.left + (i - 0.5) * each, y) end
  draw_legend(out, rows, o.height - 32)
  out[#out + 1] = "</svg>"
  return table.concat(out)
end

-- var(--c1) becomes #0072b2: drawing programs and TeX know no variables.
local function plainly(text)
  return (text:gsub("var%(%-%-(%w+)%)", function(name)
    return chart.style:match("%-%-" .. name .. ":(#%x+)")
  end))
end

local file_style = plainly(chart.style:gsub("%-%-%w+:#%x+;%s*", ""))

--- A chart as a file of its own, in colours for paper.
---@param svg string
---@return string
function chart.file(svg)
  local w, h = svg:match('viewBox="0 0 (%d+) (%d+)"')
  local head = ('<svg xmlns="http://www.w3.org/2000/svg" width="%s" height="%s" '):format(w, h)
  return '<?xml version="1.0" encoding="UTF-8"?>\n' .. head .. svg:match("^<svg (.-)>") .. ">\n<style>" .. file_style
    .. "</style>\n" .. plainly(svg:match("^<svg .->(.*)$")) .. "\n"
end

return chart
