--- What one small op costs from LuaJIT's front, next to the Lua 5.4 binding's, in one run:
--   quern lua tests/bench/bench_ffi.lua
-- Nanoseconds of processor time per call, best of five rounds. The file runs itself under LuaJIT.
-- SPDX-License-Identifier: MIT

local N = 50000
local under_luajit = rawget(_G, "jit") ~= nil

local function measure(fn)
  local best = math.huge
  for _ = 1, 5 do
    local began = os.clock()
    fn()
    best = math.min(best, (os.clock() - began) * 1e9 / N)
  end
  return best
end

-- The cases, in both dialects.
local function cases(quern)
  quern.threads(1)
  local a, b = quern.ones { 4, 4 }, quern.ones { 4, 4 }
  local w = quern.ones { 4, 4 }:requires_grad_(true)
  local x, weight = quern.ones { 32, 64 }, quern.ones { 64, 64 }
  local add, linear = quern.add, quern.linear
  return {
    { "add(a, b) 4x4", function() for _ = 1, N do add(a, b) end end },
    { "a + b 4x4", function() for _ = 1, N do local _ = a + b end end },
    { "a:sum{dim = 1} 4x4", function() for _ = 1, N do a:sum { dim = 1 } end end },
    { "w + b 4x4, recorded", function() for _ = 1, N do local _ = w + b end end },
    { "linear 32x64x64", function() for _ = 1, N do linear(x, weight) end end },
  }
end

local function run(quern)
  local found = {}
  for i, case in ipairs(cases(quern)) do found[i] = { case[1], measure(case[2]) } end
  return found
end

if under_luajit then
  package.path = "lua/?.lua;" .. package.path
  for _, row in ipairs(run(require "quern.ffi")) do print(("%s\t%.0f"):format(row[1], row[2])) end
  return
end

local core = require "quern.core"
local here = run(require "quern")
local build = core.program():match("^(.*)/[^/]*$")
local pipe = io.popen(("QUERN_LIBRARY=%s/libquern.so luajit tests/bench/bench_ffi.lua 2>&1"):format(build))
local there, text = {}, pipe:read "a"
for name, ns in text:gmatch("([^\t\n]+)\t(%d+)") do there[name] = tonumber(ns) end
if not next(there) then print("LuaJIT did not run:\n" .. text) end
print(("%-24s %10s %10s %8s"):format("", "Lua 5.4", "LuaJIT", "ratio"))
for _, row in ipairs(here) do
  local other = there[row[1]]
  print(("%-24s %7.0f ns %7s ns %8s"):format(row[1], row[2], other and ("%.0f"):format(other) or "-",
    other and ("%.2f"):format(other / row[2]) or "-"))
end
