--- HSTU and SASRec as models: what they learn, what they refuse, that they repeat themselves.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local sys = require "quern.sys"
local hstu = quern.plugin "hstu"
local help = require "lrm_help"
local batch_of, random_rows, train, hits, rows_of = help.batch_of, help.random_rows, help.train, help.hits, help.rows_of

local function small(options)
  quern.seed(1)
  local o = { items = 30, dim = 16, blocks = 2, heads = 2, max_len = 24, dropout = 0 }
  for k, v in pairs(options or {}) do o[k] = v end
  return hstu.model(o)
end

local tests = {}
local function test(promise, fn) tests[#tests + 1] = { promise, fn } end

-- ---- Shape and size --------------------------------------------------------------------------

test("parameters are named, role-tagged and as many as the published configuration has", function()
  local model = hstu.model { items = 3952, dim = 50, blocks = 2, max_len = 200 }
  local names, roles = {}, {}
  for name, _, role in model:named_parameters() do
    names[#names + 1] = name
    roles[name] = role
  end
  check.equal(names, { "item.weight", "position",
    "block.1.uvqk.weight", "block.1.bp", "block.1.bt", "block.1.out.weight", "block.1.out.bias",
    "block.2.uvqk.weight", "block.2.bp", "block.2.bt", "block.2.out.weight", "block.2.out.bias" })
  check.equal(roles["block.1.uvqk.weight"], "weight.linear")
  check.equal(roles["item.weight"], "embedding")
  check.equal(model:count(), 197650 + 10550 + 26200)
  local large = hstu.model { items = 3952, dim = 50, blocks = 8, heads = 2, max_len = 200 }
  check.equal(large:count(), 197650 + 10550 + 104800)
  local sasrec = hstu.sasrec { items = 1682, dim = 50, blocks = 2, max_len = 200 }
  check.equal(sasrec:count(), 1683 * 50 + 200 * 50 + 2 * 6 * 2550)
end)

test("initial values have the published spread", function()
  quern.seed(3)
  local model = hstu.model { items = 3952, dim = 50, blocks = 1, max_len = 200 }
  local function std(t) return math.sqrt((t * t):mean():item()) end
  local state = model:state()
  check.near(std(state["position"]), math.sqrt(2 / 261), 0.03)
  check.near(std(state["block.1.uvqk.weight"]), 0.02, 0.001)
  check.near(std(state["block.1.bp"]), 0.02, 0.003)
  check.near(std(state["item.weight"]), 0.02 * 0.8796, 0.001)            -- a normal cut at two deviations
  check.near(state["item.weight"]:max():item(), 0.04, 1e-3)
  check.near(std(state["block.1.out.weight"]), math.sqrt(6 / 100) / math.sqrt(3), 0.01)
end)

-- ---- Causality and padding -----------------------------------------------------------------------

test("a later item leaves earlier positions with the same bits", function()
  for _, kind in ipairs { "hstu", "sasrec" } do
    local rows, times = random_rows(5, 1, 20, 30)
    local model = kind == "hstu" and small() or hstu.sasrec { items = 30, dim = 16, heads = 2, max_len = 24 }
    model:eval()
    local before = model:encode(batch_of(rows, times))
    rows[1][12] = rows[1][12] % 30 + 1
    local after = model:encode(batch_of(rows, times))
    check.equal(rows_of(after, 1, 11), rows_of(before, 1, 11), kind)
    check.yes(check.show(rows_of(after, 12, 20)) ~= check.show(rows_of(before, 12, 20)))
  end
end)

test("a sequence gives the same in any company", function()
  local rows, times = random_rows(6, 4, 20, 30)
  rows[2], rows[3] = table.move(rows[2], 1, 4, 1, {}), table.move(rows[3], 1, 2, 1, {})
  for _, score in ipairs { "silu", "softmax" } do
    local model = small { score = score }
    model:eval()
    local all, at = model:encode(batch_of(rows, times)), 0
    for i = 1, 4 do
      local n = #rows[i] - 1
      local one = model:encode(batch_of({ rows[i] }, { times[i] }))
      check.near(rows_of(one, 1, n), rows_of(all, at + 1, at + n), 1e-6, score)
      at = at + n
    end
  end
end)

test("the time of the next event moves the prediction only with time_query = next", function()
  for query, moves in pairs { next = true, current = false } do
    local rows, times = random_rows(7, 1, 8, 30)
    local model = small { time_query = query }
    model:eval()
    local before = rows_of(model:encode(batch_of(rows, times)), 8, 8)
    times[1][9] = times[1][9] + 10000000
    local after = rows_of(model:encode(batch_of(rows, times)), 8, 8)
    check.equal(check.show(before) ~= check.show(after), moves, query)
  end
end)

test("the switches change what is computed", function()
  local rows, times = random_rows(8, 2, 9, 30)
  local seen = {}
  for _, o in ipairs { {}, { rab = "pos" }, { rab = "time" }, { rab = "none" }, { score = "softmax" }, { gate = false },
                       { concat_ua = true }, { linear_activation = "none" }, { dqk = 4, dv = 6 }, { n = 60 } } do
    local model = small(o)
    model:eval()
    local text = check.show(rows_of(model:encode(batch_of(rows, times)), 18, 18))
    check.yes(not seen[text], "two settings gave the same")
    seen[text] = true
    check.yes(not text:find("nan"))
  end
end)

-- ---- Learning ------------------------------------------------------------------------------------

test("eight sequences of twenty are learnt by heart in 300 steps", function()
  local rows, times = random_rows(9, 8, 20, 30)
  local batch = batch_of(rows, times)
  quern.seed(1)
  local sasrec = hstu.sasrec { items = 30, dim = 32, heads = 2, max_len = 24, dropout = 0 }
  for _, model in ipairs { small { dim = 32 }, sasrec } do
    local loss = train(model, hstu.softmax { negatives = "full" }, batch, 300, function(l) return l < 0.05 end, 1e-2)
    check.yes(loss < 0.05, ("loss %.4f"):format(loss))
  end
end)

test("a cyclic stream is predicted without fault in 200 steps, by every loss", function()
  local batch = help.cycle()
  for _, loss in ipairs { hstu.softmax { negatives = "full" }, hstu.softmax { negatives = 5 },
                          hstu.softmax { negatives = { n = 5, sampler = "shared" } },
                          hstu.softmax { negatives = { n = 5, sampler = "in_batch" } },
                          hstu.bce { negatives = 4, temperature = 0.1 } } do
    local model = small { items = 10, rab = "pos" }
    local function faultless(_, step) return step % 20 == 0 and hits(model, batch) == 1 end
    local _, steps = train(model, loss, batch, 200, faultless)
    check.yes(steps < 200, ("%s: %.2f after %d"):format(tostring(loss.sampler), hits(model, batch), steps))
  end
end)

test("the original SASRec learns the cycle with its own loss", function()
  local batch = help.cycle()
  quern.seed(1)
  local model = hstu.sasrec { items = 10, dim = 16, max_len = 24, dropout = 0, flavour = "original" }
  train(model, hstu.bce {}, batch, 200, function(_, step) return step % 20 == 0 and hits(model, batch) == 1 end, 1e-2)
  check.equal(hits(model, batch), 1.0)
end)

-- The next item is 1 after a short gap, 2 after a long one; gaps are drawn, items say nothing.
local function gap_batch(seed)
  local random, rows, times = quern.det.random(seed), {}, {}
  for i = 1, 16 do
    rows[i], times[i] = { 1 }, { 0 }
    for j = 2, 21 do
      local long = random:range(0, 1)
      rows[i][j], times[i][j] = 1 + long, times[i][j - 1] + (long == 1 and 80000 or 60)
    end
  end
  return batch_of(rows, times)
end

test("what depends on the elapsed time alone is learnt with a time bias, not with a position bias", function()
  local share = {}
  for _, rab in ipairs { "time", "pos" } do
    local model = small { items = 2, rab = rab }
    local loss = hstu.softmax { negatives = "full", temperature = 0.2 }
    for round = 1, 12 do train(model, loss, gap_batch(round), 20, nil, 1e-2) end
    share[rab] = hits(model, gap_batch(99))
  end
  check.yes(share.time > 0.98, ("with time %.3f"):format(share.time))
  check.yes(math.abs(share.pos - 0.5) < 0.1, ("with position %.3f"):format(share.pos))
end)

-- ---- Repeating and resuming ------------------------------------------------------------------------

local function stream(length)
  return quern.data.sequences { set = "dirichlet", protocol = "standard", max_len = 30,
    dirichlet = { n_items = 50, n_categories = 5, n_records = 60, length = length or 24, seed = 1 } }
end

-- Losses of each step, appended to `out`.
local function losses(data, options, out)
  out = out or {}
  quern.seed(4)
  local model = hstu.model { items = data.n_items, dim = 16, blocks = 1, max_len = 30, rab = "pos", dropout = 0.2 }
  options.loss = function(m, batch)
    local l = hstu.softmax { negatives = 8 } (m, batch)
    out[#out + 1] = l:item()
    return l
  end
  options.batch, options.seed, options.progress, options.name = 8, 4, false, "hstu"
  quern.fit(model, data, options)
  return out
end

-- Runs fn(list) with the user's Ctrl-C arriving when it is looked for the n-th time; returns the list.
local function interrupted_at(n, fn)
  local real, looks, out = sys.interrupted, 0, {}
  sys.interrupted = function()
    looks = looks + 1
    return looks == n
  end
  local ok = pcall(fn, out)
  sys.interrupted = real
  check.yes(not ok)
  return out
end

test("the same seed gives the same losses; so does a resumed training, to the bit", function()
  local data, folder = stream(), check.folder()
  local whole = losses(data, { epochs = 3 })
  check.equal(losses(data, { epochs = 3 }), whole)
  local first = interrupted_at(11, function(out) return losses(data, { epochs = 3, folder = folder }, out) end)
  check.yes(#first >= 8)
  check.equal(first, table.move(whole, 1, #first, 1, {}))
  local rest = losses(data, { epochs = 3, folder = folder, resume = true })
  check.equal(rest, table.move(whole, #first + 1, #whole, 1, {}))
  check.yes(#rest >= 10)
  local workers = quern.threads()
  quern.threads(workers == 1 and 2 or 1)
  check.equal(losses(data, { epochs = 3 }), whole, "with another number of workers")
  quern.threads(workers)
end)

-- ---- Judging ------------------------------------------------------------------------------------------

test("a random scorer hits ten of V in ten of V, a constant one stands in the middle", function()
  quern.seed(2)
  local users, items, target = 2000, 200, {}
  for u = 1, users do target[u] = u % items + 1 end
  target = quern.tensor(target, "i64")
  local rank = quern.rank_scores(quern.uniform { shape = { users, items + 1 } }, target)
  local hr, p = quern.metrics.hr(rank, 10), 10 / items
  check.yes(math.abs(hr - p) < 3 * math.sqrt(p * (1 - p) / users), ("HR@10 %.4f"):format(hr))
  local flat = quern.rank_scores(quern.zeros { users, items + 1 }, target)
  check.equal(flat:totable()[1], (items + 1) / 2)
  check.equal(quern.metrics.hr(flat, 10), 0.0)
end)

test("counting baselines reproduce the known figures of MovieLens-100K", function()
  check.data("ml100k/ml-100k.inter")
  local data = quern.data.sequences { set = "ml-100k" }
  local popularity, markov = hstu.popularity(data, "test"), hstu.markov(data, "test")
  check.near(popularity["HR@10"], 0.0859, 5e-5)
  check.near(popularity["HR@50"], 0.1983, 5e-5)
  check.near(markov["HR@10"], 0.1453, 5e-5)
  check.near(markov["HR@50"], 0.3393, 5e-5)
  check.near(markov["HR@200"], 0.5589, 5e-5)
end)

test("evaluation leaves the model as it was and counts every user", function()
  local data = stream()
  local model = hstu.model { items = data.n_items, dim = 16, blocks = 1, max_len = 30, rab = "pos" }
  model:train()
  local m = hstu.evaluate(model, data, "test", { k = { 10 } })
  check.equal(m.n, 60)
  check.yes(model.training and m["HR@10"] >= 0 and m["HR@10"] <= 1)
  local all = hstu.ranks(model, data, "test", { batch = 7, filter_seen = false })
  local few = hstu.ranks(model, data, "test", { batch = 60 })
  for i = 1, 60 do check.yes(few[i] <= all[i] and all[i] <= 50) end
end)

-- ---- Refusals ------------------------------------------------------------------------------------------

test("what cannot be is refused in words", function()
  local rows, times = random_rows(1, 2, 9, 30)
  local loss = hstu.softmax {}
  check.fails(function() hstu.model { items = 10, dims = 3 } end, "dims", "dim")
  check.fails(function() hstu.model { items = 10, rab = "position" } end, "rab", "pos")
  check.fails(function() hstu.model { items = 10, dim = 50, heads = 3 } end, "not a multiple")
  check.fails(function() hstu.model { items = 10, dropout = 1 } end, "dropout")
  check.fails(function() hstu.softmax { temperature = -1 } end, "temperature")
  check.fails(function() hstu.softmax { negatives = { n = 4, sampler = "uniforn" } } end, "uniform")
  check.fails(function() small():encode(batch_of(rows)) end, "no timestamps", 'rab = "pos"')
  check.fails(function() small { max_len = 5, n = 5 }:encode(batch_of(rows, times)) end, "9 events")
  check.fails(function() loss(small { items = 5 }, batch_of(rows, times)) end, "ids are 1..5")
  local in_batch = hstu.softmax { negatives = { n = 4, sampler = "in_batch" } }
  check.fails(function() in_batch(small { norm = "none" }, batch_of(rows, times)) end, "uniform, shared or full")
  check.fails(function() hstu.model { items = 10, variant = "rope", rab = "pos" } end, "has decided it")
  rows[1][3] = 0
  check.fails(function() loss(small(), batch_of(rows, times)) end, "is 0")
  check.fails(function() small():load_state(small { dim = 32 }:state()) end, "item.weight is f32[31,16]")
end)

return tests
