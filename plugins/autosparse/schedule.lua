--- Which share of the living weights each round of iterative pruning keeps.
--
--   num   equal numbers go:  keep_i = 1 - (1 - s) / (T - (1 - s) i);  after round i live 1 - (1 - s)(i + 1) / T
--   pct   equal shares go:   keep_i = s^(1/T), or a given ratio
-- T rounds i = 0 .. T-1, final density s.
-- SPDX-License-Identifier: MIT

local util = require "quern.util"

local schedule = {}

local kinds = { num = 1, pct = 1 }

--- Keep ratios and, as the second result, the living share after each round.
---@param options {rounds: integer, final: number?, schedule: string?, ratio: number?} final is not for pct with ratio
---@return number[] keep, number[] alive
function schedule.keep(options)
  local T = util.integer(options.rounds, "irp: rounds", 1)
  local kind, s, ratio = options.schedule or "num", options.final, options.ratio
  if not kinds[kind] then
    util.fail("argument", ("irp: there is no schedule %q"):format(tostring(kind)), nil,
              util.suggest(tostring(kind), util.keys(kinds)))
  end
  if ratio and kind ~= "pct" then util.fail("argument", "irp: ratio is for schedule pct") end
  local rate = ratio or s
  if type(rate) ~= "number" or not (rate > 0 and rate <= 1) then
    util.fail("argument", ("irp: %s must be in (0, 1], not %s"):format(ratio and "ratio" or "final", tostring(rate)),
              nil, "final is the share of weights that is kept at the end")
  end
  local keep, alive, living = {}, {}, 1.0
  for i = 0, T - 1 do
    if kind == "num" then
      keep[i + 1], living = 1 - (1 - s) / (T - (1 - s) * i), 1 - (1 - s) * (i + 1) / T
    else
      keep[i + 1] = ratio or s ^ (1 / T)
      living = living * keep[i + 1]
    end
    alive[i + 1] = living
  end
  return keep, alive
end

return schedule
