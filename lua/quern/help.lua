--- help: what the schema and the documents of an op say, for people.
-- SPDX-License-Identifier: MIT

local core = require "quern.core"
local util = require "quern.util"

local function value(v)
  if type(v) == "table" then
    local out = {}
    for i, x in ipairs(v) do out[i] = tostring(x) end
    return "{" .. table.concat(out, ", ") .. "}"
  end
  return type(v) == "string" and ("%q"):format(v) or tostring(v)
end

local function param_row(p)
  local note = {}
  if p.written then note[#note + 1] = "written in place" end
  if p.variadic then note[#note + 1] = "any number of them" end
  if p.default ~= nil then note[#note + 1] = "default " .. value(p.default)
  elseif p.optional then note[#note + 1] = "may be left out" end
  return { p.name, p.type, table.concat(note, "; ") }
end

local function text_of(info)
  local lines = { info.schema, "", util.wrap(info.summary or "", 96, "  ") }
  if info.doc then lines[#lines + 1] = util.wrap(info.doc, 96, "  ") end
  local rows = {}
  for i, p in ipairs(info.params) do rows[i] = param_row(p) end
  if #rows > 0 then
    lines[#lines + 1] = "\narguments"
    lines[#lines + 1] = util.table(rows, { indent = "  " })
  end
  local order = info.second_order and "gradients of any order" or "gradient of first order"
  local facts = { info.differentiable and order or "no gradient",
                  "equal bits: " .. (info.determinism == "bitwise" and "for any number of threads" or
                    info.determinism == "same_threads" and "for equal numbers of threads" or "not promised") }
  if info.random then facts[#facts + 1] = "draws random numbers" end
  lines[#lines + 1] = "\n" .. util.wrap(table.concat(facts, "; "), 96, "  ")
  if info.cite then lines[#lines + 1] = "\ncites\n" .. util.wrap(info.cite, 96, "  ") end
  if info.example then lines[#lines + 1] = "\nexample\n  " .. info.example end
  if not info.plugin.core then
    lines[#lines + 1] = ("\nplugin\n  %s %s, %s"):format(info.plugin.id, info.plugin.version, info.plugin.path)
  end
  return table.concat(lines, "\n")
end

--- Shows an op: schema, summary, formula, arguments, citation, example.
---@param name string
---@param quiet boolean? return the text without printing it
---@return string
return function(name, quiet)
  local text = text_of(core.op_info(name))
  if not quiet then print(text) end
  return text
end
