--- Serving sessions: kept keys and micro-batches change nothing but the time it takes (M-FALCON).
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local backbones = quern.plugin "backbones"
local hstu = quern.plugin "hstu"

local ITEMS, ACTIONS, EVENTS, CANDIDATES = 50, 5, 20, 37

local tests = {}
local function test(promise, fn) tests[#tests + 1] = { promise, fn } end

local settings = {
  { name = "hstu", rab = "pos+time" }, { name = "hstu", rab = "pos+time", time_query = "current" },
  { name = "hstu", rab = "none", score = "softmax" }, { name = "hstu", rab = "none", rope = true, gate = false },
  { name = "hstu", residual = "post" }, { name = "hstu-rope" }, { name = "hstu-product", places = "start" },
  { name = "sasrec", rab = "pos+time", residual = "llama" }, { name = "llama", kv_heads = 1 }, { name = "gpt" },
}

local function ranker_of(o)
  quern.seed(2)
  local all = { items = ITEMS, dim = 16, blocks = 3, heads = 2, max_len = 60, actions = ACTIONS }
  for k, v in pairs(o) do all[k] = v end
  local model = backbones.make(all)
  quern.no_grad(function()                               -- far from the small initial values
    for _, t in model:named_parameters() do t:mul_(2.0) end
  end)
  local tasks = { { name = "liked", kind = "bce" }, { name = "rating", kind = "mse" } }
  local ranker = hstu.ranker { model = model, tasks = tasks, hidden = 32 }
  ranker:eval()
  return ranker
end

local function history_of(seed)
  local random, h, t = quern.det.random(seed), { items = {}, times = {}, actions = {} }, 1000
  for i = 1, EVENTS do
    t = t + random:range(0, 100000)
    h.items[i], h.times[i], h.actions[i] = random:range(1, ITEMS), t, random:range(1, ACTIONS)
  end
  local candidates = {}
  for i = 1, CANDIDATES do candidates[i] = random:range(1, ITEMS) end
  return h, t + 777, candidates
end

-- Each candidate behind the history as a sequence of its own, by the ordinary path.
local function one_by_one(ranker, h, now, candidates)
  local ids, own, query = {}, {}, {}
  for i, c in ipairs(candidates) do
    ids[i], own[i], query[i] = {}, {}, {}
    local function add(id, time, asked)
      local n = #ids[i] + 1
      ids[i][n], own[i][n], query[i][n] = id, time, asked
    end
    for j = 1, #h.items do
      add(h.items[j], h.times[j], h.times[j])
      add(ITEMS + h.actions[j], h.times[j], h.times[j + 1] or now)
    end
    add(c, now, now)
  end
  local batch = { items = quern.jagged(ids, "i64"), times = quern.jagged(own, "i64"),
                  next_times = quern.jagged(query, "i64"), longest = 2 * #h.items + 1, n_sequences = #candidates }
  return quern.no_grad(function() return ranker:score(ranker.model:users(batch), quern.i64(candidates)) end)
end

test("attention on kept keys has the bits of attention on the whole sequence", function()
  quern.seed(3)
  local H, D, room = 2, 8, 64
  local function draw(n) return quern.normal { shape = { n, H, D } } end
  for n = 3, 60 do
    local q, k, v = draw(n + 1), draw(n + 1), draw(n + 1)
    local function whole(t) return quern.jagged(t, quern.i64 { 0, n + 1 }) end
    local function cached(t) return t:narrow(1, 1, n):contiguous() end
    local function last(t) return t:narrow(1, n + 1, 1):contiguous() end
    local expected = quern.hstu_attention(whole(q), whole(k), whole(v), { n = room, alpha = 0.35, scale = 1 / room })
    local got = quern.hstu_extend_attention(last(q), last(k), last(v), cached(k), cached(v),
                                            { n = room, alpha = 0.35, scale = 1 / room, candidates = true })
    check.equal(got:totable(), last(expected:values()):totable(), n .. " kept")
  end
end)

test("scores equal those of one pass per candidate, for any micro-batch, cached or not", function()
  local h, now, candidates = history_of(5)
  for _, o in ipairs(settings) do
    local ranker = ranker_of(o)
    local expected, s = one_by_one(ranker, h, now, candidates):totable(), hstu.session(ranker)
    s:prefill(h)
    for _, size in ipairs { 1, 5, 37 } do
      for _, cache in ipairs { true, false } do
        local got = s:score(candidates, { time = now, micro_batch = size, cache = cache })
        check.near(got:totable(), expected, 1e-6, ("%s, %d at a time"):format(check.show(o), size))
      end
    end
  end
end)

test("candidates do not move each other, and their order is theirs", function()
  local h, now, candidates = history_of(6)
  local s = hstu.session(ranker_of(settings[1]))
  s:prefill(h)
  local before, other, turned = s:score(candidates, { time = now }):totable(), {}, {}
  for i, c in ipairs(candidates) do turned[CANDIDATES + 1 - i], other[i] = c, i % 2 == 0 and c % ITEMS + 1 or c end
  local after, back = s:score(other, { time = now }):totable(), s:score(turned, { time = now }):totable()
  for i = 1, CANDIDATES do
    check.equal(back[CANDIDATES + 1 - i], before[i])
    if i % 2 == 1 then check.equal(after[i], before[i]) end
  end
end)

test("a history read in part and continued is one that was read whole", function()
  local h, now, candidates = history_of(7)
  for _, o in ipairs(settings) do
    local ranker = ranker_of(o)
    local whole, part, k = hstu.session(ranker), hstu.session(ranker), 9
    whole:prefill(h)
    local function head(list) return table.move(list, 1, k, 1, {}) end
    part:prefill { items = head(h.items), times = head(h.times), actions = head(h.actions) }
    part:score(candidates, { time = h.times[k] + 5 })        -- a request in between leaves no trace
    for i = k + 1, EVENTS do part:append { item = h.items[i], time = h.times[i], action = h.actions[i] } end
    local expected = whole:score(candidates, { time = now })
    check.near(part:score(candidates, { time = now }):totable(), expected:totable(), 1e-6, check.show(o))
  end
end)

test("a retrieval model's session scores as its last position does, and finds the best of the catalogue", function()
  quern.seed(3)
  local h, now = history_of(8)
  local model = backbones.make { name = "hstu", items = ITEMS, dim = 16, max_len = 60 }
  local s, nexts = hstu.session(model), table.move(h.times, 2, EVENTS, 1, {})
  nexts[EVENTS] = now
  s:prefill(h)
  local batch = { items = quern.jagged({ h.items }, "i64"), times = quern.jagged({ h.times }, "i64"),
                  next_times = quern.jagged({ nexts }, "i64"), longest = EVENTS, n_sequences = 1 }
  local all = {}
  for v = 1, ITEMS do all[v] = v end
  local scores = quern.no_grad(function()
    local u = quern.l2_normalize(model:users(batch), { eps = 1e-6 })
    return quern.matmul(model:table():narrow(1, 2, ITEMS), u:reshape { 16, 1 }):reshape { ITEMS }
  end)
  check.near(s:score(all, { time = now }):reshape({ ITEMS }):totable(), scores:totable(), 1e-6)
  local ids, best = s:topk(5, { time = now, seen = true })
  local _, at = quern.topk(scores, 5)
  for i, place in ipairs(at:totable()) do check.equal(ids[i], place + 1) end
  check.near(best[1], scores:max():item(), 1e-6)
  local had = {}
  for _, id in ipairs(h.items) do had[id] = true end
  for _, id in ipairs((s:topk(10, { time = now }))) do check.yes(not had[id]) end
end)

test("a trained ranker orders the catalogue by its first task", function()
  local h, now = history_of(9)
  local s = hstu.session(ranker_of(settings[1]))
  s:prefill(h)
  local ids, scores = s:topk(4, { time = now, candidates = { 3, 9, 17, 21, 30 }, seen = true, task = 2 })
  check.equal(#ids, 4)
  for i = 2, 4 do check.yes(scores[i] <= scores[i - 1]) end
end)

test("what cannot be is refused in words", function()
  local h = history_of(1)
  local s = hstu.session(ranker_of(settings[1]))
  check.fails(function() s:score({ 1 }, { time = 5 }) end, "no history", "prefill")
  s:prefill(h)
  check.fails(function() s:score { 1 } end, "time bias")
  check.fails(function() s:score({ 0 }, { time = 5 }) end, "candidate 1")
  check.fails(function() s:score({}, { time = 5 }) end, "no candidates")
  check.fails(function() s:append { item = 3, time = 5 } end, "action")
  check.fails(function() s:append { item = ITEMS + 1, action = 1, time = 5 } end, "item")
  check.fails(function() for _ = 1, 60 do s:append { item = 1, action = 1, time = 5 } end end, "room")
  check.fails(function() hstu.session(ranker_of { name = "hstu-product" }) end, "from the end", "start")
end)

return tests
