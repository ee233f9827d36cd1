--- Metrics of rankings and of click prediction, with ties and empty cases defined.
--
-- Rankings: r is the rank of the one relevant item among the candidates, from 1.
-- With `above` candidates scored higher and `equal` others scored the same,
--   optimistic   r = 1 + above
--   average      r = 1 + above + equal / 2        (the expected rank under random order)
--   pessimistic  r = 1 + above + equal
-- so that a scorer that says the same of everything cannot win under `average`.
--   HR@K   = mean [r <= K]                               hit rate, one relevant item
--   NDCG@K = mean [r <= K] / log2(r + 1)                 Järvelin & Kekäläinen 2002, one relevant item
--   MRR    = mean 1 / r                                  Voorhees 1999
-- No rankings at all give 0 for each, and n = 0.
--
-- Click prediction: labels 0/1 (or truth of label > 0.5), scores any numbers.
--   AUC     = P(score+ > score-) + P(score+ = score-) / 2     Mann-Whitney; nil for one class
--   GAUC    = sum_g n_g AUC_g / sum_g n_g                     Zhou et al. 2018 (DIN), eq. 8;
--             groups of one class are left out of both sums and counted
--   logloss = -mean [y log p + (1 - y) log(1 - p)], p clipped to [eps, 1 - eps], eps = 1e-7
-- Lists may be Lua tables or tensors.
-- SPDX-License-Identifier: MIT

local util = require "quern.util"

local metrics = {}

local function list(v, who)
  if type(v) == "userdata" then return v:totable() end
  if type(v) ~= "table" then util.fail("argument", ("%s must be a list or a tensor, not a %s"):format(who, type(v))) end
  return v
end

-- ---- Ranks --------------------------------------------------------------------------------

--- The rank that stands for `above` higher and `equal` tied others.
---@param above integer
---@param equal integer
---@param ties string? "average" (default), "optimistic", "pessimistic"
---@return number
function metrics.rank(above, equal, ties)
  if ties == nil or ties == "average" then return 1 + above + equal / 2 end
  if ties == "optimistic" then return 1 + above end
  if ties == "pessimistic" then return 1 + above + equal end
  util.fail("argument", ("metrics: unknown rule for ties %q"):format(tostring(ties)), nil,
            util.suggest(tostring(ties), { "average", "optimistic", "pessimistic" }))
end

--- Rank of the target among scores[1..n]; a NaN score counts as lowest, for the target as worst.
---@param scores number[]
---@param target integer position of the target in scores
---@param options {ties: string?, filter: table<integer, boolean>?}? filter: positions left out
---@return number
function metrics.rank_of(scores, target, options)
  scores = list(scores, "metrics.rank_of: scores")
  local s, filter = scores[target], options and options.filter or {}
  if s == nil then
    util.fail("argument", ("metrics.rank_of: target %s is not among %d scores"):format(tostring(target), #scores))
  end
  if s ~= s then s = -math.huge end
  local above, equal = 0, 0
  for i, v in ipairs(scores) do
    if i ~= target and not filter[i] then
      if v > s then above = above + 1 elseif v == s or (v ~= v and s == -math.huge) then equal = equal + 1 end
    end
  end
  return metrics.rank(above, equal, options and options.ties)
end

local function mean(ranks, f)
  local sum = 0.0
  for _, r in ipairs(ranks) do sum = sum + f(r) end
  return #ranks > 0 and sum / #ranks or 0.0
end

--- Hit rate: share of ranks within K.
---@param ranks number[]|userdata
---@param k integer
---@return number
function metrics.hr(ranks, k)
  return mean(list(ranks, "metrics.hr: ranks"), function(r) return r <= k and 1.0 or 0.0 end)
end

--- Normalised discounted cumulative gain with one relevant item.
---@param ranks number[]|userdata
---@param k integer
---@return number
function metrics.ndcg(ranks, k)
  return mean(list(ranks, "metrics.ndcg: ranks"), function(r) return r <= k and 1 / math.log(r + 1, 2) or 0.0 end)
end

--- Mean reciprocal rank, of all ranks or those within K.
---@param ranks number[]|userdata
---@param k integer?
---@return number
function metrics.mrr(ranks, k)
  return mean(list(ranks, "metrics.mrr: ranks"), function(r) return (not k or r <= k) and 1 / r or 0.0 end)
end

--- HR@K, NDCG@K for each K, MRR and n in one table: { ["HR@10"] = ..., MRR = ..., n = ... }.
---@param ranks number[]|userdata
---@param ks integer[]? default { 1, 5, 10, 20, 50 }
---@return table<string, number>
function metrics.ranking(ranks, ks)
  ranks = list(ranks, "metrics.ranking: ranks")
  local out = { MRR = metrics.mrr(ranks), n = #ranks }
  for _, k in ipairs(ks or { 1, 5, 10, 20, 50 }) do
    out["HR@" .. k] = metrics.hr(ranks, k)
    out["NDCG@" .. k] = metrics.ndcg(ranks, k)
  end
  return out
end

-- ---- Click prediction ------------------------------------------------------------------------

local function positive(y)
  if type(y) == "boolean" then return y end
  return y > 0.5
end

local function check_pair(scores, labels, who)
  scores, labels = list(scores, who .. ": scores"), list(labels, who .. ": labels")
  if #scores ~= #labels then
    util.fail("shape", ("%s: %d scores and %d labels"):format(who, #scores, #labels))
  end
  return scores, labels
end

-- Area from positions in a list of indices, by summed ranks; tied scores share their mean rank.
local function area(scores, labels, order)
  table.sort(order, function(a, b) return scores[a] < scores[b] end)
  local n, n_pos, rank_sum, i = #order, 0, 0.0, 1
  while i <= n do
    local j, pos = i, 0
    while j <= n and scores[order[j]] == scores[order[i]] do
      if positive(labels[order[j]]) then pos = pos + 1 end
      j = j + 1
    end
    rank_sum, n_pos, i = rank_sum + pos * (i + j - 1) / 2, n_pos + pos, j
  end
  local n_neg = n - n_pos
  if n_pos == 0 or n_neg == 0 then return nil end
  return (rank_sum - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg)
end

local function refuse_nan(scores, who)
  for i, s in ipairs(scores) do
    if s ~= s then util.fail("numeric", ("%s: score %d is NaN"):format(who, i)) end
  end
end

--- Area under the ROC curve; nil when all labels are of one class.
---@param scores number[]|userdata
---@param labels (number|boolean)[]|userdata
---@return number?
function metrics.auc(scores, labels)
  scores, labels = check_pair(scores, labels, "metrics.auc")
  refuse_nan(scores, "metrics.auc")
  local order = {}
  for i = 1, #scores do order[i] = i end
  return area(scores, labels, order)
end

--- AUC within groups (users), weighted by group size; nil when no group has both classes.
---@param scores number[]|userdata
---@param labels (number|boolean)[]|userdata
---@param groups any[]|userdata
---@return number? gauc
---@return {groups: integer, skipped: integer, rows_skipped: integer} counts
function metrics.gauc(scores, labels, groups)
  scores, labels = check_pair(scores, labels, "metrics.gauc")
  groups = list(groups, "metrics.gauc: groups")
  if #groups ~= #scores then
    util.fail("shape", ("metrics.gauc: %d scores and %d groups"):format(#scores, #groups))
  end
  refuse_nan(scores, "metrics.gauc")
  local members, names = {}, {}
  for i, g in ipairs(groups) do
    if not members[g] then members[g] = {}; names[#names + 1] = g end
    table.insert(members[g], i)
  end
  local sum, weight, counts = 0.0, 0, { groups = #names, skipped = 0, rows_skipped = 0 }
  for _, g in ipairs(names) do
    local a, n = area(scores, labels, members[g]), #members[g]
    if a then sum, weight = sum + n * a, weight + n
    else counts.skipped, counts.rows_skipped = counts.skipped + 1, counts.rows_skipped + n end
  end
  return weight > 0 and sum / weight or nil, counts
end

--- Mean negative log likelihood of labels under probabilities clipped to [eps, 1 - eps].
---@param probabilities number[]|userdata
---@param labels (number|boolean)[]|userdata labels between 0 and 1 are taken as they are
---@param options {eps: number?}? eps: 1e-7
---@return number
function metrics.logloss(probabilities, labels, options)
  local p, y = check_pair(probabilities, labels, "metrics.logloss")
  local eps, sum = options and options.eps or 1e-7, 0.0
  for i = 1, #p do
    if p[i] ~= p[i] then util.fail("numeric", ("metrics.logloss: probability %d is NaN"):format(i)) end
    local q = math.min(math.max(p[i], eps), 1 - eps)
    local t = y[i]
    if type(t) == "boolean" then t = t and 1 or 0 end
    sum = sum - (t * math.log(q) + (1 - t) * math.log(1 - q))
  end
  return #p > 0 and sum / #p or 0.0
end

return metrics
