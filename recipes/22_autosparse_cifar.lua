-- AutoSparse on convolutional nets: a teacher, its scorer, and pruning before training beside the baselines on
-- CIFAR-10. Small: ResNet-20 of half width. Full: the paper's ResNet-18 and its training, with
-- --set model.name=vgg16 for the transfer to VGG-16; days on a few cores.
--   quern run recipes/22_autosparse_cifar.lua
-- The paper's own tables could not be read; `paper` holds the averages of three runs that the code of Tanaka et al.
-- 2020 publishes for the same models (test top-1).
-- SPDX-License-Identifier: MIT
local quern = require "quern"
local vision, prune, autosparse = quern.plugin "vision", quern.plugin "prune", quern.plugin "autosparse"

local r = quern.recipe {
  name = "autosparse-cifar",
  doc = "AutoSparse and its baselines on CIFAR-10: ResNet-20, ResNet-18, VGG-16",
  params = {
    data = { set = { "str", "auto", "images; auto: cifar-10, else its JPEG copy, else generated" },
             limit = { "int", 10000, "training images used", min = 1 },
             valid = { "int", 0, "training images held out and not used", min = 0 },
             test_limit = { "int", 10000, "test images used", min = 1 } },
    model = { name = { "enum", "resnet20", "what is pruned",
                       of = { "resnet18", "resnet20", "resnet32", "vgg16", "vgg19" } },
              width = { "int", 8, "of the first stage; 0: the model's own", min = 0 } },
    train = { epochs = { "int", 8, "of each training", min = 1 }, batch = { "int", 64, "images", min = 1 },
              lr = { "num", 0.1, "of SGD with momentum 0.9", min = 0 }, decay = { "num", 5e-4, "of weights", min = 0 },
              nesterov = { "bool", false, "momentum" },
              drops = { "str", "", "epochs at which the rate falls, separated by commas; none: cosine" },
              gamma = { "num", 0.2, "by which it falls", min = 0 } },
    irp = { model = { "str", "", "the teacher's model; default: the pruned one's" },
            rounds = { "int", 8, "of the teacher; 0: the shipped scorer alone", min = 0 },
            final = { "num", 0.02, "its last density", min = 0 },
            epochs = { "int", 2, "of each of its trainings", min = 1 } },
    prune = { methods = { "str", "erk,magnitude,snip", "beside AutoSparse, separated by commas" },
              densities = { "str", "10,5", "per cent of the weights that are kept" },
              seeds = { "int", 1, "runs of each", min = 1 } },
  },
  sizes = {
    smoke = { data = { limit = 256, test_limit = 200 }, model = { width = 4 }, train = { epochs = 1, batch = 64 },
              irp = { rounds = 2, epochs = 1, final = 0.3 }, prune = { methods = "snip", densities = "20" } },
    small = {},
    full = { data = { limit = 45000, valid = 5000 }, model = { name = "resnet18", width = 0 },
             train = { epochs = 160, batch = 128, lr = 0.01, nesterov = true, drops = "60,120" },
             irp = { rounds = 20, final = 0.01, epochs = 160 },
             prune = { methods = "random,erk,magnitude,snip,grasp,synflow", densities = "10,5,1", seeds = 3 } },
  },
  paper = {
    ["resnet18: dense"] = { ["top1 at 100 %"] = 94.95 }, ["vgg16: dense"] = { ["top1 at 100 %"] = 93.51 },
    ["resnet18: random"] = { ["top1 at 10 %"] = 92.92, ["top1 at 1 %"] = 82.98 },
    ["resnet18: magnitude"] = { ["top1 at 10 %"] = 94.40, ["top1 at 1 %"] = 10.00 },
    ["resnet18: snip"] = { ["top1 at 10 %"] = 94.29, ["top1 at 1 %"] = 90.80 },
    ["resnet18: grasp"] = { ["top1 at 10 %"] = 93.78, ["top1 at 1 %"] = 89.71 },
    ["resnet18: synflow"] = { ["top1 at 10 %"] = 94.07, ["top1 at 1 %"] = 90.36 },
    ["vgg16: random"] = { ["top1 at 10 %"] = 91.15, ["top1 at 1 %"] = 79.14 },
    ["vgg16: magnitude"] = { ["top1 at 10 %"] = 93.12, ["top1 at 1 %"] = 89.80 },
    ["vgg16: snip"] = { ["top1 at 10 %"] = 92.26, ["top1 at 1 %"] = 89.15 },
    ["vgg16: grasp"] = { ["top1 at 10 %"] = 91.84, ["top1 at 1 %"] = 87.49 },
    ["vgg16: synflow"] = { ["top1 at 10 %"] = 93.26, ["top1 at 1 %"] = 90.08 },
  },
}

local function numbers(text)
  local out = quern.util.words(text)
  for i, w in ipairs(out) do out[i] = tonumber(w) end
  return out
end

local function open(d)
  local name = d.set
  if name == "auto" then
    name = quern.data.have "cifar-10" and "cifar-10" or quern.data.have "cifar-10-jpeg" and "cifar-10-jpeg" or "blobs"
  end
  local generated = name == "blobs" and { channels = 3, size = 32, train = 6000, test = 2000 } or nil
  return quern.data.images { set = name, limit = d.limit, valid = d.valid > 0 and d.valid or nil,
    test_limit = d.test_limit, augment = { crop = 4, flip = true }, generate = generated }
end

function r:make(cfg, set, name, seed)
  quern.seed(seed)
  return vision.make(name, set, { width = cfg.model.width > 0 and cfg.model.width or nil })
end

function r:train(cfg, set, model, epochs, how, checkpoints)
  local t = cfg.train
  vision.train(model, set, { epochs = epochs, batch = t.batch, lr = t.lr, weight_decay = t.decay, nesterov = t.nesterov,
    drops = t.drops ~= "" and numbers(t.drops) or nil, gamma = t.gamma, seed = how.seed, resume = how.resume,
    name = how.name:gsub("[^%w._-]+", "-"), checkpoints = checkpoints })
end

function r:teacher(cfg, set)
  local name = cfg.irp.model ~= "" and cfg.irp.model or cfg.model.name
  local irp = autosparse.irp { model = self:make(cfg, set, name, self.seed), data = set, loss = vision.loss,
    rounds = cfg.irp.rounds, final = cfg.irp.final, name = "teacher",
    train = function(model, how) self:train(cfg, set, model, cfg.irp.epochs, how) end,
    evaluate = function(model) return { top1 = vision.evaluate(model, set, "test").top1 } end }
  self:log(tostring(irp))
  local scorer = autosparse.fit { from = irp, seed = self.seed, name = "teacher-" .. name, progress = false }
  self:log(tostring(scorer))
  scorer:save(self.folder .. "/scorer.safetensors")
  self:report("scorer", { r2 = scorer.report.r2, spearman = scorer.report.spearman })
  return scorer
end

function r:main(cfg)
  local set = open(cfg.data)
  self:log(tostring(set))
  local methods, densities, seeds = quern.util.words(cfg.prune.methods), numbers(cfg.prune.densities), {}
  if cfg.irp.rounds > 0 then methods[#methods + 1] = { name = "autos", how = self:teacher(cfg, set) } end
  methods[#methods + 1] = { name = "autos, shipped", how = "autos" }
  for i, d in ipairs(densities) do densities[i] = d / 100 end
  for i = 1, cfg.prune.seeds do seeds[i] = self.seed + 10 * i end
  local study = prune.compare { methods = methods, densities = densities, seeds = seeds, data = set,
    loss = vision.loss, batch = 256,
    make = function(seed) return self:make(cfg, set, cfg.model.name, seed) end,
    train = function(model, how) self:train(cfg, set, model, cfg.train.epochs, how, cfg.train.epochs > 20) end,
    evaluate = function(model) return { top1 = vision.evaluate(model, set, "test").top1 } end,
    say = function(x)
      self:metric { method = x.method, density = x.density, seed = x.seed, top1 = x.metrics.top1,
                    effective = x.metrics.effective, collapsed = x.collapsed }
      self:log(("%s at %g %%, seed %d: top-1 %.2f, effective density %.2f %%, %d layers collapsed"):format(x.method,
        100 * x.density, x.seed, x.metrics.top1, 100 * (x.metrics.effective or 1), x.collapsed or 0))
    end }
  self:log(study:table "top1")
  for method, means in pairs(study:means "top1") do self:report(cfg.model.name .. ": " .. method, means) end
end

return r
