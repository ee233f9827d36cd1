--- Pruning: masks that survive any optimizer, scorers behind one interface, exact selection.
--
--   local prune = quern.plugin "prune"
--   local mask = prune.mask("snip", model, data, { density = 0.1, loss = loss })
--   mask:bind(model)
--   quern.fit(model, data, { loss = loss, ... })
--   print(mask, mask:effective())
--
-- prune.scorers() lists the scorers; prune.register adds one. README.md has the contracts.
-- SPDX-License-Identifier: MIT

local scoring = require "prune.scoring"
local select = require "prune.select"
local groups = require "prune.groups"
local gradients = require "prune.gradients"

require "prune.simple"
require "prune.saliency"
require "prune.synflow"
require "prune.paths"

return {
  Mask = require "prune.mask",
  mask = scoring.mask, score = scoring.score,
  register = scoring.register, scorers = scoring.names, scorer = scoring.find,
  select = select.mask, count = select.count, erk = select.erk,
  parameters = groups.of, define_group = groups.define,
  batches = gradients.batches, gradients = gradients.sum, hessian = gradients.hessian,
  variant = require("prune.variants").run, compare = require "prune.compare",
  flow = require "prune.flow", csr = require "prune.csr", compile = require "prune.compile",
  copy = gradients.copy, restore = gradients.restore,
}
