--- quern rm: deletes runs, after asking.
-- SPDX-License-Identifier: MIT

local util = require "quern.util"
local store = require "quern.store"
local sys = require "quern.sys"

local function agreed(list)
  for _, r in ipairs(list) do print(("  %s (%s)"):format(r.id, r.status)) end
  io.stdout:write(("Delete %s? [y/N] "):format(#list == 1 and "this run" or ("these %d runs"):format(#list)))
  io.stdout:flush()
  local answer = io.stdin:read("l")
  return answer ~= nil and answer:lower():match("^y") ~= nil
end

---@param args table runs, yes, out
---@return integer exit code
return function(args)
  local list, seen = {}, {}
  for _, which in ipairs(args.runs) do
    local r = store.find(args.out, which)
    if not seen[r.folder] then list[#list + 1] = r end
    seen[r.folder] = true
  end
  if not args.yes then
    if not sys.is_terminal(1) then util.fail("usage", "rm: nobody can be asked here", nil, "say --yes") end
    if not agreed(list) then return 0 end
  end
  for _, r in ipairs(list) do
    store.remove(r)
    print("deleted " .. r.folder)
  end
  return 0
end
