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
    data = {
      set = { "str", "ml-100k", "a known dataset of sequences (quern data list)" },
      max_len = { "int", 200, "most recent events kept", min = 1 },
      protocol = { "enum", "standard", "standard: second-last item selects the epoch; meta: it is trained on",
                   of = { "standard", "meta" } } },
    model = {
      dim = { "int", 50, "width", min = 1 }, blocks = { "int", 2, "depth", min = 0 },
      heads = { "int", 1, "of attention", min = 1 },
      dropout = { "num", 0.2, "of inputs and blocks", min = 0, max = 0.99 },
      rab = { "enum", "pos+time", "relative bias", of = { "none", "pos", "time", "pos+time" } },
      time_query = { "enum", "next", "times are seen from this event", of = { "next", "current" } },
      score = { "enum", "silu", "attention", of = { "silu", "softmax" } },
      gate = { "bool", true, "multiply by U" } },
    train = {
      models = { "enum", "both", "which to train", of = { "hstu", "sasrec", "both" } },
      seeds = { "int", 1, "runs of each", min = 1 },
      negatives = { "int", 0, "drawn for each position; 0: all items", min = 0 },
      lr = { "num", 1e-3, "learning rate", min = 0 }, batch = { "int", 32, "sequences", min = 1 },
      activations = { "enum", "f32", "storage of what is kept for backward", of = { "f32", "bf16" } },
      moments = { "enum", "f32", "storage of the optimizer's moments", of = { "f32", "bf16" } },
      tables = { "enum", "f32", "storage of the item table", of = { "f32", "bf16" } },
      master = { "bool", true, "a bf16 table has a master in f32" },
      epochs = { "int", 60, "at most", min = 1 },
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
  local shared = { items = data.n_items, dim = m.dim, blocks = m.blocks, heads = m.heads, dropout = m.dropout,
                   max_len = cfg.data.max_len }
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
    optim = { name = "adamw", lr = t.lr, betas = { 0.9, 0.98 }, master = t.master },
    storage = { activations = t.activations, moments = t.moments, tables = t.tables },
    evaluate = standard and function(m) return hstu.evaluate(m, data, "valid") end or nil,
    select = standard and "NDCG@10" or nil, patience = standard and t.patience or nil })
  return hstu.evaluate(model, data, "test")
end

function r:main(cfg)
  local generated = cfg.data.set == "dirichlet"
  local function open(max_len)
    return quern.data.sequences { set = cfg.data.set, protocol = cfg.data.protocol, max_len = max_len,
      dirichlet = generated and { n_items = 2000, n_categories = 20, n_records = 2000, length = 64 } or nil }
  end
  local data, whole = open(cfg.data.max_len), open()
  self:log(tostring(data))
  self:report("popularity", hstu.popularity(whole, "test"))
  self:report("Markov", hstu.markov(whole, "test"))
  for _, kind in ipairs { "sasrec", "hstu" } do
    local results, wanted = {}, cfg.train.models == "both" or cfg.train.models == kind
    for i = 1, wanted and cfg.train.seeds or 0 do results[i] = self:train(kind, cfg, data, self.seed + i - 1) end
    if #results > 0 then self:report(kind == "hstu" and "HSTU" or "SASRec", hstu.mean(results)) end
  end
end

return r
