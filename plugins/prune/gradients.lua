--- Gradients that scorers need: sums over batches in double, and Hessian times vector.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"

local gradients = {}

-- ---- Batches ---------------------------------------------------------------------------------------

local function limited(iterate, count)
  if not count then return iterate end
  local left = count
  return function()
    left = left - 1
    return left >= 0 and iterate() or nil
  end
end

--- Iterates over batches from the beginning: of a list, a function that returns an iterator, a dataset
--- (its training part, one epoch, in the order of users) or a loader (its first epoch).
---@param data any
---@param options {batch: integer?, count: integer?}? rows of a batch (datasets); how many batches
function gradients.batches(data, options)
  local o = options or {}
  local count = o.count and util.integer(o.count, "prune: batches", 1)
  if type(data) == "function" then return limited(data(), count) end
  if type(data) ~= "table" then
    util.fail("argument", ("prune: data is a %s"):format(type(data)), nil,
              "give a dataset, a loader, a list of batches, or a function that returns an iterator")
  end
  if data.batches and data.loader then return limited(data:batches("train", o.batch), count) end
  if data.seek then
    local at = data:tell()
    data:seek { seed = at.seed, epoch = 0, index = 0 }
    local iterate = limited(function() return data:next() end, count)
    return function()
      local batch = iterate()
      if not batch then data:seek(at) end
      return batch
    end
  end
  local i = 0
  return limited(function()
    i = i + 1
    return data[i]
  end, count)
end

-- ---- Weights -----------------------------------------------------------------------------------------

--- Copies of parameters' values by name.
---@param params quern.Parameter[]
---@return table<string, userdata>
function gradients.copy(params)
  return quern.no_grad(function()
    local out = {}
    for _, p in ipairs(params) do out[p.name] = p.tensor:detach():clone() end
    return out
  end)
end

--- Puts copied values back.
function gradients.restore(params, values)
  quern.no_grad(function()
    for _, p in ipairs(params) do p.tensor:copy_(values[p.name]) end
  end)
end

local function zeros(params)
  local out = {}
  for _, p in ipairs(params) do out[p.name] = quern.zeros(p.tensor.shape, "f64") end
  return out
end

local recording = { __close = function(g) quern._io.grad_enable(g.before) end }

-- Records gradients until the end of the block, whatever was set outside.
local function record() return setmetatable({ before = quern._io.grad_enable(true) }, recording) end

-- ---- Sums ----------------------------------------------------------------------------------------------

local function gradient_of(p)
  local g = p.tensor.grad
  if g then return g end
  local ids, rows = p.tensor:grad_rows()
  return ids and quern.embedding_grad(rows, ids, { rows = p.tensor.shape[1] })
end

--- The sum over batches of the gradient of each batch's loss.
---@param model quern.Module
---@param params quern.Parameter[]
---@param loss fun(model, batch): userdata
---@param batches fun(): table?
---@return table<string, userdata> f64 by name
---@return number mean loss
function gradients.sum(model, params, loss, batches)
  local out, sum, n = zeros(params), 0.0, 0
  model:zero_grad()
  for batch in batches do
    quern.scope(function()
      local recorder <close> = record()     -- luacheck: ignore 211
      local value = loss(model, batch)
      value:backward()
      sum, n = sum + value:item(), n + 1
      quern.no_grad(function()
        for _, p in ipairs(params) do
          local g = gradient_of(p)
          if g then out[p.name]:add_(g:to("f64")) end
        end
      end)
    end)
    model:zero_grad()
  end
  if n == 0 then util.fail("argument", "prune: there is no batch to score with", nil, "the data is empty") end
  return out, sum / n
end

--- One update by an optimizer on one batch.
---@param model quern.Module
---@param loss fun(model, batch): userdata
---@param batch table
---@param optimizer quern.Optimizer
function gradients.step(model, loss, batch, optimizer)
  model:zero_grad()
  quern.scope(function()
    do
      local recorder <close> = record()     -- luacheck: ignore 211
      loss(model, batch):backward()
    end
    optimizer:step()
  end)
  model:zero_grad()
end

-- ---- Hessian times vector --------------------------------------------------------------------------------

local function tensors(params)
  local out = {}
  for i, p in ipairs(params) do out[i] = p.tensor end
  return out
end

-- Exact, by differentiating <v, gradient>; needs ops whose backward is made of ops.
local function exact(model, params, loss, batches, v)
  local out, list = zeros(params), tensors(params)
  for batch in batches() do
    quern.scope(function()
      local recorder <close> = record()     -- luacheck: ignore 211
      local first, dot = quern.grad(loss(model, batch), list, { create = true }), nil
      for i, p in ipairs(params) do
        if first[i] then
          local part = quern.sum(first[i] * v[p.name]:to(p.tensor.dtype))
          dot = dot and dot + part or part
        end
      end
      if not dot or not dot.requires_grad then return end
      local second = quern.grad(dot, list)
      quern.no_grad(function()
        for i, p in ipairs(params) do
          if second[i] then out[p.name]:add_(second[i]:to("f64")) end
        end
      end)
    end)
  end
  return out
end

local function norm(params, v)
  local sum = 0.0
  for _, p in ipairs(params) do sum = sum + quern.sum(v[p.name] * v[p.name]):item() end
  return math.sqrt(sum)
end

-- [g(w + e u) - g(w - e u)] / 2e times |v|, u = v / |v|.
local function difference(model, params, loss, batches, v, e)
  local before, length = gradients.copy(params), norm(params, v)
  if length == 0 then return zeros(params) end
  local function at(sign)
    quern.no_grad(function()
      for _, p in ipairs(params) do
        p.tensor:copy_((before[p.name]:to("f64") + v[p.name] * (sign * e / length)):to(p.tensor.dtype))
      end
    end)
    local ok, g = pcall(gradients.sum, model, params, loss, batches())
    gradients.restore(params, before)
    if not ok then error(g, 0) end
    return g
  end
  local up, down, out = at(1), at(-1), {}
  for _, p in ipairs(params) do out[p.name] = (up[p.name] - down[p.name]) * (length / (2 * e)) end
  return out
end

--- Hessian times v of the sum of the batches' losses.
---@param model quern.Module
---@param params quern.Parameter[]
---@param loss fun(model, batch): userdata
---@param batches fun(): fun(): table? makes the iterator anew
---@param v (table<string, userdata>)? f64 by name; default: the sum of gradients
---@param options {method: string?, epsilon: number?}? "auto" (default: exact, else difference), "exact",
---  "difference" (central, step epsilon = 1e-2 along v / |v|)
---@return table<string, userdata> Hv f64 by name
---@return table<string, userdata> v
---@return string method that was used
function gradients.hessian(model, params, loss, batches, v, options)
  local o = util.options(options, { method = 1, epsilon = 1 }, "prune: hessian")
  local method = o.method or "auto"
  if method ~= "auto" and method ~= "exact" and method ~= "difference" then
    util.fail("argument", ("prune: hessian cannot be made by %q"):format(tostring(method)), nil,
              util.suggest(tostring(method), { "auto", "exact", "difference" }))
  end
  v = v or gradients.sum(model, params, loss, batches())
  if method ~= "difference" then
    local ok, out = pcall(exact, model, params, loss, batches, v)
    if ok then return out, v, "exact" end
    if method == "exact" or util.as_error(out).status ~= "unsupported" then error(out, 0) end
  end
  return difference(model, params, loss, batches, v, o.epsilon or 1e-2), v, "difference"
end

return gradients
