--- Metrics against the definitions, by brute force on random data.
-- SPDX-License-Identifier: MIT

local check = require "check"
local det = require "quern.det"
local metrics = require "quern.metrics"

local function brute_auc(scores, labels)
  local wins, pairs_seen = 0, 0
  for i = 1, #scores do
    for j = 1, #scores do
      if labels[i] == 1 and labels[j] == 0 then
        pairs_seen = pairs_seen + 1
        if scores[i] > scores[j] then wins = wins + 1 elseif scores[i] == scores[j] then wins = wins + 0.5 end
      end
    end
  end
  return pairs_seen > 0 and wins / pairs_seen or nil
end

-- The expected rank over all orders of the tied: counted pair by pair.
local function brute_rank(scores, target, ties)
  local r = 1
  for i, s in ipairs(scores) do
    if i ~= target then
      if s > scores[target] then r = r + 1
      elseif s == scores[target] then r = r + ({ optimistic = 0, average = 0.5, pessimistic = 1 })[ties] end
    end
  end
  return r
end

return {
  { "NDCG at 10 of ranks 1, 2, 3, 5, 10, 11", function()
    local expected = { 1, .63093, .5, .386853, .289065, 0 }
    for i, r in ipairs { 1, 2, 3, 5, 10, 11 } do check.near(metrics.ndcg({ r }, 10), expected[i], 1e-5) end
  end },

  { "a constant scorer gets the median rank under average ties, not a hit", function()
    local scores = {}
    for i = 1, 101 do scores[i] = 0.5 end
    local r = metrics.rank_of(scores, 7)
    check.equal(r, 51.0)
    check.equal(metrics.hr({ r }, 10), 0.0)
    check.equal(metrics.rank_of(scores, 7, { ties = "optimistic" }), 1)
    check.equal(metrics.rank_of(scores, 7, { ties = "pessimistic" }), 101)
  end },

  { "a random scorer hits 10 of V at the rate 10/V", function()
    local random, ranks, V, n = det.random(5), {}, 50, 2000
    for i = 1, n do
      local scores = {}
      for v = 1, V do scores[v] = random:float() end
      ranks[i] = metrics.rank_of(scores, random:range(1, V))
    end
    local p = 10 / V
    check.yes(math.abs(metrics.hr(ranks, 10) - p) < 3 * math.sqrt(p * (1 - p) / n))
  end },

  { "ranks, HR, NDCG, MRR agree with brute force on tied random scores", function()
    local random = det.random(11)
    for _, ties in ipairs { "optimistic", "average", "pessimistic" } do
      local ranks, hr, ndcg, mrr = {}, 0, 0, 0
      for i = 1, 200 do
        local scores = {}
        for v = 1, 20 do scores[v] = random:range(1, 8) end
        local target = random:range(1, 20)
        ranks[i] = metrics.rank_of(scores, target, { ties = ties })
        local r = brute_rank(scores, target, ties)
        check.equal(ranks[i] + 0.0, r + 0.0)
        if r <= 5 then hr, ndcg = hr + 1, ndcg + 1 / (math.log(r + 1) / math.log(2)) end
        mrr = mrr + 1 / r
      end
      check.near(metrics.hr(ranks, 5), hr / 200, 1e-12)
      check.near(metrics.ndcg(ranks, 5), ndcg / 200, 1e-12)
      check.near(metrics.mrr(ranks), mrr / 200, 1e-12)
      local all = metrics.ranking(ranks, { 5 })
      check.near({ all["HR@5"], all["NDCG@5"], all.MRR, all.n }, { hr / 200, ndcg / 200, mrr / 200, 200 }, 1e-12)
    end
  end },

  { "filtered candidates do not count", function()
    check.equal(metrics.rank_of({ 9, 8, 7, 6 }, 4, { filter = { [1] = true, [2] = true } }), 2.0)
  end },

  { "a NaN score never beats anything, and as the target's is last", function()
    check.equal(metrics.rank_of({ 0 / 0, 1, 2 }, 2), 2.0)
    check.equal(metrics.rank_of({ 0 / 0, 1, 2 }, 1), 3.0)
  end },

  { "no rankings give zero and n = 0", function()
    check.equal(metrics.ranking({}, { 10 }), { ["HR@10"] = 0.0, ["NDCG@10"] = 0.0, MRR = 0.0, n = 0 })
  end },

  { "AUC with ties counted half agrees with brute force", function()
    local random = det.random(3)
    for _ = 1, 50 do
      local scores, labels = {}, {}
      for i = 1, random:range(2, 40) do scores[i], labels[i] = random:range(1, 6), random:range(0, 1) end
      local expected = brute_auc(scores, labels)
      local got = metrics.auc(scores, labels)
      if expected then check.near(got, expected, 1e-12) else check.equal(got, nil) end
    end
  end },

  { "AUC of one class is undefined, of constant scores one half", function()
    check.equal(metrics.auc({ 1, 2 }, { 1, 1 }), nil)
    check.equal(metrics.auc({}, {}), nil)
    check.equal(metrics.auc({ 4, 4, 4 }, { 1, 0, 1 }), 0.5)
    check.equal(metrics.auc({ 1, 2 }, { false, true }), 1.0)
  end },

  { "GAUC weights groups by size, skips and counts those of one class", function()
    local random = det.random(9)
    local scores, labels, groups = {}, {}, {}
    for i = 1, 300 do scores[i], labels[i], groups[i] = random:range(1, 9), random:range(0, 1), random:range(1, 40) end
    for i = 301, 305 do scores[i], labels[i], groups[i] = i, 1, "only positive" end
    local sum, weight, skipped, rows = 0, 0, 0, 0
    local names = { "only positive" }
    for g = 1, 40 do names[#names + 1] = g end
    local seen = 0
    for _, g in ipairs(names) do
      local s, l = {}, {}
      for i = 1, #scores do
        if groups[i] == g then s[#s + 1], l[#l + 1] = scores[i], labels[i] end
      end
      if #s > 0 then seen = seen + 1 end
      local a = brute_auc(s, l)
      if a then sum, weight = sum + a * #s, weight + #s
      elseif #s > 0 then skipped, rows = skipped + 1, rows + #s end
    end
    local got, counts = metrics.gauc(scores, labels, groups)
    check.near(got, sum / weight, 1e-12)
    check.equal(counts, { groups = seen, skipped = skipped, rows_skipped = rows })
    check.yes(skipped >= 1)
    check.equal((metrics.gauc({ 1 }, { 1 }, { 1 })), nil)
  end },

  { "log loss by the definition, with certainty clipped", function()
    check.near(metrics.logloss({ 0.9, 0.2 }, { 1, 0 }), -(math.log(0.9) + math.log(0.8)) / 2, 1e-12)
    check.near(metrics.logloss({ 0.0 }, { 1 }), -math.log(1e-7), 1e-9)
    check.near(metrics.logloss({ 1.0 }, { true }, { eps = 0.01 }), -math.log(0.99), 1e-12)
    check.equal(metrics.logloss({}, {}), 0.0)
  end },

  { "lists of different lengths, NaN scores and unknown tie rules are refused", function()
    check.fails(function() metrics.auc({ 1, 2 }, { 1 }) end, "2 scores and 1 labels")
    check.fails(function() metrics.auc({ 0 / 0 }, { 1 }) end, "NaN")
    check.fails(function() metrics.logloss({ 0 / 0 }, { 1 }) end, "NaN")
    check.fails(function() metrics.rank(1, 1, "averge") end, "averge", 'did you mean "average"')
    check.fails(function() metrics.rank_of({ 1 }, 4) end, "target 4")
  end },
}
