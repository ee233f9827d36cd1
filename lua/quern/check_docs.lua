--- Examples of ops and things: each runs, and prints what it says.
--
-- An example may say what it prints, in comments that begin with -->:
--   print(quern.tensor{1, 2}:sum():item())  --> 3.0
-- SPDX-License-Identifier: MIT

local core = require "quern.core"
local things = require "quern.things"
local util = require "quern.util"

local docs = {}

local function expected(text)
  local lines = {}
  for line in text:gmatch("%-%->%s*([^\n]*)") do lines[#lines + 1] = (line:gsub("%s+$", "")) end
  return #lines > 0 and table.concat(lines, "\n") or nil
end

--- Runs an example in an environment of its own; what it printed, or nil and what went wrong.
---@param text string
---@return string? printed
---@return string? problem
function docs.run(text)
  local lines = {}
  local env = setmetatable({ quern = require "quern", print = function(...)
    local parts = table.pack(...)
    for i = 1, parts.n do parts[i] = tostring(parts[i]) end
    lines[#lines + 1] = table.concat(parts, "\t")
  end }, { __index = _G })
  core.seed(1)
  local chunk, message = load(text, "=example", "t", env)
  if not chunk then chunk, message = load("return " .. text, "=example", "t", env) end
  if not chunk then return nil, message end
  local ok, e = pcall(chunk)
  if not ok then return nil, util.as_error(e).what or tostring(e) end
  return table.concat(lines, "\n")
end

local function judge(found, what, example)
  if not example or not example:find("%S") then return end
  local printed, problem = docs.run(example)
  if not printed then
    found[#found + 1] = ("the example of %s does not run: %s\n  %s"):format(what, problem, example)
    return
  end
  local wanted = expected(example)
  if wanted and wanted ~= (printed:gsub("[ \t]+\n", "\n"):gsub("%s+$", "")) then
    found[#found + 1] = ("the example of %s prints\n  %s\nand says it prints\n  %s"):format(what, printed, wanted)
  end
end

local function judge_folder(found, folder)
  local path = folder .. "/README.md"
  if not core.exists(path) then
    found[#found + 1] = "the folder has no README.md: say what the plugin does, and by which paper"
    return
  end
  local m = require("quern.plugin").manifest(folder)
  if m.paper and not (m.paper.title and m.paper.year) then
    found[#found + 1] = "plugin.lua: paper has no title or no year"
  end
end

--- What is wrong with the examples of a plugin's ops and things, and with its folder.
---@param path string folder, .so, or "core"
---@return string[] findings
function docs.check(path)
  local found = {}
  local id = path == "core" and "core" or core.plugin_load(path).id
  local cites = false
  if path ~= "core" and (core.stat(path) or {}).folder then
    judge_folder(found, path)
    cites = require("quern.plugin").manifest(path).paper ~= nil
    pcall(require "quern.plugin", path)      -- examples may use its Lua
  end
  for _, name in ipairs(core.ops()) do
    local info = core.op_info(name)
    if info.plugin.id == id then
      judge(found, info.name, info.example)
      if cites and not info.cite then
        found[#found + 1] = ("%s has no citation, and plugin.lua names a paper"):format(info.name)
      end
    end
  end
  for _, t in ipairs(things.types()) do
    if t.plugin_id == id then judge(found, t.kind .. " " .. t.name, t.example) end
  end
  return found
end

return docs
