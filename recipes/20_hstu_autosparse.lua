-- The main job: HSTU is trained, pruned, trained again, compared with the dense model, and compiled to sparse
-- matrices. MovieLens-100K, leave-one-out, full ranking.
--   quern run recipes/20_hstu_autosparse.lua
--   quern run recipes/20_hstu_autosparse.lua --set prune.methods=snip,magnitude --set prune.variant=post
-- SPDX-License-Identifier: MIT
local quern = require "quern"
local hstu, prune = quern.plugin "hstu", quern.plugin "prune"
local autosparse                 -- a plugin of its own, which may not be installed
for _, p in ipairs(quern.plugin.list()) do
  if p.name == "autosparse" then autosparse = quern.plugin "autosparse" end
end

local r = quern.recipe {
  name = "hstu-autosparse",
  doc = "HSTU pruned by AutoSparse and its baselines on MovieLens-100K, then compiled to sparse matrices",
  params = {
    data = { set = { "str", "ml-100k", "a known dataset of sequences (quern data list)" },
             max_len = { "int", 200, "most recent events kept", min = 1 } },
    model = { kind = { "enum", "hstu", "what is pruned", of = { "hstu", "sasrec" } },
              dim = { "int", 50, "width", min = 1 }, blocks = { "int", 2, "depth", min = 1 },
              heads = { "int", 1, "of attention", min = 1 }, dropout = { "num", 0.2, "", min = 0, max = 0.99 } },
    prune = { methods = { "str", autosparse and "taught" or "snip",
                          "scorers, separated by commas; taught: AutoSparse by a small model" },
              sparsities = { "str", "80,90,95,98", "per cent of the dense matrices' weights that are pruned" },
              variant = { "enum", "pai", "pai: at the initial weights; lth: tickets; post: trained weights",
                          of = { "pai", "lth", "post" } },
              alloc = { "enum", "erk", "how the kept weights are shared out among the matrices",
                        of = { "global", "layer", "erk" } },
              embedding = { "num", 0, "per cent of the item table that is pruned too", min = 0, max = 99.9 } },
    teach = { dim = { "int", 32, "width of the teacher", min = 1 }, rounds = { "int", 10, "of rewinding", min = 2 },
              epochs = { "int", 3, "of each round", min = 1 } },
    train = { seeds = { "int", 1, "runs of each", min = 1 }, epochs = { "int", 20, "of each training", min = 1 },
              lr = { "num", 4e-3, "learning rate, falling by cosine", min = 0 },
              batch = { "int", 32, "sequences", min = 1 } },
  },
  sizes = {
    smoke = { data = { max_len = 50 }, model = { dim = 32, blocks = 1 }, train = { epochs = 2 },
              prune = { sparsities = "90" }, teach = { rounds = 2, epochs = 1 } },
    small = {},
    full = { train = { seeds = 3 }, prune = { methods = (autosparse and "taught,autos," or "")
               .. "snip,magnitude,erk,random,force,synflow" } },
  },
}

function r:make(cfg, data, seed, dim)
  local m = cfg.model
  quern.seed(seed)
  local shared = { items = data.n_items, dim = dim, blocks = m.blocks, heads = m.heads, dropout = m.dropout,
                   max_len = cfg.data.max_len }
  if m.kind == "sasrec" then return hstu.sasrec(shared) end
  shared.rab = data.has_times and "pos+time" or "pos"
  return hstu.model(shared)
end

function r:train(cfg, data, model, how, epochs)
  local t, steps = cfg.train, epochs * math.ceil(data:rows "train" / cfg.train.batch)
  quern.fit(model, data, { name = how.name, seed = how.seed, epochs = epochs, folder = how.folder, resume = how.resume,
    batch = t.batch, bucket = false, loss = self.loss, optim = { name = "adamw", lr = t.lr, betas = { 0.9, 0.98 } },
    schedule = { name = "cosine", steps = steps, warmup = steps // 20 } })
end

-- AutoSparse's scorer from iterative rewind pruning of a small model with a seed of its own.
function r:teach(cfg, data)
  if not autosparse then quern.plugin "autosparse" end       -- says that it is missing
  local teacher = autosparse.irp { model = self:make(cfg, data, self.seed + 100, cfg.teach.dim), data = data,
    loss = self.loss, batch = cfg.train.batch, rounds = cfg.teach.rounds, final = 0.01, name = "teacher",
    train = function(model, how) self:train(cfg, data, model, how, cfg.teach.epochs) end }
  local scorer = autosparse.fit { from = teacher, seed = self.seed, name = "scorer", progress = false }
  self:log(tostring(scorer))
  return scorer
end

-- The metrics of one scorer (nil: dense) at one sparsity for each seed, and the last model.
function r:runs(cfg, data, dense, how, sparsity)
  local results, embedding, last = {}, 1 - cfg.prune.embedding / 100, nil
  for i = 1, cfg.train.seeds do
    local seed, mask = self.seed + i - 1, nil
    local function make() return self:make(cfg, data, seed, cfg.model.dim) end
    local function train(model, share)
      self:train(cfg, data, model, { seed = seed }, math.ceil(cfg.train.epochs * share))
    end
    if how then
      last, mask = prune.variant { variant = cfg.prune.variant, how = how, make = make, train = train, data = data,
        dense = dense.models[i], loss = self.loss, score = { batch = cfg.train.batch },
        select = { guard = "report", alloc = cfg.prune.alloc,
          groups = { dense = 1 - sparsity / 100, embedding = embedding < 1 and embedding or nil } } }
    else
      last = make()
      train(last, 1)
      dense.models[i] = last
    end
    results[i] = hstu.evaluate(last, data, "test")
    if how then
      results[i]["of dense"] = results[i]["NDCG@10"] / dense.results[i]["NDCG@10"]
      results[i].density, results[i].effective = mask:density(), mask:effective()
    end
  end
  return results, last
end

function r:tell(label, results)
  local mean = hstu.mean(results)
  self:report(label, mean)
  self:log(("%s: NDCG@10 %.4f, HR@10 %.4f"):format(label, mean["NDCG@10"], mean["HR@10"]))
end

function r:main(cfg)
  local generated = cfg.data.set == "dirichlet"
  local data = quern.data.sequences { set = cfg.data.set, protocol = "standard", max_len = cfg.data.max_len,
    dirichlet = generated and { n_items = 2000, n_categories = 20, n_records = 2000, length = 64 } or nil }
  self:log(tostring(data))
  self.loss = hstu.softmax { negatives = "full" }
  local dense, scorers, sparse = { models = {} }, {}, nil
  dense.results = self:runs(cfg, data, dense)
  self:tell("dense", dense.results)
  for s in cfg.prune.sparsities:gmatch "[^,%s]+" do
    for how in cfg.prune.methods:gmatch "[^,%s]+" do
      scorers[how] = scorers[how] or how == "taught" and self:teach(cfg, data) or how
      local results
      results, sparse = self:runs(cfg, data, dense, scorers[how], tonumber(s))
      self:tell(("%s, %s %% pruned"):format(how, s), results)
    end
  end
  local batch = data:batches("test", 16)()
  local compiled = prune.compile(sparse, { tokens = batch.n_tokens, tables = cfg.prune.embedding > 50 })
  self:log(tostring(compiled))
  self:log((compiled:bench { run = function(model) model:encode(batch) end, dense = dense.models[1] }))
end

return r
