--- DeepSDF's decoder (Park et al. 2019): 8 layers of 512, the input again before the fifth, 16384 points of one
-- shape with a code of 32, mean absolute error, Adam; without dropout and weight norm. SPDX-License-Identifier: MIT

local quern = require "quern"
local nn = require "quern.nn"
local models = require "models"

local size = models.size
local POINTS, CODE, WIDTH, LAYERS, SKIP = size(16384, 60), size(32, 5), size(512, 16), 8, 5

local Decoder = nn.class "DeepSdf"

function Decoder:init()
  self.layer = nn.ModuleList {}
  local inputs = CODE + 3
  for i = 1, LAYERS do
    local outputs = i + 1 == SKIP and WIDTH - CODE - 3 or WIDTH
    self.layer:add(nn.Linear(i == 1 and inputs or WIDTH, outputs, { act = "relu" }))
  end
  self.out = nn.Linear(WIDTH, 1)
end

function Decoder:forward(x)
  local y = x
  for i = 1, LAYERS do
    if i == SKIP then y = quern.concat({ y, x }, 2) end
    y = self.layer[i](y)
  end
  return quern.tanh(self.out(y))
end

local function make()
  quern.seed(1)
  local model = Decoder()
  local batch = { x = quern.normal { shape = { POINTS, CODE + 3 }, std = 0.3 },
                  y = quern.normal { shape = { POINTS, 1 }, std = 0.1 } }
  local function loss(m, b) return (m(b.x) - b.y):abs():mean() end
  local step, how = models.step(model, batch, loss, { name = "adam", lr = 5e-4 })
  return { model = model, batch = batch, step = step, how = how }
end

local inputs = CODE + 3
local products = inputs * WIDTH + (LAYERS - 2) * WIDTH ^ 2 + WIDTH * (WIDTH - inputs) + WIDTH
return {
  { name = "DeepSDF 8x512, 16384 points", make = make, items = function() return POINTS end, unit = "points",
    flops = POINTS * (6 * products - 2 * inputs * WIDTH),
    peer = { case = "sdf.step", backends = { "eager", "compile", "jax" },
             args = { points = POINTS, code = CODE, width = WIDTH, layers = LAYERS, skip = SKIP } } },
}
