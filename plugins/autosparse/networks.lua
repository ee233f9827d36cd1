--- Networks that score a weight from its features: [N,2] -> [N].
--
--   mlp       2 - 32 - 64 - 32 - 1 with relu, 4,321 parameters (other widths by `hidden`)
--   fc        2 - 16 - 64 - 1024 - 1024 - 64 - 1, each hidden layer with batch norm and relu, 1,187,345
--   resnet18  2 - 64 - 3072 with batch norm and relu, then ResNet-18 on [N,32,32,3]: the paper's default
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"

local nn = quern.nn

local networks = { chunk = { mlp = 65536, fc = 8192, resnet18 = 256 } }

local Mlp = nn.class "ScoreMlp"

function Mlp:init(hidden)
  self.layers = nn.ModuleList()
  local inputs = 2
  for _, n in ipairs(hidden) do
    self.layers:add(nn.Linear(inputs, n, { init = "kaiming_normal", init_bias = "zeros", act = "relu" }))
    inputs = n
  end
  self.head = nn.Linear(inputs, 1)
end

function Mlp:forward(x)
  for i = 1, #self.layers do x = self.layers[i](x) end
  return self.head(x):reshape { x.shape[1] }
end

local Fc = nn.class "ScoreFc"

-- Linear layers with batch norm and relu.
local function normed(sizes)
  local steps = {}
  for i = 1, #sizes - 1 do
    steps[#steps + 1] = nn.Linear(sizes[i], sizes[i + 1], { init = "kaiming_normal", init_bias = "zeros" })
    steps[#steps + 1] = nn.BatchNorm1d(sizes[i + 1])
    steps[#steps + 1] = nn.ReLU()
  end
  return nn.Sequential(steps)
end

function Fc:init(hidden)
  self.body = normed { 2, table.unpack(hidden) }
  self.head = nn.Linear(hidden[#hidden], 1)
end

function Fc:forward(x) return self.head(self.body(x)):reshape { x.shape[1] } end

local ScoreResNet = nn.class "ScoreResNet"

function ScoreResNet:init()
  self.body = normed { 2, 64, 3072 }
  self.net = quern.plugin("vision").ResNet { channels = 3, classes = 1, blocks = { 2, 2, 2, 2 }, width = 64,
                                             kind = "imagenet" }
end

function ScoreResNet:forward(x)
  return self.net(self.body(x):reshape { x.shape[1], 32, 32, 3 }):reshape { x.shape[1] }
end

local makers = {
  mlp = function(hidden) return Mlp(hidden) end,
  fc = function(hidden) return Fc(hidden) end,
  resnet18 = function() return ScoreResNet() end,
}

local defaults = { mlp = { 32, 64, 32 }, fc = { 16, 64, 1024, 1024, 64 }, resnet18 = {} }

--- A network.
---@param kind string
---@param hidden integer[]? widths of mlp and fc
---@return quern.Module
---@return integer[] hidden
function networks.make(kind, hidden)
  local make = makers[kind]
  if not make then
    util.fail("argument", ("autosparse: there is no network %q"):format(tostring(kind)), nil,
              util.suggest(tostring(kind), util.keys(makers)))
  end
  hidden = hidden or defaults[kind]
  for _, n in ipairs(hidden) do util.integer(n, "autosparse: hidden", 1) end
  return make(hidden), hidden
end

return networks
