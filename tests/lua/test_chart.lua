--- Charts: ticks, scales, gaps, thinning, safety of texts. SPDX-License-Identifier: MIT
local check = require "check"
local chart = require "quern.chart"

local function count(text, pattern)
  local _, n = text:gsub(pattern, "")
  return n
end

local function line(points, more)
  local o = { title = "t", x = "epoch", series = { { name = "a", points = points } } }
  for k, v in pairs(more or {}) do o[k] = v end
  return chart.line(o)
end

return {
  { "ticks stand at 1, 2 or 5 times a power of ten inside the range", function()
    check.near(chart.ticks(0, 10), { 0, 2, 4, 6, 8, 10 })
    check.near(chart.ticks(0.081, 0.102), { 0.085, 0.09, 0.095, 0.1 })
    check.near(chart.ticks(-1.5, 1.5), { -1.5, -1, -0.5, 0, 0.5, 1, 1.5 })
    check.near(chart.ticks(1, 3, 5, true), { 1, 2, 3 })
    check.near(chart.ticks(5, 5), { 5 })
    for _, r in ipairs { { 1e-9, 3e-9 }, { 0, 1e7 }, { -3, 1e3 }, { 0.1, 0.7 } } do
      local n = #chart.ticks(r[1], r[2])
      check.yes(n >= 3 and n <= 8, ("%g..%g has %d ticks"):format(r[1], r[2], n))
    end
  end },

  { "higher values stand higher, later ones further right", function()
    local svg = line { { 1, 3 }, { 2, 1 }, { 3, 2 } }
    local at = {}
    for x, y in svg:gmatch('<circle class="dot"[^>]- cx="([%d.]+)" cy="([%d.]+)"') do
      at[#at + 1] = { tonumber(x), tonumber(y) }
    end
    check.equal(#at, 3)
    check.yes(at[1][1] < at[2][1] and at[2][1] < at[3][1])
    check.yes(at[1][2] < at[3][2] and at[3][2] < at[2][2])
  end },

  { "values that are no numbers make a gap", function()
    local path = line({ { 1, 1 }, { 2, 0 / 0 }, { 3, 2 }, { 4, 3 } }):match('class="line"[^>]- d="([^"]+)"')
    check.equal(count(path, "M"), 2)
    check.equal(count(path, "L"), 1)
    check.yes(line({ { 1, 0 / 0 } }):find("</svg>", 1, true))
    check.yes(chart.dots({ title = "t", groups = { { name = "a", values = {} } } }):find("</svg>", 1, true))
  end },

  { "long series are thinned, keeping the greatest and the least", function()
    local points = {}
    for i = 1, 50000 do points[i] = { i, math.sin(i / 5000) } end
    points[31234] = { 31234, 9 }
    local svg = line(points)
    check.yes(#svg < 20000, #svg .. " bytes")
    check.yes(svg:match('class="line"[^>]- d="([^"]+)"'):find(" 3%d%.?%d*L"), "the peak is lost")
  end },

  { "a logarithmic axis has powers of ten", function()
    local svg = line({ { 1, 1000 }, { 2, 1 }, { 3, 0.01 } }, { log = "auto" })
    for _, text in ipairs { ">1000<", ">10<", ">0.1<" } do check.yes(svg:find(text, 1, true), text) end
  end },

  { "texts cannot break out of the drawing", function()
    local svg = line({ { 1, 1 }, { 2, 2 } }, { title = [[</svg><script>"'&]] })
    check.equal(svg:find("<script", 1, true), nil)
    check.yes(svg:find("&lt;/svg&gt;&lt;script&gt;&quot;&#39;&amp;", 1, true))
  end },

  { "a chart as a file is whole by itself", function()
    local text = chart.file(line { { 1, 1 }, { 2, 2 } })
    check.yes(text:find('<svg xmlns="http://www.w3.org/2000/svg" width="420" height="298" class="chart"', 1, true))
    check.equal(count(text, "<svg"), 1)
    check.equal(count(text, "http"), 1)
    check.yes(text:find("#0072b2", 1, true) and not text:find("var(", 1, true))
  end },

  { "dots beside a line stand in its colour, within the frame, in place of its own", function()
    local law = { name = "law", points = { { 1, 1 }, { 2, 2 } }, dots = { { 1, 5 } } }
    local svg = chart.line { title = "t", series = { law } }
    check.equal(count(svg, "<circle"), 1)
    check.yes(svg:find('fill="var(--c1)"', 1, true) and svg:find("law: x 1, 5", 1, true))
    local height = tonumber(svg:match 'cy="([%d.]+)"')
    check.yes(height > 28 and height < 60, svg)
  end },

  { "more series than colours are told apart by dashes", function()
    local series = {}
    for i = 1, 10 do series[i] = { name = "s" .. i, points = { { 1, i }, { 2, i } } } end
    local seen = {}
    for stroke in chart.line({ title = "t", series = series }):gmatch('<path class="line" (.-) d="M[%d.]+ [%d.]+L') do
      check.equal(seen[stroke], nil)
      seen[stroke] = true
    end
  end },
}
