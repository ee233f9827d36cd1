-- Target-aware ranking on MovieLens-100K: will the user like this item (rated 4 or 5), and how is it rated?
-- Items and ratings are interleaved tokens, each event predicted with all that came before it: the last quarter of each
-- user's events is the test, the tenth before it selects the epoch, the rest is trained on. DIN is the baseline.
--   quern run recipes/17_ranking.lua
-- SPDX-License-Identifier: MIT
local quern = require "quern"
local backbones = quern.plugin "backbones"
local hstu = quern.plugin "hstu"

local r = quern.recipe {
  name = "ranking",
  doc = "likes and ratings of given items on MovieLens-100K: generative ranking beside DIN",
  params = {
    max_len = { "int", 200, "most recent events kept of a user", min = 4 },
    users = { "int", 0, "users taken, from the first on; 0: all", min = 0 },
    seeds = { "int", 1, "runs of each", min = 1 },
    model = backbones.model_params(),
    head = { hidden = { "int", 128, "width inside the mlp and ffn heads", min = 1 } },
    din = { dim = { "int", 32, "width", min = 1 }, window = { "int", 50, "events looked back at", min = 1 },
            lr = { "num", 1e-3, "learning rate", min = 0 }, epochs = { "int", 6, "passes", min = 1 },
            dropout = { "num", 0.2, "of its head", min = 0, max = 0.99 } },
    train = backbones.train_params { epochs = 30, batch = 32, patience = 5 },
  },
  sizes = {
    smoke = { users = 60, max_len = 30, model = { dim = 16, blocks = 1 }, din = { epochs = 1 },
              train = { epochs = 1 } },
    small = { train = { epochs = 10, lr = 3e-3, every = 2, patience = 0 }, din = { epochs = 4 } },
    full = { max_len = 400, seeds = 3, train = { epochs = 60, patience = 10 } },
  },
}

local tasks = { { name = "liked", kind = "bce", weight = 1.0 }, { name = "rating", kind = "mse", weight = 0.2 } }

local ways = { { "HSTU, dot", "hstu", "dot" }, { "HSTU, mlp", "hstu", "mlp" }, { "HSTU, ffn", "hstu", "ffn" },
               { "LLaMA, ffn", "llama", "ffn" } }

local function loss(ranker, batch) return ranker:loss(batch) end

function r:generative(cfg, data, way, seed)
  local m = cfg.model
  quern.seed(seed)
  local model = backbones.make { name = way[2], items = data.n_items, actions = data.actions, dim = m.dim,
    blocks = m.blocks, heads = m.heads, dropout = m.dropout, max_len = 2 * cfg.max_len }
  local ranker = hstu.ranker { model = model, tasks = tasks, scorer = way[3], hidden = cfg.head.hidden }
  backbones.train(ranker, data, cfg, { name = ("%s-%s-%d"):format(way[2], way[3], seed), seed = seed, loss = loss,
    evaluate = function(e) return hstu.judge(e, data:batches("test", 64), "valid") end, select = "AUC liked" })
  return hstu.judge(ranker, data:batches("test", 64))
end

function r:baseline(cfg, data, seed)
  quern.seed(seed)
  local d = cfg.din
  local din = hstu.din { items = data.n_items, tasks = tasks, dim = d.dim, window = d.window, dropout = d.dropout }
  local function windows(part, batch) return quern.data.tensors(hstu.din.windows(data, d.window, part), batch) end
  local function judge(e, part) return hstu.judge(e, windows(part, { batch = 1024, shuffle = false }):epoch(), part) end
  quern.fit(din, windows("train", { batch = 512, seed = seed }), { name = "din-" .. seed, seed = seed, loss = loss,
    epochs = d.epochs, optim = { name = "adamw", lr = d.lr },
    evaluate = function(e) return judge(e, "valid") end, select = "AUC liked" })
  return judge(din, "test")
end

function r:main(cfg)
  local data = hstu.rated(quern.data.sequences { set = "ml-100k", protocol = "whole", max_len = cfg.max_len,
    users = cfg.users > 0 and { 1, cfg.users } or nil }, { valid = 0.1 })
  local function report(label, run)
    local results = {}
    for s = 1, cfg.seeds do results[s] = run(self.seed + s - 1) end
    self:report(label, hstu.mean(results))
  end
  report("DIN", function(seed) return self:baseline(cfg, data, seed) end)
  for _, way in ipairs(ways) do report(way[1], function(seed) return self:generative(cfg, data, way, seed) end) end
end

return r
