--- Side information of a token, beside its id: attributes, behaviour, rating.
--
--   e = E[id] + mean_{a in attributes(id)} A[a] + B[behaviour];   joined: [e | R[rating]]
-- Tokens that are no items (actions) have no attributes. Row 0 of B and R stands for tokens
-- without behaviour or rating.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local nn = require "quern.nn"
local util = require "quern.util"

local inputs = {}

---@class hstu.Side: quern.Module
---@field joined integer width that is joined to the item's
local Side = nn.class "Side"

local function need(batch, key, what)
  return batch[key] or util.fail("argument", ("the model takes %s, the data have none"):format(what), nil,
    ("batches need a field %s"):format(key))
end

function Side:init(o, dim, who)
  self.joined, self.first = 0, 1 + o.items
  if o.attributes then
    local a = util.options(o.attributes, { lists = 1, n = 1, names = 1 }, who .. ": attributes")
    self.lists = a.lists
    self.attribute = nn.Embedding(util.integer(a.n, who .. ": attributes.n", 1) + 1, dim)
  end
  if o.behaviours then
    self.behaviour = nn.Embedding(util.integer(o.behaviours, who .. ": behaviours", 1) + 1, dim)
  end
  if o.ratings then
    local r = util.options(o.ratings, { levels = 1, dim = 1 }, who .. ": ratings")
    self.levels, self.joined = util.integer(r.levels, who .. ": ratings.levels", 1), r.dim or 8
    self.rating = nn.Embedding(self.levels + 1, util.integer(self.joined, who .. ": ratings.dim", 1))
  end
end

--- The embeddings of the tokens with what is known beside their ids.
---@param e userdata [T,dim]
---@param ids userdata jagged [T]
---@param batch table
---@return userdata jagged [T,dim+joined]
function Side:apply(e, ids, batch)
  if self.attribute then e = e + quern.pooled_embedding(self.attribute.weight, ids, self.lists) end
  if self.behaviour then e = e + self.behaviour(need(batch, "behaviours", "behaviours") + 1) end
  if not self.rating then return e end
  local level = quern.clamp(quern.cast(quern.round(need(batch, "ratings", "ratings")), "i64"), 0, self.levels)
  return quern.jagged(quern.concat({ e:values(), self.rating(level):values() }, { dim = 2 }), ids)
end

--- The side information that settings ask for; nil for none.
---@param o hstu.SharedOptions
---@param dim integer
---@param who string
function inputs.make(o, dim, who)
  if not (o.attributes or o.behaviours or o.ratings) then return nil end
  return Side(o, dim, who)
end

return inputs
