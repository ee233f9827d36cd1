-- Attributes of items as side information: mean-pooled and added to the item's embedding, on Amazon Beauty.
--   quern run recipes/14_side_information.lua
--   quern run recipes/14_side_information.lua --set model.backbone=sasrec
-- SPDX-License-Identifier: MIT
local quern = require "quern"
local backbones = quern.plugin "backbones"
local hstu = quern.plugin "hstu"

local r = quern.recipe {
  name = "side-information",
  doc = "a backbone on Amazon Beauty with and without the attributes of items, full ranking",
  params = {
    set = { "enum", "beauty", "with attributes", of = { "beauty", "sports", "lastfm" } },
    max_len = { "int", 50, "most recent events kept", min = 1 },
    users = { "int", 0, "users taken, from the first on; 0: all", min = 0 },
    model = backbones.model_params { dropout = 0.5 },
    loss = backbones.loss_params { name = "shared", negatives = 512 },
    train = backbones.train_params { epochs = 30, batch = 128, patience = 5 },
  },
  sizes = {
    smoke = { users = 300, model = { dim = 16, blocks = 1 }, train = { epochs = 1 } },
    small = { train = { epochs = 12, every = 3, patience = 0 } },
    full = { train = { epochs = 60 } },
  },
}

function r:main(cfg)
  local data = quern.data.sequences { set = cfg.set, max_len = cfg.max_len,
                                      users = cfg.users > 0 and { 1, cfg.users } or nil }
  local attributes = quern.data.attributes(data)
  self:log(("%s; %d attributes, %d items have some"):format(tostring(data), attributes.n, attributes.names))
  for _, with in ipairs { false, true } do
    quern.seed(self.seed)
    local model = backbones.from(cfg.model, { items = data.n_items, max_len = cfg.max_len, rab = "pos",
                                              attributes = with and attributes or nil })
    backbones.train(model, data, cfg, { name = with and "attributes" or "items" })
    self:report(with and "with attributes" or "items alone", hstu.evaluate(model, data, "test"))
  end
end

return r
