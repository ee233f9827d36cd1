-- Two domains as one: Amazon Beauty and Sports with one space of ids and one model, each domain's targets ranked
-- among its own items, beside a model for each domain alone. The two files have no users in common (their
-- user numbers are line numbers), so nothing of one user's other domain can help: what is shared is the model.
--   quern run recipes/16_multi_domain.lua
-- SPDX-License-Identifier: MIT
local quern = require "quern"
local backbones = quern.plugin "backbones"
local hstu = quern.plugin "hstu"

local r = quern.recipe {
  name = "multi-domain",
  doc = "one model for two domains against one for each, metrics per domain",
  params = {
    sets = { first = { "str", "beauty", "a dataset" }, second = { "str", "sports", "another" } },
    max_len = { "int", 50, "most recent events kept", min = 1 },
    model = backbones.model_params { dropout = 0.5 },
    loss = backbones.loss_params { name = "shared", negatives = 512 },
    train = backbones.train_params { epochs = 25, batch = 128, patience = 4 },
  },
  sizes = {
    smoke = { sets = { second = "lastfm" }, max_len = 10, model = { dim = 16, blocks = 1 },
              loss = { negatives = 32 }, train = { epochs = 1 } },
    small = { train = { epochs = 8, every = 4, patience = 0 } },
    full = { train = { epochs = 60 } },
  },
}

function r:train(cfg, data, name)
  quern.seed(self.seed)
  local model = backbones.from(cfg.model, { items = data.n_items, max_len = cfg.max_len, rab = "pos" })
  backbones.train(model, data, cfg, { name = name })
  return model
end

function r:main(cfg)
  local first, second = cfg.sets.first, cfg.sets.second
  local function open(o)
    o.max_len = cfg.max_len
    return quern.data.sequences(o)
  end
  for _, set in ipairs { first, second } do
    local data = open { set = set }
    self:log(tostring(data))
    self:report(set .. ", alone", hstu.evaluate(self:train(cfg, data, set), data, "test"))
  end
  local both = open { merge = { first, second } }
  local model = self:train(cfg, both, "both")
  for set, metrics in pairs(hstu.domains(model, both, "test")) do self:report(set .. ", merged", metrics) end
end

return r
