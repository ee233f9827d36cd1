--- Deep Interest Network (Zhou et al. 2018), the baseline of ranking.
--
-- With t the target's embedding and h_j those of the last W events (item plus rating):
--   a_j = L2 sigmoid(L1 [h_j, t, h_j - t, h_j t])      no softmax: the strength of interest counts
--   p   = sum_j a_j h_j
--   out = MLP([p, t, p t])                              80, 40, tasks
-- The paper's Dice activation is SiLU here.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local nn = require "quern.nn"
local util = require "quern.util"
local Ranker = require "hstu.ranker"

---@class hstu.Din: quern.Module
local Din = nn.class "Din"

---@param options {items: integer, tasks: table[], levels: integer?, dim: integer?, window: integer?, dropout: number?}
---  levels of ratings: 5; dim: 32; window: events looked back at, 50
function Din:init(options)
  local who = "hstu.din"
  local o = util.options(options, { items = 1, tasks = 1, levels = 1, dim = 1, window = 1, dropout = 1 }, who)
  local d = util.integer(o.dim or 32, who .. ": dim", 1)
  self.tasks, self.window, self.dim = o.tasks, util.integer(o.window or 50, who .. ": window", 1), d
  self.item = nn.Embedding(util.integer(o.items, who .. ": items", 1) + 1, d)
  self.rating = nn.Embedding((o.levels or 5) + 1, d)
  self.interest = nn.Sequential(nn.Linear(4 * d, 36), nn.Sigmoid(), nn.Linear(36, 1))
  self.out = nn.Sequential(nn.Linear(3 * d, 80, { act = "silu" }), nn.Dropout(o.dropout or 0.0),
                           nn.Linear(80, 40, { act = "silu" }), nn.Linear(40, #o.tasks))
end

---@param batch table of Din.windows: target i64 [N], history and levels i64 [N,W], 0 for none
---@return userdata [N,tasks]
function Din:forward(batch)
  local N, W, d = batch.history.shape[1], batch.history.shape[2], self.dim
  local keep = quern.cast(quern.gt(batch.history, 0), "f32"):reshape({ N, W, 1 })
  local h = (self.item(batch.history) + self.rating(batch.levels)) * keep
  local t = self.item(batch.target)
  local wide = quern.expand(t:reshape({ N, 1, d }), { N, W, d })
  local a = self.interest(quern.concat({ h, wide, h - wide, h * wide }, { dim = 3 }))
  local p = quern.sum(a * keep * h, { dim = { 2 } })
  return self.out(quern.concat({ p, t, p * t }, { dim = 2 }))
end

function Din:loss(batch) return Ranker.multitask(self.tasks, self(batch), batch.labels, batch.train) end

--- The events of rated data one by one, each with the W events before it: tensors for quern.data.tensors.
---@param data quern.Mapped of hstu.rated
---@param window integer
---@param part string "train", "valid" or "test": which events
---@return table<string, userdata> target, history, levels, labels, train, valid, test, event_users
function Din.windows(data, window, part)
  local rows = {}
  for i = 1, data:rows "test" do rows[i] = i end
  local b = data:batch("test", rows)
  local T = b.items.shape[1]
  local offset = quern.arange(window):reshape({ 1, window }) - window
  local place = quern.sequence_places(b.items):values():reshape({ T, 1 })
  local inside = quern.cast(quern.ge(place + offset, 0), "i64")
  local at = quern.clamp(quern.arange(T):reshape({ T, 1 }) + offset, 0)
  local rating = quern.cast(quern.round(b.ratings:values()), "i64")
  local all = { target = b.event_items, history = quern.take(b.event_items, at) * inside,
                levels = quern.take(rating, at) * inside, labels = b.labels, train = b.train, valid = b.valid,
                test = b.test, event_users = quern.i64(Ranker.event_users(b)) }
  local wanted, flags = {}, b[part]:totable()
  for t, f in ipairs(flags) do
    if f > 0 then wanted[#wanted + 1] = t - 1 end
  end
  local ids = quern.i64(wanted)
  for key, t in pairs(all) do all[key] = quern.index_select(t, ids, 1) end
  return all
end

return Din
