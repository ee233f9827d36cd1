--- Params: typed, documented settings with ranges and defaults, in nested groups.
--
-- A leaf is { type, default, doc, ... } or a plain value, whose type is then its own:
--   { "int", 200, "most recent events kept", min = 1 }     { "num", 1e-3, "rate", min = 0 }
--   { "bool", true, "doc" }   { "str", "ml-100k", "doc" }  { "enum", "adam", "doc", of = { "adam", "sgd" } }
-- A table that does not begin with a type's name is a group. Names are paths: "train.lr".
-- SPDX-License-Identifier: MIT

local util = require "quern.util"

local params = {}

local types = { int = true, num = true, bool = true, str = true, enum = true }

-- ---- Reading declarations ---------------------------------------------------------------------

local function infer(value)
  local kind = math.type(value)
  if kind == "integer" then return "int" end
  if kind == "float" then return "num" end
  if type(value) == "boolean" then return "bool" end
  if type(value) == "string" then return "str" end
end

local function leaf_of(path, d)
  if type(d) ~= "table" then
    local kind = infer(d)
    if not kind then
      util.fail("argument", ("params: %s is a %s"):format(path, type(d)), nil,
                "a setting is a number, a boolean, a text or a group of settings")
    end
    return { path = path, type = kind, default = d, doc = "" }
  end
  local leaf = { path = path, type = d[1], default = d[2], doc = d[3] or "", min = d.min, max = d.max, of = d.of }
  for k in pairs(d) do
    if not ({ [1] = 1, [2] = 1, [3] = 1, min = 1, max = 1, of = 1 })[k] then
      util.fail("argument", ("params: %s: unknown field %q"):format(path, tostring(k)), nil,
                util.suggest(tostring(k), { "min", "max", "of" }))
    end
  end
  if leaf.type == "enum" and type(leaf.of) ~= "table" then
    util.fail("argument", ("params: %s: an enum needs of = { ... }"):format(path))
  end
  return leaf
end

local function is_leaf(path, d)
  if type(d) == "table" and type(d[1]) == "string" and not types[d[1]] then
    util.fail("argument", ("params: %s: unknown type %q"):format(path, d[1]), nil, util.suggest(d[1], util.keys(types)))
  end
  return type(d) ~= "table" or (type(d[1]) == "string" and types[d[1]] and d[2] ~= nil)
end

local function read(declared, prefix, leaves)
  for name, d in util.sorted(declared) do
    if type(name) ~= "string" or not name:match("^[%a_][%w_]*$") then
      util.fail("argument", ("params: %q cannot name a setting%s"):format(tostring(name),
        prefix ~= "" and (" in %s"):format(prefix:sub(1, -2)) or ""), nil,
        "names are letters, digits and _; a leaf is { \"int\", default, \"doc\" }")
    end
    if is_leaf(prefix .. name, d) then
      local leaf = leaf_of(prefix .. name, d)
      leaf.default = params.check(leaf, leaf.default)
      leaves[#leaves + 1] = leaf
      leaves[leaf.path] = leaf
    else
      read(d, prefix .. name .. ".", leaves)
    end
  end
  return leaves
end

--- All settings of a declaration, in order of their paths; also by path.
---@param declared table
---@return table leaves
function params.read(declared) return read(declared or {}, "", {}) end

-- ---- Checking values ----------------------------------------------------------------------------

local function refuse(leaf, value, wanted)
  util.fail("argument", ("setting %s must be %s, not %s"):format(leaf.path, wanted,
    type(value) == "string" and ("%q"):format(value) or tostring(value)),
    leaf.doc ~= "" and leaf.doc or nil,
    leaf.type == "enum" and type(value) == "string" and util.suggest(value, leaf.of) or nil)
end

local function range_text(leaf, noun)
  if leaf.min and leaf.max then return ("%s in %s..%s"):format(noun, leaf.min, leaf.max) end
  if leaf.min then return ("%s of at least %s"):format(noun, leaf.min) end
  if leaf.max then return ("%s of at most %s"):format(noun, leaf.max) end
  return noun
end

--- The value in its type, or an error that names the setting.
---@param leaf table
---@param value any
---@return any
function params.check(leaf, value)
  local kind = leaf.type
  if kind == "int" or kind == "num" then
    local noun = kind == "int" and "an integer" or "a number"
    local n = type(value) == "number" and value or nil
    if kind == "int" then n = n and math.tointeger(n) else n = n and n + 0.0 end
    if not n or n ~= n or (leaf.min and n < leaf.min) or (leaf.max and n > leaf.max) then
      refuse(leaf, value, range_text(leaf, noun))
    end
    return n
  elseif kind == "bool" then
    if type(value) ~= "boolean" then refuse(leaf, value, "true or false") end
  elseif kind == "str" then
    if type(value) ~= "string" then refuse(leaf, value, "a text") end
  else
    local found = false
    for _, c in ipairs(leaf.of) do found = found or c == value end
    if not found then refuse(leaf, value, "one of " .. table.concat(leaf.of, ", ")) end
  end
  return value
end

--- The value that a text from the command line stands for.
---@param leaf table
---@param text string
---@return any
function params.parse(leaf, text)
  if leaf.type == "int" or leaf.type == "num" then
    local n = tonumber(text)
    if not n then refuse(leaf, text, range_text(leaf, leaf.type == "int" and "an integer" or "a number")) end
    return params.check(leaf, n)
  elseif leaf.type == "bool" then
    local words = { ["true"] = true, ["yes"] = true, on = true, ["1"] = true,
                    ["false"] = false, no = false, off = false, ["0"] = false }
    if words[text] == nil then refuse(leaf, text, "true or false") end
    return words[text]
  end
  return params.check(leaf, text)
end

-- ---- Resolving ----------------------------------------------------------------------------------

local function paths(leaves)
  local out = {}
  for i, leaf in ipairs(leaves) do out[i] = leaf.path end
  return out
end

--- The setting of a path, or an error with the nearest known one.
---@param leaves table
---@param path string
---@return table leaf
function params.find(leaves, path)
  return leaves[path] or util.fail("argument", ("there is no setting %q"):format(path), nil,
    util.suggest(path, paths(leaves)))
end

local function put(tree, path, value)
  local node = tree
  for part in path:gmatch("([^.]+)%.") do
    node[part] = node[part] or {}
    node = node[part]
  end
  node[path:match("[^.]+$")] = value
end

--- Sets values from a table, nested or with dotted names.
---@param values table<string, any> path -> value, changed in place
---@param leaves table
---@param given table
function params.overlay(values, leaves, given, prefix)
  for name, v in util.sorted(given) do
    local path = (prefix or "") .. tostring(name)
    if type(v) == "table" then
      params.overlay(values, leaves, v, path .. ".")
    else
      values[path] = params.check(params.find(leaves, path), v)
    end
  end
end

--- Values of all settings: defaults, then overlays in order, then texts "a.b=1".
---@param leaves table
---@param overlays table[] nested tables or dotted names
---@param sets string[]? from the command line
---@return table tree nested settings
---@return table<string, any> flat by path
function params.resolve(leaves, overlays, sets)
  local flat = {}
  for _, leaf in ipairs(leaves) do flat[leaf.path] = leaf.default end
  for _, o in ipairs(overlays) do params.overlay(flat, leaves, o) end
  for _, set in ipairs(sets or {}) do
    local path, text = set:match("^([^=]+)=(.*)$")
    if not path then
      util.fail("argument", ("--set %s: this is not name=value"):format(set), nil, "for example --set train.lr=0.001")
    end
    flat[path] = params.parse(params.find(leaves, path), text)
  end
  local tree = {}
  for _, leaf in ipairs(leaves) do put(tree, leaf.path, flat[leaf.path]) end
  return tree, flat
end

-- ---- Printing -----------------------------------------------------------------------------------

local function kind_text(leaf)
  if leaf.type == "enum" then return table.concat(leaf.of, "|") end
  if leaf.type == "int" or leaf.type == "num" then
    if leaf.min or leaf.max then return ("%s %s..%s"):format(leaf.type, leaf.min or "", leaf.max or "") end
  end
  return leaf.type
end

--- A value as it would be typed.
function params.text(v)
  if math.type(v) == "float" then
    local short = ("%.14g"):format(v)
    return short
  end
  return tostring(v)
end

--- The settings as help shows them.
---@param leaves table
---@return string
function params.help(leaves)
  local rows = {}
  for _, leaf in ipairs(leaves) do
    rows[#rows + 1] = { leaf.path .. "=" .. params.text(leaf.default), kind_text(leaf), leaf.doc }
  end
  return util.table(rows, { indent = "  " })
end

--- Settings that differ from their defaults, as "path=value".
---@param leaves table
---@param flat table<string, any>
---@return string[]
function params.changed(leaves, flat)
  local out = {}
  for _, leaf in ipairs(leaves) do
    if flat[leaf.path] ~= leaf.default then out[#out + 1] = leaf.path .. "=" .. params.text(flat[leaf.path]) end
  end
  return out
end

return params
