--- Serving one user: a history is read once, then many candidates are scored (M-FALCON, appendix H).
--
--   local s = hstu.session(model)          a backbone, or an hstu.ranker
--   s:prefill { items = {...}, times = {...}, actions = {...} }
--   s:score(ids, { time = now, micro_batch = 256 })
--   s:topk(20, { time = now });  s:append { item = 5, time = now, action = 2 }
--
-- Keys and values of the history are kept for every block. A ranker's candidates then stand at
-- the place behind the history, micro_batch of them in one pass, each seeing the history
-- and itself; the scores equal those of one pass per candidate. A backbone for retrieval has
-- the user's vector at the last token, and scores are its products with the items.
-- With time_query = "next" the last token's output depends on the time of the request: its
-- keys are made anew when that changes.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"
local util = require "quern.util"

-- ---- Attention on what is kept ----------------------------------------------------------------

local Cached = class "CachedContext"

function Cached:init(session, first, query, candidates)
  self.session, self.kept, self.query, self.candidates, self.fused = session, first, query, candidates, false
end

function Cached:rope(x) return quern.rope(x, { offset = self.kept }) end

function Cached:attend(number, q, k, v, bp, bt, o)
  local cache, n, m = self.session:cache(number, k, v), self.kept, q.shape[1]
  local ck, cv = cache.k:narrow(1, 1, n), cache.v:narrow(1, 1, n)
  local times, new_times
  if bt then times, new_times = self.session.times:narrow(1, 1, n), self.new_times end
  local y = quern.hstu_extend_attention(q, k, v, ck, cv, bp, bt, times, new_times, bt and self.query or nil,
    { n = o.n, score = o.score, alpha = o.alpha, scale = o.scale, candidates = self.candidates })
  if not self.candidates then
    cache.k:narrow(1, n + 1, m):copy_(k:values())
    cache.v:narrow(1, n + 1, m):copy_(v:values())
  end
  return y
end

-- ---- Session ----------------------------------------------------------------------------------

---@class hstu.Session
local Session = class "Session"

---@param model table a backbone or an hstu.ranker
---@param options {capacity: integer?}? most tokens of the history, default the model's reach
function Session:init(model, options)
  local o = util.options(options or {}, { capacity = 1 }, "hstu.session")
  self.ranker = model.head and model or nil
  self.model = model.head and model.model or model
  if self.model.from_end then
    util.fail("unsupported", "hstu.session: the model counts places from the end, so what it made of the history "
              .. "changes with each event", nil, 'make it with places = "start"')
  end
  if self.model.side then
    util.fail("unsupported", "hstu.session: models with side information are not served")
  end
  self.capacity = util.integer(o.capacity or self.model.n or self.model.max_len, "hstu.session: capacity", 1)
  self.timed = self.model.rab ~= nil and self.model.rab.time == true
  self.next_time = self.timed and self.model.time_query == "next"
  self.model:eval()
  if self.ranker then self.ranker:eval() end
  self:clear()
end

--- Forgets the history.
function Session:clear()
  self.ids, self.clock, self.caches = {}, {}, {}
  self.closed, self.open_at = 0, nil                 -- tokens that are final; the request time the last was made for
  self.times = self.timed and quern.zeros({ self.capacity }, "i64") or nil
end

-- Keys and values of a block, room for all tokens.
function Session:cache(number, k, v)
  local c = self.caches[number]
  if not c then
    local function room(t) return quern.zeros({ self.capacity, t.shape[2], t.shape[3] }, t.dtype):keep() end
    c = { k = room(k), v = room(v) }
    self.caches[number] = c
  end
  return c
end

-- Tokens in one pass behind `first` kept ones: each a step of the history, or each a candidate.
function Session:pass(ids, first, own, query, candidates)
  local M, offsets, places = #ids, { 0 }, {}
  for i = 1, M do
    offsets[candidates and i + 1 or 2] = candidates and i or M
    places[i] = candidates and first or first + i - 1
  end
  local context = Cached(self, first, query and quern.i64(query), candidates)
  context.new_times = own and quern.i64(own)
  local batch = { items = quern.jagged(quern.i64(ids), offsets), n_sequences = #offsets - 1 }
  local x = self.model:transform(self.model:embed(batch, quern.i64(places)), context)
  return x:values()
end

-- Computes tokens from..to of the history for good, or the last one for a request.
function Session:compute(from, to, query)
  local ids, own = table.move(self.ids, from, to, 1, {}), nil
  if self.timed then
    own = table.move(self.clock, from, to, 1, {})
    self.times:narrow(1, from, to - from + 1):copy_(quern.i64(own))
  end
  return self:pass(ids, from - 1, own, query, false)
end

-- Query times of tokens from..to: that of the next token, or their own.
function Session:queries(from, to, after)
  if not self.timed then return nil end
  local list = {}
  for i = from, to do list[#list + 1] = self.next_time and (self.clock[i + 1] or after) or self.clock[i] end
  return list
end

local function need_time(self, time, what)
  if self.timed and math.type(time) ~= "integer" then
    util.fail("argument", ("hstu.session: the model has a time bias; %s needs a time in whole seconds"):format(what))
  end
end

-- Tokens of one event: the item, and its action where the model takes them.
function Session:add_event(item, action, time)
  util.integer(item, "hstu.session: item", 1, self.model.items)
  need_time(self, time, "an event")
  if self.model.actions > 0 then util.integer(action, "hstu.session: action", 1, self.model.actions) end
  local more = self.model.actions > 0 and { item, self.model.items + action } or { item }
  if #self.ids + #more > self.capacity then
    util.fail("shape", ("hstu.session: the history has room for %d tokens"):format(self.capacity), nil,
              "begin anew with the most recent events")
  end
  for _, id in ipairs(more) do self.ids[#self.ids + 1], self.clock[#self.clock + 1] = id, time or 0 end
end

-- Makes final all tokens but the last, whose successor is not known.
function Session:close()
  local to = #self.ids - 1
  if to <= self.closed then return end
  quern.no_grad(function()
    quern.scope(function() self:compute(self.closed + 1, to, self:queries(self.closed + 1, to)) end)
  end)
  self.closed, self.open_at, self.last = to, nil, nil
end

--- Reads a history, oldest first.
---@param history {items: integer[], times: integer[]?, actions: integer[]?} actions: 1 .. the model's actions
function Session:prefill(history)
  self:clear()
  if #history.items == 0 then util.fail("argument", "hstu.session: the history is empty") end
  for i, item in ipairs(history.items) do
    self:add_event(item, history.actions and history.actions[i], history.times and history.times[i])
  end
  self:close()
end

--- One more event.
---@param event {item: integer, time: integer?, action: integer?}
function Session:append(event)
  self:add_event(event.item, event.action, event.time)
  self:close()
end

-- The last token for a request at `time`; its output.
function Session:request(time)
  need_time(self, time, "a request")
  if #self.ids == 0 then util.fail("state", "hstu.session: no history yet", nil, "call prefill first") end
  if self.open_at and (self.open_at == time or not self.next_time) then return self.last end
  local last = #self.ids
  self.last = self:compute(last, last, self:queries(last, last, time)):keep()
  self.open_at = time or 0
  return self.last
end

-- Scores of candidates one micro-batch at a time.
local function ranker_scores(self, ids, time, size, keep_history)
  local out, d = quern.zeros { #ids, #self.ranker.tasks }, self.model.dim
  for first = 1, #ids, size do
    quern.scope(function()
      local some = table.move(ids, first, math.min(first + size - 1, #ids), 1, {})
      if not keep_history then
        self.closed, self.open_at = 0, nil
        self:close()
      end
      self:request(time)
      local when
      if self.timed then
        when = {}
        for i = 1, #some do when[i] = time end
      end
      local x = quern.narrow(self:pass(some, #self.ids, when, when, true), 2, 1, d)
      out:narrow(1, first, #some):copy_(self.ranker:score(x, quern.i64(some)))
    end)
  end
  return out
end

local function vector_scores(self, ids, time)
  local u, table_ = quern.narrow(self:request(time), 2, 1, self.model.dim), self.model:table()
  if self.model.norm == "l2" then u = quern.l2_normalize(u, { eps = 1e-6 }) end
  return quern.matmul(quern.index_select(table_, quern.i64(ids), 1), u:reshape({ self.model.dim, 1 }))
end

--- Scores of candidates for a request.
---@param ids integer[] items
---@param options {time: integer?, micro_batch: integer?, cache: boolean?}? micro_batch: candidates in one pass, 256;
---  cache = false reads the history again for each micro-batch
---@return userdata [n,tasks] of a ranker: logits or numbers; [n,1] else: the user's vector times the item's
function Session:score(ids, options)
  local o = util.options(options or {}, { time = 1, micro_batch = 1, cache = 1 }, "session:score")
  local size = util.integer(o.micro_batch or 256, "session:score: micro_batch", 1)
  for i, id in ipairs(ids) do util.integer(id, ("session:score: candidate %d"):format(i), 1, self.model.items) end
  if #ids == 0 then util.fail("argument", "session:score: no candidates") end
  return quern.no_grad(function()
    if self.ranker then return ranker_scores(self, ids, o.time, size, o.cache ~= false) end
    return vector_scores(self, ids, o.time)
  end)
end

--- The best candidates for a request.
---@param k integer
---@param options {time: integer?, candidates: integer[]?, task: integer?, micro_batch: integer?, seen: boolean?}?
---  candidates: default the catalogue; task: of a ranker, 1; seen = true keeps items of the history
---@return integer[] ids best first
---@return number[] scores
function Session:topk(k, options)
  local o = util.options(options or {}, { time = 1, candidates = 1, task = 1, micro_batch = 1, seen = 1 },
                         "session:topk")
  local ids, had = {}, {}
  for _, id in ipairs(o.seen and {} or self.ids) do had[id] = true end
  for i = 1, o.candidates and #o.candidates or self.model.items do
    local id = o.candidates and o.candidates[i] or i
    if not had[id] then ids[#ids + 1] = id end
  end
  local scores = quern.select(self:score(ids, { time = o.time, micro_batch = o.micro_batch }), 2, o.task or 1)
  local best, at = quern.topk(scores, math.min(util.integer(k, "session:topk: k", 1), #ids))
  local out = {}
  for i, place in ipairs(at:totable()) do out[i] = ids[place + 1] end
  return out, best:totable()
end

return Session
