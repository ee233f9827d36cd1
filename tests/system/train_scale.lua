-- A small model with the layer of a plugin that was built outside the tree, trained to the
-- function max(x, x / 10) of a weighted sum.
-- SPDX-License-Identifier: MIT
local quern = require "quern"
local nn, optim = quern.nn, quern.optim
local scale = quern.plugin "scale"

quern.seed(3)
local x = quern.normal { shape = { 256, 3 } }
local y = quern.leaky_scale(x:matmul(quern.tensor { { 1 }, { -2 }, { 0.5 } }), { a = 1, b = 0.1 })
local model = nn.Sequential(nn.Linear(3, 8), scale.LeakyScale(1, 0.1), nn.Linear(8, 1))
local steps = optim.Adam(model:parameters(), { lr = 0.02 })

local first, last
for _ = 1, 400 do
  local loss = quern.mse(model(x), y)
  steps:zero_grad()
  loss:backward()
  steps:step()
  last = loss:item()
  first = first or last
end
assert(last < first / 50, ("the loss went from %g to %g only"):format(first, last))
print(("trained: the loss went from %.3g to %.3g"):format(first, last))
