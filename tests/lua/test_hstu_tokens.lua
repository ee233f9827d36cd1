--- Actions as tokens, Stochastic Length, target-aware ranking, merged domains, held-out behaviours.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local help = require "lrm_help"
local backbones = quern.plugin "backbones"
local hstu = quern.plugin "hstu"

local tests = {}
local function test(promise, fn) tests[#tests + 1] = { promise, fn } end

local function table_file(rows)
  local path = check.temporary("events" .. #rows .. ".tsv")
  check.write(path, "user\titem\tbehaviour\trating\ttime\n" .. table.concat(rows, "\n") .. "\n")
  return path
end

-- Users 1..n with `length` events each: behaviour and rating follow from the item.
local function data_of(n, length, options)
  local rows, random = {}, quern.det.random(n, length)
  for u = 1, n do
    for i = 1, length do
      local item = random:range(1, 20)
      rows[#rows + 1] = ("%d\t%d\t%d\t%d\t%d"):format(u, item, item % 3, item % 5 + 1, 100 * i)
    end
  end
  local o = { file = table_file(rows), format = "tsv", cache = "", items = "keep",
              columns = { user = "user", item = "item", behaviour = "behaviour", rating = "rating", time = "time" } }
  for k, v in pairs(options or {}) do o[k] = v end
  local data = quern.data.sequences(o)
  data.behaviours = { "view", "cart", "buy" }
  return data
end

-- ---- Interleaving -------------------------------------------------------------------------------

test("items and their behaviours alternate, and only behaviours predict items", function()
  local data = data_of(2, 5)
  local plain, b = data:batch("test", { 1, 2 }), hstu.tokens(data):batch("test", { 1, 2 })
  local items, what, targets = plain.items:totable()[1], plain.behaviours:totable()[1], plain.targets:totable()[1]
  local seen, tokens = b.tokens:totable()[1], {}
  for i = 1, 4 do
    tokens[2 * i - 1], tokens[2 * i] = items[i], data.n_items + 1 + what[i]
  end
  check.equal(seen, tokens)
  check.equal(b.loss_weights:totable(), { 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1 })
  for i = 1, 4 do check.equal(b.targets:totable()[1][2 * i], targets[i]) end
  check.equal(b.times:totable()[1], { 100, 100, 200, 200, 300, 300, 400, 400 })
  check.equal(b.next_times:totable()[1], { 100, 200, 200, 300, 300, 400, 400, 500 })
  check.equal({ b.n_tokens, b.longest, b.n_sequences }, { 16, 8, 2 })
end)

test("the behaviour that is asked for may stand before the item it is done on", function()
  local data = data_of(1, 5)
  local plain = data:batch("test", { 1 })
  local b = hstu.tokens(data, { order = "before" }):batch("test", { 1 })
  local tokens, wanted = b.tokens:totable()[1], plain.target_behaviours:totable()[1]
  for i = 1, 4 do check.equal(tokens[2 * i], data.n_items + 1 + wanted[i]) end
  check.equal(b.times:totable()[1], { 100, 200, 200, 300, 300, 400, 400, 500 })
end)

test("supervision may count one behaviour only, with tokens and without", function()
  local data = data_of(3, 9)
  local wanted = data:batch("train", { 1, 2, 3 }).target_behaviours:values():totable()
  local woven = hstu.tokens(data, { supervise = "buy" }):batch("train", { 1, 2, 3 }).loss_weights:totable()
  local plain = hstu.tokens(data, { supervise = "buy", tokens = false }):batch("train", { 1, 2, 3 })
  check.equal(plain.tokens, nil)
  for i, w in ipairs(wanted) do
    check.equal(woven[2 * i], w == 2 and 1 or 0)
    check.equal(plain.loss_weights:totable()[i], w == 2 and 1 or 0)
  end
  check.fails(function() hstu.tokens(data, { supervise = "bye" }) end, "bye", "buy")
end)

test("a model of interleaved tokens trains, ranks items only, and repeats itself", function()
  local data = hstu.tokens(data_of(12, 8, { max_len = 6 }))
  local function run()
    quern.seed(4)
    local model = backbones.make { name = "hstu", items = data.n_items, actions = data.actions, dim = 8, max_len = 12 }
    local r = quern.fit(model, data, { loss = backbones.loss { name = "full" }, epochs = 2, batch = 4, seed = 4,
                                       progress = false, name = "tokens" })
    local m = hstu.evaluate(model, data, "test", { k = { 10 }, filter_seen = false })
    check.equal(model:table().shape, { 21, 8 })
    check.yes(m.n == 12 and m.MRR >= 1 / 20)
    return r.history[2].loss
  end
  check.equal(run(), run())
end)

-- ---- Stochastic Length ------------------------------------------------------------------------------

test("cut sequences keep their order, and each kept event predicts the next kept one", function()
  local data = data_of(6, 40, { max_len = 36 })
  for _, select in ipairs { "greedy", "random", "weighted" } do
    local short = hstu.stochastic_length(data, { limit = 36, alpha = 1.2, select = select })
    quern.step(3)
    local plain, b = data:batch("train", { 1, 2, 3, 4, 5, 6 }), short:batch("train", { 1, 2, 3, 4, 5, 6 })
    local L, cut = math.floor(36 ^ 0.6), 0
    for s, list in ipairs(b.items:totable()) do
      local times, nexts, targets = b.times:totable()[s], b.next_times:totable()[s], b.targets:totable()[s]
      local whole = plain.times:totable()[s]
      check.yes(#list == L or #list == #whole)
      if #list == L then cut = cut + 1 end
      for i = 1, #list do
        check.yes(i == 1 or times[i] > times[i - 1])
        check.equal(nexts[i], times[i + 1] or plain.next_times:totable()[s][#whole])
        check.equal(targets[i], list[i + 1] or plain.targets:totable()[s][#whole])
      end
    end
    check.yes(cut > 0, select)
    check.equal({ b.n_tokens, b.longest }, { b.items.shape[1], math.max(table.unpack((function()
      local n = {}
      for i, list in ipairs(b.items:totable()) do n[i] = #list end
      return n
    end)())) })
    check.equal(short:batch("test", { 1 }).items:totable(), data:batch("test", { 1 }).items:totable())
  end
  local whole = hstu.stochastic_length(data, { limit = 36, alpha = 2.0 })
  check.equal(whole:batch("train", { 1 }).items:totable(), data:batch("train", { 1 }).items:totable())
end)

-- ---- Ranking ------------------------------------------------------------------------------------------

local tasks = { { name = "liked", kind = "bce", weight = 1.0 }, { name = "rating", kind = "mse" } }

local function rated(n) return hstu.rated(data_of(n or 24, 13, { protocol = "whole", max_len = 12 })) end

test("labels, training and test events follow from ratings and places", function()
  local b = rated():batch("train", { 1, 2 })
  local ratings, labels = b.ratings:values():totable(), b.labels:totable()
  for t, r in ipairs(ratings) do
    check.equal(labels[t][1], r >= 4 and 1 or 0)
    check.near(labels[t][2], r / 5, 1e-6)
  end
  check.equal(b.train:totable(), { 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0 })
  check.equal(quern.sum(b.valid):item(), 0)
end)

test("events for choosing the epoch lie between those of the training and of the test, and are in neither", function()
  local data = hstu.rated(data_of(24, 13, { protocol = "whole", max_len = 12 }), { valid = 0.25 })
  local b = data:batch("train", { 1 })
  check.equal(b.train:totable(), { 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0 })
  check.equal(b.valid:totable(), { 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0 })
  check.equal(b.test:totable(), { 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1 })
  check.equal(hstu.din.windows(data, 6, "valid").target.shape[1], 24 * 3)
  check.fails(function() hstu.rated(data, { valid = 0.8 }) end, "share 0.75 with valid 0.8")
end)

test("a target-aware ranker learns what is done with which item, with each head; so does DIN", function()
  local data = rated()
  for _, scorer in ipairs { "dot", "mlp", "ffn", "din" } do
    quern.seed(5)
    local ranker
    if scorer == "din" then
      ranker = hstu.din { items = data.n_items, tasks = tasks, dim = 8, window = 6 }
    else
      local model = backbones.make { name = "hstu", items = data.n_items, actions = data.actions, dim = 16,
                                     max_len = 24, dropout = 0 }
      ranker = hstu.ranker { model = model, tasks = tasks, scorer = scorer, hidden = 32 }
    end
    local batch
    if scorer == "din" then batch = hstu.din.windows(data, 6, "train")
    else batch = data:batch("train", (function()
      local rows = {}
      for i = 1, 24 do rows[i] = i end
      return rows
    end)()) end
    help.train(ranker, function(m, b) return m:loss(b) end, batch, 120, nil, 1e-2)
    local judged = scorer == "din" and { hstu.din.windows(data, 6, "test") } or { batch }
    local m = hstu.judge(ranker, function() return table.remove(judged) end)
    check.yes(m["AUC liked"] > 0.95, ("%s: AUC %.3f"):format(scorer, m["AUC liked"]))
    check.yes(m["LogLoss liked"] < 0.5 and m["RMSE rating"] < 0.2 and m.n == 24 * 3, check.show(m))
  end
end)

test("an event's own action does not reach its prediction", function()
  local data = rated()
  quern.seed(6)
  local model = backbones.make { name = "hstu", items = data.n_items, actions = 5, dim = 16, max_len = 24, dropout = 0 }
  local ranker = hstu.ranker { model = model, tasks = tasks, hidden = 16 }
  ranker:eval()
  local b = data:batch("train", { 1 })
  local before, tokens = ranker(b):totable(), b.tokens:totable()[1]
  tokens[8] = tokens[8] == 21 and 22 or 21                       -- the action of event 4
  b.tokens = quern.jagged({ tokens }, "i64")
  local after = ranker(b):totable()
  for t = 1, 4 do check.equal(after[t], before[t]) end
  check.yes(after[5][1] ~= before[5][1])
end)

test("the loss of a task is its weighted mean over what counts, with nothing counting 0", function()
  local out, labels = quern.tensor { { 1.0, 0.5 }, { -2.0, 1.0 } }, quern.tensor { { 1.0, 0.0 }, { 0.0, 1.0 } }
  local two = { { name = "a", kind = "bce", weight = 1.0 }, { name = "b", kind = "mse", weight = 0.5 } }
  local function l(w) return hstu.ranker.multitask(two, out, labels, quern.tensor(w)):item() end
  check.near(l { 1.0, 0.0 }, math.log(1 + math.exp(-1)) + 0.5 * 0.25, 1e-6)
  check.near(l { 1.0, 1.0 }, (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-2))) / 2 + 0.5 * 0.125, 1e-6)
  check.equal(l { 0.0, 0.0 }, 0.0)
end)

-- ---- Domains, behaviours, attributes ----------------------------------------------------------------------

test("each domain's targets are ranked among its own items", function()
  check.data "s3rec/Beauty.txt"
  local data = quern.data.sequences { merge = { "beauty", "sports" }, max_len = 10 }
  check.equal({ data.n_items, data.n_users }, { 12101 + 18357, 22363 + 35598 })
  check.equal(data.domains[2], { name = "sports", first = 12102, last = 30458 })
  local model = { items = data.n_items, training = false, train = function() end, eval = function() end,
    table = function() return quern.zeros { data.n_items + 1, 4 } end,
    users = function(_, b) return quern.ones { b.n_sequences, 4 } end }
  local m = hstu.domains(model, data, "test", { k = { 10 }, filter_seen = false })
  check.equal({ m.beauty.n, m.sports.n }, { 22363, 35598 })
  check.near(m.beauty.MRR, 1 / ((12101 + 1) / 2), 1e-9)                -- a constant scorer stands in the middle
  check.near(m.sports.MRR, 1 / ((18357 + 1) / 2), 1e-9)
end)

return tests
