--- What one small op costs from Lua: quern lua tests/bench/bench_dispatch.lua
-- Nanoseconds of processor time per call, best of five rounds: argument handling, checks, allocation, tape.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local core = quern._io

quern.threads(1)                 -- so that the time of the process is that of the calls

local N = 100000

local function measure(name, fn)
  local best = math.huge
  for _ = 1, 5 do
    local began = os.clock()
    fn()
    best = math.min(best, (os.clock() - began) * 1e9)
  end
  print(("%-44s %7.0f ns"):format(name, best / N))
  return best / N
end

local a, b = quern.ones(4, 4), quern.ones(4, 4)
local w = quern.ones(4, 4):requires_grad_(true)
local add = quern.add

measure("an empty loop with a C function (is_tensor)", function() for _ = 1, N do core.is_tensor(a) end end)
measure("t:numel()", function() for _ = 1, N do a:numel() end end)
measure("add(a, b) 4x4, no tape", function() for _ = 1, N do add(a, b) end end)
measure("a + b 4x4, no tape", function() for _ = 1, N do local _ = a + b end end)
measure("a:add(b) 4x4, no tape", function() for _ = 1, N do a:add(b) end end)
measure("a + 1 4x4, no tape", function() for _ = 1, N do local _ = a + 1 end end)
measure("a:sum{dim = 1} 4x4, no tape", function() for _ = 1, N do a:sum { dim = 1 } end end)
measure("a:add_(b) 4x4, in place", function() for _ = 1, N do a:add_(b) end end)
measure("w + b 4x4, recorded", function() for _ = 1, N do local _ = w + b end end)
measure("a[1]", function() for _ = 1, N do local _ = a[1] end end)
