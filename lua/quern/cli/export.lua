--- quern export: runs as CSV (RFC 4180): a line for each run and label of its report, or for
-- each line of metrics.jsonl.
-- SPDX-License-Identifier: MIT

local util = require "quern.util"
local store = require "quern.store"
local sys = require "quern.sys"

local function cell(v)
  if v == nil then return "" end
  local text = math.type(v) == "float" and ("%.17g"):format(v) or tostring(v)
  if math.type(v) == "float" and tonumber(("%.15g"):format(v)) == v then text = ("%.15g"):format(v) end
  if text:find('[",\r\n]') then text = '"' .. text:gsub('"', '""') .. '"' end
  return text
end

local FIRST = { "run", "recipe", "status", "seed", "size", "began", "ended" }

local function row_of(r)
  local row = { run = r.id, recipe = r.name, status = r.status, seed = r.seed, size = r.size, began = r.began,
                ended = r.ended }
  for path, v in pairs(r.settings) do row["settings." .. path] = v end
  return row
end

local function add_values(row, prefix, values)
  for k, v in pairs(values) do
    if type(v) == "table" then add_values(row, prefix .. k .. ".", v) else row[prefix .. k] = v end
  end
  return row
end

local function rows_of(r, curves)
  local out = {}
  if curves then
    for _, record in ipairs(store.metrics(r)) do
      out[#out + 1] = add_values({ run = r.id, seed = r.seed }, "", record)
    end
    return out
  end
  for _, report in ipairs(r.reports) do
    local row = row_of(r)
    row.label, row.note = report.label, report.note
    out[#out + 1] = add_values(row, "", report.metrics)
  end
  if #out == 0 then out[1] = row_of(r) end
  return out
end

local function columns(rows)
  local seen, out = {}, {}
  for _, row in ipairs(rows) do for k in pairs(row) do seen[k] = true end end
  for _, name in ipairs(FIRST) do
    if seen[name] then out[#out + 1] = name end
    seen[name] = nil
  end
  for _, name in ipairs(util.keys(seen)) do out[#out + 1] = name end
  return out
end

---@param args table filter, csv, curves, output, out
---@return integer exit code
return function(args)
  local rows = {}
  for _, r in ipairs(store.filter(store.list(args.out), args.filter)) do
    for _, row in ipairs(rows_of(r, args.curves)) do rows[#rows + 1] = row end
  end
  local names = columns(rows)
  local head = {}
  for i, name in ipairs(names) do head[i] = cell(name) end
  local lines = { table.concat(head, ",") }
  for _, row in ipairs(rows) do
    local cells = {}
    for i, name in ipairs(names) do cells[i] = cell(row[name]) end
    lines[#lines + 1] = table.concat(cells, ",")
  end
  local text = table.concat(lines, "\r\n") .. "\r\n"
  if args.output then
    sys.write_file(args.output, text)
    print(("%d lines in %s"):format(#rows, args.output))
  else
    io.stdout:write(text)
  end
  return 0
end
