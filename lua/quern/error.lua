--- Errors as Lua values: what the core raises, in three parts, and how it prints.
--
-- An error is a table with status ("shape", "argument", ...), what, detail, hint, op,
-- plugin and source ("recipe.lua:12"). Catch it with pcall; tostring gives the text.
-- SPDX-License-Identifier: MIT

local err = {}

local meta = debug.getregistry()["quern.error"]

function meta.__tostring(e)
  local lines = { "quern: " .. tostring(e.what) }
  for line in (e.detail or ""):gmatch("[^\n]+") do lines[#lines + 1] = "  " .. line end
  if e.op then lines[#lines + 1] = "  op: " .. e.op end
  if e.plugin then lines[#lines + 1] = "  plugin: " .. e.plugin end
  if e.source then lines[#lines + 1] = "  at " .. e.source end
  if e.hint then lines[#lines + 1] = "hint: " .. e.hint end
  return table.concat(lines, "\n")
end

-- util's errors say `where`; both names mean the recipe's line.
function meta.__index(e, key)
  if key == "where" then return rawget(e, "source") end
end

meta.__name = "quern.error"

--- Is a value an error of Quern's?
---@param e any
---@return boolean
function err.is(e)
  local m = type(e) == "table" and getmetatable(e)
  return m ~= nil and m ~= false and m.__name == "quern.error"
end

return err
