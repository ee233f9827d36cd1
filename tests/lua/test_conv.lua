--- Channels last in modules: the same nets in both layouts, bits, mistakes. SPDX-License-Identifier: MIT

local quern = require "quern"
local nn = require "quern.nn"
local check = require "check"

local function channels_last(x) return x:permute({ 1, 3, 4, 2 }):clone() end

-- A residual block between two pools; layout nhwc has its norm, sum and relu in one op.
local Net = nn.class "SmallNet"

function Net:init(layout)
  local last = layout == "nhwc"
  self.last = last
  self.stem = nn.Conv2d(3, 16, 3, { padding = 1, bias = false, layout = layout })
  self.norm = nn.BatchNorm2d(16, { layout = layout, act = last and "relu" or nil })
  self.conv = nn.Conv2d(16, 16, 3, { padding = 1, bias = false, layout = layout })
  self.norm2 = nn.BatchNorm2d(16, { layout = layout, act = last and "relu" or nil })
  self.down = nn.Conv2d(16, 24, 3, { padding = 1, stride = 2, layout = layout })
  self.pool = nn.MaxPool2d(2, { layout = layout })
  self.mean = nn.AdaptiveAvgPool2d(1, { layout = layout })
  self.out = nn.Linear(24, 5)
end

function Net:forward(x)
  local y
  if self.last then
    x = self.norm(self.stem(x))
    y = self.norm2(self.conv(x), x)
  else
    x = quern.relu(self.norm(self.stem(x)))
    y = quern.relu(self.norm2(self.conv(x)) + x)
  end
  return self.out(self.mean(self.pool(self.down(y))):reshape({ x.shape[1], -1 }))
end

local function train(layout, steps)
  quern.seed(3)
  local net = Net(layout)
  local x, y = quern.normal { shape = { 20, 3, 12, 12 } }, quern.randint({ 20 }, 0, 5)
  if layout == "nhwc" then x = channels_last(x) end
  local optim = quern.optim.make(net:parameters(), { name = "sgd", lr = 0.1, momentum = 0.9 })
  local loss
  for n = 1, steps do
    quern.step(n)
    loss = quern.cross_entropy(net(x), y)
    loss:backward()
    optim:step()
    optim:zero_grad()
  end
  net:eval()
  return net, loss:item(), quern.no_grad(function() return net(x) end)
end

return {
  { "A net gives the same in both layouts, trained and evaluated", function()
    local first, loss1, y1 = train("nchw", 4)
    local last, loss2, y2 = train("nhwc", 4)
    check.near(loss2, loss1, 1e-4)
    check.yes((y1 - y2):abs():max():item() < 1e-3, "evaluation differs between layouts")
    local state = last:state()
    for name, t in pairs(first:state()) do
      check.equal(t.shape, state[name].shape)
      check.yes((t - state[name]):abs():max():item() < 1e-3, name .. " differs between layouts")
    end
  end },

  { "Bits of a trained net do not depend on the workers", function()
    local before, expected = quern.threads(), nil
    for _, workers in ipairs { 1, 2, 3, 7 } do
      quern.threads(workers)
      local net = train("nhwc", 3)
      local bits = {}
      for name, t in pairs(net:state()) do bits[name] = t:totable() end
      expected = expected or bits
      check.equal(bits, expected)
    end
    quern.threads(before)
  end },

  { "A wrong layout is named", function()
    check.fails(function() nn.Conv2d(3, 4, 3, { layout = "nwhc" }) end, "layout is nwhc")
    check.fails(function() nn.BatchNorm2d(3, { layout = "last" }) end, "layout is last")
    check.fails(function() nn.BatchNorm2d(3, { act = "relu" }) end, "act is for layout nhwc")
    local x = quern.zeros({ 2, 3, 4, 4 })
    check.fails(function() nn.BatchNorm2d(3)(x, x) end, "a residual is for layout nhwc")
    check.fails(function() nn.Conv2d(3, 4, 3, { layout = "nhwc" })(x) end, "4 channels")
  end },
}
