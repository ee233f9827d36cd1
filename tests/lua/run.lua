--- Runs the Lua tests: quern lua tests/lua/run.lua [part of a name ...]
-- A test file returns a list of { "the promise it guards", function }. Ends with
-- "N passed, N failed, N skipped" and exit code 1 if any failed.
-- SPDX-License-Identifier: MIT

local here = (arg and arg[0] or "tests/lua/run.lua"):match("^(.*)/[^/]*$") or "."
package.path = here .. "/?.lua;" .. package.path
local check = require "check"

local function wanted(name)
  if #arg == 0 then return true end
  for _, part in ipairs(arg) do if name:find(part, 1, true) then return true end end
  return false
end

local function files()
  local list, pipe = {}, assert(io.popen("ls '" .. here .. "'"))
  for name in pipe:lines() do
    if name:match("^test_.*%.lua$") then list[#list + 1] = name:match("^(.*)%.lua$") end
  end
  pipe:close()
  return list
end

local function explain(e)
  if check.skipped(e) then return e end
  return debug.traceback(tostring(e), 2)
end

local passed, failed, skipped = 0, 0, 0

local function run_file(name)
  local p, f, s, began = passed, failed, skipped, os.clock()
  local ok, tests = xpcall(require, explain, name)
  if not ok then tests = { { "loads", function() error(tests, 0) end } } end
  for _, test in ipairs(tests) do
    local good, e = xpcall(test[2], explain)
    if good then passed = passed + 1
    elseif check.skipped(e) then
      skipped = skipped + 1
      print(("%s: skipped: %s: %s"):format(name, test[1], e.reason))
    else
      failed = failed + 1
      print(("%s: FAILED: %s\n%s"):format(name, test[1], e))
    end
  end
  local function also(n, what) return n > 0 and (", %d %s"):format(n, what) or "" end
  print(("%-24s %3d passed%s%s  %.1f s"):format(name, passed - p, also(failed - f, "failed"),
    also(skipped - s, "skipped"), os.clock() - began))
end

for _, name in ipairs(files()) do
  if wanted(name) then run_file(name) end
end
check.clean()
print(("%d passed, %d failed, %d skipped"):format(passed, failed, skipped))
os.exit(failed == 0 and 0 or 1, true)
