-- Views, carts and purchases of RetailRocket; what will be bought next? Four ways to tell the model what was done:
--   items     the items alone                            added    behaviours added to their items
--   tokens    item, behaviour, item, behaviour, ...      before   the next behaviour stands before its item
--   quern run recipes/15_multi_behaviour.lua
-- SPDX-License-Identifier: MIT
local quern = require "quern"
local backbones = quern.plugin "backbones"
local hstu = quern.plugin "hstu"

local r = quern.recipe {
  name = "multi-behaviour",
  doc = "the next purchase among all items from views, carts and purchases (RetailRocket)",
  params = {
    max_len = { "int", 50, "most recent events kept", min = 1 },
    supervise = { "enum", "all", "targets that count in the loss", of = { "all", "buy" } },
    users = { "int", 0, "users taken, from the first on; 0: all", min = 0 },
    model = backbones.model_params { dropout = 0.5 },
    loss = backbones.loss_params { name = "shared", negatives = 1024 },
    train = backbones.train_params { epochs = 40, batch = 64, every = 5 },
  },
  sizes = {
    smoke = { users = 200, max_len = 20, model = { dim = 16, blocks = 1 }, train = { epochs = 1 } },
    small = { train = { epochs = 20, lr = 3e-3 } },
    full = { max_len = 200, train = { epochs = 80 } },
  },
}

function r:main(cfg)
  -- the held-out purchase is the test; protocol meta: no event is spent on validation, the last epoch is judged
  local data = quern.data.sequences { set = "retailrocket", max_len = cfg.max_len, protocol = "meta",
                                      users = cfg.users > 0 and { 1, cfg.users } or nil }
  self:log(tostring(data))
  local supervise = cfg.supervise == "buy" and "buy" or nil
  for _, way in ipairs { "items", "added", "tokens", "before" } do
    local woven = way == "tokens" or way == "before"
    local used = hstu.tokens(data, { supervise = supervise, tokens = woven, order = way == "before" and way or nil })
    quern.seed(self.seed)
    local model = backbones.from(cfg.model, { items = data.n_items, max_len = (woven and 2 or 1) * cfg.max_len,
      rab = "pos", actions = used.actions, behaviours = way == "added" and 3 or nil })
    backbones.train(model, used, cfg, { name = way })
    self:report(way, hstu.evaluate(model, used, "test"))
  end
end

return r
