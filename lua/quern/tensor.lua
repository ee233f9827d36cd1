--- Tensors in Lua: operators, printing, conversions; what the core's methods lack.
-- SPDX-License-Identifier: MIT

local core = require "quern.core"
local meta, methods = core.tensor_meta, core.methods

local function op(name)
  local fn, what, hint = core.op(name)
  if not fn then error(what .. (hint ~= "" and " (" .. hint .. ")" or ""), 0) end
  return fn
end

-- ---- Operators -----------------------------------------------------------------------

for event, name in pairs { __add = "add", __sub = "sub", __mul = "mul", __div = "div", __pow = "pow" } do
  meta[event] = op(name)
end

function meta.__unm(a) return op("neg")(a) end

-- ---- Conversions ---------------------------------------------------------------------

--- The tensor with elements of another type; itself when it has that type already.
---@param dtype string
function methods.to(t, dtype)
  if t.dtype == dtype then return t end
  local out = op("cast")(t, dtype)
  if t.is_jagged and not out.is_jagged then out = core.jagged(out, t:offsets()) end
  return out
end

--- Views of consecutive parts along a dimension; gradients flow through them.
---@param parts integer|integer[] how many equal parts, or the size of each
---@param dim integer? default 1; negative from the end
---@return userdata ... one tensor for each part
function methods.split(t, parts, dim)
  dim = dim or 1
  local size, narrow = t:size(dim), op("narrow")
  if math.type(parts) == "integer" then
    if parts < 1 or size % parts ~= 0 then
      error(("split: dimension %d of size %d cannot be cut into %d equal parts"):format(dim, size, parts), 2)
    end
    local n, each = parts, size // parts
    parts = {}
    for i = 1, n do parts[i] = each end
  end
  local out, start = {}, 1
  for i, length in ipairs(parts) do
    out[i] = narrow(t, dim, start, length)
    start = start + length
  end
  if start ~= size + 1 then
    error(("split: the parts add up to %d, dimension %d has size %d"):format(start - 1, dim, size), 2)
  end
  return table.unpack(out)
end

methods.keep = core.keep
methods.values = core.values
methods.free = meta.__close

-- ---- Printing --------------------------------------------------------------------------

local CORNER = 6                 -- positions of each dimension that are shown

local function cell(v)
  if v == nil then return "" end
  if type(v) == "boolean" then return tostring(v) end
  if math.type(v) == "integer" then return ("%d"):format(v) end
  if v ~= v then return "nan" end
  if v == math.huge then return "inf" elseif v == -math.huge then return "-inf" end
  local a = math.abs(v)
  if a ~= 0 and (a < 1e-3 or a >= 1e5) then return ("%.3e"):format(v) end
  return ("%.4f"):format(v)
end

local function head(t)
  local dims = {}
  for i, d in ipairs(t.shape) do dims[i] = ("%d"):format(d) end
  local text = ("%s[%s]"):format(t.dtype, table.concat(dims, ","))
  if t.is_jagged then text = text .. (" in %d sequences"):format(#t:offsets() - 1) end
  if t:numel() == 0 then return text .. "  empty" end
  local low, high, nan, inf = core.range(t)
  local function bound(x) return t.dtype:match("^[fb]%d") and cell(x) or cell(math.tointeger(x) or x) end
  if t.dtype ~= "bool" then text = text .. "  " .. (low and bound(low) .. " .. " .. bound(high) or "no numbers") end
  if nan > 0 then text = text .. ("  %d NaN"):format(nan) end
  if inf > 0 then text = text .. ("  %d infinite"):format(inf) end
  if t.requires_grad then text = text .. "  requires grad" end
  return text
end

-- Rows of cells, lined up to the right; `more` says that columns are left out.
local function matrix(rows, more)
  local width, lines = {}, {}
  for _, row in ipairs(rows) do
    for i, text in ipairs(row) do width[i] = math.max(width[i] or 0, #text) end
  end
  for _, row in ipairs(rows) do
    local cells = {}
    for i, text in ipairs(row) do cells[i] = (" "):rep(width[i] - #text) .. text end
    lines[#lines + 1] = "  " .. table.concat(cells, "  ") .. (more and "  ..." or "")
  end
  return lines
end

local function cells_of(list)
  local row = {}
  for i, v in ipairs(list) do row[i] = cell(v) end
  return row
end

-- Corner of a tensor of two or more dimensions: its first matrices.
local function blocks(corner, shape, d, at, lines)
  if d < #shape - 1 then
    for i = 1, math.min(2, #corner) do
      blocks(corner[i], shape, d + 1, at .. i .. ",", lines)
    end
    if shape[d] > 2 then lines[#lines + 1] = "  ..." end
    return
  end
  if at ~= "" then lines[#lines + 1] = " [" .. at .. ":,:]" end
  local rows = {}
  for i, row in ipairs(corner) do rows[i] = cells_of(row) end
  for _, line in ipairs(matrix(rows, shape[#shape] > CORNER)) do lines[#lines + 1] = line end
  if shape[#shape - 1] > CORNER then lines[#lines + 1] = "  ..." end
end

--- Shape, type, range and a corner of values.
function meta.__tostring(t)
  if core.is_freed(t) then return "tensor (freed)" end
  local lines = { head(t) }
  local shape = t.shape
  if t:numel() == 0 then return lines[1] end
  local corner = core.corner(t, CORNER)
  if #shape == 0 then lines[1] = lines[1]:gsub("  .-%.%. [^ ]+", "") .. "  " .. cell(corner)
  elseif #shape == 1 then
    lines[2] = matrix({ cells_of(corner) }, shape[1] > CORNER)[1]
  else
    blocks(corner, shape, 1, "", lines)
  end
  return table.concat(lines, "\n")
end

methods.tostring = meta.__tostring

return methods
