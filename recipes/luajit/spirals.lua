-- Two spirals told apart by a small network, under LuaJIT: no Lua 5.4, no compiler, libquern.so alone.
--   luajit recipes/luajit/spirals.lua [epochs]
-- From another folder set QUERN_LIBRARY (libquern.so), QUERN_INCLUDE (folder of quern/*.h), and LUA_PATH.
-- SPDX-License-Identifier: MIT
local root = arg[0]:match("^(.*)/recipes/luajit/[^/]*$") or "."
package.path = root .. "/lua/?.lua;" .. root .. "/../lua/?.lua;" .. package.path
local quern = require "quern.ffi"

local epochs, N, H = tonumber(arg[1]) or 300, 200, 32
quern.seed(7)

-- Points of two arms, and which arm each is on.
local points, arms = {}, {}
for i = 1, N do
  local arm, t = i % 2, 0.3 + 2.7 * i / N
  points[i] = { t * math.cos(2 * t + math.pi * arm) / 3, t * math.sin(2 * t + math.pi * arm) / 3 }
  arms[i] = arm
end
local x, y = quern.tensor(points), quern.i64(arms)

local function weight(rows, columns)
  return quern.normal({ shape = { rows, columns }, std = math.sqrt(2 / columns) }):requires_grad_()
end
local parameters = { w1 = weight(H, 2), b1 = quern.zeros { H }:requires_grad_(), w2 = weight(H, H),
                     b2 = quern.zeros { H }:requires_grad_(), w3 = weight(2, H),
                     b3 = quern.zeros { 2 }:requires_grad_() }

local function model(p, input)
  local h = quern.linear(input, p.w1, p.b1, { act = "silu" })
  h = quern.linear(h, p.w2, p.b2, { act = "silu" })
  return quern.linear(h, p.w3, p.b3)
end

-- Adam, by the core's own fused step.
local moments = {}
for name, w in pairs(parameters) do moments[name] = { m = quern.zeros(w.shape), v = quern.zeros(w.shape) } end
local function update(t)
  for name, w in pairs(parameters) do
    local s = moments[name]
    quern.adam_step_(w, w.grad, s.m, s.v, { lr = 0.01, step = t })
    w:zero_grad()
  end
end

local loss
for epoch = 1, epochs do
  quern.step(epoch)
  loss = quern.scope(function()
    local l = quern.cross_entropy(model(parameters, x), y)
    l:backward()
    return l:item()
  end)
  quern.no_grad(function() quern.scope(update, epoch) end)
  if epoch % 100 == 0 or epoch == epochs then print(("epoch %4d  loss %.4f"):format(epoch, loss)) end
end

local right, best = 0, quern.argmax(model(parameters, x), { dim = 2 }):totable()
for i = 1, N do if best[i] == arms[i] then right = right + 1 end end
print(("%d of %d points are on the right arm"):format(right, N))

-- What was learned is a safetensors file that Lua 5.4 and others read.
local path = os.tmpname()
quern.save(path, parameters, '{"recipe":"spirals"}')
local again, meta = quern.load(path)
os.remove(path)
assert(meta:find "spirals" and again.w3:totable()[1][1] == parameters.w3:totable()[1][1])
if right < 0.95 * N and epochs >= 300 then error "it did not learn" end
