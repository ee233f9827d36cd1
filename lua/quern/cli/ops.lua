--- quern ops: all ops with their summaries, or one with everything known about it.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"

local function list()
  local rows, plugin = {}, nil
  local ops = quern.ops()
  for _, op in ipairs(ops) do
    local mark = op.plugin ~= plugin and op.plugin or ""
    plugin = op.plugin
    rows[#rows + 1] = { op.name, op.summary, mark }
  end
  print(util.table(rows))
  print(("%d ops; `quern ops NAME` shows one"):format(#ops))
  return 0
end

---@param args {name: string?}
---@return integer exit code
return function(args)
  if not args.name then return list() end
  local text = quern.help(args.name, true)
  if type(text) == "string" then print(text) end
  return 0
end
