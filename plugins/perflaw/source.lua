--- Source: rows of results, from CSV files and from the run store.
--
-- CSV: dataset,maxlen,backbone,layers,dim,tokens,apen,entropy,seed,epoch,candidates,metric,k,value,loss
-- with a header that names at least layers, dim, metric and value; other columns are kept.
-- From the store, a row is made of each number a run reports: settings give the columns.
-- SPDX-License-Identifier: MIT

local store = require "quern.store"
local sys = require "quern.sys"
local util = require "quern.util"

local source = {}

local NEEDED = { "metric", "value" }

-- ---- CSV ----------------------------------------------------------------------------------

-- One line's fields; quotes may hold commas and doubled quotes (RFC 4180).
local function fields_of(line, path, number)
  local out, at = {}, 1
  while true do
    local text, after
    if line:sub(at, at) == '"' then
      local i = at + 1
      while true do
        local q = line:find('"', i, true)
        if not q then util.fail("format", ("%s, line %d: a quote is not closed"):format(path, number)) end
        if line:sub(q + 1, q + 1) ~= '"' then
          text, after = line:sub(at + 1, q - 1):gsub('""', '"'), q + 1
          break
        end
        i = q + 2
      end
    else
      after = line:find(",", at, true) or #line + 1
      text = line:sub(at, after - 1)
    end
    out[#out + 1] = text
    if after > #line then return out end
    if line:sub(after, after) ~= "," then
      util.fail("format", ("%s, line %d: text after a closing quote"):format(path, number))
    end
    at = after + 1
  end
end

local function check_header(header, path)
  local seen = {}
  for _, name in ipairs(header) do seen[name] = true end
  for _, name in ipairs(NEEDED) do
    if not seen[name] then
      util.fail("format", ("%s, line 1: the header has no column %q"):format(path, name), "it is: "
                .. table.concat(header, ","), "the first line names the columns, for instance "
                .. "dataset,maxlen,backbone,layers,dim,seed,candidates,metric,k,value")
    end
  end
end

--- Rows of a CSV file with a header.
---@param path string
---@return table[] rows; row.row is the line's number
function source.read(path)
  local header, rows, number = nil, {}, 0
  for line in (sys.read_file(path) .. "\n"):gmatch("(.-)\r?\n") do
    number = number + 1
    if line ~= "" and not line:match("^#") then
      local fields = fields_of(line, path, number)
      if not header then
        header = fields
        check_header(header, path)
      else
        if #fields ~= #header then
          util.fail("format", ("%s, line %d: %d columns instead of %d"):format(path, number, #fields, #header))
        end
        local row = { row = number, source = path }
        for i, name in ipairs(header) do
          if fields[i] ~= "" then row[name] = tonumber(fields[i]) or fields[i] end
        end
        rows[#rows + 1] = row
      end
    end
  end
  if not header then util.fail("format", path .. " is empty", nil, "the first line names the columns") end
  return rows
end

-- ---- The run store --------------------------------------------------------------------------

-- What a setting or a reported number is called here.
local COLUMNS = {
  dataset = { "data.set", "dataset" }, maxlen = { "data.max_len", "maxlen" },
  backbone = { "model.backbone", "model.kind", "backbone" }, layers = { "model.blocks", "model.layers", "layers" },
  dim = { "model.dim", "dim" }, density = { "prune.density", "density" }, candidates = { "candidates" },
  tokens = { "tokens" }, apen = { "apen" }, entropy = { "entropy" }, users = { "users" }, loss = { "loss" },
  epoch = { "epoch", "best_epoch" } }

local function first_of(names, ...)
  for _, name in ipairs(names) do
    for _, from in ipairs { ... } do
      if from[name] ~= nil then return from[name] end
    end
  end
end

--- Rows of the finished runs of a folder (quern sweep, quern run --out). Where nothing was pruned the density is 1.
---@param folder string? default "runs"
---@param o { filter: string[]?, columns: table<string, string>? }? filter as of `quern runs`; columns: column = setting
---@return table[]
function source.runs(folder, o)
  o = util.options(o, { filter = 1, columns = 1 }, "perflaw.runs")
  local columns = util.copy(COLUMNS)
  for name, setting in pairs(o.columns or {}) do columns[name] = { setting } end
  local rows = {}
  for _, run in ipairs(store.filter(store.list(folder or "runs"), o.filter or {})) do
    for _, report in ipairs(run.status == "done" and run.reports or {}) do
      local base = { seed = run.seed, source = run.folder, label = report.label }
      for name, settings in pairs(columns) do base[name] = first_of(settings, report.metrics, run.settings) end
      base.candidates, base.density = base.candidates or "full", base.density or 1
      for metric, value in util.sorted(report.metrics) do
        if metric:match("^%u+@%d+$") or metric == "MRR" then
          local row = util.copy(base)
          row.row, row.metric, row.value = #rows + 1, metric, value
          rows[#rows + 1] = row
        end
      end
    end
  end
  return rows
end

return source
