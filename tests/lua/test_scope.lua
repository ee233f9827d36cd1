--- Scopes and switching the tape. SPDX-License-Identifier: MIT
local quern = require "quern"
local check = require "check"

return {
  { "a scope frees what it made, except what it returns", function()
    collectgarbage()
    local inside
    local before = quern.memory().live
    local kept, list = quern.scope(function()
      inside = quern.zeros(1000)
      return inside + 1, { deep = { inside + 2 } }
    end)
    check.fails(function() return inside:sum() end, "freed")
    check.equal(kept[1]:item(), 1.0)
    check.equal(list.deep[1][1]:item(), 2.0)
    kept:free()
    list.deep[1]:free()
    collectgarbage()
    check.equal(quern.memory().live, before)
  end },
  { "scopes nest; what an inner one returns belongs to the outer", function()
    local leaked
    quern.scope(function()
      local t = quern.scope(function() return quern.ones(2) end)
      leaked = t
      check.equal(t:totable(), { 1.0, 1.0 })
    end)
    check.fails(function() leaked:sum() end, "freed")
  end },
  { "keep carries a tensor out", function()
    local kept
    quern.scope(function() kept = quern.ones(2):keep() end)
    check.equal(kept:totable(), { 1.0, 1.0 })
  end },
  { "an error ends the scope and passes through", function()
    local inside
    check.fails(function()
      quern.scope(function()
        inside = quern.ones(2)
        error("mine")
      end)
    end, "mine")
    check.fails(function() inside:sum() end, "freed")
    check.equal(quern.ones(2):sum():item(), 2.0)
  end },
  { "gradients of leaves outlive the scope they were computed in", function()
    local w = quern.tensor { 3 }:requires_grad_(true)
    quern.scope(function() (w * w):sum():backward() end)
    check.equal(w.grad:totable(), { 6.0 })
  end },
  { "no_grad stops recording, also when it fails", function()
    local x = quern.ones(2):requires_grad_(true)
    local y, n = quern.no_grad(function(k) return x * k, 5 end, 3)
    check.yes(not y.requires_grad)
    check.equal(n, 5)
    pcall(quern.no_grad, function() error("x") end)
    check.yes((x * 2).requires_grad)
    do
      local g <close> = quern.no_grad() -- luacheck: ignore 211
      check.yes(not (x * 2).requires_grad)
    end
    check.yes((x * 2).requires_grad)
  end },
  { "scopes in coroutines may end in any order", function()
    local function body()
      return quern.scope(function()
        local t = quern.ones(1)
        coroutine.yield()
        return t
      end)
    end
    local a, b = coroutine.create(body), coroutine.create(body)
    coroutine.resume(a)
    coroutine.resume(b)
    local _, x = coroutine.resume(a)
    local _, y = coroutine.resume(b)
    check.yes(x and y)
    check.equal(quern.ones(1):item(), 1.0)
  end },
}
