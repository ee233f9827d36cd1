--- Memory: a loop that makes tensors stays flat. SPDX-License-Identifier: MIT
local quern = require "quern"
local check = require "check"

local MIB = 1 << 20

return {
  { "a loop that makes a tensor per pass stays flat", function()
    collectgarbage()
    quern.memory_reset_peak()
    local before = quern.memory().live
    local x = quern.zeros(MIB)                       -- 4 MiB; 2000 passes make 8 GiB
    for _ = 1, 2000 do x = x + 1 end
    check.equal(x[1]:item(), 2000.0)
    check.yes(quern.memory().peak - before < 160 * MIB, "peak " .. (quern.memory().peak - before))
  end },
  { "so does one that records a tape", function()
    collectgarbage()
    quern.memory_reset_peak()
    local before = quern.memory().live
    local w = quern.ones(1000):requires_grad_(true)
    for _ = 1, 20000 do
      local y = (w * 2):sum()
      y:backward()
      w:zero_grad()
    end
    check.yes(quern.memory().peak - before < 200 * MIB, "peak " .. (quern.memory().peak - before))
  end },
  { "small tensors do not pile up either", function()
    collectgarbage()
    local before = quern.memory().live
    local x = quern.zeros(2)
    for _ = 1, 200000 do x = x + 1 end
    collectgarbage()
    check.yes(quern.memory().live - before < MIB)
  end },
  { "tensors that lived for long are freed as well", function()
    collectgarbage()
    quern.memory_reset_peak()
    local before, small = quern.memory().live, quern.zeros(2)
    for i = 1, 300 do
      local old = quern.full({ MIB // 4 }, i)
      for _ = 1, 1500 do small = small + 1 end       -- the collector passes by several times
      check.equal(old[1]:item(), i)
    end
    check.yes(quern.memory().peak - before < 160 * MIB, "peak " .. (quern.memory().peak - before))
  end },
  { "Lua's strings and tables keep what they hold while others of all sizes come and go", function()
    local kept = {}
    for n = 1, 600 do
      local list = {}
      for i = 1, n do
        list[i] = i * n
        list["k" .. i] = ("x"):rep(i)
      end
      for i = 1, n, 2 do list["k" .. i] = nil end
      kept[n % 40 + 1] = { n = n, list = list }
      if n % 100 == 0 then collectgarbage() end
    end
    for _, k in pairs(kept) do
      for i = 1, k.n do
        check.equal(k.list[i], i * k.n)
        if i % 2 == 0 then check.equal(#k.list["k" .. i], i) end
      end
    end
  end },
  { "free and <close> give the bytes back at once", function()
    collectgarbage()
    local before = quern.memory().live
    local t = quern.zeros(MIB)
    check.yes(quern.memory().live >= before + 4 * MIB)
    t:free()
    check.equal(quern.memory().live, before)
    check.fails(function() return t + 1 end, "freed")
    check.equal(tostring(t), "tensor (freed)")
    do
      local u <close> = quern.zeros(MIB)
      check.equal(#u, MIB)
    end
    check.equal(quern.memory().live, before)
  end },
}
