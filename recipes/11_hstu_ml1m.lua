-- HSTU on MovieLens-1M as item sequences without times (the gSASRec copy), position bias only:
-- the last item of each sequence is ranked among all 3416, seen items left out.
--   quern run recipes/11_hstu_ml1m.lua
--   quern run recipes/11_hstu_ml1m.lua --size full --set train.negatives=128
-- SPDX-License-Identifier: MIT
local quern = require "quern"
local hstu = quern.plugin "hstu"

local r = quern.recipe {
  name = "hstu-ml1m",
  doc = "HSTU on the sequence copy of MovieLens-1M, full ranking",
  params = {
    max_len = { "int", 200, "most recent events kept", min = 1 },
    protocol = { "enum", "meta", "meta: all but the last item are trained on; standard: the second-last selects the epoch",
                 of = { "standard", "meta" } },
    model = { dim = { "int", 50, "width", min = 1 }, blocks = { "int", 2, "depth", min = 0 }, heads = { "int", 1, "heads", min = 1 },
              dropout = { "num", 0.2, "of inputs and blocks", min = 0, max = 0.99 } },
    train = { negatives = { "int", 0, "drawn for each position; 0: all items", min = 0 }, lr = { "num", 1e-3, "learning rate", min = 0 },
              batch = { "int", 128, "sequences", min = 1 }, epochs = { "int", 60, "passes over the users", min = 1 },
              every = { "int", 5, "epochs between evaluations on the test items (protocol meta: shown, never selected by)", min = 1 },
              patience = { "int", 10, "protocol standard: evaluations without a better validation NDCG@10", min = 0 } },
  },
  sizes = {
    smoke = { max_len = 50, model = { dim = 32, blocks = 1 }, train = { epochs = 1 } },
    small = {},
    full = { train = { epochs = 200, every = 10 } },
  },
  -- On the public ML-1M with times; this copy lacks times and the last items of each user.
  paper = { HSTU = { ["HR@10"] = 0.3097, ["HR@50"] = 0.5754, ["HR@200"] = 0.7716, ["NDCG@10"] = 0.1720 },
            SASRec = { ["HR@10"] = 0.2853, ["HR@50"] = 0.5474, ["HR@200"] = 0.7528, ["NDCG@10"] = 0.1603 } },
}

function r:main(cfg)
  local t, m = cfg.train, cfg.model
  local data = quern.data.sequences { set = "ml-1m-sequences", max_len = cfg.max_len, protocol = cfg.protocol }
  local whole = quern.data.sequences { set = "ml-1m-sequences", protocol = cfg.protocol }
  self:log(tostring(data))
  self:report("popularity", hstu.popularity(whole, "test"))
  self:report("Markov", hstu.markov(whole, "test"))
  local model = hstu.model { items = data.n_items, dim = m.dim, blocks = m.blocks, heads = m.heads, max_len = cfg.max_len,
                             dropout = m.dropout, rab = "pos" }
  local standard = cfg.protocol == "standard"
  quern.fit(model, data, { name = "hstu", batch = t.batch, bucket = false, epochs = t.epochs, every = t.every,
    loss = hstu.softmax { negatives = t.negatives == 0 and "full" or t.negatives },
    optim = { name = "adamw", lr = t.lr, betas = { 0.9, 0.98 } },
    evaluate = function(e) return hstu.evaluate(e, data, standard and "valid" or "test") end,
    select = standard and "NDCG@10" or nil, patience = standard and t.patience or nil })
  self:report("HSTU", hstu.evaluate(model, data, "test"))
end

return r
