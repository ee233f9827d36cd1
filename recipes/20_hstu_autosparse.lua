-- The main job: HSTU is trained, pruned, trained again, compared with the dense model, and compiled to sparse
-- matrices. MovieLens-100K, leave-one-out, full ranking.
--   quern run recipes/20_hstu_autosparse.lua
--   quern run recipes/20_hstu_autosparse.lua --set prune.methods=snip,magnitude --set prune.variant=post
-- SPDX-License-Identifier: MIT
local quern = require "quern"
local hstu, prune = quern.plugin "hstu", quern.plugin "prune"

local r = quern.recipe {
  name = "hstu-autosparse",
  doc = "HSTU pruned by AutoSparse and its baselines on MovieLens-100K, then compiled to sparse matrices",
  params = {
    data = { set = { "str", "ml-100k", "a known dataset of sequences (quern data list)" },
             max_len = { "int", 200, "most recent events kept", min = 1 } },
    model = { kind = { "enum", "hstu", "what is pruned", of = { "hstu", "sasrec" } },
              dim = { "int", 50, "width", min = 1 }, blocks = { "int", 2, "depth", min = 1 },
              heads = { "int", 1, "of attention", min = 1 }, dropout = { "num", 0.2, "", min = 0, max = 0.99 } },
    prune = { methods = { "str", "snip", "scorers, separated by commas" },
              sparsities = { "str", "80,90,95,98", "per cent of the dense matrices' weights that are pruned" },
              variant = { "enum", "pai", "pai: at the initial weights; lth: tickets; post: trained weights",
                          of = { "pai", "lth", "post" } },
              embedding = { "num", 0, "per cent of the item table that is pruned too", min = 0, max = 99.9 } },
    train = { seeds = { "int", 1, "runs of each", min = 1 }, lr = { "num", 1e-3, "learning rate", min = 0 },
              batch = { "int", 32, "sequences", min = 1 }, epochs = { "int", 40, "at most", min = 1 },
              patience = { "int", 5, "evaluations, one in two epochs, without a better NDCG@10", min = 0 } },
  },
  sizes = {
    smoke = { data = { max_len = 50 }, model = { dim = 32, blocks = 1 }, train = { epochs = 2 },
              prune = { sparsities = "90" } },
    small = {},
    full = { train = { seeds = 3 }, prune = { methods = "random,erk,magnitude,snip,force,synflow" } },
  },
}

function r:experiment(cfg, data, seed)
  local m, t, loss, fits = cfg.model, cfg.train, hstu.softmax { negatives = "full" }, 0
  local function make()
    quern.seed(seed)
    local shared = { items = data.n_items, dim = m.dim, blocks = m.blocks, heads = m.heads, dropout = m.dropout,
                     max_len = cfg.data.max_len }
    if m.kind == "sasrec" then return hstu.sasrec(shared) end
    shared.rab = data.has_times and "pos+time" or "pos"
    return hstu.model(shared)
  end
  local function train(model, share)
    fits = fits + 1
    quern.fit(model, data, { name = ("seed-%d-%d"):format(seed, fits), seed = seed, batch = t.batch, bucket = false,
      epochs = math.max(1, math.ceil(t.epochs * share)), loss = loss, every = 2, select = "NDCG@10",
      patience = t.patience,
      optim = { name = "adamw", lr = t.lr, betas = { 0.9, 0.98 } },
      evaluate = function(x) return hstu.evaluate(x, data, "valid") end })
  end
  local dense = make()
  train(dense, 1)
  return { make = make, train = train, loss = loss, dense = dense, test = hstu.evaluate(dense, data, "test") }
end

-- Scores of one pruned model beside the dense one, and the model.
function r:pruned(cfg, data, e, how, sparsity)
  local embedding = cfg.prune.embedding
  local model, mask = prune.variant { variant = cfg.prune.variant, how = how, make = e.make, train = e.train,
    dense = e.dense, data = data, loss = e.loss, score = { batch = cfg.train.batch }, select = { guard = "report",
      groups = { dense = 1 - sparsity / 100, embedding = embedding > 0 and 1 - embedding / 100 or nil } } }
  local out = hstu.evaluate(model, data, "test")
  out["of dense"] = out["NDCG@10"] / e.test["NDCG@10"]
  out.density, out.effective = mask:density(), mask:effective()
  return out, model
end

function r:main(cfg)
  local generated = cfg.data.set == "dirichlet"
  local data = quern.data.sequences { set = cfg.data.set, protocol = "standard", max_len = cfg.data.max_len,
    dirichlet = generated and { n_items = 2000, n_categories = 20, n_records = 2000, length = 64 } or nil }
  self:log(tostring(data))
  local runs, dense, sparsest = {}, {}, nil
  for i = 1, cfg.train.seeds do
    runs[i] = self:experiment(cfg, data, self.seed + i - 1)
    dense[i] = runs[i].test
  end
  self:report("dense", hstu.mean(dense))
  for how in cfg.prune.methods:gmatch "[^,%s]+" do
    for s in cfg.prune.sparsities:gmatch "[^,%s]+" do
      local results = {}
      for i, e in ipairs(runs) do results[i], sparsest = self:pruned(cfg, data, e, how, tonumber(s)) end
      self:report(("%s, %s %% pruned"):format(how, s), hstu.mean(results))
    end
  end
  local batch = data:batches("test", 16)()
  local compiled = prune.compile(sparsest, { tokens = batch.n_tokens })
  self:log(tostring(compiled))
  self:log((compiled:bench { run = function(model) model:encode(batch) end, dense = runs[1].dense }))
end

return r
