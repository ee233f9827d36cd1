--- make bench-table: writes the tables of docs/performance.md from the lines of JSON that
-- make bench BENCH_JSON=1 left in BUILD/bench/*.jsonl. Only what stands between the marks
-- <!-- bench NAME --> and <!-- end --> changes, and only for benchmarks that were run.
--   quern lua tests/bench/table.lua BUILD/bench
-- SPDX-License-Identifier: MIT

local quern = require "quern"

local folder, page = arg[1], "docs/performance.md"

local function read(path)
  local file = io.open(path)
  if not file then return nil end
  local text = file:read("a")
  file:close()
  return text
end

local function number(x)
  if x >= 100 then return ("%.0f"):format(x) elseif x >= 10 then return ("%.1f"):format(x) end
  return ("%.2f"):format(x)
end

-- Milliseconds; below a tenth of one, microseconds.
local function time(ms) return ms >= 0.1 and number(ms) or number(ms * 1e3) .. " us" end

-- Peers and their ratios: "PyTorch 3446 (26.5, 28.2, 27.1)".
local function peers_of(row)
  local list, names = {}, {}
  for name in pairs(row.peers or {}) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local ms, by_round = row.peers[name], {}
    for i, r in ipairs(row.ratios and row.ratios[name] or { ms / row.ms }) do by_round[i] = number(r) end
    list[#list + 1] = ("%s %s (%s)"):format(name, time(ms), table.concat(by_round, ", "))
  end
  return #list > 0 and table.concat(list, "; ") or "-"
end

local CASES = "| case | ours, ms | floor, ms | times floor | peak, MiB | peers, ms (ratio by round) |\n"
  .. "| --- | --- | --- | --- | --- | --- |"
local NUMBERS = "| what | measured |\n| --- | --- |"

local function case_row(row)
  local floor = row.floor_ms and row.floor_ms > 0 and row.floor_ms
  return "| " .. table.concat({ row.case, time(row.ms), floor and time(floor) or "-",
    floor and number(row.ms / floor) or "-", row.memory_mib and ("%.0f"):format(row.memory_mib) or "-",
    peers_of(row) }, " | ") .. " |"
end

-- Markdown of one benchmark's lines: its cases, and numbers that are no cases.
local function table_of(text)
  local out, cases, numbers = {}, { CASES }, { NUMBERS }
  for line in text:gmatch("[^\n]+") do
    local row = quern.json.decode(line)
    if row.machine then
      out[1] = ("%s, %s, %d threads; FMA peak %.0f GF/s (%.0f on one), copy %.1f GB/s, in place %.1f."):format(
        row.machine, row.isa, row.threads, row.peak, row.peak_1t, row.copy, row.update)
    elseif type(row.peers) == "string" then
      out[2] = row.peers .. (row.allocator and ", with " .. row.allocator:match("[^/]*$") or "") .. "."
    elseif row.case then
      cases[#cases + 1] = case_row(row)
    elseif row.what then
      numbers[#numbers + 1] = ("| %s | %s %s |"):format(row.what, number(row.value), row.unit)
    end
  end
  local parts = { table.concat(out, " ") }
  for _, rows in ipairs { cases, numbers } do
    if #rows > 1 then parts[#parts + 1] = table.concat(rows, "\n") end
  end
  return table.concat(parts, "\n\n") .. "\n"
end

local text = assert(read(page), page .. " is not here: run this at the project's top")
local written = {}
text = text:gsub("(<!%-%- bench (%w+) %-%->\n)(.-)(<!%-%- end %-%->)", function(open, name, old, close)
  local lines = read(("%s/bench_%s.jsonl"):format(folder, name))
  if not lines or lines == "" then return open .. old .. close end
  written[#written + 1] = name
  return open .. table_of(lines) .. close
end)
quern._io.write_file(page, text)
print(#written > 0 and "written: " .. table.concat(written, ", ")
      or "no results in " .. folder .. "; run: make bench BENCH_JSON=1")
