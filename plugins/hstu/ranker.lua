--- Target-aware generative ranking (Zhai et al. 2024, table 1): what will be done with a given item?
--
-- Tokens item_0 action_0 item_1 action_1 ...; the output o at an item's place has seen the item
-- and all that came before, and predicts its action, for all events in one causal pass.
--   scorers, with e the item's embedding:
--   dot   L(o * e)                                       one learned weighting per task
--   mlp   L2 act(L1 [o, e])
--   ffn   L2 act(L1 (o * LN(L4 act(L3 e))))               the authors' head; act(x) = x sigmoid(LN(x))
-- Tasks are binary (BCE on logits) or numbers (MSE). The loss is the sum over tasks of
--   weight sum_t w_t l_t / max(sum_t w_t, 1)
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local nn = require "quern.nn"
local util = require "quern.util"
local metrics = require "quern.metrics"
local tokens = require "hstu.tokens"

-- ---- Heads --------------------------------------------------------------------------------------

local Gate = nn.class "SwishNorm"

--- x sigmoid(LN(x))
function Gate:init(dim) self.norm = nn.LayerNorm(dim) end
function Gate:forward(x) return x * quern.sigmoid(self.norm(x)) end

local Head = nn.class "RankingHead"

function Head:init(dim, tasks, scorer, hidden)
  self.scorer = util.choose(scorer, { "dot", "mlp", "ffn" }, "hstu.ranker: scorer")
  if scorer == "dot" then
    self.out = nn.Linear(dim, tasks)
    return
  end
  if scorer == "ffn" then
    self.item = nn.Sequential(nn.Linear(dim, hidden), Gate(hidden), nn.Linear(hidden, dim), nn.LayerNorm(dim))
  end
  self.inner = nn.Sequential(nn.Linear(scorer == "mlp" and 2 * dim or dim, hidden), Gate(hidden))
  self.out = nn.Linear(hidden, tasks)
end

---@param o userdata [N,d] outputs at items
---@param e userdata [N,d] the items' embeddings
---@return userdata [N,tasks]
function Head:forward(o, e)
  if self.scorer == "dot" then return self.out(o * e) end
  if self.scorer == "mlp" then return self.out(self.inner(quern.concat({ o, e }, { dim = 2 }))) end
  return self.out(self.inner(o * self.item(e)))
end

-- ---- Model --------------------------------------------------------------------------------------

---@class hstu.Ranker: quern.Module
---@field model hstu.Backbone
local Ranker = nn.class "Ranker"

---@class hstu.RankerOptions
---@field model hstu.Backbone any backbone with actions as tokens
---@field tasks {name: string, kind: string, weight: number?}[] kind: "bce" or "mse"; weight: 0.2
---@field scorer string? "dot", "mlp", "ffn" (default)
---@field hidden integer? width inside the head, 512

---@param options hstu.RankerOptions
function Ranker:init(options)
  local o = util.options(options, { model = 1, tasks = 1, scorer = 1, hidden = 1 }, "hstu.ranker")
  self.tasks = o.tasks or {}
  if #self.tasks == 0 then util.fail("argument", "hstu.ranker: no tasks") end
  for _, task in ipairs(self.tasks) do
    util.choose(task.kind, { "bce", "mse" }, ("hstu.ranker: kind of task %s"):format(tostring(task.name)))
  end
  self.model = o.model
  self.head = Head(o.model.dim, #self.tasks, o.scorer or "ffn", util.integer(o.hidden or 512, "hstu.ranker: hidden", 1))
end

--- Scores of items at their places.
---@param x userdata [N,d]
---@param ids userdata i64 [N]
---@return userdata [N,tasks]
function Ranker:score(x, ids) return self.head(x, quern.embedding(self.model.item.weight, ids)) end

---@param batch table of hstu.rated: tokens, event_items
---@return userdata [T,tasks] logits, or numbers, of all events
function Ranker:forward(batch)
  local x, d = self.model:encode(batch):values(), self.model.dim
  local at_items = x:reshape({ x.shape[1] // 2, 2 * d }):narrow(2, 1, d)
  return self:score(at_items, batch.event_items)
end

-- sum over tasks of weight sum w l / max(sum w, 1)
local function multitask(tasks, out, labels, w)
  local most = quern.maximum(quern.sum(w), 1.0)
  local total
  for k, task in ipairs(tasks) do
    local y, t = quern.select(out, 2, k), quern.select(labels, 2, k)
    local l = task.kind == "bce" and quern.bce_with_logits(y, t, w, { reduction = "sum" })
      or quern.sum(quern.square(y - t) * w)
    l = l / most * (task.weight or 0.2)
    total = total and total + l or l
  end
  return total
end

--- The multi-task loss on a batch's training events.
function Ranker:loss(batch) return multitask(self.tasks, self(batch), batch.labels, batch.train) end

-- ---- Data ---------------------------------------------------------------------------------------

-- A function of a share: 1 for the first events of each sequence, as many as it says, 0 for the rest.
local function first_part(items)
  local place = quern.cast(quern.sequence_places(items):values(), "f32")
  local length = place + quern.cast(quern.sequence_places(items, { from_end = true }):values(), "f32") + 1
  return function(share) return quern.cast(quern.lt(place, quern.floor(length * share)), "f32") end
end

--- Rated data as a ranking problem: batches with tokens (items and ratings interleaved), event_items [T],
--- labels [T,2] (liked: rated at least `like`; the rating on a scale to 1), and of [T] train, valid and test: 1 for the
--- first `share` of each user's events but for the last `valid` of all, for these, and for the rest. Open the data with
--- protocol = "whole".
---@param data quern.Sequences with ratings
---@param options {like: number?, share: number?, valid: number?, levels: integer?}? like: 4; share: 0.75; valid: 0;
---  levels: 5
---@return quern.Mapped data with actions
function Ranker.rated(data, options)
  local o = util.options(options or {}, { like = 1, share = 1, valid = 1, levels = 1 }, "hstu.rated")
  local levels, share, valid = o.levels or 5, o.share or 0.75, o.valid or 0
  if not (valid >= 0 and valid < share and share <= 1) then
    util.fail("argument", ("hstu.rated: share %s with valid %s"):format(share, valid), nil,
              "share is at most 1, and valid a part of it")
  end
  local woven = tokens.interleaved(data, { of = "ratings", n = levels })
  local out = quern.data.map(woven, function(batch)
    local rating = batch.ratings:values()
    batch.event_items = batch.items:values()
    batch.labels = quern.stack({ quern.cast(quern.ge(rating, o.like or 4), "f32"), rating / levels }, 2)
    local first = first_part(batch.items)
    local known = first(share)
    batch.train, batch.test = valid > 0 and first(share - valid) or known, 1 - known
    batch.valid = known - batch.train
    return batch
  end)
  out.actions, out.levels = levels, levels
  return out
end

-- ---- Judging --------------------------------------------------------------------------------------

--- AUC, GAUC (by user) and LogLoss of binary tasks, RMSE of numbers, on the events that `part` marks; names are
--- "AUC liked" and so on with more than one task.
---@param ranker table anything that gives [T,tasks] for a batch, with tasks
---@param batches fun(): table? an iterator of batches with labels, the part's mark, and users or event_users
---@param part string? "test" (default), "valid" or "train"
---@return table<string, number>
function Ranker.judge(ranker, batches, part)
  local scores, labels, users, was = {}, {}, {}, ranker.training
  for k in ipairs(ranker.tasks) do scores[k], labels[k] = {}, {} end
  ranker:eval()
  quern.no_grad(function()
    local scores_of = quern.inference(ranker, "scores", function(m, batch) return m(batch) end)
    for batch in batches do
      quern.scope(function()
        local out, truth, marks = scores_of(batch):totable(), batch.labels:totable(), batch[part or "test"]:totable()
        local user = Ranker.event_users(batch)
        for t, w in ipairs(marks) do
          if w > 0 then
            users[#users + 1] = user[t]
            for k in ipairs(ranker.tasks) do
              scores[k][#users], labels[k][#users] = out[t][k], truth[t][k]
            end
          end
        end
      end)
    end
  end)
  ranker:train(was)
  return Ranker.metrics(ranker.tasks, scores, labels, users)
end

--- The user of each event of a batch.
function Ranker.event_users(batch)
  if batch.event_users then return batch.event_users:totable() end
  local offsets, users, list = batch.items:offsets():totable(), batch.users:totable(), {}
  for b = 1, #offsets - 1 do
    for t = offsets[b] + 1, offsets[b + 1] do list[t] = users[b] end
  end
  return list
end

local function sigmoid(x) return 1 / (1 + math.exp(-x)) end

---@param tasks table[]
---@param scores number[][] by task
---@param labels number[][]
---@param users integer[]
---@return table<string, number>
function Ranker.metrics(tasks, scores, labels, users)
  local out = { n = #users }
  for k, task in ipairs(tasks) do
    local function name(metric) return #tasks > 1 and metric .. " " .. task.name or metric end
    if task.kind == "bce" then
      local p = {}
      for i, x in ipairs(scores[k]) do p[i] = sigmoid(x) end
      out[name "AUC"], out[name "GAUC"] = metrics.auc(scores[k], labels[k]), metrics.gauc(scores[k], labels[k], users)
      out[name "LogLoss"] = metrics.logloss(p, labels[k])
    else
      local sum = 0.0
      for i, x in ipairs(scores[k]) do sum = sum + (x - labels[k][i]) ^ 2 end
      out[name "RMSE"] = math.sqrt(sum / math.max(#users, 1))
    end
  end
  return out
end

Ranker.multitask = multitask

return Ranker
