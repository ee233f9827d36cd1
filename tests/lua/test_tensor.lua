--- Tensors as Lua values. SPDX-License-Identifier: MIT
local quern = require "quern"
local check = require "check"
local golden = require "golden"

return {
  { "nested tables become tensors and come back", function()
    local t = quern.tensor { { 1, 2, 3 }, { 4, 5, 6 } }
    check.equal(t.dtype, "f32")
    check.equal(t.shape, { 2, 3 })
    check.equal(t:totable(), { { 1.0, 2.0, 3.0 }, { 4.0, 5.0, 6.0 } })
    check.equal(quern.tensor({ 1, 2 }, "i64"):totable(), { 1, 2 })
    check.equal(quern.tensor { true, false }.dtype, "bool")
    check.equal(quern.tensor(7):item(), 7.0)
    check.equal(quern.i64 { 9007199254740993 }:totable(), { 9007199254740993 })
  end },
  { "ragged tables and floats for integers are refused", function()
    check.fails(function() quern.tensor { { 1, 2 }, { 3 } } end, "ragged", "quern.jagged")
    check.fails(function() quern.tensor({ 1.5 }, "i64") end, "float 1.5")
    check.fails(function() quern.tensor({ 300 }, "u8") end, "does not fit")
    check.fails(function() quern.tensor { "a" } end, "a number was expected")
  end },
  { "sizes come in every form", function()
    for _, t in ipairs { quern.zeros(2, 3), quern.zeros { 2, 3 }, quern.zeros({ 2, 3 }), quern.zeros(2, 3, "f32") } do
      check.equal(t.shape, { 2, 3 })
    end
    check.equal(quern.zeros { 2, dtype = "f64" }.dtype, "f64")
    check.equal(quern.ones(2, "i32"):totable(), { 1, 1 })
    check.equal(quern.full({ 2 }, 7):totable(), { 7.0, 7.0 })
    check.equal(quern.zeros {}.shape, {})
    check.fails(function() quern.zeros(2.0) end, "an integer")
    check.fails(function() quern.zeros(-1) end, "-1")
  end },
  { "ranges and the identity", function()
    check.equal(quern.arange(3):totable(), { 0, 1, 2 })
    check.equal(quern.arange(1, 2, 0.5):totable(), { 1.0, 1.5 })
    check.equal(quern.arange(0, 3, 1, "f64"):totable(), { 0.0, 1.0, 2.0 })
    check.equal(quern.eye(2):totable(), { { 1.0, 0.0 }, { 0.0, 1.0 } })
    check.fails(function() quern.arange(0, 1, 0) end, "no end")
  end },
  { "operators take tensors and numbers on both sides", function()
    local a, b = quern.tensor { 1, 2 }, quern.tensor { 3, 5 }
    check.equal((a + b):totable(), { 4.0, 7.0 })
    check.equal((1 - a):totable(), { 0.0, -1.0 })
    check.equal((a * 2):totable(), { 2.0, 4.0 })
    check.equal((6 / b):totable(), { 2.0, quern.tensor(1.2):item() })
    check.equal((a ^ 2):totable(), { 1.0, 4.0 })
    check.equal((-a):totable(), { -1.0, -2.0 })
    check.fails(function() return a .. "x" end, "not text")
  end },
  { "equality is identity, length is the first dimension", function()
    local a = quern.zeros(3, 2)
    check.yes(a == a)
    check.yes(a ~= quern.zeros(3, 2))
    check.equal(#a, 3)
    check.fails(function() return #quern.tensor(1) end, "no length")
  end },
  { "positions count from 1 and from the end", function()
    local t = quern.tensor { { 1, 2, 3 }, { 4, 5, 6 } }
    check.equal(t[1]:totable(), { 1.0, 2.0, 3.0 })
    check.equal(t[-1]:totable(), { 4.0, 5.0, 6.0 })
    check.equal(t[{ 2, 3 }]:item(), 6.0)
    check.equal(t[{ {}, { 2, 3 } }]:totable(), { { 2.0, 3.0 }, { 5.0, 6.0 } })
    check.equal(t[{ { 1, 1 }, -1 }]:totable(), { 3.0 })
    check.fails(function() return t[3] end, "3")
    check.fails(function() return t[0] end)
    check.fails(function() return t[1.0] end, "integer")
    check.fails(function() return t[{ { 1, 4 } }] end, "{1, 4}")
  end },
  { "assignment writes into the tensor", function()
    local t = quern.zeros(2, 3)
    t[1] = 5
    t[{ 2, { 2, 3 } }] = quern.tensor { 7, 8 }
    check.equal(t:totable(), { { 5.0, 5.0, 5.0 }, { 0.0, 7.0, 8.0 } })
    check.fails(function() t.foo = 1 end, "foo")
  end },
  { "sizes are integers, dimensions negative from the end", function()
    local t = quern.zeros(2, 3, 4)
    check.equal(t:size(-1), 4)
    check.equal(t:size(1), 2)
    check.equal(t:size(), { 2, 3, 4 })
    check.equal({ t:dim(), t:numel() }, { 3, 24 })
    check.fails(function() t:size(4) end, "dim is 4")
  end },
  { "jagged tensors keep their sequences", function()
    local t = quern.jagged { { 1, 2 }, {}, { 3 } }
    check.equal(t:totable(), { { 1.0, 2.0 }, {}, { 3.0 } })
    check.equal(t:offsets():totable(), { 0, 2, 2, 3 })
    check.yes(t.is_jagged and not t:values().is_jagged)
    check.equal(quern.jagged(quern.zeros(3, 2), { 0, 1, 3 }).shape, { 3, 2 })
    check.fails(function() quern.jagged(quern.zeros(3), { 0, 2 }) end, "offsets")
  end },
  { "gradients pass through jagged wrapping", function()
    local x = quern.tensor { 1, 2, 3 }:requires_grad_(true)
    local y = quern.jagged(x, { 0, 1, 3 });
    (y:values() * y:values()):sum():backward()
    check.equal(x.grad:totable(), { 2.0, 4.0, 6.0 })
  end },
  { "item wants one element", function()
    check.equal(quern.i64 { 5 }:item(), 5)
    check.equal(quern.bool { true }:item(), true)
    check.fails(function() quern.zeros(2):item() end, "f32[2]")
  end },
  { "conversion keeps what is of that type already", function()
    local t = quern.tensor { 1.75, -2 }
    check.yes(t:to("f32") == t)
    check.equal(t:to("i64"):totable(), { 1, -2 })
    check.fails(function() t:to("f16") end)
  end },
  { "raw bytes make tensors and come back", function()
    local t = quern.from_string(string.pack("<i4i4", 7, -1), { 2 }, "i32")
    check.equal(t:totable(), { 7, -1 })
    check.equal(t:bytes(), string.pack("<i4i4", 7, -1))
    check.fails(function() quern.from_string("abc", { 1 }, "f32") end, "4 bytes")
  end },
  { "what is printed", function()
    local big = quern.arange(200):to("f32"):reshape(10, 20) / 7
    local texts = {
      quern.tensor(2.5), quern.tensor { 1, -2, 0.5 }, quern.arange(20), big, quern.zeros(3, 2, 2), quern.zeros(0, 3),
      quern.tensor { 0 / 0, 1 / 0, 3 }, quern.bool { true, false }, quern.jagged { { 1, 2 }, { 3 } },
      quern.tensor { 1e-9, 1e9 }:requires_grad_(true),
    }
    for i, t in ipairs(texts) do texts[i] = tostring(t) end
    golden.compare("tensor.txt", table.concat(texts, "\n\n") .. "\n")
  end },
}
