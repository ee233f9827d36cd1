-- The synthetic stream of the HSTU paper (appendix C): a Dirichlet process over categories on a catalogue that opens
-- as records arrive. One pass over nine tenths of the records, then every position of the rest is predicted.
-- The oracle knows each item's category and which items are open, and guesses those of the categories that the record
-- has shown most: nothing that is learned of a record from its past alone does much better.
--   quern run recipes/18_dirichlet_stream.lua                  8,000 items, 8,000 records of 64
--   quern run recipes/18_dirichlet_stream.lua --size full      the paper's 20,000 items, 1,000,000 records of 128
-- SPDX-License-Identifier: MIT
local quern = require "quern"
local backbones = quern.plugin "backbones"
local hstu = quern.plugin "hstu"

local r = quern.recipe {
  name = "dirichlet-stream",
  doc = "HSTU with SiLU and softmax, without relative bias, and Transformers on a Dirichlet-process stream, one pass",
  params = {
    stream = {
      items = { "int", 8000, "catalogue", min = 20 }, categories = { "int", 200, "of items", min = 2 },
      records = { "int", 8000, "sequences", min = 20 }, length = { "int", 64, "of a record", min = 3 } },
    seeds = { "int", 3, "streams and runs", min = 1 },
    model = backbones.model_params { dim = 32, dropout = 0.0 },
    loss = backbones.loss_params { name = "shared", negatives = 512 },
    train = backbones.train_params { epochs = 1, batch = 8, lr = 2e-3 },
  },
  sizes = {
    smoke = { stream = { items = 200, categories = 5, records = 200, length = 16 }, seeds = 1, model = { dim = 16 } },
    small = {},
    full = { stream = { items = 20000, categories = 100, records = 1000000, length = 128 },
             loss = { negatives = 1024 }, model = { dim = 256, blocks = 4, heads = 4 },
             train = { batch = 128, lr = 1e-3 } },
  },
  paper = { ["HSTU, SiLU"] = { ["HR@10"] = 0.0893, ["HR@50"] = 0.3170 },
            ["HSTU, softmax"] = { ["HR@10"] = 0.0617, ["HR@50"] = 0.2496 },
            Transformer = { ["HR@10"] = 0.0442, ["HR@50"] = 0.2025 } },
}

local ways = { { "HSTU, SiLU", { name = "hstu", rab = "none" } },
               { "HSTU, softmax", { name = "hstu", rab = "none", score = "softmax" } },
               { "Transformer", { name = "gpt" } }, { "SASRec", { name = "sasrec" } } }

-- Ranks of all targets of the held-out records, nothing left out: items come back in this stream.
local function judge(model, data)
  local ranks = {}
  model:eval()
  quern.no_grad(function()
    local items = model:table()
    for batch in data:batches("test", 64) do
      quern.scope(function()
        local rank = quern.rank_targets(model:encode(batch):values(), items, batch.targets:values())
        for _, x in ipairs(rank:totable()) do ranks[#ranks + 1] = x end
      end)
    end
  end)
  return quern.metrics.ranking(ranks, { 10, 50, 200 })
end

-- Categories of a record by how often they have been seen in it, the most frequent first: { {n =, id =}, ... }.
local function by_count(counts)
  local list = {}
  for id, n in pairs(counts) do list[#list + 1] = { n = n, id = id } end
  table.sort(list, function(a, b) return a.n > b.n or a.n == b.n and a.id < b.id end)
  return list
end

-- The oracle's expected HR@k over the same targets: the open items of each category in turn fill the k places, evenly
-- within one. open: how many items of each category are open.
local function oracle(data, n_open)
  local x, open, hits, n = data.core, {}, { [10] = 0.0, [50] = 0.0, [200] = 0.0 }, 0
  for item = 1, n_open do
    local c = x:category(item)
    open[c] = (open[c] or 0) + 1
  end
  for batch in data:batches("test", 1) do
    local items, targets, counts = batch.items:values():totable(), batch.targets:values():totable(), {}
    for t, target in ipairs(targets) do
      local seen, c, before = x:category(items[t]), x:category(target), 0
      counts[seen], n = (counts[seen] or 0) + 1, n + 1
      local among = n_open  -- a category that the record has not shown: any of the items that are left
      for _, entry in ipairs(by_count(counts)) do
        if entry.id == c then among = before + open[c] break end
        before = before + open[entry.id]
      end
      for k in pairs(hits) do
        hits[k] = hits[k] + math.max(0.0, math.min(1.0, (k - before) / (among - before)))
      end
    end
  end
  local out = { n = n }
  for k, sum in pairs(hits) do out["HR@" .. k] = sum / n end
  return out
end

function r:main(cfg)
  local s, m, results, best = cfg.stream, cfg.model, {}, {}
  for w in ipairs(ways) do results[w] = {} end
  for i = 1, cfg.seeds do
    local seed, cut = self.seed + i - 1, s.records * 9 // 10
    local function part(first, last)
      return quern.data.sequences { set = "dirichlet", users = { first, last }, dirichlet = { n_items = s.items,
        n_categories = s.categories, n_records = s.records, length = s.length, seed = seed } }
    end
    local train, test = part(1, cut), part(cut + 1, s.records)
    best[i] = oracle(test, math.floor(s.items * (0.4 + 0.6 * (cut + s.records) / 2 / s.records)))
    for w, way in ipairs(ways) do
      quern.seed(seed)
      local model = backbones.make { name = way[2].name, rab = way[2].rab, score = way[2].score, items = s.items,
        dim = m.dim, blocks = m.blocks, heads = m.heads, dropout = m.dropout, max_len = s.length }
      backbones.train(model, train, cfg, { name = ("way%d-%d"):format(w, seed), seed = seed, evaluate = false })
      results[w][i] = judge(model, test)
    end
  end
  self:report("oracle", hstu.mean(best))
  for w, way in ipairs(ways) do self:report(way[1], hstu.mean(results[w])) end
end

return r
