--- Completion at the prompt: ops, fields, argument names, file names, commands.
--
-- What stands before the cursor decides: an open quote means file names; `?` ops; `:` at
-- the beginning commands; `a.b` or `a:b` the fields of a value, which is looked up and
-- never called; inside the call of an op, or of a function whose options are documented,
-- the names of its arguments come first; anywhere else names of variables and keywords.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local core = require "quern.core"
local util = require "quern.util"
local sys = require "quern.sys"
local prompt = require "quern.prompt"

local complete = {}

local keywords = { "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in",
                   "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while" }
local fields = { "dtype", "grad", "is_jagged", "requires_grad", "shape" }   -- of tensors, beside methods and ops

-- ---- Where names come from -----------------------------------------------------------------------

local function add_keys(out, t)
  for k in next, t do
    if type(k) == "string" and k:match("^%a[%w_]*$") then out[k] = true end
  end
end

local function add_ops(out)
  for _, name in ipairs(core.ops()) do if not name:find(".", 1, true) then out[name] = true end end
end

-- Parts of quern with files of their own.
local function add_parts(out)
  local folder = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$")
  for _, entry in ipairs(sys.list(folder)) do
    local name = entry:gsub("%.lua$", "")
    if name ~= "init" and name ~= "cli" and not rawget(out, name) then
      local good, value = pcall(function() return quern[name] end)
      if good and value ~= nil then out[name] = true end
    end
  end
end

local function names_in(value)
  local out, depth = {}, 0
  if core.is_tensor(value) then
    add_keys(out, core.methods)
    add_ops(out)
    for _, f in ipairs(fields) do out[f] = true end
    return out
  end
  if value == quern then
    add_ops(out)
    add_parts(out)
  end
  while value ~= nil and depth < 8 do
    if type(value) == "table" then add_keys(out, value) end
    local meta = getmetatable(value)
    value = type(meta) == "table" and rawget(meta, "__index") or nil
    if type(value) ~= "table" then break end
    depth = depth + 1
  end
  return out
end

-- The value of a chain of names like quern.nn.Linear, by looking up alone.
local function look_up(env, chain)
  local value = env
  for name in chain:gmatch("[%a_][%w_]*") do
    local good, next_value = pcall(function() return value[name] end)
    if not good or next_value == nil then return nil end
    value = next_value
  end
  return value
end

-- ---- Argument names ------------------------------------------------------------------------------

-- The text before the innermost bracket that is open at the end of `text`; brackets in quotes do not count.
local function callee(text)
  local stack, quote = {}, nil
  local i = 1
  while i <= #text do
    local c = text:sub(i, i)
    if quote then
      if c == "\\" then i = i + 1 elseif c == quote then quote = nil end
    elseif c == '"' or c == "'" then quote = c
    elseif c:match("[%(%[{]") then stack[#stack + 1] = i
    elseif c:match("[%)%]}]") then stack[#stack] = nil end
    i = i + 1
  end
  for k = #stack, 1, -1 do
    local name = text:sub(1, stack[k] - 1):match("([%a_][%w_.:]*)%s*$")
    if name then return name, quote end
    if k == #stack and text:sub(stack[k], stack[k]) == "[" then break end
  end
  return nil, quote
end

local function argument_names(env, chain)
  local out = {}
  local op = chain:match("^quern%.([%w_.]+)$") or chain:match(":([%w_]+)$")
  local good, info = pcall(core.op_info, op or "")
  if good then
    for _, p in ipairs(info.params) do out[#out + 1] = p.name end
    return out
  end
  local fn = prompt.callable(look_up(env, chain:gsub(":", ".")))
  if not fn then return out end
  for _, f in ipairs(prompt.options_of(fn)) do out[#out + 1] = f[1] end
  return out
end

-- ---- Candidates ----------------------------------------------------------------------------------

local function matching(names, word, suffix)
  local out = {}
  for _, name in ipairs(names) do
    if name:sub(1, #word) == word then out[#out + 1] = name .. (suffix or "") end
  end
  table.sort(out)
  return out
end

local function files(word)
  local folder, start = word:match("^(.*/)([^/]*)$")
  folder, start = folder or "", start or word
  local good, list = pcall(sys.list, folder == "" and "." or folder)
  local out = {}
  for _, name in ipairs(good and list or {}) do
    if name:sub(1, #start) == start and (name:sub(1, 1) ~= "." or start:sub(1, 1) == ".") then
      out[#out + 1] = folder .. name .. (pcall(core.list, folder .. name) and "/" or "")
    end
  end
  return out, word
end

local function ops_of(word)
  local bare = word:gsub("^quern%.", "")
  return matching(core.ops(), bare), bare
end

--- What could stand at the cursor: sorted candidates, and the word they replace.
---@param env table of the session
---@param text string the line up to the cursor
---@return string[] candidates
---@return string word
function complete.candidates(env, text)
  local question = text:match("^%s*%?%s*([%w_.]*)$")
  if question then return ops_of(question) end
  local command = text:match("^%s*:(%a*)$")
  if command then
    local names = {}
    for _, list in ipairs { prompt.commands, require("quern.cli").commands or {} } do
      for _, name in ipairs(list) do names[name] = true end
    end
    return matching(util.keys(names), command), command
  end
  local name, quote = callee(text)
  if quote or text:match("^%s*[:$]") then return files(text:match("[^%s\"']*$")) end
  local chain, word = text:match("([%a_][%w_.:]*)[.:]([%w_]*)$")
  if chain then
    local value = look_up(env, chain)
    return value ~= nil and matching(util.keys(names_in(value)), word) or {}, word
  end
  word = text:match("[%w_]*$")
  local out = name and matching(argument_names(env, name), word, " = ") or {}
  if #out == 0 or word ~= "" then
    local names = {}
    add_keys(names, env)
    add_keys(names, _G)
    for _, k in ipairs(keywords) do names[k] = true end
    table.move(matching(util.keys(names), word), 1, #names + 400, #out + 1, out)
  end
  return out, word
end

-- ---- At the terminal --------------------------------------------------------------------------------

local function common(list)
  local first, n = list[1], #list[1]
  for _, s in ipairs(list) do
    while s:sub(1, n) ~= first:sub(1, n) do n = n - 1 end
  end
  return first:sub(1, n)
end

--- Candidates side by side.
---@param list string[]
---@param width integer
---@return string
function complete.columns(list, width)
  local widest = 0
  for _, s in ipairs(list) do widest = math.max(widest, #s) end
  local across = math.max(1, (width + 2) // (widest + 2))
  local down = math.ceil(#list / across)
  local lines = {}
  for row = 1, down do
    local cells = {}
    for i = row, #list, down do cells[#cells + 1] = list[i] .. (" "):rep(widest - #list[i]) end
    lines[row] = table.concat(cells, "  "):gsub("%s+$", "")
  end
  return table.concat(lines, "\n")
end

--- A function for core.edit_open: what to insert, and what to show when there is a choice.
---@param env table
---@return fun(line: string, cursor: integer): string, string?
function complete.of(env)
  return function(line, cursor)
    local list, word = complete.candidates(env, line:sub(1, cursor))
    if #list == 0 then return "", nil end
    local insert = common(list):sub(#word + 1)
    if #list == 1 or insert ~= "" then return insert, nil end
    return "", complete.columns(list, sys.width())
  end
end

return complete
