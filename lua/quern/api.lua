--- Everything that can be called, as data: ops, things, their arguments and texts; and what is
--- made from it: `quern api --json`, docs/ops, editor stubs, help pages.
--
-- All of it comes from the schemas and texts of the loaded plugins; nothing is described twice.
-- SPDX-License-Identifier: MIT

local core = require "quern.core"
local util = require "quern.util"
local things = require "quern.things"

local api = {}

-- ---- The data -----------------------------------------------------------------------------------

local function by_plugin(list, key)
  local out = {}
  for _, x in ipairs(list) do
    local id = key(x)
    out[id] = out[id] or {}
    table.insert(out[id], x)
  end
  return out
end

--- All ops with everything known of them, sorted by name.
---@return table[]
function api.ops()
  local out = {}
  for i, name in ipairs(core.ops()) do
    out[i] = core.op_info(name)
    out[i].call = name
  end
  return out
end

--- The whole, as plain values.
---@return table
function api.all()
  local ops, plugins = {}, {}
  for i, op in ipairs(api.ops()) do
    local copy = {}
    for k, v in pairs(op) do copy[k] = v end
    copy.plugin, copy.plugin_version = op.plugin.id, op.plugin.version
    ops[i] = copy
  end
  for i, p in ipairs(core.plugins()) do plugins[i] = { id = p.id, name = p.name, version = p.version, ops = p.ops } end
  return { quern = core.version(), abi = core.abi(), plugins = plugins, ops = ops, things = things.types() }
end

-- ---- Pages ---------------------------------------------------------------------------------------

local function default_of(v)
  if type(v) == "table" then
    local parts = {}
    for i, x in ipairs(v) do parts[i] = tostring(x) end
    return "{" .. table.concat(parts, ", ") .. "}"
  end
  return type(v) == "string" and ("%q"):format(v) or tostring(v)
end

-- A bar would end a table's cell.
local function cell(text) return (tostring(text):gsub("|", "\\|")) end

local function argument_rows(op)
  local rows = { "| argument | type | |", "| --- | --- | --- |" }
  for _, p in ipairs(op.params) do
    local note = {}
    if p.written then note[#note + 1] = "written in place" end
    if p.variadic then note[#note + 1] = "any number of them" end
    if p.default ~= nil then note[#note + 1] = "default " .. default_of(p.default)
    elseif p.optional then note[#note + 1] = "may be left out" end
    rows[#rows + 1] = ("| `%s` | `%s` | %s |"):format(p.name, cell(p.type), cell(table.concat(note, "; ")))
  end
  return #rows > 2 and table.concat(rows, "\n") .. "\n" or nil
end

local bits = { bitwise = "equal bits for any number of threads",
               same_threads = "equal bits for equal numbers of threads", none = "bits are not promised" }

local function facts_of(op)
  local facts = { op.differentiable and (op.second_order and "gradients of any order" or "gradient of first order")
    or "no gradient", bits[op.determinism] }
  if op.random then facts[#facts + 1] = "draws random numbers" end
  facts[#facts + 1] = ("in a batch: %s"):format(op.batch)
  return table.concat(facts, "; ")
end

local function op_page(op)
  local lines = { "## " .. op.name, "", "```", op.schema, "```", "", op.summary }
  if op.doc then lines[#lines + 1] = "" lines[#lines + 1] = op.doc end
  local rows = argument_rows(op)
  if rows then lines[#lines + 1] = "" lines[#lines + 1] = rows:sub(1, -2) end
  lines[#lines + 1] = "" lines[#lines + 1] = facts_of(op) .. "."
  if op.cite then lines[#lines + 1] = "" lines[#lines + 1] = "Source: " .. op.cite end
  if op.example then
    for _, line in ipairs { "", "```lua", op.example, "```" } do lines[#lines + 1] = line end
  end
  return table.concat(lines, "\n")
end

local function thing_page(t)
  local lines = { ("## %s: %s"):format(t.kind, t.name), "", "```", t.settings }
  if t.method then lines[#lines + 1] = t.method end
  for _, line in ipairs { "```", "", t.summary } do lines[#lines + 1] = line end
  if t.doc then lines[#lines + 1] = "" lines[#lines + 1] = t.doc end
  if t.cite then lines[#lines + 1] = "" lines[#lines + 1] = "Source: " .. t.cite end
  if t.example then
    for _, line in ipairs { "", "```lua", t.example, "```" } do lines[#lines + 1] = line end
  end
  return table.concat(lines, "\n")
end

local MADE = "<!-- Made by `make docs` from the schemas; changes here are lost. -->\n"

local function plugin_page(p, ops, list)
  local parts = { MADE, ("# %s: ops"):format(p.name), "" }
  if #ops > 0 then
    local names = {}
    for i, op in ipairs(ops) do names[i] = ("[%s](#%s)"):format(op.name, op.name) end
    parts[#parts + 1] = table.concat(names, "\n") .. "\n"
  end
  for _, op in ipairs(ops) do parts[#parts + 1] = op_page(op) .. "\n" end
  if #list > 0 then parts[#parts + 1] = ("# %s: things beside ops\n"):format(p.name) end
  for _, t in ipairs(list) do parts[#parts + 1] = thing_page(t) .. "\n" end
  return table.concat(parts, "\n")
end

-- ---- Stubs ---------------------------------------------------------------------------------------

local lua_types = { int = "integer", num = "number", bool = "boolean", str = "string" }

local function lua_type(p)
  if p.tensor then return p.variadic and "quern.Tensor[]" or "quern.Tensor|number" end
  if p.choices then
    local words = {}
    for i, w in ipairs(p.choices) do words[i] = ('"%s"'):format(w) end
    return table.concat(words, "|")
  end
  local kind = p.type:match("^(%a+)")
  if p.type:match("^%[int") then return "integer[]" elseif p.type:match("^%[num") then return "number[]" end
  return lua_types[kind] or "any"
end

local function one_line(text) return (text:gsub("%s+", " ")) end

local reserved = { ["end"] = true, ["repeat"] = true, ["in"] = true, ["function"] = true, ["local"] = true }
local function lua_name(name) return reserved[name] and name .. "_" or name end

-- "function quern.add(a, b) end"; a name that is a word of Lua goes into brackets.
local function declaration(owner, name, names)
  local method = owner == "Tensor"
  if not reserved[name] then
    return ("function %s%s%s(%s) end"):format(owner, method and ":" or ".", name, table.concat(names, ", "))
  end
  if method then table.insert(names, 1, "self") end
  return ("%s[%q] = function(%s) end"):format(owner, name, table.concat(names, ", "))
end

local function stub(op, owner)
  local lines, names, fields = { "--- " .. one_line(op.summary), "--- `" .. op.schema .. "`" }, {}, {}
  if op.doc then table.insert(lines, 2, "--- " .. one_line(op.doc)) end
  for i, p in ipairs(op.params) do
    if p.keyword then
      fields[#fields + 1] = ("%s?: %s"):format(p.name, lua_type(p))
    elseif not (owner == "Tensor" and i == 1) then
      names[#names + 1] = lua_name(p.name)
      lines[#lines + 1] = ("---@param %s%s %s"):format(lua_name(p.name), p.optional and "?" or "", lua_type(p))
    end
  end
  if #fields > 0 then
    names[#names + 1] = "options"
    lines[#lines + 1] = ("---@param options? { %s }"):format(table.concat(fields, ", "))
  end
  for _, o in ipairs(op.outputs) do lines[#lines + 1] = "---@return quern.Tensor " .. o.name end
  lines[#lines + 1] = declaration(owner, op.name, names)
  return table.concat(lines, "\n")
end

local function plugin_stubs(p, ops)
  local core_ops = p.id == "core"
  local parts = { "---@meta", ("-- Made by `make docs` from the schemas of %s; changes here are lost."):format(p.id),
    "-- SPDX-License-Identifier: MIT", "",
    core_ops and "---@class quern.Tensor\nlocal Tensor = {}\n" or "local Tensor = {} ---@class quern.Tensor\n",
    core_ops and "---@class quern\nlocal quern = {}\n" or "local quern = {} ---@class quern\n" }
  for _, op in ipairs(ops) do
    parts[#parts + 1] = stub(op, "quern") .. "\n"
    if op.params[1] and op.params[1].tensor and not op.params[1].variadic then
      parts[#parts + 1] = stub(op, "Tensor") .. "\n"
    end
  end
  parts[#parts + 1] = core_ops and "return quern" or "return { quern = quern, Tensor = Tensor }"
  return table.concat(parts, "\n") .. "\n"
end

local function help_pages(ops)
  local help, parts = require "quern.help", {}
  for _, op in ipairs(ops) do
    local text = help(op.call, true):gsub("\n\nplugin\n[^\n]*$", "")
    parts[#parts + 1] = ("%s\n%s\n"):format(("="):rep(40), text)
  end
  return table.concat(parts)
end

-- ---- Files ------------------------------------------------------------------------------------------

--- What is made from the loaded plugins: text by path, for docs/ops, lua/meta and tests/golden/help.
---@return table<string, string>
function api.files()
  local files, index = {}, { MADE, "# Ops and things", "", "| plugin | |", "| --- | --- |" }
  local ops = by_plugin(api.ops(), function(op) return op.plugin.id end)
  local list = by_plugin(things.types(), function(t) return t.plugin_id end)
  for _, p in ipairs(core.plugins()) do
    local mine, others = ops[p.id] or {}, list[p.id] or {}
    files[("docs/ops/%s.md"):format(p.name)] = plugin_page(p, mine, others)
    if #mine > 0 then
      files[("lua/meta/%s.lua"):format(p.name)] = plugin_stubs(p, mine)
      files[("tests/golden/help/%s.txt"):format(p.name)] = help_pages(mine)
    end
    index[#index + 1] = ("| [%s](%s.md) | %s |"):format(p.name, p.name, p.id)
  end
  index[#index + 1] = "\n`quern api --json` gives the same as data, `quern help NAME` one op at the prompt."
  files["docs/ops/README.md"] = table.concat(index, "\n") .. "\n"
  return files
end

--- Writes them below a folder; returns how many changed.
---@param folder string
---@return integer
function api.write(folder)
  local changed = 0
  for path, text in util.sorted(api.files()) do
    local to = folder .. "/" .. path
    if not core.exists(to) or core.read_file(to) ~= text then
      core.mkdir(to:match("^(.*)/"))
      core.write_file(to, text)
      changed = changed + 1
    end
  end
  return changed
end

return api
