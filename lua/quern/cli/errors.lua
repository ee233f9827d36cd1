--- How the command line shows errors, and what it exits with.
--
--   0 done            1 usage                2 recipe error      3 plugin refused
--   4 numeric         5 out of memory        6 input or output   7 interrupted with a valid checkpoint
--   130 interrupted, nothing saved
-- SPDX-License-Identifier: MIT

local util = require "quern.util"

local errors = {}

errors.codes = [[
Exit codes: 0 done, 1 usage, 2 recipe error, 3 plugin refused, 4 numeric failure (NaN, infinity),
5 out of memory, 6 input or output, 7 interrupted with a valid checkpoint, 130 interrupted without.]]

local by_status = { usage = 1, version = 3, plugin = 3, numeric = 4, nomem = 5, io = 6, format = 6,
                    interrupted = 7, cancelled = 130 }

--- The exit code of an error.
---@param e table as util.as_error gives it
---@return integer
function errors.code(e)
  if e.status == "not_found" and tostring(e.what):find("^cannot ") then return 6 end
  return by_status[e.status] or 2
end

--- For xpcall: notes where the recipe stood, and the traceback.
---@param e any
---@return table
function errors.handler(e)
  local out = util.as_error(e)
  local where = out.source or util.where(2)
  local shown = setmetatable({ status = out.status, what = out.what, detail = out.detail, hint = out.hint,
                               op = out.op, plugin = out.plugin, source = where }, getmetatable(out))
  shown.traceback = debug.traceback(nil, 2)
  return shown
end

local function add(lines, text, indent)
  for line in tostring(text):gmatch("[^\n]+") do lines[#lines + 1] = indent .. line end
end

--- The text of an error in three parts, with the recipe's line.
---@param e table
---@return string
function errors.text(e)
  local lines = {}
  add(lines, "quern: " .. tostring(e.what):gsub("^quern: ", ""), "")
  if e.detail and e.detail ~= "" then add(lines, e.detail, "  ") end
  if e.op and e.op ~= "" then add(lines, "op: " .. e.op, "  ") end
  if e.plugin and e.plugin ~= "" then add(lines, "plugin: " .. e.plugin, "  ") end
  if e.source and e.source ~= "" then add(lines, "at " .. e.source, "  ") end
  if e.hint and e.hint ~= "" then add(lines, "hint: " .. e.hint, "") end
  if e.traceback and os.getenv("QUERN_TRACE") == "1" then add(lines, e.traceback, "") end
  return table.concat(lines, "\n")
end

return errors
