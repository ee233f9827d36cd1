--- quern report: one offline page about one or more runs.
-- SPDX-License-Identifier: MIT

local util = require "quern.util"
local sys = require "quern.sys"
local report = require "quern.report"
local chart = require "quern.chart"

-- "fit-1: NDCG@10" -> "fit-1-NDCG-10"; a name that is taken gets a number.
local function file_name(title, taken)
  local name = title:gsub("[^%w._-]+", "-"):gsub("^[-.]+", ""):gsub("-+$", "")
  if name == "" then name = "chart" end
  taken[name] = (taken[name] or 0) + 1
  return taken[name] > 1 and ("%s-%d"):format(name, taken[name]) or name
end

local function write_svg(path, svg) sys.write_file(path, chart.file(svg)) end

-- Drawn by rsvg-convert, three dots for each unit: 8 cm of a column at 400 dpi.
local function write_png(path, svg)
  local program = sys.find_program "rsvg-convert"
    or util.fail("unsupported", "no PNG can be drawn: rsvg-convert is not on the PATH", nil,
                 "apt-get install librsvg2-bin, or use --svg")
  local vector = path .. ".svg"
  write_svg(vector, svg)
  local how, number = sys.call({ program, "--zoom", "3", "--background-color", "white", "-o", path, vector })
  sys.remove(vector)
  if how ~= "exit" or number ~= 0 then
    util.fail("io", ("rsvg-convert could not draw %s"):format(path), ("%s %d"):format(how, number))
  end
end

local function write_charts(folder, charts, kind, write)
  local taken = {}
  sys.mkdir(folder)
  for _, c in ipairs(charts) do write(("%s/%s.%s"):format(folder, file_name(c.title, taken), kind), c.svg) end
  print(("%s: %d charts"):format(folder, #charts))
end

---@param args table parsed options
---@return integer exit code
return function(args)
  local r = report.gather(report.folders(args.run, args.out))
  local html, charts = report.page(r)
  sys.write_file(args.output, html)
  print(("%s: %d run%s, %d charts, %s"):format(args.output, #r.runs, #r.runs == 1 and "" or "s", #charts,
    util.bytes(#html)))
  if args.svg then write_charts(args.svg, charts, "svg", write_svg) end
  if args.png then write_charts(args.png, charts, "png", write_png) end
  return 0
end
