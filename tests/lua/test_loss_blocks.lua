--- Full cross-entropy of catalogues that are taken in several blocks (more than 8192 items): values and gradients
-- are those of the product and its cross-entropy, in f64, f32, and captured. SPDX-License-Identifier: MIT

local check = require "check"
local captures = require "captures"
local quern = require "quern"

local CASES = { { 9000, 40, 8 }, { 20011, 9, 5 }, { 8193, 3, 4 } }   -- items, rows, width
local FORMS = {
  { options = {} }, { options = { reduction = "sum", temperature = 0.7 } },
  { options = { ignore_index = 3, label_smoothing = 0.1, temperature = 0.3 }, weights = true },
}

local function random(shape, dtype) return quern.normal(shape):cast(dtype):detach():requires_grad_(true) end

local function make(case, form, dtype)
  quern.seed(case[1])
  local h, w = random({ case[2], case[3] }, dtype), random({ case[1], case[3] }, dtype)
  local targets = quern.randint({ case[2] }, 0, case[1])
  targets[1], targets[2] = 3, case[1] - 1
  local weights = form.weights and quern.uniform({ case[2] }):cast(dtype) or nil
  return h, w, targets, weights
end

local function blocks(h, w, targets, weights, o) return quern.linear_cross_entropy(h, w, targets, weights, o) end

local function plainly(h, w, targets, weights, o)
  local rest = {}
  for k, v in pairs(o) do if k ~= "temperature" then rest[k] = v end end
  return quern.cross_entropy(h:matmul(w:transpose(1, 2)) / (o.temperature or 1), targets, weights, rest)
end

local function gradients_of(fn, h, w, ...)
  h:zero_grad()
  w:zero_grad()
  local loss = fn(h, w, ...)
  loss:backward()
  return loss:item(), h.grad:clone(), w.grad:clone()
end

local function values_and_gradients_are_those_of_the_product()
  for _, dtype in ipairs { "f64", "f32" } do
    local tolerance = dtype == "f64" and 1e-12 or 1e-5
    for _, case in ipairs(CASES) do
      for i, form in ipairs(FORMS) do
        local what = ("%s, %d items, form %d"):format(dtype, case[1], i)
        local h, w, targets, weights = make(case, form, dtype)
        local loss, dh, dw = gradients_of(blocks, h, w, targets, weights, form.options)
        local want, want_dh, want_dw = gradients_of(plainly, h, w, targets, weights, form.options)
        check.near(loss / want, 1, tolerance, what)
        check.yes(captures.distance(dh, want_dh) < tolerance, what .. ": dh")
        check.yes(captures.distance(dw, want_dw) < tolerance, what .. ": dw")
      end
    end
  end
end

local function bits_do_not_depend_on_workers()
  local before, first = quern.threads(), nil
  local h, w, targets = make(CASES[1], FORMS[1], "f32")
  for _, workers in ipairs { 1, 2, 3, 7 } do
    quern.threads(workers)
    local loss, dh, dw = gradients_of(blocks, h, w, targets, nil, {})
    local bits = ("%a"):format(loss) .. captures.bytes { dh, dw }
    first = first or bits
    check.yes(bits == first, workers .. " workers give other bits")
  end
  quern.threads(before)
end

local function captured_steps_give_the_same()
  for _, dtype in ipairs { "f64", "f32" } do
    for i, form in ipairs(FORMS) do
      local h, w, targets, weights = make(CASES[1], form, dtype)
      local map = random({ CASES[1][3], CASES[1][3] }, dtype)
      local function step(b)
        local loss = blocks(b.h:matmul(map), w, b.targets, b.weights, form.options)
        loss:backward()
        return loss
      end
      captures.same_as_eager(step, { map, w }, { { h = h:detach(), targets = targets, weights = weights } },
                             dtype == "f64" and 4e-12 or 4e-6, i == 1 and { slice_kib = 1 } or nil)
    end
  end
end

return {
  { "values and gradients are those of the product", values_and_gradients_are_those_of_the_product },
  { "bits do not depend on workers", bits_do_not_depend_on_workers },
  { "captured steps give the same", captured_steps_give_the_same },
}
