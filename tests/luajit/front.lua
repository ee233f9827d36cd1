-- The FFI front under LuaJIT does what the Lua 5.4 binding does: tensors, ops by name, lists, jagged
-- tensors, gradients, scopes, errors, plugins, files.
--   QUERN_LIBRARY=build/libquern.so luajit tests/luajit/front.lua [folder of lua/] [plugin folder]
-- SPDX-License-Identifier: MIT
package.path = (arg[1] or "lua") .. "/?.lua;" .. package.path
local quern = require "quern.ffi"

local passed = 0
local function show(v)
  if type(v) ~= "table" then return tostring(v) end
  local parts = {}
  for i, x in ipairs(v) do parts[i] = show(x) end
  return "{" .. table.concat(parts, ",") .. "}"
end
local function equal(got, expected, what)
  local found, wanted = show(got), show(expected)
  if found ~= wanted then error(("%s: got %s, expected %s"):format(what, found, wanted), 2) end
  passed = passed + 1
end
local function fails(fn, words)
  local ok, e = pcall(fn)
  if ok then error("it should have failed", 2) end
  if not tostring(e):find(words, 1, true) then
    error(("the error does not say %q: %s"):format(words, tostring(e)), 2)
  end
  passed = passed + 1
end

-- Tensors.
local x = quern.tensor { { 1, 2 }, { 3, 4 } }
equal(x.shape, { 2, 2 }, "shape")
equal(x:totable(), { { 1, 2 }, { 3, 4 } }, "values")
equal(x:transpose(1, 2):totable(), { { 1, 3 }, { 2, 4 } }, "a view, by its strides")
equal(quern.i64({ 5, -6 }):totable(), { 5, -6 }, "i64")
equal(quern.bool({ true, false }):totable(), { 1, 0 }, "bool")
equal(x:to("bf16").dtype, "bf16", "dtype")
equal(x:to("bf16"):totable(), { { 1, 2 }, { 3, 4 } }, "bf16 reads as numbers")
fails(function() quern.tensor { { 1, 2 }, { 3 } } end, "rows of different lengths")
fails(function() x:item() end, "item() of a tensor of 4 elements")

-- Ops: by position, by name, lists, numbers, several outputs.
equal((x + 1):totable(), { { 2, 3 }, { 4, 5 } }, "a number for a tensor")
equal(x:sum({ dim = 1 }):totable(), { 4, 6 }, "named")
equal(x:sum(2):totable(), { 3, 7 }, "by position")
equal(x:reshape({ 4 }):totable(), { 1, 2, 3, 4 }, "a list of integers")
equal(quern.concat({ x, x }, { dim = 2 }):totable(), { { 1, 2, 1, 2 }, { 3, 4, 3, 4 } }, "a list of tensors")
local values, places = quern.topk(quern.tensor { 1, 9, 5 }, { k = 2 })
equal({ values:totable(), #places:totable() }, { { 9, 5 }, 2 }, "two outputs")
fails(function() quern.matmul(x, quern.ones { 3, 3 }) end, "cannot be multiplied")
fails(function() quern.op "matmull" end, "there is no op named 'matmull'")
fails(function() x:sum { dims = 1 } end, "has no argument 'dims'")
assert(quern.no_such_op == nil)

-- Gradients.
local w = quern.tensor({ 2, 3 }):requires_grad_()
local loss = (w * w):sum()
loss:backward()
equal(w.grad:totable(), { 4, 6 }, "backward")
w:zero_grad()
assert(w.grad == nil)
equal(quern.grad((w * w * w):sum(), { w })[1]:totable(), { 12, 27 }, "grad")
equal(quern.no_grad(function() return (w * w).requires_grad end), false, "no_grad")
assert((w * w).requires_grad)
fails(function() quern.no_grad(function() error "inside" end) end, "inside")
assert((w * w).requires_grad, "an error leaves gradients on")

-- Jagged tensors.
local j = quern.jagged(quern.tensor { 1, 2, 3 }, { 0, 2, 3 })
equal(j:offsets():totable(), { 0, 2, 3 }, "offsets")

-- Memory: a scope gives back at once; what it returns lives.
collectgarbage "collect"
local before = quern.memory().live
local kept = quern.scope(function()
  for _ = 1, 50 do quern.zeros { 1000 } end
  return quern.ones { 10 }
end)
assert(quern.memory().live - before < 1000, "the scope kept something")
equal(kept:sum():item(), 10, "kept")
for _ = 1, 20000 do local _ = x + x end
collectgarbage "collect"
assert(quern.memory().live - before < 100000, "tensors nobody holds stay")

-- Random numbers, files, plugins.
quern.seed(3)
local a = quern.normal({ shape = { 4 } }):totable()
quern.seed(3)
equal(quern.normal({ shape = { 4 } }):totable(), a, "the seed")
local path = os.tmpname()
quern.save(path, { x = x, ["a.b"] = j }, '{"who":"front"}')
local back, meta = quern.load(path)
os.remove(path)
equal({ back.x:totable(), back["a.b"]:totable() }, { { { 1, 2 }, { 3, 4 } }, { 1, 2, 3 } }, "save and load")
assert(meta:find "front")
fails(function() quern.load "/nowhere" end, "/nowhere")
fails(function() quern.plugin "/nowhere" end, "there is no plugin at /nowhere")
if arg[2] then
  quern.plugin(arg[2])
  equal(quern.leaky_scale(quern.tensor { -2, 3 }, { a = 2, b = 0.5 }):totable(), { -1, 6 }, "a plugin's op")
end
print(("luajit front: %d passed"):format(passed))
