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

local function write_charts(folder, charts)
  local taken = {}
  sys.mkdir(folder)
  for _, c in ipairs(charts) do sys.write_file(("%s/%s.svg"):format(folder, file_name(c.title, taken)), chart.file(c.svg)) end
  print(("%s: %d charts"):format(folder, #charts))
end

---@param args table parsed options
---@return integer exit code
return function(args)
  local r = report.gather(report.folders(args.run, args.out))
  local html, charts = report.page(r)
  sys.write_file(args.output, html)
  print(("%s: %d run%s, %d charts, %s"):format(args.output, #r.runs, #r.runs == 1 and "" or "s", #charts, util.bytes(#html)))
  if args.svg then write_charts(args.svg, charts) end
  return 0
end
