-- The main job: HSTU is trained, pruned, trained again, compared with the dense model, and compiled to sparse
-- matrices. MovieLens-100K, leave-one-out, full ranking.
--   quern run recipes/20_hstu_autosparse.lua
--   quern run recipes/20_hstu_autosparse.lua --set prune.methods=snip,magnitude --set prune.variant=post
-- SPDX-License-Identifier: MIT
local quern = require "quern"
local hstu, prune, autosparse = quern.plugin "hstu", quern.plugin "prune", quern.plugin "autosparse"

local r = quern.recipe {
  name = "hstu-autosparse",
  doc = "HSTU pruned by AutoSparse and its baselines on MovieLens-100K, then compiled to sparse matrices",
  params = {
    data = { set = { "str", "ml-100k", "a known dataset of sequences (quern data list)" },
             max_len = { "int", 200, "most recent events kept", min = 1 } },
    model = { kind = { "enum", "hstu", "what is pruned", of = { "hstu", "sasrec" } },
              dim = { "int", 50, "width", min = 1 }, blocks = { "int", 2, "depth", min = 1 },
              heads = { "int", 1, "of attention", min = 1 }, dropout = { "num", 0.2, "", min = 0, max = 0.99 } },
    prune = { methods = { "str", "taught", "scorers, separated by commas; taught: AutoSparse by a small model" },
              plugins = { "str", "", "further plugins to load, whose scorers may be named" },
              sparsities = { "str", "80,90,95,98", "per cent of the dense matrices' weights that are pruned" },
              variant = { "enum", "pai", "pai: at the initial weights; lth: tickets; post: trained weights",
                          of = { "pai", "lth", "post" } },
              alloc = { "enum", "erk", "how the kept weights are shared out among the matrices",
                        of = { "global", "layer", "erk" } },
              fill_dead = { "bool", false, "weights on no path make way for others" },
              embedding = { "num", 0, "per cent of the item table that is pruned too", min = 0, max = 99.9 } },
    teach = { dim = { "int", 32, "width of the teacher", min = 1 }, rounds = { "int", 10, "of rewinding", min = 2 },
              epochs = { "int", 3, "of each round", min = 1 },
              alloc = { "enum", "global", "as prune.alloc, in its rounds", of = { "global", "layer", "erk" } } },
    train = { seeds = { "int", 1, "runs of each", min = 1 }, epochs = { "int", 20, "of each training", min = 1 },
              lr = { "num", 4e-3, "learning rate, falling by cosine", min = 0 },
              batch = { "int", 32, "sequences", min = 1 } },
  },
  sizes = {
    smoke = { data = { max_len = 50 }, model = { dim = 32, blocks = 1 }, train = { epochs = 2 },
              prune = { sparsities = "90" }, teach = { rounds = 2, epochs = 1 } },
    small = {},
    full = { train = { seeds = 3 }, prune = { methods = "taught,autos,snip,magnitude,erk,random,force,synflow" } },
  },
}

function r:make(cfg, data, seed, dim)
  quern.seed(seed)
  local m = cfg.model
  return hstu[m.kind == "hstu" and "model" or "sasrec"] { items = data.n_items, dim = dim, blocks = m.blocks,
    heads = m.heads, dropout = m.dropout, max_len = cfg.data.max_len,
    rab = m.kind == "hstu" and (data.has_times and "pos+time" or "pos") or nil }
end

function r:train(cfg, data, model, epochs, how)
  local t, steps = cfg.train, epochs * math.ceil(data:rows "train" / cfg.train.batch)
  quern.fit(model, data, { name = how.name, seed = how.seed, epochs = epochs, folder = how.folder, resume = how.resume,
    batch = t.batch, bucket = false, loss = self.loss, optim = { name = "adamw", lr = t.lr, betas = { 0.9, 0.98 } },
    schedule = { name = "cosine", steps = steps, warmup = steps // 20 } })
end

-- AutoSparse's scorer from iterative rewind pruning of a small model with a seed of its own.
function r:teach(cfg, data)
  local teacher = autosparse.irp { model = self:make(cfg, data, self.seed + 100, cfg.teach.dim), data = data,
    loss = self.loss, batch = cfg.train.batch, rounds = cfg.teach.rounds, final = 0.01, alloc = cfg.teach.alloc,
    name = "teacher",
    train = function(model, how) self:train(cfg, data, model, cfg.teach.epochs, how) end }
  local scorer = autosparse.fit { from = teacher, seed = self.seed, name = "scorer", progress = false }
  self:log(tostring(scorer))
  return scorer
end

function r:main(cfg)
  local data = quern.data.sequences { set = cfg.data.set, protocol = "standard", max_len = cfg.data.max_len,
    dirichlet = { n_items = 2000, n_categories = 20, n_records = 2000, length = 64 } }
  self:log(tostring(data))
  self.loss = hstu.softmax { negatives = "full" }
  for _, name in ipairs(quern.util.words(cfg.prune.plugins)) do quern.plugin(name) end
  local methods, densities, seeds, models = quern.util.words(cfg.prune.methods), {}, {}, {}
  local pruned = cfg.prune.embedding
  for i, name in ipairs(methods) do
    if name == "taught" then methods[i] = { name = name, how = self:teach(cfg, data) } end
  end
  for i, s in ipairs(quern.util.words(cfg.prune.sparsities)) do densities[i] = 1 - tonumber(s) / 100 end
  for i = 1, cfg.train.seeds do seeds[i] = self.seed + i - 1 end
  local study = prune.compare { methods = methods, densities = densities, seeds = seeds, data = data, loss = self.loss,
    variant = cfg.prune.variant, batch = cfg.train.batch, select = { alloc = cfg.prune.alloc,
      fill_dead = cfg.prune.fill_dead, groups = { embedding = pruned > 0 and 1 - pruned / 100 or nil } },
    make = function(seed) return self:make(cfg, data, seed, cfg.model.dim) end,
    train = function(model, how) self:train(cfg, data, model, math.ceil(cfg.train.epochs * how.share), how) end,
    evaluate = function(model) return hstu.evaluate(model, data, "test") end,
    say = function(x, model)
      models[x.method == "dense" and "dense" or "sparse"] = model
      self:log(("%s, %g %% kept, seed %d: NDCG@10 %.4f, HR@10 %.4f"):format(x.method, 100 * x.density, x.seed,
        x.metrics["NDCG@10"], x.metrics["HR@10"]))
    end }
  study:relate("NDCG@10", "of dense")
  for method, density, results in study:each() do
    local label = density < 1 and ("%s, %g %% pruned"):format(method, 100 - 100 * density) or method
    self:report(label, hstu.mean(results))
  end
  local batch = data:batches("test", 16)()
  local compiled = prune.compile(models.sparse, { tokens = batch.n_tokens, tables = pruned > 50 })
  self:log(tostring(compiled))
  self:log((compiled:bench { run = function(model) model:encode(batch) end, dense = models.dense }))
end

return r
