--- Sequential, ModuleList and ModuleDict.
-- SPDX-License-Identifier: MIT

local util = require "quern.util"
local base = require "quern.nn.module"

local containers = {}

local function modules_of(first, ...)
  if type(first) == "table" and not base.is_module(first) then return first end
  return { first, ... }
end

local function check(m, who, i)
  if base.is_module(m) then return m end
  util.fail("argument", ("%s: entry %s is a %s, not a module"):format(who, tostring(i), type(m)))
end

---@class quern.Sequential: quern.Module
local Sequential = base.class "Sequential"
containers.Sequential = Sequential

--- Modules one after the other; plain functions may stand between them.
---@param ... table modules, or one list of them
function Sequential:init(...)
  self.steps = 0
  for _, m in ipairs(modules_of(...)) do self:add(m) end
end

---@param m table|function
function Sequential:add(m)
  self.steps = self.steps + 1
  if type(m) == "function" then rawset(self, self.steps, m)
  else self[self.steps] = check(m, "nn.Sequential", self.steps) end
  return self
end

function Sequential:forward(x, ...)
  for i = 1, self.steps do x = self[i](x, ...) end
  return x
end

function Sequential:__len() return self.steps end

---@class quern.ModuleList: quern.Module
local ModuleList = base.class "ModuleList"
containers.ModuleList = ModuleList

--- A list of modules whose names are their positions: "blocks.1".
---@param ... table modules, or one list of them
function ModuleList:init(...)
  rawset(self, "n", 0)
  for _, m in ipairs(modules_of(...)) do self:add(m) end
end

---@param m table
function ModuleList:add(m)
  rawset(self, "n", self.n + 1)
  self[self.n] = check(m, "nn.ModuleList", self.n)
  return self
end

function ModuleList:__len() return self.n end

---@class quern.ModuleDict: quern.Module
local ModuleDict = base.class "ModuleDict"
containers.ModuleDict = ModuleDict

--- Modules by name, walked in the order of the names.
---@param modules table<string, table>
function ModuleDict:init(modules)
  for name, m in util.sorted(modules or {}) do
    if ModuleDict[name] ~= nil then
      util.fail("argument", ("nn.ModuleDict: %q is the name of a method"):format(name))
    end
    self[name] = check(m, "nn.ModuleDict", name)
  end
end

return containers
