-- Parts of HSTU switched off one at a time on MovieLens-100K, and SASRec with relative bias and another residual.
--   quern run recipes/13_hstu_ablation.lua
--   quern run recipes/13_hstu_ablation.lua --size full
-- The set is too small to settle an order by HR@10 (one value has a standard error of .013): look at the loss too.
-- SPDX-License-Identifier: MIT
local quern = require "quern"
local backbones = quern.plugin "backbones"
local hstu = quern.plugin "hstu"

local r = quern.recipe {
  name = "hstu-ablation",
  doc = "HSTU without its parts, SASRec with some of them, on MovieLens-100K",
  params = {
    max_len = { "int", 200, "most recent events kept", min = 1 },
    seeds = { "int", 1, "runs of each", min = 1 },
    only = { "str", "", "names of the forms to run, separated by commas; empty: all" },
    model = backbones.model_params(),
    loss = backbones.loss_params { name = "full" },
    train = backbones.train_params { epochs = 35, batch = 32, patience = 8 },
  },
  sizes = {
    smoke = { max_len = 30, only = "full,no bias,SASRec", model = { dim = 16, blocks = 1 }, train = { epochs = 1 } },
    small = { max_len = 50, seeds = 3, only = "full,position bias,time bias,no bias,softmax,no gate,SASRec",
              model = { dim = 32 }, train = { epochs = 9, lr = 3e-3, every = 3, patience = 0 } },
    full = { seeds = 3 },
  },
}

local forms = {
  { "full", {} }, { "position bias", { rab = "pos" } }, { "time bias", { rab = "time" } },
  { "no bias", { rab = "none" } }, { "rotary", { rab = "none", rope = true } },
  { "softmax", { score = "softmax" } }, { "no gate", { gate = false } },
  { "current time", { time_query = "current" } }, { "residual of SASRec", { residual = "sasrec" } },
  { "P-Law's form", { name = "hstu-rope" } }, { "product form", { name = "hstu-product" } },
  { "SASRec", { name = "sasrec" } }, { "SASRec, bias", { name = "sasrec", rab = "pos+time" } },
  { "SASRec, bias, LLaMA residual", { name = "sasrec", rab = "pos+time", residual = "llama" } },
}

local function wanted(list, name) return list == "" or ("," .. list .. ","):find("," .. name .. ",", 1, true) ~= nil end

function r:main(cfg)
  local data = quern.data.sequences { set = "ml-100k", max_len = cfg.max_len }
  for i, form in ipairs(forms) do
    local results = {}
    for s = 1, wanted(cfg.only, form[1]) and cfg.seeds or 0 do
      local m = cfg.model
      local o = { name = m.backbone, items = data.n_items, dim = m.dim, blocks = m.blocks, heads = m.heads,
                  dropout = m.dropout, max_len = cfg.max_len }
      for k, v in pairs(form[2]) do o[k] = v end
      quern.seed(self.seed + s - 1)
      local model = backbones.make(o)
      local fit = backbones.train(model, data, cfg, { name = ("form%d-%d"):format(i, s), seed = self.seed + s - 1 })
      results[s] = hstu.evaluate(model, data, "test")
      results[s].loss = fit.history[#fit.history].loss
    end
    if #results > 0 then self:report(form[1], hstu.mean(results)) end
  end
end

return r
