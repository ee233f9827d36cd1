--- Gradients from Lua: backward, grad, hooks, gradcheck. SPDX-License-Identifier: MIT
local quern = require "quern"
local check = require "check"

return {
  { "gradcheck passes right gradients", function()
    check.yes(quern.gradcheck(function(a, b) return (a * b + a:exp()):sigmoid() end,
      { quern.tensor { { 0.5, -1 }, { 2, 0.1 } }, quern.tensor { 1, -2 } }))
    check.yes(quern.gradcheck(function(x) return x:softmax(-1) end, quern.tensor { { 1, 2, 0.5 } }))
  end },
  { "gradcheck finds a wrong gradient", function()
    local function wrong(x)
      local y = x * 2
      if y.requires_grad then y:register_hook(function(g) return g * 1.01 end) end
      return y:sum()
    end
    check.fails(function() quern.gradcheck(wrong, { quern.tensor { 1, 2 } }) end, "element", "wrong")
    local ok, worst = quern.gradcheck(wrong, { quern.tensor { 1, 2 } }, { raise = false })
    check.yes(not ok and worst.input == 1)
    check.fails(function() quern.gradcheck(wrong, { quern.i64 { 1 } }) end, "nothing to check")
  end },
  { "backward adds up; zero_grad clears", function()
    local x = quern.tensor { 1, 2 }:requires_grad_(true)
    for _ = 1, 2 do (x * 3):sum():backward() end
    check.equal(x.grad:totable(), { 6.0, 6.0 })
    check.yes(x:zero_grad() == x)
    check.yes(x.grad == nil);
    (x * 3):backward(quern.tensor { 1, 10 })
    check.equal(x.grad:totable(), { 3.0, 30.0 })
  end },
  { "grad gives gradients without storing them", function()
    local x, y = quern.tensor { 2 }:requires_grad_(true), quern.tensor { 5 }:requires_grad_(true)
    local g = quern.grad((x * x):sum(), x)
    check.equal(g:totable(), { 4.0 })
    local list = quern.grad((x * 3):sum(), { x, y })
    check.equal(list[1]:totable(), { 3.0 })
    check.yes(list[2] == nil and list.n == 2)
    check.yes(x.grad == nil)
  end },
  { "second order: the gradient of a gradient", function()
    local x = quern.tensor { 2 }:requires_grad_(true)
    local g = quern.grad((x * x * x):sum(), x, { create = true })
    check.equal(quern.grad(g:sum(), x):totable(), { 12.0 })
  end },
  { "keep lets backward run again", function()
    local x = quern.tensor { 2 }:requires_grad_(true)
    local y = (x * x):sum()
    y:backward { keep = true }
    y:backward()
    check.equal(x.grad:totable(), { 8.0 })
    check.fails(function() y:backward { kepe = true } end, "keep")
  end },
  { "hooks see gradients and may change them; their errors pass through", function()
    local seen
    local x = quern.tensor { 1, 2 }:requires_grad_(true)
    x:register_hook(function(g)
      seen = g:totable()
      return g * 10
    end);
    (x * 2):sum():backward()
    check.equal(seen, { 2.0, 2.0 })
    check.equal(x.grad:totable(), { 20.0, 20.0 })
    local y = x * 1
    y:register_hook(function() error({ mine = true }) end)
    local ok, e = pcall(function() y:sum():backward() end)
    check.yes(not ok and e.mine)
    check.fails(function() quern.zeros(1):register_hook(print) end, "no gradient")
  end },
  { "embedding gradients come by rows when asked", function()
    local w = quern.ones(5, 2):requires_grad_(true)
    quern.embedding(w, quern.i64 { 1, 3, 1 }, { sparse = true }):sum():backward()
    local ids, rows = w:grad_rows()
    check.equal(ids:totable(), { 1, 3 })
    check.equal(rows:totable(), { { 2.0, 2.0 }, { 1.0, 1.0 } })
  end },
}
