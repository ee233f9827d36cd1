--- gradcheck: the tape's gradients against central differences in f64.
--
--   d f / d x_i  ~  (f(x + h e_i) - f(x - h e_i)) / 2h
--
-- fn gets f64 copies of the inputs and returns a tensor; its sum with fixed weights is
-- what is differentiated, so that every output counts on its own.
-- SPDX-License-Identifier: MIT

local core = require "quern.core"
local util = require "quern.util"

local known = { step = 1, rtol = 1, atol = 1, raise = 1 }

-- Weights that differ from each other and from 1, so that errors do not cancel.
local function weights(y)
  local w = {}
  for i = 1, y:numel() do w[i] = 0.5 + ((i * 7919) % 97) / 97 end
  return core.tensor(w, "f64"):reshape(y.shape)
end

local function copies(inputs)
  local out = {}
  for i, t in ipairs(inputs) do
    local floating = t.dtype == "f32" or t.dtype == "f64" or t.dtype == "bf16"
    out[i] = floating and t:detach():to("f64"):clone() or t
    if floating and t.is_jagged then out[i] = core.jagged(out[i]:values(), t:offsets()) end
    if floating then out[i]:requires_grad_(true) end
  end
  return out
end

local function value(fn, args, seed, w)
  core.seed(seed)                  -- random ops draw the same each time
  local y = fn(table.unpack(args))
  if type(y) ~= "userdata" then
    util.fail("argument", "gradcheck: fn must return a tensor, not a " .. type(y))
  end
  w = w or weights(y)
  return (y:to("f64") * w):sum(), w
end

local tape = { __close = function(guard) core.grad_enable(guard.before) end }

-- Central difference for element k of a flat view, without recording.
local function difference(fn, args, flat, k, h, seed, w)
  local guard <close> = setmetatable({ before = core.grad_enable(false) }, tape) -- luacheck: ignore 211
  local x = flat[k]:item()
  flat[k] = x + h
  local up = value(fn, args, seed, w):item()
  flat[k] = x - h
  local down = value(fn, args, seed, w):item()
  flat[k] = x
  return (up - down) / (2 * h)
end

--- Checks the gradients of fn at the inputs.
---@param fn fun(...): userdata
---@param inputs userdata[] floating ones are checked
---@param options {step: number?, rtol: number?, atol: number?, raise: boolean?}?
---@return boolean ok
---@return {input: integer, element: integer, tape: number, difference: number, error: number}? worst
return function(fn, inputs, options)
  local o = util.options(options, known, "gradcheck")
  local h, rtol, atol = o.step or 1e-5, o.rtol or 1e-5, o.atol or 1e-7
  if type(inputs) == "userdata" then inputs = { inputs } end
  local args, seed = copies(inputs), 20260101
  local any = false
  for _, t in ipairs(args) do any = any or t.requires_grad end
  if not any then util.fail("argument", "gradcheck: no input is floating, there is nothing to check") end
  local loss, w = value(fn, args, seed)
  loss:backward()
  local worst
  for i, t in ipairs(args) do
    if t.requires_grad then
      local flat = t:detach():reshape { t:numel() }
      local grad = t.grad and t.grad:reshape { t:numel() }
      for k = 1, t:numel() do
        local found = difference(fn, args, flat, k, h, seed, w)
        local own = grad and grad[k]:item() or 0.0
        local e = math.abs(found - own) - (atol + rtol * math.max(math.abs(found), math.abs(own)))
        if e ~= e then e = math.huge end
        if not worst or e > worst.error then
          worst = { input = i, element = k, tape = own, difference = found, error = e }
        end
      end
    end
  end
  if not worst or worst.error <= 0 then return true, worst end
  if o.raise == false then return false, worst end
  util.fail("numeric", ("gradcheck: the gradient of input %d is wrong"):format(worst.input),
    ("element %d: the tape says %.9g, central differences say %.9g"):format(worst.element, worst.tape,
                                                                            worst.difference),
    "check the backward function; at kinks (relu at 0, ties of max) differences are no guide")
end
