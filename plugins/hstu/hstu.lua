--- HSTU and SASRec: models, losses, full ranking, baselines; target-aware ranking, serving sessions.
--
--   local hstu = quern.plugin "hstu"
--   local data = quern.data.sequences { set = "ml-100k", max_len = 200 }
--   local model = hstu.model { items = data.n_items, dim = 50, blocks = 2 }
--   quern.fit(model, data, { loss = hstu.softmax { negatives = "full" }, epochs = 35,
--     evaluate = function(m) return hstu.evaluate(m, data, "valid") end, select = "NDCG@10" })
--   print(hstu.evaluate(model, data, "test")["HR@10"])
--
-- A model here is any module with encode(batch) -> jagged [T,dim], catalogue() and table()
-- [items+1,dim]: see backbone.lua. LLaMA- and GPT-style ones are in plugin backbones.
-- SPDX-License-Identifier: MIT

local losses = require "hstu.losses"
local ranking = require "hstu.ranking"
local baselines = require "hstu.baselines"
local tokens = require "hstu.tokens"
local contextual = require "hstu.contextual"
local Ranker = require "hstu.ranker"

return {
  model = require "hstu.model",
  sasrec = require "hstu.sasrec",
  softmax = losses.softmax,
  bce = losses.bce,
  gbce = losses.gbce,
  loss = losses.make,
  evaluate = ranking.evaluate,
  ranks = ranking.ranks,
  mean = ranking.mean,
  domains = ranking.domains,
  tokens = tokens.interleaved,
  stochastic_length = tokens.stochastic_length,
  context_tokens = contextual.tokens,
  user_features = contextual.features,
  ranker = Ranker,
  rated = Ranker.rated,
  judge = Ranker.judge,
  din = require "hstu.din",
  session = require "hstu.session",
  popularity = baselines.popularity,
  markov = baselines.markov,
}
