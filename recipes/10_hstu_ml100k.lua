-- HSTU and SASRec on MovieLens-100K beside popularity and first-order Markov counts:
-- leave-one-out, every user's last item ranked among the whole catalogue, seen items left out.
--   quern run recipes/10_hstu_ml100k.lua
--   quern run recipes/10_hstu_ml100k.lua --size full --set model.rab=pos
-- SPDX-License-Identifier: MIT
local quern = require "quern"
local hstu = quern.plugin "hstu"

local r = quern.recipe {
  name = "hstu-ml100k",
  doc = "HSTU and SASRec against counting baselines on MovieLens-100K, full ranking",
  params = {
    data = { set = { "str", "ml-100k", "a known dataset of sequences (quern data list)" },
             max_len = { "int", 200, "most recent events kept", min = 1 },
             protocol = { "enum", "standard", "standard: second-last item selects the epoch; meta: it is trained on",
                          of = { "standard", "meta" } } },
    model = { dim = { "int", 50, "width", min = 1 }, blocks = { "int", 2, "depth", min = 0 }, heads = { "int", 1, "heads", min = 1 },
              dropout = { "num", 0.2, "of inputs and blocks", min = 0, max = 0.99 },
              rab = { "enum", "pos+time", "relative bias", of = { "none", "pos", "time", "pos+time" } },
              time_query = { "enum", "next", "times are seen from the next event or the current one", of = { "next", "current" } },
              score = { "enum", "silu", "attention", of = { "silu", "softmax" } }, gate = { "bool", true, "multiply by U" } },
    train = { models = { "enum", "both", "which to train", of = { "hstu", "sasrec", "both" } }, seeds = { "int", 1, "runs of each", min = 1 },
              negatives = { "int", 0, "drawn for each position; 0: all items", min = 0 }, lr = { "num", 1e-3, "learning rate", min = 0 },
              batch = { "int", 32, "sequences", min = 1 }, epochs = { "int", 60, "at most", min = 1 },
              patience = { "int", 10, "evaluations without a better validation NDCG@10", min = 0 } },
  },
  sizes = {
    smoke = { data = { max_len = 50 }, model = { dim = 32, blocks = 1 }, train = { models = "hstu", epochs = 2 } },
    small = { train = { models = "hstu", epochs = 40 } },
    full = { train = { seeds = 3 } },
  },
}

local function make(kind, cfg, data)
  local m = cfg.model
  local shared = { items = data.n_items, dim = m.dim, blocks = m.blocks, heads = m.heads, max_len = cfg.data.max_len, dropout = m.dropout }
  if kind == "sasrec" then return hstu.sasrec(shared) end
  shared.rab = data.has_times and m.rab or "pos"
  shared.time_query, shared.score, shared.gate = m.time_query, m.score, m.gate
  return hstu.model(shared)
end

function r:train(kind, cfg, data, seed)
  quern.seed(seed)
  local standard, t = cfg.data.protocol == "standard", cfg.train
  local model = make(kind, cfg, data)
  quern.fit(model, data, { name = kind .. "-" .. seed, seed = seed, batch = t.batch, bucket = false, epochs = t.epochs,
    loss = hstu.softmax { negatives = t.negatives == 0 and "full" or t.negatives },
    optim = { name = "adamw", lr = t.lr, betas = { 0.9, 0.98 } },
    evaluate = standard and function(m) return hstu.evaluate(m, data, "valid") end or nil,
    select = standard and "NDCG@10" or nil, patience = standard and t.patience or nil })
  return hstu.evaluate(model, data, "test")
end

function r:main(cfg)
  local stream = cfg.data.set == "dirichlet" and { n_items = 2000, n_categories = 20, n_records = 2000, length = 64 } or nil
  local data = quern.data.sequences { set = cfg.data.set, max_len = cfg.data.max_len, protocol = cfg.data.protocol, dirichlet = stream }
  local whole = quern.data.sequences { set = cfg.data.set, protocol = cfg.data.protocol, dirichlet = stream }
  self:log(tostring(data))
  self:report("popularity", hstu.popularity(whole, "test"))
  self:report("Markov", hstu.markov(whole, "test"))
  for _, kind in ipairs { "sasrec", "hstu" } do
    local results = {}
    for i = 0, (cfg.train.models == "both" or cfg.train.models == kind) and cfg.train.seeds - 1 or -1 do
      results[#results + 1] = self:train(kind, cfg, data, self.seed + i)
    end
    if #results > 0 then self:report(kind == "hstu" and "HSTU" or "SASRec", hstu.mean(results)) end
  end
end

return r
