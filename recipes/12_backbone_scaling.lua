-- One backbone of one depth and width, on the ML-1M sequence copy; a sweep of it is the scaling study:
--   quern sweep recipes/12_backbone_scaling.lua --grid model.backbone=hstu,sasrec,llama,gpt \
--     --grid model.blocks=1,2,4,8 --grid train.lr=1e-3,3e-3
--   quern lua recipes/12_picture.lua runs depth.svg            HR@10 against depth, a line for each backbone
--   quern run recipes/12_backbone_scaling.lua --size full      the published small configuration of HSTU
-- The report holds what a performance law needs: depth, width, parameters, tokens seen, HR@10, NDCG@10.
-- SPDX-License-Identifier: MIT
local quern = require "quern"
local backbones = quern.plugin "backbones"
local hstu = quern.plugin "hstu"

local r = quern.recipe {
  name = "backbone-scaling",
  doc = "one backbone at one depth and width on the sequence copy of MovieLens-1M, full ranking",
  params = {
    data = {
      set = { "str", "ml-1m-sequences", "a known dataset of sequences" },
      max_len = { "int", 50, "most recent events kept", min = 1 },
      users = { "int", 6040, "users taken, from the first on", min = 10 },
      protocol = { "enum", "standard", "standard: the second-last event selects the epoch; meta: it is trained on",
                   of = { "standard", "meta" } } },
    model = backbones.model_params { dim = 32 },
    loss = backbones.loss_params(),
    train = backbones.train_params { epochs = 8, batch = 128 },
  },
  sizes = {
    smoke = { data = { users = 200, max_len = 20 }, model = { dim = 16, blocks = 1 }, train = { epochs = 1 } },
    small = { data = { max_len = 30 }, loss = { name = "shared", negatives = 512 },
              train = { epochs = 6, batch = 32, every = 2 } },
    full = { data = { max_len = 200, protocol = "meta" }, model = { dim = 50 }, train = { epochs = 101, every = 5 } },
  },
  -- On the public ML-1M with times; this copy lacks times and the last items of each user.
  paper = { hstu = { ["HR@10"] = 0.3097, ["HR@50"] = 0.5754, ["HR@200"] = 0.7716, ["NDCG@10"] = 0.1720 },
            sasrec = { ["HR@10"] = 0.2853, ["HR@50"] = 0.5474, ["HR@200"] = 0.7528, ["NDCG@10"] = 0.1603 } },
}

function r:main(cfg)
  local m = cfg.model
  local d = cfg.data
  local data = quern.data.sequences { set = d.set, max_len = d.max_len, protocol = d.protocol, users = { 1, d.users } }
  self:log(tostring(data))
  local model = backbones.from(m, { items = data.n_items, max_len = d.max_len, rab = "pos" })
  local result = backbones.train(model, data, cfg, { name = m.backbone })
  local out = hstu.evaluate(model, data, "test")
  out.depth, out.width, out.users = m.blocks, m.dim, d.users
  out.parameters, out["parameters of blocks"] = model:count(), model:count() - model:count "embedding"
  out.tokens, out.epochs, out.loss = data:tokens "train" * result.epochs, result.epochs,
    result.history[#result.history].loss
  out.rate, out.best_epoch = cfg.train.lr, result.best and result.best.epoch
  out["valid NDCG@10"] = result.best and result.best.value
  self:report(m.backbone, out)
end

return r
