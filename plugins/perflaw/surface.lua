--- Surfaces: results of runs as cells of (depth, width), one surface for each data set.
--
-- A row is what a CSV line or a run of the store gives: dataset, maxlen, backbone, layers,
-- dim, tokens, apen, entropy, seed, epoch, candidates, metric, k, value, loss, and any other
-- column that serves as an axis (density, ...). Rows of one cell must differ in their seed;
-- they are averaged, and the cell keeps all values.
-- SPDX-License-Identifier: MIT

local util = require "quern.util"

local surface = {}

local LEAST_CELLS = 6

local function fail(who, row, what, hint)
  util.fail("argument", ("%s: row %s: %s"):format(who, tostring(row.row or "?"), what), row.source, hint)
end

--- A number above 0, which NaN is not.
function surface.positive(x) return type(x) == "number" and x > 0 end

local function metric_name(row)
  local name = tostring(row.metric or "")
  if row.k and row.k ~= "" and not name:find("@", 1, true) then name = ("%s@%d"):format(name, row.k) end
  return name
end

local function check_row(who, row, axes)
  local v = row.value
  if type(v) ~= "number" or v ~= v then fail(who, row, ("value is %s, not a number"):format(tostring(v))) end
  if v < 0 or v > 1 then fail(who, row, ("value %g is no HR, NDCG or MRR: they lie in 0..1"):format(v)) end
  for _, name in ipairs(axes) do
    local x = row[name]
    if not surface.positive(x) then
      fail(who, row, ("%s is %s; it must be a number above 0"):format(name, tostring(x)))
    end
  end
end

local function key_of(row, names)
  local out = {}
  for _, name in ipairs(names) do
    if row[name] ~= nil then out[#out + 1] = ("%s"):format(row[name]) end
  end
  return #out > 0 and table.concat(out, "/") or "all"
end

local function add_cell(who, s, row, axes)
  local x = {}
  for i, name in ipairs(axes) do x[i] = row[name] end
  local key = key_of(row, axes)
  local cell = s.by_key[key]
  if not cell then
    cell = { x = x, values = {}, seeds = {}, row = row.row, users = row.users, loss = row.loss }
    s.by_key[key], s.cells[#s.cells + 1] = cell, cell
  end
  local seed = tostring(row.seed == nil and "" or row.seed)
  if cell.seeds[seed] then
    fail(who, row, ("the cell %s of %s is there twice with seed %q"):format(key, s.label, seed),
         "give rows of one cell different seeds, or choose rows with `where`")
  end
  cell.seeds[seed] = true
  cell.values[#cell.values + 1] = row.value
end

local function distinct(cells, k)
  local seen, n = {}, 0
  for _, c in ipairs(cells) do
    if not seen[c.x[k]] then seen[c.x[k]], n = true, n + 1 end
  end
  return n
end

local function close_surface(who, s, axes)
  if #s.cells < LEAST_CELLS then
    util.fail("argument", ("%s: surface %s has %d cells; at least %d are needed"):format(who, s.label, #s.cells,
              LEAST_CELLS), nil, "train more sizes, or name fewer columns in `group`")
  end
  for k, name in ipairs(axes) do
    if distinct(s.cells, k) < 2 then
      util.fail("argument", ("%s: surface %s has one %s only (%g): nothing can be said about its effect"):format(who,
                s.label, name, s.cells[1].x[k]), nil, "vary it, or leave it out of `x`")
    end
  end
  table.sort(s.cells, function(a, b)                       -- the last axis slowest, as the reference lists them
    for k = #axes, 1, -1 do
      if a.x[k] ~= b.x[k] then return a.x[k] < b.x[k] end
    end
    return false
  end)
  for _, c in ipairs(s.cells) do
    local sum = 0.0
    table.sort(c.values)
    for _, v in ipairs(c.values) do sum = sum + v end
    c.value = sum / #c.values
  end
  s.by_key = nil
end

-- One candidate set for all rows that are fitted together.
local function check_candidates(who, rows)
  local first = rows[1]
  for _, row in ipairs(rows) do
    if tostring(row.candidates or "") ~= tostring(first.candidates or "") then
      fail(who, row, ("candidates is %s, in row %s it is %s: ranks among different candidates do not compare")
           :format(tostring(row.candidates), tostring(first.row), tostring(first.candidates)),
           "choose one kind with `where = { candidates = ... }`")
    end
  end
end

local function wanted(row, where)
  if type(where) == "function" then return where(row) end
  for name, value in pairs(where or {}) do
    if tostring(row[name]) ~= tostring(value) then return false end
  end
  return true
end

--- The rows of one metric, sorted into surfaces.
---@param who string named in errors
---@param rows table[]
---@param o { metric: string, x: string[], group: string[], where: table|function? }
---@return table[] surfaces { label, cells = { x, value, values, users }, first = row }
function surface.gather(who, rows, o)
  local chosen, known, metrics = {}, {}, {}
  for _, row in ipairs(rows) do
    local name = metric_name(row)
    if name:lower() == o.metric:lower() then
      if wanted(row, o.where) then chosen[#chosen + 1] = row end
    elseif not known[name] then
      known[name], metrics[#metrics + 1] = true, name
    end
  end
  if #chosen == 0 then
    util.fail("argument", ("%s: no row has metric %s"):format(who, o.metric), #metrics > 0 and "there are: "
              .. table.concat(metrics, ", ") or nil, util.suggest(o.metric, metrics))
  end
  check_candidates(who, chosen)
  local out, by_label = {}, {}
  for _, row in ipairs(chosen) do
    check_row(who, row, o.x)
    local label = key_of(row, o.group)
    local s = by_label[label]
    if not s then
      s = { label = label, cells = {}, by_key = {}, first = row }
      by_label[label], out[#out + 1] = s, s
    end
    add_cell(who, s, row, o.x)
  end
  for _, s in ipairs(out) do close_surface(who, s, o.x) end
  return out
end

--- The measured data term of a surface.
---@param who string
---@param s table
---@param quality string|function "tokens/apen", "tokens*apen", "tokens/entropy", "tokens"
---@return number
function surface.quality(who, s, quality)
  local row, kinds = s.first, {
    ["tokens/apen"] = function(r) return r.tokens and r.apen and r.tokens / r.apen end,
    ["tokens*apen"] = function(r) return r.tokens and r.apen and r.tokens * r.apen end,
    ["tokens/entropy"] = function(r) return r.tokens and r.entropy and r.tokens / r.entropy end,
    tokens = function(r) return r.tokens end }
  local measure = type(quality) == "function" and quality or kinds[quality]
  if not measure then
    util.fail("argument", ("%s: there is no data term %q"):format(who, tostring(quality)), nil,
              util.suggest(tostring(quality), util.keys(kinds)))
  end
  local v = measure(row)
  if not surface.positive(v) or v == math.huge then
    fail(who, row, ("the data term of %s is %s; it must be a number above 0"):format(s.label, tostring(v)),
         "fill the columns tokens and apen (or entropy), or use data_term = \"constant\"")
  end
  return v
end

return surface
