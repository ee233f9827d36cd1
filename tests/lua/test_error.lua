--- Errors as Lua sees them. SPDX-License-Identifier: MIT
local quern = require "quern"
local check = require "check"

return {
  { "an error is a table with parts and the recipe's line", function()
    local e = check.fails(function() return quern.zeros(2, 3) + quern.zeros(4, 3) end)
    local line = debug.getinfo(1, "l").currentline - 1
    check.equal(e.status, "shape")
    check.yes(e.detail:find("f32[4,3]", 1, true), "shapes in the detail")
    check.yes(e.op:find("^add%("), "schema of the op")
    check.yes(e.source:find("test_error.lua:" .. line, 1, true), e.source)
    check.yes(quern.error.is(e))
    check.yes(not quern.error.is { what = 1 })
  end },
  { "the line is the recipe's, not that of Quern's own files", function()
    local e = check.fails(function() quern.no_grad(function() return quern.zeros(2):reshape(3) end) end)
    check.yes(e.source:find("test_error.lua", 1, true), e.source)
  end },
  { "a backward error names where the op was recorded", function()
    local x = quern.tensor { 1, 2 }:requires_grad_(true)
    local y = (x * x):sum()
    y:backward()
    local e = check.fails(function() y:backward() end, "given back")
    check.equal(e.status, "state")
    check.yes(quern.error.is(e))
  end },
  { "memory that cannot be had is an ordinary error", function()
    local e = check.fails(function() quern.zeros(1 << 20, 1 << 20, 1 << 10) end)
    check.equal(e.status, "nomem")
    check.equal(quern.zeros(2):totable(), { 0.0, 0.0 })
    check.fails(function() quern.zeros(1 << 40, 1 << 40) end)
  end },
  { "past the memory limit, ops fail and the process goes on", function()
    local x = quern.zeros(1 << 18)
    quern.memory_limit(quern.memory().live + (1 << 16))
    local ok, e = pcall(function() return x + 1 end)
    quern.memory_limit(0)
    check.yes(not ok)
    check.equal(e.status, "nomem")
    check.equal((x + 1)[1]:item(), 1.0)
  end },
  { "backward over an unsuited root says what to do", function()
    local x = quern.tensor { 1, 2 }:requires_grad_(true)
    check.fails(function() (x * 2):backward() end)
    check.fails(function() quern.tensor(1):backward() end)
    check.fails(function() quern.i64 { 1 }:requires_grad_(true) end, "i64")
  end },
}
