--- Vision: image classifiers whose parameters carry roles, and their training in one call.
--
--   local vision = quern.plugin "vision"
--   local set = quern.data.images { set = "cifar-10", augment = { crop = 4, flip = true } }
--   local model = vision.make("resnet20", set, { width = 8 })
--   vision.train(model, set, { epochs = 8, batch = 128, lr = 0.1, seed = 1 })
--   print(vision.evaluate(model, set, "test").top1)
--
-- Images are f32 [B,H,W,C], channels last. Prunable weights have the roles weight.linear and
-- weight.conv. README.md has the architectures and their counts.
-- SPDX-License-Identifier: MIT

local util = require "quern.util"
local lenet = require "vision.lenet"
local resnet = require "vision.resnet"
local vgg = require "vision.vgg"
local training = require "vision.training"

local vision = { LeNet = lenet.LeNet, ResNet = resnet.ResNet, VGG = vgg.VGG, train = training.train,
                 evaluate = training.evaluate, loss = training.loss }

local function resnet_of(blocks, width, kind)
  return function(set, o)
    return resnet.ResNet { channels = set.channels, classes = set.classes, size = set.height, blocks = blocks,
                           width = o.width or width, kind = kind }
  end
end

local function vgg_of(depth)
  return function(set, o)
    return vgg.VGG { channels = set.channels, classes = set.classes, size = set.height, depth = depth,
                     width = o.width, head = o.head }
  end
end

local makers = {
  ["lenet-300-100"] = function(set, o)
    return lenet.LeNet { inputs = set.inputs, hidden = o.hidden or { 300, 100 }, classes = set.classes }
  end,
  resnet18 = resnet_of({ 2, 2, 2, 2 }, 64, "imagenet"),
  resnet20 = resnet_of({ 3, 3, 3 }, 16, "cifar"),
  resnet32 = resnet_of({ 5, 5, 5 }, 16, "cifar"),
  vgg16 = vgg_of(16),
  vgg19 = vgg_of(19),
}

--- Names of the models that make knows.
---@return string[]
function vision.models() return util.keys(makers) end

--- A model for a set of images.
---@param name string "lenet-300-100", "resnet18", "resnet20", "resnet32", "vgg16", "vgg19"
---@param set quern.Images|table channels, height, width, inputs, classes
---@param options {width: integer?, hidden: integer[]?, head: string?}? width of the first stage; hidden layers
---  of LeNet; head of VGG: "linear" (default) or "tiny"
---@return quern.Module
function vision.make(name, set, options)
  local make = makers[name]
  if not make then
    util.fail("not_found", ("vision: there is no model %q"):format(tostring(name)), nil,
              util.suggest(tostring(name), vision.models()))
  end
  return make(set, util.options(options, { width = 1, hidden = 1, head = 1 }, "vision.make"))
end

return vision
