--- Runs the Lua tests: quern lua tests/lua/run.lua [part of a name ...]
-- A test file returns a list of { "the promise it guards", function }. Ends with
-- "N passed, N failed, N skipped" and exit code 1 if any failed.
-- SPDX-License-Identifier: MIT

local core = require "quern.core"
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
package.path = here .. "/?.lua;" .. package.path
local check = require "check"

local words = { ... }
local passed, failed, skipped = 0, 0, 0

local function wanted(file, name)
  if #words == 0 then return true end
  for _, word in ipairs(words) do
    if (file .. ": " .. name):find(word, 1, true) then return true end
  end
  return false
end

local function explain(e)
  if check.skipped(e) then return e end
  return debug.traceback(tostring(e), 2)
end

local function run(file, name, fn)
  core.seed(1)
  local good, e = xpcall(fn, explain)
  core.grad_enable(true)         -- what a failed test may have left off
  core.check_finite(false)
  if good then
    passed = passed + 1
  elseif check.skipped(e) then
    skipped = skipped + 1
    print(("%s: skipped: %s: %s"):format(file, name, check.skipped(e)))
  else
    failed = failed + 1
    print(("%s: FAILED: %s\n%s"):format(file, name, e))
  end
end

local function also(n, what) return n > 0 and (", %d %s"):format(n, what) or "" end

local function run_file(file)
  local p, f, s, began = passed, failed, skipped, core.clock()
  local ok, tests = xpcall(require, explain, file)
  if not ok then
    local problem = tests
    tests = { { "loads", function() error(problem, 0) end } }
  end
  for _, test in ipairs(tests) do
    if wanted(file, test[1]) then run(file, test[1], test[2]) end
  end
  if passed + failed + skipped > p + f + s then
    print(("%-24s %3d passed%s%s  %.1f s"):format(file, passed - p, also(failed - f, "failed"),
      also(skipped - s, "skipped"), core.clock() - began))
  end
end

for _, name in ipairs(core.list(here)) do
  if name:match("^test_.*%.lua$") then run_file(name:match("^(.*)%.lua$")) end
end
check.clean()
print(("%d passed, %d failed, %d skipped"):format(passed, failed, skipped))
return failed == 0 and 0 or 1
