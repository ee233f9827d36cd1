--- Threads: the speed-up of each training step from one thread to all, and whether the parameters after 20 steps
-- have the same bits for 1, 2, 3 and 7 workers (--brief: for models of up to 200 ms a step; tests/lua/test_steps.lua
-- has them all, small).
--   quern lua tests/bench/bench_scale.lua [options of lib/bench.lua]
-- SPDX-License-Identifier: MIT

package.path = arg[0]:gsub("[^/]*$", "lib/?.lua;") .. package.path
local quern = require "quern"
local models = require "models"
local lib = require "bench"

local b = lib.open("scale", false)
local all = quern.threads()
local BITS_STEPS, WORKERS = 20, { 1, 2, 3, 7 }

local function bits(made)
  local sum = {}
  for _, p in ipairs(made.model:parameters()) do sum[#sum + 1] = quern._io.sha256(p.tensor:bytes()) end
  return quern._io.sha256(table.concat(sum))
end

-- A large model takes fewer steps: what differs, differs from the first on.
local function steps_for(ms) return ms > 600 and 2 or ms > 200 and 5 or BITS_STEPS end

if b.brief then b.rounds = 1 end
for _, case in ipairs(models.all()) do
  if not b:skipped(case.name) then
    local made, one, many = case.make(), {}, {}
    made.step()
    for round = 1, b.rounds do
      quern.threads(1)
      one[round] = lib.time(made.step, 0.2, 2)
      quern.threads(all)
      many[round] = lib.time(made.step, 0.2, 2)
    end
    local ms = lib.median(many)
    made = nil -- luacheck: ignore 311
    local first, same, steps = nil, true, steps_for(ms)
    local looks = not (b.brief and ms > 200)
    for _, n in ipairs(looks and WORKERS or {}) do
      collectgarbage()
      quern.threads(n)
      local fresh = case.make()
      for _ = 1, steps do fresh.step() end
      local sum = bits(fresh)
      first = first or sum
      same = same and sum == first
    end
    quern.threads(all)
    local up = lib.median(one) / ms
    local bits_are = not looks and "not looked at" or same and "equal" or "DIFFERENT"
    b:say("%-44s %9.1f ms on 1, %9.1f on %d: %.2fx; parameters after %d steps on 1, 2, 3, 7 workers: %s", case.name,
          lib.median(one), ms, all, up, steps, bits_are)
    b:record { what = case.name .. (", 1 to %d threads"):format(all), value = up, unit = "times, bits " .. bits_are }
  end
end
b:close()
