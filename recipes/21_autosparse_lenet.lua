-- AutoSparse from end to end on LeNet-300-100: a teacher by iterative rewind pruning, a scorer fitted to its
-- survival counts, and the scorer beside eight other ways of pruning before training, on the teacher's
-- architecture and on another one.
--   quern run recipes/21_autosparse_lenet.lua
--   quern run recipes/21_autosparse_lenet.lua --set data.set=mnist-10k --set data.inputs=normal --set train.batch=75
-- SPDX-License-Identifier: MIT
local quern = require "quern"
local vision, prune, autosparse = quern.plugin "vision", quern.plugin "prune", quern.plugin "autosparse"

local r = quern.recipe {
  name = "autosparse-lenet",
  doc = "AutoSparse: teacher, fit, and pruning at initialization beside its baselines, LeNet-300-100",
  params = {
    data = { set = { "str", "auto", "images of 28x28; auto: fashion-mnist, else mnist-10k, else generated" },
             limit = { "int", 10000, "training images used", min = 1 },
             inputs = { "enum", "unit", "unit: pixels from 0 to 1; normal: less their mean, over their deviation",
                        of = { "unit", "normal" } } },
    train = { epochs = { "int", 4, "of each training", min = 1 }, batch = { "int", 100, "images", min = 1 },
              lr = { "num", 0.05, "of SGD with momentum 0.9, falling by cosine", min = 0 } },
    irp = { rounds = { "int", 20, "of the teacher", min = 2 }, final = { "num", 0.01, "its last density", min = 0 },
            criterion = { "enum", "snip", "what the teacher prunes by", of = { "snip", "magnitude" } } },
    fit = { epochs = { "int", 6, "of the scorer", min = 1 },
            features = { "enum", "global", "what the scorer sees", of = { "global", "raw", "layer" } } },
    prune = { methods = { "str", "random,erk,magnitude,snip,itersnip,force,grasp,synflow",
                          "beside AutoSparse, separated by commas" },
              densities = { "str", "5,2,1,0.5", "per cent of the weights that are kept" },
              seeds = { "int", 3, "runs of each", min = 1 }, transfer = { "bool", true, "also on 784-200-200-100" } },
  },
  sizes = {
    smoke = { data = { limit = 500 }, train = { epochs = 1 }, irp = { rounds = 3, final = 0.1 },
              fit = { epochs = 1 }, prune = { methods = "magnitude,snip", densities = "10", seeds = 1 } },
    small = {},
    full = { data = { limit = 60000 }, train = { epochs = 10 } },
  },
}

local function choose(name)
  if name ~= "auto" then return name end
  for _, set in ipairs { "fashion-mnist", "mnist-10k" } do
    if quern.data.have(set) then return set end
  end
  return "blobs"
end

function r:study(cfg, set, label, hidden, scorer)
  local t, methods, densities, seeds = cfg.train, quern.util.words(cfg.prune.methods), {}, {}
  methods[#methods + 1] = { name = "autos", how = scorer }
  methods[#methods + 1] = { name = "autos, shipped", how = "autos" }
  for i, d in ipairs(quern.util.words(cfg.prune.densities)) do densities[i] = tonumber(d) / 100 end
  for i = 1, cfg.prune.seeds do seeds[i] = self.seed + 10 * i end
  local study = prune.compare { methods = methods, densities = densities, seeds = seeds, data = set,
    loss = vision.loss, batch = 256,
    make = function(seed)
      quern.seed(seed)
      return vision.make("lenet-300-100", set, { hidden = hidden })
    end,
    train = function(model, how)
      vision.train(model, set, { epochs = t.epochs, batch = t.batch, lr = t.lr, seed = how.seed, progress = false,
                                 checkpoints = false, name = (label .. "-" .. how.name):gsub("[^%w._-]+", "-") })
    end,
    evaluate = function(model) return { top1 = vision.evaluate(model, set, "test").top1 } end,
    say = function(x) self:metric { study = label, method = x.method, density = x.density, seed = x.seed,
      top1 = x.metrics.top1, effective = x.metrics.effective, collapsed = x.collapsed } end }
  self:log(label .. "\n" .. study:table "top1")
  for method, means in pairs(study:means "top1") do self:report(label .. ": " .. method, means) end
end

function r:main(cfg)
  local unit = cfg.data.inputs == "unit"
  local set = quern.data.images { set = choose(cfg.data.set), limit = cfg.data.limit, layout = "flat",
    mean = unit and { 0.0 } or nil, std = unit and { 1.0 } or nil }
  self:log(tostring(set))
  local t = cfg.train
  quern.seed(self.seed)
  local irp = autosparse.irp { model = vision.make("lenet-300-100", set), data = set, loss = vision.loss,
    rounds = cfg.irp.rounds, final = cfg.irp.final, criterion = cfg.irp.criterion, name = "teacher",
    train = function(model, how)
      vision.train(model, set, { epochs = t.epochs, batch = t.batch, lr = t.lr, seed = how.seed, name = how.name,
                                 resume = how.resume, progress = false })
    end,
    evaluate = function(model) return { top1 = vision.evaluate(model, set, "test").top1 } end }
  self:log(tostring(irp))
  local scorer = autosparse.fit { from = irp, features = cfg.fit.features, epochs = cfg.fit.epochs, seed = self.seed,
                                  name = "teacher", progress = false }
  self:log(tostring(scorer))
  scorer:save(self.folder .. "/scorer.safetensors")
  self:report("scorer", { r2 = scorer.report.r2, spearman = scorer.report.spearman })
  self:study(cfg, set, "300-100", { 300, 100 }, scorer)
  if cfg.prune.transfer then self:study(cfg, set, "200-200-100", { 200, 200, 100 }, scorer) end
end

return r
