--- What the sequence models share: the input, the interface, the table of items.
--
-- A model is made of an input (batch -> jagged [T,width]), a backbone (jagged -> jagged) and a
-- table of items, the same for input and output:
--   encode(batch)          = transform(embed(batch), context(batch)), cut to [T,dim]
--   transform(x, context)  the backbone alone: the blocks, one after the other
-- A subclass calls setup, fills self.block, and may override transform's ends with
-- self.last. Every block is called as block(x, context, number).
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local nn = require "quern.nn"
local util = require "quern.util"
local Context = require "hstu.context"
local Paths = require "hstu.paths"
local inputs = require "hstu.inputs"

---@class hstu.Backbone: quern.Module
---@field item quern.Embedding one table for input and output; with actions as tokens, they stand after the items
---@field position userdata? [places,width]
---@field width integer of the blocks: dim, and the width of a rating joined to the item
---@field items integer catalogue; ids are 1..items
local Backbone = nn.class "Backbone"

--- Names of the settings that all models have, beside their own.
Backbone.known = { items = 1, dim = 1, blocks = 1, heads = 1, max_len = 1, dropout = 1, norm = 1, sparse = 1,
  actions = 1, attributes = 1, behaviours = 1, ratings = 1, storage = 1 }

--- The shared settings and those of `more`, as a set of known names.
---@param more table<string, any>
function Backbone.knows(more)
  local all = {}
  for _, set in ipairs { Backbone.known, more } do
    for name in pairs(set) do all[name] = 1 end
  end
  return all
end

---@class hstu.SharedOptions
---@field items integer catalogue; ids are 1..items
---@field dim integer? 50
---@field blocks integer? 2
---@field heads integer? 1
---@field max_len integer? most tokens of a sequence, 200
---@field dropout number? 0.2
---@field norm string? of user and item vectors in score and loss: "l2" (default) or "none"
---@field sparse boolean? gradients of the item table by rows
---@field storage string? of the item table: "f32" (default) or "bf16"
---@field actions integer? tokens that are no items, ids items+1 .. items+actions (see hstu.tokens, hstu.context_tokens)
---@field behaviours integer? behaviours of events, added to their items (batch.behaviours, from 0)
---@field attributes {lists: userdata, n: integer}? of items, mean-pooled and added (quern.data.attributes)
---@field ratings {levels: integer, dim: integer?}? of events, joined to their items (batch.ratings, 1..levels)

--- Reads the shared settings and makes the input.
---@param o hstu.SharedOptions settings, checked by the caller for unknown names
---@param who string
---@param places integer rows of the position table; 0: none
---@param position any initial value of the position table
function Backbone:setup(o, who, places, position)
  self.items = util.integer(o.items, who .. ": items", 1)
  self.dim = util.integer(o.dim or 50, who .. ": dim", 1)
  self.heads = util.integer(o.heads or 1, who .. ": heads", 1)
  self.max_len = util.integer(o.max_len or 200, who .. ": max_len", 1)
  self.actions = util.integer(o.actions or 0, who .. ": actions", 0)
  self.dropout, self.norm, self.sparse = o.dropout or 0.2, o.norm or "l2", o.sparse == true
  if type(self.dropout) ~= "number" or self.dropout < 0 or self.dropout >= 1 then
    util.fail("argument", ("%s: dropout must be in [0, 1), not %s"):format(who, tostring(o.dropout)))
  end
  util.choose(self.norm, { "l2", "none" }, who .. ": norm")
  self.storage = util.choose(o.storage or "f32", { "f32", "bf16" }, who .. ": storage")
  if self.actions > 0 and (self.sparse or self.storage == "bf16") then
    util.fail("argument", who .. ": actions as tokens go neither with sparse gradients nor with bf16 storage")
  elseif self.norm == "none" and self.storage == "bf16" then
    util.fail("argument", who .. ": bf16 storage needs unit vectors (norm = \"l2\")")
  end
  self.item = nn.Embedding(self.items + self.actions + 1, self.dim, { sparse = self.sparse })
  if self.storage == "bf16" then self.item:to("bf16") end
  self.side = inputs.make(o, self.dim, who)
  self.width = self.dim + (self.side and self.side.joined or 0)
  if places > 0 then self.position = nn.parameter(nn.init.make(position, { places, self.width }), "position") end
  self.block = nn.ModuleList {}
end

--- Tokens of a batch: its items, or what hstu.tokens made of them.
---@param batch table
function Backbone.tokens_of(batch) return batch.tokens or batch.items end

-- A compiled table (prune.compile) has no dense rows: those of a batch become a table of their own.
local function looked_up(self, ids)
  local rows = self.item(ids:values())
  local n, dim = rows.shape[1], rows.shape[2]
  return quern.jagged(quern.arange(1, n + 1, 1, "i64"), ids:offsets()),
    quern.concat { quern.zeros({ 1, dim }, rows.dtype), rows }
end

--- sqrt(width) E[id] + P[place], E with side information, and dropout.
---@param batch table
---@param places userdata? i64 [T], where the tokens stand; default: from each sequence's start
---@return userdata x jagged [T,width]
function Backbone:embed(batch, places)
  local ids, scale, drop = self.tokens_of(batch), math.sqrt(self.width), self.training and self.dropout or 0
  local weight = self.item.weight
  if not self.side and not places then
    if not weight then ids, weight = looked_up(self, ids) end
    return quern.sequence_embedding(ids, weight, self.position,
                                    { scale = scale, dropout = drop, sparse = self.sparse })
  end
  local e = weight and quern.embedding(weight, ids, { sparse = self.sparse }) or self.item(ids)
  e = (self.side and self.side:apply(e, ids, batch) or e) * scale
  if self.position then
    places = places or quern.sequence_places(ids, { most = self.position.shape[1] })
    e = e + quern.embedding(self.position, places)
  end
  return drop > 0 and quern.dropout(e, { p = drop, training = true }) or e
end

local rabs = { none = {}, pos = { pos = true }, time = { time = true }, ["pos+time"] = { pos = true, time = true } }

--- Reads rab and time_query, for models whose blocks have relative biases: self.rab.pos, self.rab.time.
---@param o {rab: string?, time_query: string?}
---@param who string
---@param otherwise string the default of rab
function Backbone:set_bias(o, who, otherwise)
  self.rab = rabs[util.choose(o.rab or otherwise, util.keys(rabs), who .. ": rab")]
  self.time_query = util.choose(o.time_query or "next", { "next", "current" }, who .. ": time_query")
end

--- The times at which a batch's predictions are asked for.
---@param batch table
function Backbone:query_of(batch) return self.time_query == "next" and batch.next_times or batch.times end

--- What the blocks are told of a batch: time buckets, made once for all, where they have a time bias.
---@param batch table
---@return hstu.Context
function Backbone:context(batch)
  if not (self.rab and self.rab.time) then return Context() end
  if not batch.times then
    util.fail("argument", "the model has a time bias, the data have no timestamps", nil,
              'make it with rab = "pos"')
  end
  return Context(quern.time_bucket(batch.times, self:query_of(batch), { width = batch.longest }))
end

--- The backbone: jagged in, jagged out.
---@param x userdata jagged [T,width]
---@param context hstu.Context
---@return userdata jagged [T,width]
function Backbone:transform(x, context)
  for i = 1, #self.block do x = self.block[i](x, context, i) end
  return self.last and self.last(x) or x
end

---@param batch table items; with times and next_times for a time bias
---@return userdata x jagged [T,dim]; token i stands for the prediction of what follows it
function Backbone:encode(batch)
  local x = self:transform(self:embed(batch), self:context(batch))
  return self.width == self.dim and x or quern.jagged(quern.narrow(x, 2, 1, self.dim), x)
end

function Backbone:forward(batch) return self:encode(batch) end

--- The output for one token that is the mean of all items: for counting paths of weights (prune.flow).
---@return userdata [1,dim]
function Backbone:flow()
  local x = quern.mean(self:catalogue(), 1, true)
  if self.width > self.dim then
    x = quern.concat({ x, quern.ones({ 1, self.width - self.dim }, x.dtype) }, 2)
  end
  return quern.narrow(self:transform(x, Paths()), 2, 1, self.dim)
end

--- The user vectors: what encode gives at the last token of each sequence.
---@param batch table
---@return userdata [B,dim]
function Backbone:users(batch) return quern.sequence_last(self:encode(batch)) end

--- Rows 0..items of the table: what is predicted; nil where it is compiled.
---@return userdata? [items+1,dim]
function Backbone:catalogue()
  local w = self.item.weight
  return w and self.actions > 0 and quern.narrow(w, 1, 1, self.items + 1) or w
end

--- Scores of all items, where the table is compiled; else nil: multiply with table().
---@param users userdata [B,dim]
---@return userdata? [B,items+1]
function Backbone:scores(users)
  if self.item.weight then return nil end
  return quern.narrow(self.item:scores(users, self.norm == "l2"), 2, 1, self.items + 1)
end

--- The table that user vectors are multiplied with; nil where it is compiled.
---@return userdata? [items+1,dim]
function Backbone:table()
  local w = self:catalogue()
  if self.norm == "none" or not w then return w end
  return quern.l2_normalize(w, { eps = 1e-6 })
end

return Backbone
