--- Actions and features of the user as tokens, Stochastic Length, target-aware ranking, merged domains, held-out
--- behaviours.
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

-- ---- Features of the user -----------------------------------------------------------------------

-- Two features of n users: 0 1 0 1 ..., and 0 1 2 0 1 2 ...
local function features_of(n)
  local a, b = {}, {}
  for u = 1, n do a[u], b[u] = (u - 1) % 2, (u - 1) % 3 end
  return { { name = "a", of = a, n = 2 }, { name = "b", of = b, n = 3 } }
end

-- Data of one batch by hand, the same in all phases; row r is of user users[r].
local function by_hand(items, rows, times, users, more)
  local out = { n_items = items, n_users = #users }
  function out:batch(_, wanted)
    local some, when, who = {}, times and {}, {}
    for i, r in ipairs(wanted) do
      some[i], who[i] = rows[r], users[r]
      if times then when[i] = times[r] end
    end
    local b = help.batch_of(some, when, more)
    b.users = quern.i64(who)
    return b
  end
  return out
end

test("features stand before the history at its first time, weigh nothing, and shift nothing else", function()
  local data = by_hand(9, { { 4, 5, 6, 7 }, { 8, 9 } }, { { 10, 20, 30, 40 }, { 50, 60 } }, { 2, 1 },
                       { behaviours = { { { 1, 0, 1 }, { 0 } }, "i64" }, ratings = { { { 1, 2, 3 }, { 4 } }, "f32" } })
  local known = hstu.context_tokens(data, features_of(2))
  local b = known:batch("train", { 1, 2 })
  check.equal(known.actions, 5)                                        -- a: rows 10, 11; b: 12, 13, 14
  check.equal(b.tokens:totable(), { { 11, 13, 4, 5, 6 }, { 10, 12, 8 } })
  check.equal(b.loss_weights:totable(), { 0, 0, 1, 1, 1, 0, 0, 1 })
  check.equal(b.targets:totable(), { { 5, 5, 5, 6, 7 }, { 9, 9, 9 } })
  check.equal(b.times:totable(), { { 10, 10, 10, 20, 30 }, { 50, 50, 50 } })
  check.equal(b.next_times:totable(), { { 10, 10, 20, 30, 40 }, { 50, 50, 60 } })
  check.equal(b.behaviours:totable(), { { -1, -1, 1, 0, 1 }, { -1, -1, 0 } })
  check.equal(b.ratings:totable(), { { 0, 0, 1, 2, 3 }, { 0, 0, 4 } })
  check.equal(b.items:totable(), { { 4, 5, 6 }, { 8 } })
  check.equal({ b.n_tokens, b.longest, b.n_sequences }, { 8, 5, 2 })
end)

test("features go before items and actions, and keep the weights of supervision", function()
  local data = data_of(3, 6)
  local woven = hstu.tokens(data, { supervise = "buy" })
  local known = hstu.context_tokens(woven, features_of(3))
  local w, b = woven:batch("train", { 3, 1 }), known:batch("train", { 3, 1 })
  check.equal(known.actions, 3 + 2 + 3)
  local weights, kept, at, first = w.loss_weights:totable(), b.loss_weights:totable(), 0, data.n_items + 4
  for s, user in ipairs { 3, 1 } do
    local list, own = b.tokens:totable()[s], w.tokens:totable()[s]
    check.equal({ list[1], list[2] }, { first + (user - 1) % 2, first + 2 + (user - 1) % 3 })
    check.equal(table.move(list, 3, #list, 1, {}), own)
    for i = -1, #own do check.equal(kept[at + 2 * s + i], i > 0 and weights[at + i] or 0) end
    at = at + #own
  end
end)

test("models of all forms train and rank with features, with actions too, and repeat themselves", function()
  local data = data_of(12, 8, { max_len = 6 })
  local ways = {
    { data = hstu.context_tokens(hstu.tokens(data), features_of(12)), make = hstu.model },
    { data = hstu.context_tokens(hstu.stochastic_length(data, { limit = 4, alpha = 1.6 }), features_of(12)),
      make = hstu.model, side = true },
    { data = hstu.context_tokens(data, features_of(12)), make = hstu.sasrec },
    { data = hstu.context_tokens(data, features_of(12)), make = hstu.model, variant = "product" } }
  for _, way in ipairs(ways) do
    local function run()
      quern.seed(4)
      local model = way.make { items = data.n_items, actions = way.data.actions, dim = 8, max_len = 14,
                               behaviours = way.side and 3 or nil, variant = way.variant }
      local r = quern.fit(model, way.data, { loss = backbones.loss { name = "full" }, epochs = 1, batch = 4, seed = 4,
                                             progress = false, name = "context" })
      local m = hstu.evaluate(model, way.data, "test", { k = { 10 }, filter_seen = false })
      check.yes(m.n == 12 and m.MRR >= 1 / 20)
      return { r.history[1].loss, m.MRR }
    end
    check.equal(run(), run())
  end
end)

test("what only the user decides is learned with features, and stays at chance without", function()
  local random, rows, users, of = quern.det.random(8), {}, {}, {}
  for u = 1, 320 do
    users[u], of[u] = u, random:range(0, 3)
    rows[u] = { random:range(1, 8), 9 + of[u] }
  end
  local data = by_hand(12, rows, nil, users)
  local function part(first, last)
    local list = {}
    for u = first, last do list[#list + 1] = u end
    return list
  end
  local function hits(used)
    quern.seed(3)
    local model = hstu.model { items = 12, actions = used.actions, dim = 16, blocks = 1, dropout = 0, rab = "pos",
                               max_len = 4 }
    help.train(model, hstu.softmax { negatives = "full" }, used:batch("train", part(1, 256)), 60, nil, 1e-2)
    local batches = { used:batch("test", part(257, 320)) }
    local held_out = { batches = function() return function() return table.remove(batches) end end }
    return hstu.evaluate(model, held_out, "test", { k = { 1 } })["HR@1"]
  end
  check.equal(hits(hstu.context_tokens(data, { { name = "group", of = of, n = 4 } })), 1)
  local chance = hits(data)
  check.yes(chance < 0.4, chance)
end)

test("features that do not fit the data are refused, and so is what cannot follow them", function()
  local data = data_of(3, 6)
  local function with(of, n) return function() hstu.context_tokens(data, { { name = "age", of = of, n = n } }) end end
  check.fails(with({ 0, 1 }, 2), "feature age does not have one value per user", "2 values, 3 users", "user_features")
  check.fails(with({ 0, 2, 1 }, 2), "feature age has a value out of range", "user 2: 2, not in 0 .. 1", "number the")
  check.fails(with({ 0, 1, 0.5 }, 2), "user 3: 0.5")
  check.fails(function() hstu.context_tokens(data, {}) end, "no features")
  local known, order = hstu.context_tokens(data, features_of(3)), "order: hstu.stochastic_length"
  check.fails(function() hstu.tokens(known):batch("train", { 1 }) end, "hstu.tokens", order)
  check.fails(function() hstu.stochastic_length(known, { limit = 4 }):batch("train", { 1 }) end, order)
  check.fails(function() hstu.context_tokens(hstu.rated(data), features_of(3)):batch("train", { 1 }) end, "ranker")
end)

test("features are read from a table of users by the names of the data", function()
  local data, path = data_of(4, 5), check.temporary "people.user"
  check.write(path, "user_id:token\tage:token\tgender:token\n3\t20\tM\n1\t30\tF\n9\t40\tX\n2\t20\tM\n")
  local features, words = hstu.user_features(path, data, { "gender", "age" })
  check.equal(features, { { name = "gender", of = { 0, 1, 1, 2 }, n = 3 },
                          { name = "age", of = { 1, 0, 0, 2 }, n = 3 } })
  check.equal(words, { gender = { "F", "M" }, age = { "20", "30" } })
  check.equal(hstu.context_tokens(data, features).actions, 6)
  check.fails(function() hstu.user_features(path, data, { "zip" }) end, "no column zip", "gender:token")
  check.write(path, "user_id:token\tage:token\n1\n")
  check.fails(function() hstu.user_features(path, data, { "age" }) end, "has not all columns", "1 fields, 2 columns")
  check.write(path, "user_id:token\tage:token\n77\t5\n")
  check.fails(function() hstu.user_features(path, data, { "age" }) end, "names none of the 4 users")
end)

test("MovieLens-100K's users have the two genders and 21 occupations of its description", function()
  local path = check.data "ml100k/ml-100k.user"
  local data = quern.data.sequences { set = "ml-100k", max_len = 3, cache = "" }
  local features, words = hstu.user_features(path, data, { "gender", "occupation" })
  check.equal({ features[1].n, features[2].n }, { 2, 21 })
  local first = data:user_id("1")
  check.equal({ data:user_name(first), words.occupation[features[2].of[first] + 1] }, { "1", "technician" })
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
