--- The models of the step, inference and scaling benchmarks. Each file of tests/bench/steps returns a list of cases:
-- name, flops, make, items (a function), unit, peer, as bench.case takes them; make() gives { step =, model = }.
-- SPDX-License-Identifier: MIT

local quern = require "quern"

local models = {}

local here = (arg and arg[0] or "tests/bench/x"):match("^(.*)/[^/]*$") or "."

--- A size of a model or a batch: the one to be measured, or one that runs in no time where models.small is set
--- (tests/lua/test_steps.lua).
function models.size(full, small) return models.small and small or full end

--- All models, file by file in the order of their names.
---@param folder string? of steps; default: beside the benchmark that runs
function models.all(folder)
  local list = {}
  folder = folder or here .. "/steps"
  for _, name in ipairs(quern._io.list(folder)) do
    if name:match("%.lua$") then
      for _, case in ipairs(dofile(folder .. "/" .. name)) do list[#list + 1] = case end
    end
  end
  return list
end

--- A training step as fit runs it: captured where that can be (models.eager: not), with the optimizer in the pass that
-- adds the lanes' gradients. how() says "captured" or why not.
---@param model table
---@param batch table
---@param loss function called with model and batch
---@param optimizer table? as optim.make takes it
---@return function step, function how
function models.step(model, batch, loss, optimizer)
  local optim = quern.optim.make(model:parameters(),
                                 optimizer or { name = "adamw", lr = 1e-3, betas = { 0.9, 0.98 } })
  optim:prepare()
  local function whole(b)
    local l = loss(model, b)
    l:backward()
    return l
  end
  local n, why, captured = 0, models.eager and "eager", nil
  if not why then captured = quern.capture(whole) end
  local function replayed()
    local ok, l = pcall(captured.run, captured, batch)
    if ok then return l end
    captured, why = nil, "eager: " .. tostring(type(l) == "table" and l.what or l)
  end
  return function()
    n = n + 1
    quern.step(n)
    local value
    quern.scope(function()
      local l = captured and replayed()
      if l then
        value = l:item()
        if optim:fuse(captured) then return end
      else
        value = whole(batch):item()
      end
      optim:step()
      optim:zero_grad()
    end)
    return value
  end, function() return why or "captured" end
end

--- Random ids from low to high, as i64 of the given shape.
function models.ids(random, n, low, high)
  local list = {}
  for i = 1, n do list[i] = random:range(low, high) end
  return list
end

return models
