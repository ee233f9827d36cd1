--- Backbones by name: any of them with any loss at any size, by settings alone.
--
--   local backbones = quern.plugin "backbones"
--   local model = backbones.make { name = "llama", items = data.n_items, dim = 64, blocks = 4, heads = 2 }
--   local loss = backbones.loss { name = "sampled", negatives = 128 }
--   quern.fit(model, data, { loss = loss, epochs = 10 })
--
-- Every model has encode(batch) -> jagged [T,dim], transform(x, context) -> jagged (the backbone
-- alone), item.weight, users(batch), table(): see plugins/hstu/backbone.lua.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local hstu = quern.plugin "hstu"

local backbones = { loss = hstu.loss }

backbones.llama, backbones.gpt = require "backbones.llama", require "backbones.gpt"

-- name -> class, settings that it fixes, switches that it takes beside the shared ones
local kinds = {
  hstu = { hstu.model, {}, { "rab", "time_query", "score", "gate", "rope", "residual" } },
  ["hstu-rope"] = { hstu.model, { variant = "rope" }, {} },
  ["hstu-product"] = { hstu.model, { variant = "product" }, { "time_query", "places", "norm_heads" } },
  sasrec = { hstu.sasrec, {}, { "rab", "time_query", "residual", "hidden" } },
  ["sasrec-original"] = { hstu.sasrec, { flavour = "original" }, { "rab", "time_query", "residual", "hidden" } },
  llama = { backbones.llama, {}, { "kv_heads", "hidden" } },
  gpt = { backbones.gpt, {}, { "hidden" } },
}

local shared = { "items", "dim", "blocks", "heads", "max_len", "dropout", "norm", "sparse", "storage", "actions",
                 "behaviours", "attributes", "ratings" }

--- The names that make knows.
---@type string[]
backbones.names = util.keys(kinds)

--- A model by the name of its backbone. Switches that the backbone does not have are an error, but for rab where
--- it has no bias: "none" then says what is so.
---@param options table name; the shared settings (plugins/hstu/backbone.lua) and the backbone's switches
---@return hstu.Backbone
function backbones.make(options)
  local o = util.copy(options)
  local name = util.choose(o.name, backbones.names, "backbones.make: name")
  local make, fixed, switches = table.unpack(kinds[name])
  local known, given = { name = 1 }, util.copy(fixed)
  for _, list in ipairs { shared, switches } do
    for _, key in ipairs(list) do known[key], given[key] = 1, o[key] end
  end
  if not known.rab and o.rab == "none" then o.rab = nil end
  util.options(o, known, "backbones.make " .. name)
  return make(given)
end

-- ---- Settings of recipes ----------------------------------------------------------------------

--- Declarations of a recipe's settings for the model, with other defaults if given.
---@param defaults table<string, any>?
function backbones.model_params(defaults)
  local d = defaults or {}
  return {
    backbone = { "enum", d.backbone or "hstu", "which (plugin backbones)", of = backbones.names },
    dim = { "int", d.dim or 50, "width", min = 1 }, blocks = { "int", d.blocks or 2, "depth", min = 0 },
    heads = { "int", d.heads or 1, "of attention", min = 1 },
    dropout = { "num", d.dropout or 0.2, "of inputs and blocks", min = 0, max = 0.99 },
    storage = { "enum", "f32", "of the item table", of = { "f32", "bf16" } },
    switches = { "str", "", "more of the backbone's settings: score=softmax,gate=false (plugin backbones)" },
  }
end

-- "score=softmax,gate=false kv_heads=2" as a table; words that are neither truth values nor numbers stay texts.
local function read_switches(text)
  local out = {}
  for word in text:gmatch "[^,%s]+" do
    local name, value = word:match "^([%w_]+)=(.+)$"
    if not name then
      util.fail("argument", ("model.switches: %q is not name=value"):format(word), nil,
                "for example score=softmax,gate=false")
    end
    if value == "true" or value == "false" then out[name] = value == "true"
    else out[name] = math.tointeger(tonumber(value)) or tonumber(value) or value end
  end
  return out
end

--- The model that a recipe's settings (declared by model_params) ask for.
---@param m table those settings
---@param more table what the recipe knows: items, max_len, attributes, ...; its rab is for HSTU alone; switches win
---@return hstu.Backbone
function backbones.from(m, more)
  local o = util.copy(more)
  if m.backbone ~= "hstu" then o.rab = nil end
  o.name = m.backbone
  for _, key in ipairs { "dim", "blocks", "heads", "dropout", "storage" } do o[key] = m[key] end
  for key, value in pairs(read_switches(m.switches)) do o[key] = value end
  return backbones.make(o)
end

--- Declarations of a recipe's settings for the loss.
---@param defaults table<string, any>?
function backbones.loss_params(defaults)
  local d = defaults or {}
  return {
    name = { "enum", d.name or "sampled", "softmax against all, drawn, pooled or the batch's items; BCE, gBCE",
             of = { "full", "sampled", "shared", "in_batch", "bce", "gbce" } },
    negatives = { "int", d.negatives or 128, "drawn", min = 1 },
    temperature = { "num", d.temperature or 0.05, "of scores on unit vectors", min = 1e-6 },
    t = { "num", d.t or 0.75, "gbce: 0 is plain BCE, 1 undoes the bias of sampling", min = 0, max = 1 },
  }
end

--- Declarations of a recipe's settings for the training.
---@param defaults table<string, any>?
function backbones.train_params(defaults)
  local d = defaults or {}
  return {
    lr = { "num", d.lr or 1e-3, "learning rate", min = 0 }, batch = { "int", d.batch or 128, "sequences", min = 1 },
    epochs = { "int", d.epochs or 20, "at most", min = 1 },
    every = { "int", d.every or 1, "epochs between evaluations", min = 1 },
    patience = { "int", d.patience or 0, "evaluations without a better validation before it stops; 0: none", min = 0 },
    captured = { "bool", true, "replay the step in slices of the batch where it can be (docs/executor.md)" },
  }
end

--- Trains a model by a recipe's settings: AdamW with betas .9 and .98, as the authors of HSTU do (adam_rows for a model
--- with sparse gradients). Where the data
--- have a validation event the best epoch by NDCG@10 is kept; without one the test is noted along the way, and nothing
--- is selected by it.
---@param model table
---@param data quern.Sequences
---@param cfg table settings: loss and train, as declared above
---@param options {name: string, seed: integer?, loss: any, evaluate: any, select: string?}? loss: instead of
---  cfg.loss's; evaluate and select: instead of validation (false: none)
---@return table result of quern.fit
function backbones.train(model, data, cfg, options)
  local o, t = options or {}, cfg.train
  local evaluate, select = o.evaluate, o.select
  if evaluate == nil then
    local phase = data:rows "valid" > 0 and "valid" or "test"
    evaluate, select = function(m) return hstu.evaluate(m, data, phase) end, phase == "valid" and "NDCG@10" or nil
  end
  return quern.fit(model, data, { name = o.name, seed = o.seed, batch = t.batch, bucket = false, epochs = t.epochs,
    every = t.every, loss = o.loss or backbones.loss(cfg.loss), captured = t.captured,
    optim = { name = model.sparse and "adam_rows" or "adamw", lr = t.lr, betas = { 0.9, 0.98 } },
    evaluate = evaluate or nil, select = select,
    patience = select and t.patience > 0 and t.patience or nil })
end

return backbones
