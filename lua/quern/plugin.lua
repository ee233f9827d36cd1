--- Plugins: finding them, reading their manifests, loading them.
--
--   local hstu = quern.plugin "hstu"        -- what hstu/hstu.lua returns, else its ops by name
--
-- Search order: a path given as such; plugins/ beside the recipe; $QUERN_PLUGIN_PATH;
-- ~/.local/share/quern/plugins; plugins/ beside the program (a build) and
-- ../lib/quern/plugins (an installation). The first of a name wins.
-- Nothing of a plugin runs before its manifest, plugin.lua, has been read; the manifest itself
-- is parsed as data, never run. Its version and count of ops must equal the library's, which is
-- read and tried out in a process of its own before it is loaded into this one (quern.scan).
-- Lua files of a loaded plugin are required as "name.file".
-- SPDX-License-Identifier: MIT

local core = require "quern.core"
local scan = require "quern.scan"
local util = require "quern.util"

local plugin = { recipe_folder = nil }

local CAP = 64 * 1024
local loaded = {}                -- name -> what quern.plugin returns
local folders = {}               -- name -> folder

-- ---- Places ---------------------------------------------------------------------------------

local function program_folder() return debug.getregistry()["quern.program_folder"] end

--- Folders that are searched, in order.
---@return string[]
function plugin.path()
  local list = {}
  if plugin.recipe_folder then list[#list + 1] = plugin.recipe_folder .. "/plugins" end
  for folder in (os.getenv("QUERN_PLUGIN_PATH") or ""):gmatch("[^:]+") do list[#list + 1] = folder end
  local home, program = os.getenv("HOME"), program_folder()
  if home and home ~= "" then list[#list + 1] = home .. "/.local/share/quern/plugins" end
  if program then
    list[#list + 1] = program .. "/plugins"
    list[#list + 1] = program .. "/../lib/quern/plugins"
  end
  return list
end

-- ---- Manifests ----------------------------------------------------------------------------------

local fields = { id = "string", name = "string", version = "string", abi = "string", library = "string", ops = "number",
                 objects = "table", needs = "table", paper = "table", license = "string", summary = "string",
                 speed = "table" }

local function refuse(what, detail, hint) util.fail("plugin", what, detail, hint) end

-- A manifest is parsed, never run: return TABLE, where a table holds texts, numbers, true,
-- false and tables. `at` moves through the text; errors name the line.
local Reader = {}
Reader.__index = Reader

function Reader:refuse(what)
  local _, lines = self.text:sub(1, self.at - 1):gsub("\n", "")
  refuse(("%s:%d: %s"):format(self.path, lines + 1, what), nil,
         "a manifest is data: return { id = \"...\", version = \"...\" }")
end

function Reader:blank()
  while true do
    local stop = self.text:match("^%s*()", self.at)
    local long = self.text:match("^%-%-%[%[.-%]%]()", stop)
    local comment = self.text:match("^%-%-[^\n]*()", stop)
    self.at = long or comment or stop
    if not long and not comment then return end
  end
end

-- Takes a pattern's first capture, or nil.
function Reader:take(pattern)
  self:blank()
  local found, stop = self.text:match("^(" .. pattern .. ")()", self.at)
  if found then self.at = stop end
  return found
end

local escapes = { n = "\n", t = "\t", ["\\"] = "\\", ['"'] = '"', ["'"] = "'", ["\n"] = "\n" }

function Reader:string()
  local long, stop = self.text:match("^%[%[\n?(.-)%]%]()", self.at)
  if long then
    self.at = stop
    return long
  end
  local quote, out, i = self.text:sub(self.at, self.at), {}, self.at + 1
  while true do
    local c = self.text:sub(i, i)
    if c == "" or c == "\n" then self:refuse("a text without its end") end
    if c == quote then break end
    if c == "\\" then
      i = i + 1
      c = escapes[self.text:sub(i, i)] or self:refuse("an escape that manifests do not know")
    end
    out[#out + 1], i = c, i + 1
  end
  self.at = i + 1
  return table.concat(out)
end

function Reader:entry(t, depth)
  local key
  if self:take("%[%f[^%[]") and self:take("%f[\"']") then
    key = self:string()
    if not self:take("%]") then self:refuse("']' is missing") end
    if not self:take("=") then self:refuse("'=' is missing") end
  else
    self:blank()
    key = self.text:match("^([%a_][%w_]*)%s*=", self.at)
    if key then self.at = self.text:match("^[%a_][%w_]*%s*=()", self.at) end
  end
  local value = self:value(depth)
  key = key or #t + 1
  if t[key] ~= nil then self:refuse(("%s is given twice"):format(tostring(key))) end
  t[key] = value
end

function Reader:table(depth)
  if depth > 8 then self:refuse("tables are nested too deep") end
  local t = {}
  while not self:take("}") do
    self:entry(t, depth)
    if not self:take("[,;]") then
      if self:take("}") then return t end
      self:refuse("',' or '}' is missing")
    end
  end
  return t
end

function Reader:value(depth)
  self:blank()
  local c = self.text:sub(self.at, self.at)
  if c == "{" then
    self.at = self.at + 1
    return self:table(depth + 1)
  end
  if c == '"' or c == "'" or self.text:match("^%[%[", self.at) then return self:string() end
  local number = self:take("%-?[%d.][%w.]*")
  if number then return tonumber(number) or self:refuse("a malformed number") end
  local word = self:take("[%a_][%w_]*")
  if word == "true" then return true elseif word == "false" then return false end
  self:refuse(("%s is no data"):format(word or c ~= "" and ("%q"):format(c) or "the end"))
end

--- The table that a manifest's text stands for.
---@param text string
---@param path string for errors
---@return table
function plugin.parse(text, path)
  local r = setmetatable({ text = text, path = path, at = 1 }, Reader)
  if not r:take("return%f[^%w_]") then r:refuse("it does not begin with return") end
  if not r:take("{") then r:refuse("it does not return a table") end
  local m = r:table(1)
  r:take(";")
  r:blank()
  if r.at <= #text then r:refuse("something follows the table") end
  return m
end

--- Reads and checks the manifest of a folder.
---@param folder string
---@return table manifest
function plugin.manifest(folder)
  local path = folder .. "/plugin.lua"
  local info = core.stat(path)
  if not info then util.fail("not_found", ("cannot find a plugin in %s"):format(folder), "there is no plugin.lua") end
  if info.size > CAP then refuse(("%s has %d bytes"):format(path, info.size), ("at most %d are read"):format(CAP)) end
  local m = plugin.parse(core.read_file(path), path)
  for key, kind in util.sorted(fields) do
    if m[key] ~= nil and type(m[key]) ~= kind then
      refuse(("%s: %s is a %s, not a %s"):format(path, key, type(m[key]), kind))
    end
  end
  for _, key in ipairs { "id", "version" } do
    if not m[key] then refuse(("%s has no %s"):format(path, key)) end
  end
  m.name = m.name or folder:match("([^/]+)/*$")
  m.path = folder
  return m
end

--- All plugins on the path: { name, version, path, summary } or { name, path, problem }.
---@return table[]
function plugin.list()
  local out, seen = {}, {}
  for _, place in ipairs(plugin.path()) do
    local names = core.exists(place) and core.list(place) or {}
    for _, name in ipairs(names) do
      local folder = place .. "/" .. name
      if core.exists(folder .. "/plugin.lua") then
        local ok, m = pcall(plugin.manifest, folder)
        local row = ok and { name = m.name, version = m.version, path = folder, paper = m.paper,
                             summary = m.summary or m.paper and m.paper.title }
          or { name = name, path = folder, problem = util.as_error(m).what }
        if seen[row.name] then row.problem = ("hidden by %s"):format(seen[row.name]) end
        seen[row.name] = seen[row.name] or folder
        row.note = row.problem or row.summary
        out[#out + 1] = row
      end
    end
  end
  return out
end

--- The folder (or .so file) that a name stands for: on the path, else in the working folder.
---@param name string
---@return string
function plugin.find(name)
  if name == "." then return core.cwd() end
  if name:find("/", 1, true) or name:match("%.so$") then
    if core.exists(name) then return (name:gsub("(.)/+$", "%1")) end
    util.fail("not_found", ("cannot find plugin %s"):format(name), "there is no such file or folder")
  end
  local names = {}
  for _, p in ipairs(plugin.list()) do
    if p.name == name then return p.path end
    names[#names + 1] = p.name
  end
  if core.exists(name .. "/plugin.lua") then return name end
  util.fail("not_found", ("there is no plugin %q"):format(name), "looked in " .. table.concat(plugin.path(), ", "),
            util.suggest(name, names))
end

--- What a plugin's manifest says, with the library that would be loaded.
---@param name string
---@return table
function plugin.info(name)
  local path = plugin.find(name)
  if path:match("%.so$") then return { name = path, path = path } end
  local m = plugin.manifest(path)
  m.library = core.plugin_file(path) or ("not built: " .. tostring(m.library or m.name) .. ".so")
  return m
end

--- What a plugin's library says of itself, read out of its file: nothing of it runs.
---@param name string
---@return table? { file, id, name, version, abi, least, build, needs, ops }; nil and why, if it cannot be read so
function plugin.read(name) return core.plugin_read(plugin.find(name)) end

--- Ops of plugins that can be found but are not loaded, read out of their files.
---@return table[] { name, schema, summary, plugin, version }
function plugin.unloaded_ops()
  local have, out = {}, {}
  for _, p in ipairs(core.plugins()) do have[p.id] = true end
  for _, p in ipairs(plugin.list()) do
    local ok, r = pcall(core.plugin_read, p.path)
    for _, op in ipairs(not p.problem and ok and r and not have[r.id] and r.ops or {}) do
      out[#out + 1] = { name = op.schema:match("^%s*([%w_]+)"), schema = op.schema, summary = op.summary or "",
                        plugin = p.name, version = p.version }
    end
  end
  return out
end

-- ---- Loading -------------------------------------------------------------------------------------

-- "hstu.losses" is losses.lua in the folder of the loaded plugin hstu.
table.insert(package.searchers, 2, function(name)
  local owner, file = name:match("^([^.]+)%.(.+)$")
  local folder = owner and folders[owner]
  if not folder then return nil end
  local path = folder .. "/" .. file:gsub("%.", "/") .. ".lua"
  if not core.exists(path) then return "no file '" .. path .. "'" end
  local chunk, message = loadfile(path, "t")
  if not chunk then error(message, 0) end
  return chunk, path
end)

local function agree(m, entry)
  local function differ(key, a, b)
    refuse(("plugin %s: its manifest and its library disagree"):format(m.name),
      ("%s is %s in plugin.lua and %s in the library"):format(key, tostring(a), tostring(b)), "build the plugin again")
  end
  if m.id ~= entry.id then differ("id", m.id, entry.id) end
  if m.version ~= entry.version then differ("version", m.version, entry.version) end
  if m.ops and m.ops ~= entry.ops then differ("the count of ops", m.ops, entry.ops) end
end

-- What the manifest asks for is refused before the library is looked at.
local function agree_needs(m)
  local major = m.abi and m.abi:match("^(%d+)")
  if major and major ~= core.abi():match("^(%d+)") then
    local newer = tonumber(major) > tonumber(core.abi():match("^(%d+)"))
    util.fail("version", ("plugin %s is made for plugin ABI %s, this host has %s"):format(m.name, m.abi, core.abi()),
      nil, newer and "get a newer release of Quern" or "get a newer release of the plugin, or rebuild it")
  end
end

-- Its ops as functions, for plugins without Lua of their own.
local function ops_of(id)
  local out = {}
  for _, name in ipairs(core.ops()) do
    local info = core.op_info(name)
    if info.plugin.id == id then out[info.name] = core.op(name) end
  end
  return out
end

local function load_plugin(name)
  local path = plugin.find(name)
  if path:match("%.so$") then
    scan.admit(path)
    return ops_of(core.plugin_load(path).id)
  end
  local m = plugin.manifest(path)
  if loaded[m.name] then return loaded[m.name] end
  local id = m.id
  if m.library then
    agree_needs(m)
    scan.admit(core.plugin_file(path) or path)
    local entry = core.plugin_load(path)
    agree(m, entry)
    id = entry.id
  end
  folders[m.name] = path
  table.insert(util.plugin_sources, "@" .. path .. "/")
  local own = path .. "/" .. m.name .. ".lua"
  local value
  if core.exists(own) then
    local chunk, message = loadfile(own, "t")
    if not chunk then refuse(("plugin %s: its Lua does not load"):format(m.name), message) end
    value = chunk(m.name, own)
  else
    value = ops_of(id)
  end
  loaded[m.name] = value
  return value
end

-- ---- Checking ------------------------------------------------------------------------------------

--- Tests a plugin against the contract, each check in a process of its own.
---@param name string name, folder or .so file; "core" for the core's own ops
---@param options {seed: integer?, only: string[]?, jobs: integer?, timeout: number?}?
---@return {check: string, level: string, result: string, ok: boolean, text: string}[]
function plugin.check(name, options)
  return require("quern.check").run(name == "core" and name or plugin.find(name), options)
end

return setmetatable(plugin, { __call = function(_, name)
  if type(name) ~= "string" then util.fail("argument", "quern.plugin: the name of a plugin is needed") end
  if loaded[name] == nil then loaded[name] = load_plugin(name) end
  return loaded[name]
end })
