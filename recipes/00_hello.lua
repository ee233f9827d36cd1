-- Tensors, a gradient and a training loop in a page.
--   quern run recipes/00_hello.lua
--   quern run recipes/00_hello.lua --set steps=50 --seed 2
-- SPDX-License-Identifier: MIT
local quern = require "quern"

local r = quern.recipe {
  name = "hello",
  doc = "a line fitted through noisy points, by hand and by quern.fit (one second)",
  params = {
    points = { "int", 200, "how many points", min = 2 },
    noise = { "num", 0.1, "standard deviation around the line", min = 0 },
    steps = { "int", 100, "steps of gradient descent", min = 1 },
    lr = { "num", 0.1, "learning rate", min = 0 },
  },
  sizes = { smoke = { steps = 20 }, small = {}, full = { points = 2000 } },
}

function r:main(cfg)
  -- Tensors: made from tables, sizes or random numbers; operators broadcast.
  local x = quern.normal { shape = { cfg.points, 1 } }
  local y = x * 3 - 1 + quern.normal { shape = { cfg.points, 1 } } * cfg.noise
  print(x)

  -- A gradient: say what is wanted, compute, go back.
  local slope = quern.tensor({ 0 }):requires_grad_(true)
  local offset = quern.tensor({ 0 }):requires_grad_(true)
  for _ = 1, cfg.steps do
    local loss = quern.mse(x * slope + offset, y)
    loss:backward()
    quern.no_grad(function()
      slope:sub_(slope.grad * cfg.lr)
      offset:sub_(offset.grad * cfg.lr)
    end)
    slope:zero_grad()
    offset:zero_grad()
  end
  self:log(("by hand: y = %.3f x %+.3f"):format(slope:item(), offset:item()))

  -- The same with a module, an optimizer and the training loop.
  local line = quern.nn.Linear(1, 1)
  local result = quern.fit(line, quern.data.tensors({ x = x, y = y }, { batch = 20 }), {
    epochs = math.max(1, cfg.steps // 10), optim = { name = "adamw", lr = cfg.lr },
    loss = function(model, batch) return quern.mse(model(batch.x), batch.y) end })
  local w, b = line.weight:item(), line.bias:item()
  self:log(("by fit:  y = %.3f x %+.3f"):format(w, b))
  self:report("fit", { slope = w, offset = b, loss = result.history[#result.history].loss })
end

return r
