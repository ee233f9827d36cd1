-- The Performance Law on a surface of one's own: trains HSTU at many depths and widths on the ML-1M
-- sequence copy, fits the law to all but the largest models, and says how far off its prediction is.
--   quern run recipes/31_perflaw_sweep.lua                   interrupted? --resume trains what is missing
--   quern run recipes/31_perflaw_sweep.lua --set store=runs  fits what other runs (quern sweep) left instead
-- SPDX-License-Identifier: MIT
local quern = require "quern"
local hstu = quern.plugin "hstu"
local perflaw = quern.plugin "perflaw"

local r = quern.recipe {
  name = "perflaw-sweep",
  doc = "trains a surface of depths and widths, fits the Performance Law, predicts the largest models",
  params = {
    set = { "str", "ml-1m-sequences", "a dataset of sequences (quern data list)" },
    max_len = { "int", 50, "most recent events kept", min = 2 },
    users = { "int", 0, "users taken, from the first on; 0: all", min = 0 },
    layers = { "str", "1,2,4,8", "depths" }, dims = { "str", "16,32,64,96", "widths" },
    epochs = { "int", 6, "passes over the users for each cell", min = 1 },
    negatives = { "int", 0, "drawn for a batch; 0: all items", min = 0 },
    lr = { "num", 2e-3, "learning rate", min = 0 }, batch = { "int", 64, "sequences", min = 1 },
    seeds = { "int", 1, "runs of each cell", min = 1 },
    metric = { "str", "NDCG@10", "what the law predicts" },
    store = { "str", "", "a folder of runs to fit instead of training" },
  },
  sizes = {
    smoke = { set = "dirichlet", max_len = 20, layers = "1,2", dims = "8,16,24", epochs = 1 },
    small = { max_len = 30, users = 2000, dims = "16,32,64", lr = 3e-3, negatives = 512, batch = 32 },
    full = { max_len = 200, layers = "1,2,4,6,8", dims = "16,32,48,64,96", epochs = 20, seeds = 3 },
  },
}

local function numbers(text)
  local out = {}
  for word in text:gmatch "%d+" do out[#out + 1] = math.tointeger(word) end
  return out
end

function r:cell(cfg, data, layers, dim, seed)
  quern.seed(seed)
  local model = hstu.model { items = data.n_items, dim = dim, blocks = layers, max_len = cfg.max_len, rab = "pos" }
  quern.fit(model, data, { name = ("cell-%d-%d-%d"):format(layers, dim, seed), seed = seed, epochs = cfg.epochs,
    batch = cfg.batch, bucket = false,
    loss = hstu.softmax { negatives = cfg.negatives == 0 and "full" or { n = cfg.negatives, sampler = "shared" } },
    optim = { name = "adamw", lr = cfg.lr, betas = { 0.9, 0.98 } } })
  return hstu.evaluate(model, data, "test")
end

function r:train(cfg)
  local generated = cfg.set == "dirichlet"
  local data = quern.data.sequences { set = cfg.set, max_len = cfg.max_len, protocol = not generated and "meta" or nil,
    users = cfg.users > 0 and { 1, cfg.users } or nil,
    dirichlet = generated and { n_items = 200, n_categories = 10, n_records = 400, length = 24 } or nil }
  local rows = {}
  for _, layers in ipairs(numbers(cfg.layers)) do
    for _, dim in ipairs(numbers(cfg.dims)) do
      for seed = self.seed, self.seed + cfg.seeds - 1 do
        local got = self:cell(cfg, data, layers, dim, seed)
        self:report(("%d x %d, seed %d"):format(layers, dim, seed), got)
        for _, metric in ipairs { "HR@10", "NDCG@10", "MRR" } do
          rows[#rows + 1] = { dataset = cfg.set, maxlen = cfg.max_len, backbone = "hstu", layers = layers, dim = dim,
            seed = seed, candidates = "full", metric = metric, value = got[metric], row = #rows + 1 }
        end
      end
    end
  end
  return rows
end

function r:main(cfg)
  local rows = cfg.store ~= "" and perflaw.runs(cfg.store) or self:train(cfg)
  local list, verdict = perflaw.compare { data = rows, metric = cfg.metric }
  for _, c in ipairs(list) do
    self:report(c.form, { R2 = c.r2, AICc = c.aicc, ["leave one out, %"] = c.loo_rmse,
      ["largest layers, %"] = c.holdout.layers and c.holdout.layers.rmse,
      ["largest dim, %"] = c.holdout.dim and c.holdout.dim.rmse })
  end
  self:log(verdict)
  local fit = perflaw.fit { data = rows, metric = cfg.metric }
  local best, largest = fit:optimum(), fit:largest_inside { n = 1000, seed = self.seed }
  self:log(("best size %.1f x %.1f (%s, %s)"):format(best.layers, best.dim, best.flags.layers,
    best.flags.dim))
  if largest then
    self:report("largest model, held out", { value = largest.value, predicted = largest.predicted },
      ("95 %% band %.4f .. %.4f: %s"):format(largest.lo, largest.hi, largest.inside and "inside" or "outside"))
  end
  for _, kind in ipairs { "contour", "slices", "residuals", "holdout" } do
    self:figure(kind, fit:plot { kind = kind, band = kind == "slices" and fit:bootstrap { n = 500 } or nil })
  end
end

return r
