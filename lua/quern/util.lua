--- Small tools of the front: three-part errors, nearest names, sorted keys, text.
-- SPDX-License-Identifier: MIT

local util = {}

-- ---- Errors ------------------------------------------------------------------

local error_meta = {}
error_meta.__index = error_meta
error_meta.__name = "quern.error"

function error_meta:__tostring()
  local lines = { "quern: " .. self.what }
  if self.detail and self.detail ~= "" then
    for line in self.detail:gmatch("[^\n]+") do lines[#lines + 1] = "  " .. line end
  end
  if self.source then lines[#lines + 1] = "  at " .. self.source end
  if self.hint and self.hint ~= "" then lines[#lines + 1] = "hint: " .. self.hint end
  return table.concat(lines, "\n")
end

-- "@.../lua/quern/": how the sources of Quern's own files begin.
local own = debug.getinfo(1, "S").source:match("^(@.*/)[^/]*$") or "@lua/quern/"

-- How the sources of plugins' files begin; quern.plugin adds to it.
util.plugin_sources = {}

local function begins(source, with) return source:sub(1, #with) == with end

--- Does a source ("@file" or "file:line") lie in Quern's own Lua files, or in a plugin's?
---@param source string
---@return string? "own" or "plugin"
function util.source_kind(source)
  if source:sub(1, 1) ~= "@" then source = "@" .. source end
  if begins(source, own) then return "own" end
  for _, folder in ipairs(util.plugin_sources) do
    if begins(source, folder) then return "plugin" end
  end
end

--- Where the nearest code outside Quern's own Lua files stands, as "file:line".
---@param level integer? stack level to begin at
---@param outside_plugins boolean? plugins' files do not count either: the recipe's line
---@return string?
function util.where(level, outside_plugins)
  level = (level or 1) + 1
  while true do
    local info = debug.getinfo(level, "Sl")
    if not info then return nil end
    local source = info.source
    if info.what ~= "C" and info.currentline > 0 and source:sub(1, 1) == "@" and not begins(source, own)
        and not (outside_plugins and util.source_kind(source)) then
      return source:sub(2) .. ":" .. info.currentline
    end
    level = level + 1
  end
end

--- Raises an error in three parts.
---@param status string "argument", "shape", "io", "format", "not_found", "numeric", "state", ...
---@param what string what happened
---@param detail string? values and shapes
---@param hint string? what to try
function util.fail(status, what, detail, hint)
  error(setmetatable({ status = status, what = what, detail = detail, hint = hint,
                       source = util.where(2) }, error_meta), 0)
end

--- An error in the shape the command line prints, whatever was raised.
---@param e any
---@return table error with at least status and what
function util.as_error(e)
  if type(e) == "table" and e.what then return e end
  if type(e) == "userdata" then
    local ok, what = pcall(function() return e.what end)
    if ok and what then
      return setmetatable({ status = e.status, what = what, detail = e.detail, hint = e.hint,
                            source = e.source }, error_meta)
    end
  end
  local text = tostring(e)
  local status = text == "not enough memory" and "nomem" or "lua"
  local where, what = text:match("^([^\n]-:%d+): (.*)$")
  return setmetatable({ status = status, what = what or text, source = where }, error_meta)
end

-- ---- Names -------------------------------------------------------------------

--- The words of a text that are separated by commas or blanks.
---@param text string
---@return string[]
function util.words(text)
  local out = {}
  for w in text:gmatch "[^,%s]+" do out[#out + 1] = w end
  return out
end

--- Number of single-character edits (insert, delete, replace, swap) between two words.
---@param a string
---@param b string
---@return integer
function util.edits(a, b)
  local before, last = nil, {}
  for j = 0, #b do last[j] = j end
  for i = 1, #a do
    local row = { [0] = i }
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local d = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (same and 0 or 1))
      if before and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        d = math.min(d, before[j - 2] + 1)
      end
      row[j] = d
    end
    before, last = last, row
  end
  return last[#b]
end

--- The known name nearest to a mistyped one, or nil when none is near.
---@param name string
---@param known string[]
---@return string?
function util.nearest(name, known)
  local best, best_d
  for _, k in ipairs(known) do
    local d = util.edits(name:lower(), k:lower())
    local tail = k:match("[^.]+$")
    if tail ~= k then d = math.min(d, util.edits(name:lower(), tail:lower()) + 1) end
    if not best_d or d < best_d then best, best_d = k, d end
  end
  if best and best_d <= math.max(2, #name // 3) then return best end
end

--- A hint naming the nearest known name, or listing what is known.
---@param name string
---@param known string[]
---@return string
function util.suggest(name, known)
  local near = util.nearest(name, known)
  if near then return ("did you mean %q?"):format(near) end
  if #known == 0 then return "nothing of the kind is known here" end
  local shown = {}
  for i = 1, math.min(#known, 12) do shown[i] = tostring(known[i]) end
  return "known: " .. table.concat(shown, ", ") .. (#known > 12 and ", ..." or "")
end

-- ---- Tables ------------------------------------------------------------------

local function key_order(a, b)
  local ta, tb = type(a), type(b)
  if ta ~= tb then return ta == "number" end
  return a < b
end

--- Keys of a table: numbers in rising order, then strings in byte order.
---@param t table
---@return any[]
function util.keys(t)
  local keys, rest = {}, {}
  for k in next, t do
    local kind = type(k)
    if kind == "number" or kind == "string" then keys[#keys + 1] = k else rest[#rest + 1] = k end
  end
  table.sort(keys, key_order)
  for _, k in ipairs(rest) do keys[#keys + 1] = k end
  return keys
end

local function by_number(text)
  return (text:gsub("%d+", function(digits) return ("0"):rep(18 - #digits) .. digits end))
end

--- An order of texts in which "HR@50" stands before "HR@200".
---@param a string
---@param b string
---@return boolean
function util.natural(a, b)
  local x, y = by_number(a), by_number(b)
  if x ~= y then return x < y end
  return a < b
end

--- pairs in the order of util.keys.
---@param t table
function util.sorted(t)
  local keys, i = util.keys(t), 0
  return function()
    i = i + 1
    if keys[i] ~= nil then return keys[i], t[keys[i]] end
  end
end

--- A deep copy of plain tables; other values are shared.
function util.copy(value)
  if type(value) ~= "table" or getmetatable(value) then return value end
  local out = {}
  for k, v in pairs(value) do out[k] = util.copy(v) end
  return out
end

--- Are two plain values equal, tables by content?
function util.same(a, b)
  if a == b then return true end
  if type(a) ~= "table" or type(b) ~= "table" then return false end
  for k, v in pairs(a) do if not util.same(v, b[k]) then return false end end
  for k in pairs(b) do if a[k] == nil then return false end end
  return true
end

--- Checks an options table against the names it may have.
---@param options table?
---@param known table names as keys
---@param who string for the error text
---@return table options, never nil
function util.options(options, known, who)
  if options == nil then return {} end
  if type(options) ~= "table" then
    util.fail("argument", ("%s: options must be a table, not a %s"):format(who, type(options)))
  end
  for _, k in ipairs(util.keys(options)) do
    if known[k] == nil then
      util.fail("argument", ("%s: unknown option %q"):format(who, tostring(k)), nil,
                util.suggest(tostring(k), util.keys(known)))
    end
  end
  return options
end

--- One of the allowed words, or an error that names the nearest.
---@param value any
---@param choices string[]
---@param what string for the error
---@return string
function util.choose(value, choices, what)
  for _, c in ipairs(choices) do
    if c == value then return c end
  end
  util.fail("argument", ("%s cannot be %q"):format(what, tostring(value)), nil,
            util.suggest(tostring(value), choices))
end

--- Raises unless the value is an integer (1.0 counts) in a range.
---@return integer
function util.integer(value, who, low, high)
  local n = math.type(value) and math.tointeger(value)
  if not n or (low and n < low) or (high and n > high) then
    util.fail("argument", ("%s must be an integer%s, not %s"):format(who,
      low and high and (" in %d..%d"):format(low, high) or low and (" of at least %d"):format(low) or "",
      tostring(value)))
  end
  return n
end

-- ---- Text ---------------------------------------------------------------------

--- 1536 -> "1.5 KiB".
---@param n number
---@return string
function util.bytes(n)
  local units = { "B", "KiB", "MiB", "GiB", "TiB" }
  local i = 1
  while n >= 1024 and i < #units do n, i = n / 1024, i + 1 end
  return (i == 1 and "%d %s" or n < 10 and "%.1f %s" or "%.0f %s"):format(i == 1 and n // 1 or n, units[i])
end

--- 1234567 -> "1.23M".
---@param n number
---@return string
function util.count(n)
  local units = { "", "k", "M", "G", "T" }
  local i = 1
  while n >= 1000 and i < #units do n, i = n / 1000, i + 1 end
  if i == 1 then return (n == n // 1 and "%d" or "%.1f"):format(n == n // 1 and n // 1 or n) end
  return (n < 10 and "%.2f%s" or n < 100 and "%.1f%s" or "%.0f%s"):format(n, units[i])
end

--- 1234567 -> "1,234,567".
---@param n integer
---@return string
function util.thousands(n)
  local s = ("%d"):format(n)
  local sign, digits = s:match("^(-?)(%d+)$")
  digits = digits:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", "")
  return sign .. digits
end

--- A short time with three digits: 0.123 ms, 12.3 ms, 1.23 s.
---@param s number seconds
---@return string
function util.seconds(s)
  if s >= 60 then return util.duration(s) end
  if s >= 1 then return ("%.3g s"):format(s) end
  return ("%.3g ms"):format(s * 1e3)
end

--- Seconds as "0:07", "12:03" or "1:02:03".
---@param s number
---@return string
function util.duration(s)
  if s ~= s or s == math.huge then return "?" end
  s = math.floor(s + 0.5)
  if s >= 3600 then return ("%d:%02d:%02d"):format(s // 3600, s % 3600 // 60, s % 60) end
  return ("%d:%02d"):format(s // 60, s % 60)
end

--- A number as people read it: 4 significant digits, integers whole.
---@param v any
---@return string
function util.number(v)
  if type(v) ~= "number" then return tostring(v) end
  if math.type(v) == "integer" then return ("%d"):format(v) end
  if v ~= v then return "nan" end
  if v == math.huge or v == -math.huge then return tostring(v) end
  if v ~= 0 and math.abs(v) < 1e-3 then return ("%.3g"):format(v) end
  if math.abs(v) >= 1e5 then return ("%.5g"):format(v) end
  return (("%.4f"):format(v):gsub("(%.%d%d-)0+$", "%1"))
end

--- Columns of text lined up; numbers to the right. The last cell of a row that has fewer cells
--- than others is a remark: it runs over the columns after it and widens none.
---@param rows string[][]
---@param options {indent: string?, right: table?}? right: set of column numbers
---@return string
function util.table(rows, options)
  options = options or {}
  local width, columns = {}, 0
  for _, row in ipairs(rows) do columns = math.max(columns, #row) end
  local function is_remark(row, i) return i == #row and i < columns end
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do
      width[i] = math.max(width[i] or 0, is_remark(row, i) and 0 or utf8.len(cell) or #cell)
    end
  end
  local lines = {}
  for _, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do
      local pad = is_remark(row, i) and "" or (" "):rep(width[i] - (utf8.len(cell) or #cell))
      cells[i] = (options.right and options.right[i]) and pad .. cell or cell .. pad
    end
    lines[#lines + 1] = ((options.indent or "") .. table.concat(cells, "  ")):gsub("%s+$", "")
  end
  return table.concat(lines, "\n")
end

--- Text cut into lines of at most `width` columns.
---@param text string
---@param width integer
---@param indent string?
---@return string
function util.wrap(text, width, indent)
  indent = indent or ""
  local lines, line = {}, indent
  for word in text:gmatch("%S+") do
    if #line + #word + 1 > width and line ~= indent then
      lines[#lines + 1], line = line, indent
    end
    line = line == indent and line .. word or line .. " " .. word
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n")
end

return util
