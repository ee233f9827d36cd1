--- quern api: everything that can be called, as JSON, or as pages and editor stubs.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local sys = require "quern.sys"

-- Loads every plugin that can be found, or those of one folder.
local function load_all(folder)
  if folder then
    for _, name in ipairs(sys.list(folder)) do quern.plugin(folder .. "/" .. name) end
    return
  end
  for _, p in ipairs(quern.plugin.list()) do
    if not p.problem then quern.plugin(p.name) end
  end
end

---@param args {json: boolean?, write: string?, plugins: string?}
---@return integer exit code
return function(args)
  local api = require "quern.api"
  load_all(args.plugins)
  if args.write then
    print(("%d files written below %s"):format(api.write(args.write), args.write))
    return 0
  end
  if args.json then
    print(quern.json.encode(api.all()))
    return 0
  end
  local all = api.all()
  print(("quern %s, plugin ABI %s: %d ops, %d things, %d plugins; --json prints them all"):format(all.quern, all.abi,
    #all.ops, #all.things, #all.plugins))
  return 0
end
