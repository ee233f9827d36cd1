--- Inference: a model's forward pass as evaluations run it, captured and replayed in slices of the batch.
--
--   local users = quern.inference(model, "users", function(m, batch) return m:users(batch) end)
--   model:eval()
--   for batch in data:batches("valid", 256) do ... users(batch) ... end
--
-- The pass of a model under a name is captured at its first call and kept with the model, so that an evaluation
-- after each epoch does so once. Values are those of the eager pass to rounding (what capture checks: 4e-6 relative),
-- and do not depend on the number of workers. A pass that cannot be captured runs eagerly from then on; the run's log
-- says why. quern run --eager switches capturing off.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local execution = require "quern.execution"
local runs = require "quern.runs"

local kept = setmetatable({}, { __mode = "k" })       -- model -> name -> pass

-- Errors that have nothing to do with capturing.
local passed_on = { nomem = true, interrupted = true, cancelled = true, internal = true }

local function note(name, e)
  local run = runs.current
  local what = type(e) == "table" and e.what or tostring(e)
  if run then run:log(("the pass %q of an evaluation runs eagerly: %s"):format(name, what)) end
end

---@class quern.Pass
---@field captured quern.Capture? nil: it runs eagerly
---@field why any what was raised when it could not be captured

local function captured_pass(name, model, fn)
  local pass, owner = {}, setmetatable({ model = model }, { __mode = "v" })
  pass.captured = quern.capture(function(...) return pass.fn(owner.model, ...) end, { grad = false })
  pass.fn = fn
  function pass.call(...)
    if pass.captured then
      local results = table.pack(pcall(pass.captured, ...))
      if results[1] then return table.unpack(results, 2, results.n) end
      local e = results[2]
      if type(e) == "table" and passed_on[e.status] then error(e, 0) end
      pass.captured, pass.why = nil, e
      note(name, e)
    end
    return quern.no_grad(pass.fn, owner.model, ...)
  end
  return pass
end

--- The pass of a model under a name: called with batches it gives what fn(model, batch, ...) gives, without gradients.
---@param model table
---@param name string
---@param fn fun(model: table, ...): any of tensors, also in tables
---@return function pass
---@return quern.Pass? state
local function inference(model, name, fn)
  if execution.eager then
    return function(...) return quern.no_grad(fn, model, ...) end
  end
  local passes = kept[model] or {}
  kept[model] = passes
  passes[name] = passes[name] or captured_pass(name, model, fn)
  passes[name].fn = fn
  return passes[name].call, passes[name]
end

return inference
