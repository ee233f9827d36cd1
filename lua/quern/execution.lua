--- Execution: how the trainings of this process run their steps.
--
-- A training's steps are captured and replayed in slices of the batch unless it says
-- captured = false or the process runs with --eager. What was chosen for each training,
-- and why not captured, stands in the run's lock: a resumed or replayed run follows it,
-- since the cut into slices is part of what decides on the bits.
-- SPDX-License-Identifier: MIT

local execution = {
  eager = false,       -- quern run --eager
  fuse = true,         -- quern run --no-fuse sets it to false
  slice_kib = nil,     -- quern run --slice-kib
}

---@class quern.ExecutionChoice
---@field captured boolean
---@field why string? not captured
---@field slice_kib integer? what of an arena may grow with the slice
---@field lanes integer? gradient accumulators

--- What an earlier run chose for a training, if this one continues or repeats it.
---@param run quern.Run?
---@param name string
---@return quern.ExecutionChoice?
function execution.planned(run, name) return run and run.planned and run.planned[name] end

--- Notes what was chosen.
---@param run quern.Run?
---@param name string
---@param choice quern.ExecutionChoice
function execution.note(run, name, choice)
  if not run then return end
  run.execution[name] = choice
  if run.folder then require("quern.lock").write(run) end
end

return execution
