--- The messages that Quern's sources raise, found in their text.
--
-- A message is the `what` of qni_fail, qni_bind_fail, an op's fail(...) or util.fail, as a list of
-- its fixed parts: "dim %s is %d" has the parts "dim " and " is ".
-- SPDX-License-Identifier: MIT

local sys = require "quern.sys"

local messages = {}

-- Position of the argument that is the message, by the name of the function.
local raisers = { qni_fail = 2, qni_bind_fail = 4, fail = 3, ["util.fail"] = 2 }

-- The arguments of a call whose ( stands at `at`, split at commas of its own depth.
local function arguments(text, at)
  local out, depth, first = {}, 0, at + 1
  local i = at
  while i <= #text do
    local c = text:sub(i, i)
    if c == '"' then
      i = i + 1
      while i <= #text and text:sub(i, i) ~= '"' do i = i + (text:sub(i, i) == "\\" and 2 or 1) end
    elseif c == "'" then
      local close = text:match("^'\\?.[^']*'()", i)
      if close then i = close - 1 end
    elseif c == "(" or c == "{" or c == "[" then depth = depth + 1
    elseif c == ")" or c == "}" or c == "]" then
      depth = depth - 1
      if depth == 0 then
        out[#out + 1] = text:sub(first, i - 1)
        return out
      end
    elseif c == "," and depth == 1 then
      out[#out + 1] = text:sub(first, i - 1)
      first = i + 1
    end
    i = i + 1
  end
  return out
end

local escapes = { n = "\n", t = "\t", ['"'] = '"', ["\\"] = "\\" }

-- The fixed parts of an expression of string literals.
local function parts_of(expression)
  local out, joined = {}, {}
  expression = expression:match('^%s*(%b"")%s*$') or expression:match('^%s*%((%b"")%):format') or expression
  for literal in expression:gmatch('"(.-[^\\])"') do joined[#joined + 1] = literal end
  local text = table.concat(joined, "%s")
  if not expression:find("%.%.") and not expression:find("[?:]") then text = table.concat(joined) end
  text = text:gsub("\\(.)", escapes):gsub("%%%%", "\1"):gsub('%%[%-+ #0]*%d*%.?%*?%d*[hlzjt]*[%a]', "\0")
  for part in text:gmatch("[^%z]+") do
    part = part:gsub("\1", "%%")
    if #part >= 3 then out[#out + 1] = (part:gsub("\n", " ")) end
  end
  return out
end

local function add(list, path, text, at, name, position)
  local words = arguments(text, at)
  local expression = words[position]
  local parts = expression and parts_of(expression) or {}
  local length = 0
  for _, p in ipairs(parts) do length = length + #p end
  if length < 8 then return end                          -- a text that comes from elsewhere
  local _, line = text:sub(1, at):gsub("\n", "")
  list[#list + 1] = { path = path, line = line + 1, parts = parts, name = name, text = table.concat(parts, "...") }
end

local function scan(list, path)
  local text = sys.read_file(path)
  if path:match("%.lua$") then
    for at in text:gmatch("util%.fail()%(") do add(list, path, text, at, "util.fail", raisers["util.fail"]) end
    return
  end
  text = text:gsub('"%s*\n%s*"', ""):gsub('"%s*PRI([dxu])64%s*"', "l%1"):gsub('"%s*PRI([dxu])64', "l%1\"")
  for name, at in text:gmatch("([%w_]+)()%(") do
    if raisers[name] then add(list, path, text, at, name, raisers[name]) end
  end
end

local function walk(list, folder)
  for _, entry in ipairs(sys.list(folder)) do
    local path = folder .. "/" .. entry
    if sys.stat(path).folder then walk(list, path)
    elseif entry:match("%.lua$") or entry:match("%.[ch]$") then scan(list, path) end
  end
end

--- The messages of all sources below folders.
---@param folders string[]
---@return {path: string, line: integer, parts: string[], text: string}[]
function messages.of(folders)
  local list = {}
  for _, folder in ipairs(folders) do walk(list, folder) end
  return list
end

--- Does a text hold all fixed parts of a message, in order?
---@param message table
---@param text string
---@return boolean
function messages.holds(message, text)
  local at = 1
  for _, part in ipairs(message.parts) do
    local _, last = text:find(part, at, true)
    if not last then return false end
    at = last + 1
  end
  return true
end

return messages
