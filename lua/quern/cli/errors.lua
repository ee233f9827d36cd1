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

--- For xpcall: notes where the recipe stood, where in a plugin it went wrong, and the traceback.
---@param e any
---@return table
function errors.handler(e)
  local out = util.as_error(e)
  local inner = out.source or util.where(2)
  local kind = inner and util.source_kind(inner)
  local shown = setmetatable({ status = out.status, what = out.what, detail = out.detail, hint = out.hint,
                               op = out.op, plugin = out.plugin, source = inner, within = out.within },
                             getmetatable(out))
  if kind then
    shown.source = util.where(2, true)
    shown.within = kind == "plugin" and inner or nil
  end
  shown.traceback = debug.traceback(nil, 2)
  return shown
end

local function add(lines, text, indent)
  for line in tostring(text):gmatch("[^\n]+") do lines[#lines + 1] = indent .. line end
end

-- The line of code that "file:line" names, without its indentation.
local function code_at(source)
  local path, number = source:match("^(.*):(%d+)$")
  local file = path and io.open(path, "r")
  if not file then return nil end
  local at = 0
  for line in file:lines() do
    at = at + 1
    if at == math.tointeger(number) then
      file:close()
      line = line:match("^%s*(.-)%s*$")
      return #line > 0 and #line <= 120 and line or nil
    end
  end
  file:close()
end

--- The text of an error in three parts, the recipe's own line first.
---@param e table
---@return string
function errors.text(e)
  local lines, source = {}, e.source ~= "" and e.source or nil
  add(lines, (source or "quern") .. ": " .. tostring(e.what):gsub("^quern: ", ""), "")
  local code = source and code_at(source)
  if code then lines[#lines + 1] = "  > " .. code end
  if e.detail and e.detail ~= "" then add(lines, e.detail, "  ") end
  if e.op and e.op ~= "" then add(lines, "op: " .. e.op, "  ") end
  if e.plugin and e.plugin ~= "" then add(lines, "plugin: " .. e.plugin, "  ") end
  if e.within then add(lines, "within " .. e.within, "  ") end
  if e.hint and e.hint ~= "" then add(lines, "hint: " .. e.hint, "") end
  if e.traceback and os.getenv("QUERN_TRACE") == "1" then add(lines, e.traceback, "") end
  return table.concat(lines, "\n")
end

return errors
