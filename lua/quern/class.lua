--- Classes: single inheritance, an `init`, and calls that make objects.
--
--   local Point = class("Point")
--   function Point:init(x) self.x = x end
--   local p = Point(3)
--
-- A subclass copies its parent's metamethods, so operators are inherited too.
-- SPDX-License-Identifier: MIT

local metamethods = {
  "__call", "__tostring", "__close", "__gc", "__len", "__newindex", "__eq", "__lt", "__le",
  "__add", "__sub", "__mul", "__div", "__unm", "__concat", "__pairs",
}

---@param name string shown by tostring and in errors
---@param parent table? class to inherit from
---@return table class callable; its objects have the class as metatable
local function class(name, parent)
  local c = { class_name = name, parent = parent }
  c.__index = c
  for _, m in ipairs(parent and metamethods or {}) do c[m] = parent[m] end
  return setmetatable(c, {
    __index = parent,
    __tostring = function() return "class " .. name end,
    __call = function(cls, ...)
      local object = setmetatable(cls.allocate and cls.allocate(cls) or {}, cls)
      if cls.init then cls.init(object, ...) end
      return object
    end,
  })
end

return class
