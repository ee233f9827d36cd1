--- Ops called from Lua by the schema alone. SPDX-License-Identifier: MIT
local quern = require "quern"
local check = require "check"

local function run_example(op)
  local chunk = assert(load(op.example, "=example of " .. op.name, "t",
    { quern = quern, print = function(...) for i = 1, select("#", ...) do tostring((select(i, ...))) end end,
      require = require, math = math, table = table }))
  chunk()
end

return {
  { "positional, named and mixed arguments mean the same", function()
    local t = quern.tensor { { 1, 2 }, { 3, 4 } }
    local expected = { 3.0, 7.0 }
    check.equal(t:sum(2):totable(), expected)
    check.equal(t:sum { dim = 2 }:totable(), expected)
    check.equal(quern.sum(t, { dim = 2 }):totable(), expected)
    check.equal(quern.sum { x = t, dim = 2 }:totable(), expected)
    check.equal(t:sum(2, { keepdim = true }).shape, { 2, 1 })
  end },
  { "lists come as tables or one by one", function()
    local t = quern.zeros(2, 3)
    check.equal(t:reshape(3, 2).shape, { 3, 2 })
    check.equal(t:reshape { 6 }.shape, { 6 })
    check.equal(t:reshape { shape = { 6 } }.shape, { 6 })
    check.equal(quern.concat(t, t).shape, { 4, 3 })
    check.equal(quern.concat({ t, t }, 2).shape, { 2, 6 })
    check.equal(quern.concat({ t, t }, { dim = 2 }).shape, { 2, 6 })
  end },
  { "in-place ops give back the tensor itself", function()
    local t = quern.zeros(2)
    check.yes(t:add_(1) == t)
    check.equal(t:totable(), { 1.0, 1.0 })
  end },
  { "floats are refused where integers belong", function()
    check.fails(function() quern.zeros(2, 3):sum(1.0) end, "integer")
    check.fails(function() quern.zeros(2, 3):reshape { 6.0 } end, "integers")
  end },
  { "unknown names and arguments are refused with what is known", function()
    check.fails(function() quern.zeros(2):sum { dims = 1 } end, "dims", "sum(")
    check.fails(function() quern.op "matmull" end, "matmul")
    check.yes(quern.matmull == nil)
    check.fails(function() quern.zeros(2):add() end, "missing")
    check.fails(function() quern.zeros(2):add(1, 2, 3, 4) end, "positional")
    check.fails(function() quern.zeros(2):add(print) end, "function")
  end },
  { "equal calls draw equal numbers after the same seed and step", function()
    quern.seed(5)
    local a = quern.normal { shape = { 4 } }
    quern.seed(5)
    local b = quern.normal { shape = { 4 } }
    check.equal(a:totable(), b:totable())
    quern.step(3)
    check.equal(quern.step(), 3)
    check.yes(quern.normal { shape = { 4 } }:totable()[1] ~= a:totable()[1])
  end },
  { "short rows that are broadcast or joined give what copies give", function()
    quern.seed(2)
    local a, b = quern.normal { shape = { 7, 211, 24 } }, quern.normal { shape = { 7, 1, 24 } }
    local col = quern.normal { shape = { 7, 211, 1 } }
    local function copy(t) return t:expand({ 7, 211, 24 }):clone() end
    check.equal((a * b):totable(), (a * copy(b)):totable())
    check.equal((a - col):totable(), (a - copy(col)):totable())
    check.equal((b * col):totable(), (copy(b) * copy(col)):totable())
    local part = quern.concat({ a, a * b, a }, 3):narrow(3, 25, 24)
    check.equal(part:totable(), (a * copy(b)):totable())
  end },
  { "attention with many keys, and more keys than queries, is the formula's", function()
    quern.seed(3)
    for _, case in ipairs { { 70, 130, true }, { 5, 1100, false }, { 60, 1100, true } } do
      local T, S, causal = table.unpack(case)
      local q, k = quern.normal { shape = { 1, 2, T, 8 } }, quern.normal { shape = { 1, 2, S, 8 } }
      local v, dy = quern.normal { shape = { 1, 2, S, 6 } }, quern.normal { shape = { 1, 2, T, 6 } }
      local seen = quern.tril(quern.ones(T, S), S - T)
      if not causal then seen = quern.ones(T, S) end
      local function gradients(attend)
        for _, t in ipairs { q, k, v } do t:requires_grad_(true) end
        local y = attend()
        y:backward(dy)
        local list = { y:detach(), q.grad:clone(), k.grad:clone(), v.grad:clone() }
        for _, t in ipairs { q, k, v } do t:zero_grad() end
        return list
      end
      local ours = gradients(function() return quern.attention_dense(q, k, v, { causal = causal }) end)
      local plain = gradients(function()
        local scores = quern.matmul(q, k, { transpose_b = true }) * (1 / math.sqrt(8))
        return quern.matmul(quern.masked_softmax(scores, quern.gt(seen, 0.5)), v)
      end)
      for i, t in ipairs(plain) do
        check.yes((ours[i] - t):abs():max():item() < 2e-5, ("%d queries, %d keys, result %d"):format(T, S, i))
      end
    end
  end },
  { "every op has a summary and an example that runs", function()
    local ops = quern.ops()
    check.yes(#ops > 60, "number of ops")
    for _, op in ipairs(ops) do
      local info = quern.op_info(op.call)
      check.yes(info.summary ~= "", op.name)
      if info.example then
        local ok, e = pcall(run_example, info)
        if not ok then error(("the example of %s fails: %s\n%s"):format(op.name, info.example, tostring(e)), 0) end
      elseif info.plugin.core then
        error(op.name .. " has no example", 0)
      end
    end
  end },
}
