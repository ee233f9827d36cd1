--- What one small op costs from Lua: argument handling, checks, allocation, tape; 4 x 4, one thread. PyTorch's from
-- Python beside it. Pool fork-join is in build/bench/bench_dispatch.
--   quern lua tests/bench/bench_dispatch.lua [options of lib/bench.lua]
-- SPDX-License-Identifier: MIT

package.path = arg[0]:gsub("[^/]*$", "lib/?.lua;") .. package.path
local quern = require "quern"
local core = quern._io

quern.threads(1)                 -- so that the time of the process is that of the calls
local b = require "bench".open("dispatch")

local N = 20000

-- `fn` runs N calls; a row is of one call, in ms.
local function measure(name, fn, peer)
  if b:skipped(name) then return end
  local ours, theirs, ratios = {}, {}, {}
  fn()
  for round = 1, b.rounds do
    local best = math.huge
    for _ = 1, 5 do
      local began = os.clock()
      fn()
      best = math.min(best, (os.clock() - began) / N * 1e3)
    end
    ours[round] = best
    local answer = peer and b:ask { case = "dispatch." .. peer, backend = "eager", args = { calls = N }, seconds = 0.3,
                                    least = 3, best = true }
    if answer and answer.ms then
      theirs[round] = answer.ms / N
      ratios[round] = theirs[round] / best
    end
  end
  local median = require "bench".median
  local ms = median(ours)
  local line = ("%-44s %7.0f ns"):format(name, ms * 1e6)
  if #theirs > 0 then line = line .. ("  PyTorch %.0f ns x%.2f"):format(median(theirs) * 1e6, median(ratios)) end
  b:say(line)
  b:record { case = name, ms = ms, peers = #theirs > 0 and { PyTorch = median(theirs) } or nil,
             ratios = #theirs > 0 and { PyTorch = ratios } or nil }
end

local x, y = quern.ones(4, 4), quern.ones(4, 4)
local w = quern.ones(4, 4):requires_grad_(true)
local add = quern.add

measure("a loop with a C function (is_tensor)", function() for _ = 1, N do core.is_tensor(x) end end)
measure("t:numel()", function() for _ = 1, N do x:numel() end end)
measure("add(a, b)", function() for _ = 1, N do add(x, y) end end, "add")
measure("a + b", function() for _ = 1, N do local _ = x + y end end, "add")
measure("a + 1", function() for _ = 1, N do local _ = x + 1 end end)
measure("a:sum { dim = 1 }", function() for _ = 1, N do x:sum { dim = 1 } end end, "sum")
measure("a:add_(b), in place", function() for _ = 1, N do x:add_(y) end end, "add_in_place")
measure("w + b, recorded", function() for _ = 1, N do local _ = w + y end end, "add_recorded")
measure("a[1]", function() for _ = 1, N do local _ = x[1] end end, "select")
b:close()
