--- Element-wise work, norms, dropout and the optimizer: 6.55M elements, which stream from memory. Floors: bytes read
-- and written once, at the copy rate (in place: at that of a pass in place).
--   quern lua tests/bench/bench_elem.lua [options of lib/bench.lua]; functions in cache: bench_math
-- SPDX-License-Identifier: MIT

package.path = arg[0]:gsub("[^/]*$", "lib/?.lua;") .. package.path
local quern = require "quern"

local b = require "bench".open("elem")

local N, ROWS = 6553600, 102400
local x = quern.normal { shape = { ROWS, N // ROWS } }
local y = quern.normal { shape = { ROWS, N // ROWS } }

local function forward(fn)
  return function() quern.scope(function() quern.no_grad(fn) end) end
end

local function both(fn)
  local dy = quern.normal { shape = { ROWS, N // ROWS } }
  return function()
    x:requires_grad_(true)
    quern.scope(function()
      fn():backward(dy)
      x:zero_grad()
    end)
    x:requires_grad_(false)
  end
end

-- passes: arrays of N floats read or written
local function case(name, passes, fn, kind)
  b:case { name = name, bytes = passes * N * 4, ours = fn, in_place = name:find("in place") ~= nil,
           peer = kind and { case = "elem." .. kind, args = { rows = ROWS, cols = N // ROWS },
                             backends = { "eager", "compile" } } }
end

case("exp", 2, forward(function() return quern.exp(x) end), "exp")
case("sigmoid", 2, forward(function() return quern.sigmoid(x) end), "sigmoid")
case("tanh", 2, forward(function() return quern.tanh(x) end), "tanh")
case("erf", 2, forward(function() return quern.erf(x) end), "erf")
case("add", 3, forward(function() return x + y end), "add")
case("SiLU(a) b", 5, forward(function() return quern.silu(x) * y end), "gate")
case("layer_norm, rows of 64", 2, forward(function() return quern.layer_norm(x) end), "norm")
case("layer_norm, rows of 64, with backward", 5, both(function() return quern.layer_norm(x) end), "norm_both")
case("softmax, rows of 64", 2, forward(function() return quern.softmax(x, 2) end), "softmax")
case("dropout", 2, forward(function() return quern.dropout(x) end), "dropout")
case("sum", 1, forward(function() return x:sum() end), "sum")

local function adam(mask)
  local w, m, v = quern.normal { shape = { N }, std = 0.01 }, quern.zeros(N), quern.zeros(N)
  local g, step = quern.normal { shape = { N }, std = 0.001 }, 0
  return function()
    step = step + 1
    quern.adam_step_(w, g, m, v, { step = step, lr = 1e-3, mask = mask })
  end
end
case("AdamW, in place", 7, adam(), "adam")
case("AdamW with a mask, in place", 7.25, adam(quern.ge(quern.uniform { shape = { N } }, 0.5)))
b:close()
