--- quern runs: the runs of a folder as a table, those that a filter leaves.
-- SPDX-License-Identifier: MIT

local util = require "quern.util"
local params = require "quern.params"
local store = require "quern.store"

local MOST_METRICS = 3

-- "ours NDCG@10 0.1235 HR@10 0.21"; the label only where there are several.
local function results(r)
  local parts = {}
  for _, report in ipairs(r.reports) do
    if #r.reports > 1 then parts[#parts + 1] = report.label .. ":" end
    local n = 0
    for name, v in util.sorted(report.metrics) do
      if type(v) == "number" and n < MOST_METRICS then
        parts[#parts + 1] = ("%s %s"):format(name, util.number(v))
        n = n + 1
      end
    end
  end
  if #r.reports == 0 and r.message then parts[1] = (r.message:gsub("%s+", " ")) end
  return table.concat(parts, " ")
end

local function differing(r, names)
  local parts = {}
  for _, name in ipairs(names) do
    if r.settings[name] ~= nil then parts[#parts + 1] = name .. "=" .. params.text(r.settings[name]) end
  end
  return table.concat(parts, " ")
end

-- Settings in which runs of one recipe differ among themselves.
local function varying_by_recipe(list)
  local groups, out = {}, {}
  for _, r in ipairs(list) do
    groups[r.name] = groups[r.name] or {}
    table.insert(groups[r.name], r)
  end
  for name, group in pairs(groups) do out[name] = store.varying(group) end
  return out
end

local function cut(text, width)
  if (utf8.len(text) or #text) <= width then return text end
  return text:sub(1, width - 3) .. "..."
end

---@param args table filter, out
---@return integer exit code
return function(args)
  local list = store.filter(store.list(args.out), args.filter)
  if #list == 0 then
    print(#args.filter > 0 and "no run in " .. args.out .. " fits" or "there are no runs in " .. args.out)
    return 0
  end
  local names = varying_by_recipe(list)
  local rows = { { "run", "status", "size", "seed", "settings that differ", "results" } }
  for _, r in ipairs(list) do
    rows[#rows + 1] = { r.id, r.status, r.size or "", tostring(r.seed), cut(differing(r, names[r.name]), 48),
                        cut(results(r), 72) }
  end
  print(util.table(rows, { right = { [4] = true } }))
  return 0
end
