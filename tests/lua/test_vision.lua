--- Vision models: the published counts, shapes, and that they learn.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local vision = quern.plugin "vision"

local function set(channels, side, classes)
  return { channels = channels, height = side, width = side, inputs = channels * side * side, classes = classes }
end

local function prunable(model) return model:count "weight.linear" + model:count "weight.conv" end

return {
  { "prunable weights are as many as published", function()
    for _, case in ipairs {
      { "lenet-300-100", set(1, 28, 10), 266200 }, { "resnet18", set(3, 32, 10), 11164352 },
      { "resnet18", set(3, 64, 200), 11261632 }, { "resnet20", set(3, 32, 10), 270896 },
      { "resnet32", set(3, 32, 10), 464432 }, { "vgg16", set(3, 32, 10), 14715584 },
      { "vgg19", set(3, 32, 10), 20024000 } } do
      check.equal(prunable(vision.make(case[1], case[2])), case[3], case[1])
    end
  end },

  { "each model gives one row of class scores for each image, and a gradient to every parameter", function()
    for _, case in ipairs { { "lenet-300-100", set(1, 8, 5), { hidden = { 9, 7 } } },
      { "resnet20", set(3, 8, 5), { width = 2 } }, { "resnet18", set(1, 8, 5), { width = 2 } },
      { "vgg16", set(3, 16, 5), { width = 2 } }, { "vgg16", set(3, 32, 5), { width = 2, head = "tiny" } } } do
      local model = vision.make(case[1], case[2], case[3])
      local x = quern.normal { shape = { 3, case[2].height, case[2].width, case[2].channels } }
      local logits = model(x)
      check.equal(logits.shape, { 3, 5 }, case[1])
      quern.cross_entropy(logits, quern.i64 { 0, 4, 2 }):backward()
      for _, p in ipairs(model:parameters()) do check.yes(p.tensor.grad, case[1] .. " " .. p.name) end
    end
  end },

  { "training learns generated pictures, and equal seeds give equal bits", function()
    local images = quern.data.images { set = "blobs", augment = { crop = 1 }, generate = { train = 300, test = 100,
      classes = 4, size = 12, noise = 0.1 } }
    local function run()
      quern.seed(3)
      local model = vision.make("resnet20", images, { width = 4 })
      local r = vision.train(model, images, { epochs = 6, batch = 30, lr = 0.1, seed = 3, progress = false,
                                              evaluate = "test" })
      return r.history[6].metrics, model.conv.weight:totable()
    end
    local a, wa = run()
    local b, wb = run()
    check.yes(a.top1 > 60, ("top-1 is %.1f"):format(a.top1))
    check.equal({ a, wa }, { b, wb })
  end },

  { "rates fall where they are told to", function()
    local images = quern.data.images { set = "blobs", generate = { train = 40, test = 10, classes = 2, size = 8 } }
    local scales = {}
    local hook = { after_step = function(_, fit) scales[#scales + 1] = fit.optim.scale end }
    vision.train(vision.make("lenet-300-100", images, { hidden = { 4 } }), images,
      { epochs = 3, batch = 20, drops = { 1, 2 }, gamma = 0.5, seed = 1, progress = false, hooks = { hook } })
    check.near(scales, { 1, 1, 0.5, 0.5, 0.25, 0.25 })
  end },

  { "unknown names and other numbers of classes are told", function()
    check.fails(function() vision.make("resnet21", set(3, 32, 10)) end, "no model \"resnet21\"", "resnet20")
    check.fails(function() vision.make("vgg16", set(3, 16, 10), { head = "tiny" }) end, "images of 32 pixels")
    check.fails(function() vision.make("vgg16", set(3, 32, 10), { head = "big" }) end, "no head \"big\"")
    local images = quern.data.images { set = "blobs", generate = { train = 40, test = 10, classes = 3, size = 8 } }
    local model = vision.make("lenet-300-100", set(3, 8, 5))
    check.fails(function() vision.train(model, images, { epochs = 1 }) end, "the model has 5 classes, the images 3")
    check.fails(function() vision.evaluate(model, images, "test") end, "the model has 5 classes, the images 3")
  end },
}
