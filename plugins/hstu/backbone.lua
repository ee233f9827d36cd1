--- What the sequence models share: the input, the last position, the table of items.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local nn = require "quern.nn"
local util = require "quern.util"

---@class hstu.Backbone: quern.Module
---@field item quern.Embedding one table for input and output
---@field position userdata [places,dim]
local Backbone = nn.class "Backbone"

--- Reads the settings all models have: items, dim, blocks, heads, max_len, dropout, sparse, norm.
---@param o table settings, checked by the caller for unknown names
---@param who string
---@param places integer rows of the position table
---@param position any initial value of the position table
function Backbone:setup(o, who, places, position)
  self.items = util.integer(o.items, who .. ": items", 1)
  self.dim = util.integer(o.dim or 50, who .. ": dim", 1)
  self.max_len = util.integer(o.max_len or 200, who .. ": max_len", 1)
  self.dropout, self.norm, self.sparse = o.dropout or 0.2, o.norm or "l2", o.sparse == true
  if type(self.dropout) ~= "number" or self.dropout < 0 or self.dropout >= 1 then
    util.fail("argument", ("%s: dropout must be in [0, 1), not %s"):format(who, tostring(o.dropout)))
  end
  if self.norm ~= "l2" and self.norm ~= "none" then
    util.fail("argument", ("%s: unknown norm %q"):format(who, tostring(o.norm)), nil, "l2 or none")
  end
  self.item = nn.Embedding(self.items + 1, self.dim, { sparse = self.sparse })
  self.position = nn.parameter(nn.init.make(position, { places, self.dim }), "position")
end

--- sqrt(dim) E[id] + P[place], with dropout.
---@param batch table
---@return userdata x jagged [T,dim]
function Backbone:embed(batch)
  return quern.sequence_embedding(batch.items, self.item.weight, self.position, {
    scale = math.sqrt(self.dim), dropout = self.training and self.dropout or 0, sparse = self.sparse })
end

--- The user vectors: what encode gives at the last position of each sequence.
---@param batch table
---@return userdata [B,dim]
function Backbone:users(batch)
  local n = batch.n_sequences
  local last = batch.items:offsets():narrow(1, 2, n) - 1
  return quern.index_select(self:encode(batch):values(), last, 1)
end

--- The table that user vectors are multiplied with.
---@return userdata [items+1,dim]
function Backbone:table()
  if self.norm == "none" then return self.item.weight end
  return quern.l2_normalize(self.item.weight, { eps = 1e-6 })
end

return Backbone
