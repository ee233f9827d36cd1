--- HSTU and SASRec: models, losses, evaluation under full ranking, baselines.
--
--   local hstu = quern.plugin "hstu"
--   local data = quern.data.sequences { set = "ml-100k", max_len = 200 }
--   local model = hstu.model { items = data.n_items, dim = 50, blocks = 2 }
--   quern.fit(model, data, { loss = hstu.softmax { negatives = "full" }, epochs = 35,
--     evaluate = function(m) return hstu.evaluate(m, data, "valid") end, select = "NDCG@10" })
--   print(hstu.evaluate(model, data, "test")["HR@10"])
--
-- A model here is any module with encode(batch) -> jagged [T,dim] and item.weight [items+1,dim].
-- SPDX-License-Identifier: MIT

local losses = require "hstu.losses"
local ranking = require "hstu.ranking"
local baselines = require "hstu.baselines"

return {
  model = require "hstu.model",
  sasrec = require "hstu.sasrec",
  softmax = losses.softmax,
  bce = losses.bce,
  evaluate = ranking.evaluate,
  ranks = ranking.ranks,
  mean = ranking.mean,
  popularity = baselines.popularity,
  markov = baselines.markov,
}
