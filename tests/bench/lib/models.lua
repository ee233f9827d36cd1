--- The models of the step, inference and scaling benchmarks. Each file of tests/bench/steps returns a list of cases:
-- name, flops, make, items (a function), unit, peer, as bench.case takes them; make() gives { step =, model = }.
-- SPDX-License-Identifier: MIT

local quern = require "quern"

local models = {}

local here = (arg and arg[0] or "tests/bench/x"):match("^(.*)/[^/]*$") or "."

--- All models, file by file in the order of their names.
function models.all()
  local list = {}
  for _, name in ipairs(quern._io.list(here .. "/steps")) do
    if name:match("%.lua$") then
      for _, case in ipairs(dofile(here .. "/steps/" .. name)) do list[#list + 1] = case end
    end
  end
  return list
end

--- A training step as fit runs it: loss, backward, optimizer, gradients to zero.
---@param model table
---@param batch table
---@param loss function called with model and batch
---@param optimizer table? as optim.make takes it
function models.step(model, batch, loss, optimizer)
  local optim = quern.optim.make(model:parameters(),
                                 optimizer or { name = "adamw", lr = 1e-3, betas = { 0.9, 0.98 } })
  optim:prepare()
  local n = 0
  return function()
    n = n + 1
    quern.step(n)
    local value
    quern.scope(function()
      local l = loss(model, batch)
      l:backward()
      value = l:item()
      optim:step()
      optim:zero_grad()
    end)
    return value
  end
end

--- Random ids from low to high, as i64 of the given shape.
function models.ids(random, n, low, high)
  local list = {}
  for i = 1, n do list[i] = random:range(low, high) end
  return list
end

return models
