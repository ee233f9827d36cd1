--- Serving: candidates scored per second behind one history, one at a time and in shared passes (M-FALCON).
--
--   quern lua tests/bench/bench_mfalcon.lua [--json] [rounds]
--
-- 1,000 candidates, 200 events of history (400 tokens, items and actions interleaved), a ranker on HSTU.
--   one by one      history and candidate as a sequence of their own, a batch of 1
--   as a batch      the same, 100 sequences at a time
--   passes          micro-batches share a pass; the history is read again for each
--   kept            keys and values of the history are kept; only candidates are computed
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local hstu = quern.plugin "hstu"
local clock = require "quern.core".clock

local json, rounds = false, 3
for _, a in ipairs(arg or {}) do
  if a == "--json" then json = true else rounds = tonumber(a) or rounds end
end

local ITEMS, EVENTS, CANDIDATES = 3952, 200, 1000

local random = quern.det.random(1)
local history, candidates, now = { items = {}, times = {}, actions = {} }, {}, 0
for i = 1, EVENTS do
  now = now + random:range(1, 100000)
  history.items[i], history.times[i], history.actions[i] = random:range(1, ITEMS), now, random:range(1, 5)
end
for i = 1, CANDIDATES do candidates[i] = random:range(1, ITEMS) end

-- Candidates first..last, each with the whole history before it.
local function batch_of(first, last)
  local ids, own, query = {}, {}, {}
  for c = first, last do
    local row = { {}, {}, {} }
    for i = 1, EVENTS do
      local t, after = history.times[i], history.times[i + 1] or now
      row[1][2 * i - 1], row[2][2 * i - 1], row[3][2 * i - 1] = history.items[i], t, t
      row[1][2 * i], row[2][2 * i], row[3][2 * i] = ITEMS + history.actions[i], t, after
    end
    local n = 2 * EVENTS + 1
    row[1][n], row[2][n], row[3][n] = candidates[c], now, now
    ids[#ids + 1], own[#own + 1], query[#query + 1] = row[1], row[2], row[3]
  end
  return { items = quern.jagged(ids, "i64"), times = quern.jagged(own, "i64"), next_times = quern.jagged(query, "i64"),
           longest = 2 * EVENTS + 1, n_sequences = #ids }, quern.i64(table.move(candidates, first, last, 1, {}))
end

local function best_of(fn)
  local best = math.huge
  for _ = 1, rounds do
    local start = clock()
    fn()
    best = math.min(best, clock() - start)
  end
  return best
end

local function measure(blocks, heads)
  quern.seed(1)
  local model = hstu.model { items = ITEMS, actions = 5, dim = 50, blocks = blocks, heads = heads,
                             max_len = 2 * EVENTS + 10 }
  local ranker = hstu.ranker { model = model, tasks = { { name = "liked", kind = "bce" } }, hidden = 128 }
  local session = hstu.session(ranker)
  session:prefill(history)
  local function score(size, keep)
    return quern.scope(function()
      return session:score(candidates, { time = now, micro_batch = size, cache = keep }):sum():item()
    end)
  end
  local function whole(batch, ids)
    return quern.no_grad(function()
      return quern.scope(function() return ranker:score(model:users(batch), ids):sum():item() end)
    end)
  end
  local one, one_id = batch_of(1, 1)
  local many, many_ids = batch_of(1, 100)
  local rows = {
    { "one by one", best_of(function() for _ = 1, 20 do whole(one, one_id) end end) / 20 * CANDIDATES },
    { "as a batch", best_of(function() whole(many, many_ids) end) / 100 * CANDIDATES },
    { "passes of 256", best_of(function() score(256, false) end) },
    { "kept, 1 at a time", best_of(function() score(1, true) end) },
    { "kept, 256 at a time", best_of(function() score(256, true) end) },
    { "kept, 1000 at a time", best_of(function() score(1000, true) end) },
  }
  for _, row in ipairs(rows) do
    local rate, gain = CANDIDATES / row[2], rows[1][2] / row[2]
    if json then
      print(quern.json.encode { bench = "mfalcon", blocks = blocks, name = row[1], seconds = row[2],
                                per_second = rate })
    else
      print(("%d blocks  %-22s %9.2f ms  %9.0f candidates/s  %7.1fx"):format(blocks, row[1], row[2] * 1e3, rate, gain))
    end
  end
end

measure(2, 1)
measure(8, 2)
if not json then print(("peak %.0f MiB"):format(quern.memory().peak / 2 ^ 20)) end
