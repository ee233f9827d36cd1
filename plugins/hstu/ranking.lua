--- Evaluation: the rank of each user's held-out item among the whole catalogue.
--
-- Scores are products of the user vector with all items; items of the (truncated) input
-- are left out unless filter_seen = false. See rank_targets for the rank and its ties.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local metrics = require "quern.metrics"
local util = require "quern.util"

local ranking = {}

local known = { k = 1, filter_seen = 1, ties = 1, batch = 1, catalogue = 1, min_rating = 1, domain = 1 }

-- u8 per item, 1 for those in the list.
local function mask_of(items, list)
  if not list then return nil end
  local keep = {}
  for i = 1, items + 1 do keep[i] = 0 end
  for _, id in ipairs(list) do keep[id + 1] = 1 end
  return quern.tensor(keep, "u8")
end

-- Batches of a phase; with a domain only of the sequences whose target lies in it.
local function batches_of(data, phase, size, domain)
  if not domain then return data:batches(phase, size) end
  local rows, at = {}, 0
  for batch in data:batches(phase, 1024) do
    for i, target in ipairs(batch.last_targets:totable()) do
      if target >= domain.first and target <= domain.last then rows[#rows + 1] = at + i end
    end
    at = at + batch.n_sequences
  end
  at = 0
  return function()
    if at >= #rows then return nil end
    local some = table.move(rows, at + 1, math.min(at + size, #rows), 1, {})
    at = at + #some
    return data:batch(phase, some)
  end
end

local function ids_of(domain)
  if not domain then return nil end
  local ids = {}
  for v = domain.first, domain.last do ids[#ids + 1] = v end
  return ids
end

local function append(list, tensor)
  local values = tensor:totable()
  table.move(values, 1, #values, #list + 1, list)
end

--- Ranks of the held-out items of a phase, in order of users.
---@param model table
---@param data quern.Sequences
---@param phase string "valid" or "test"
---@param options {filter_seen: boolean?, ties: string?, batch: integer?, catalogue: integer[]?}? ties: "average";
---  catalogue: the ids that are candidates, default all; domain: { first =, last = } of ids: only targets among them,
---  ranked among them
---@return number[] ranks
---@return number[]? ratings of the held-out items, where the data have them
function ranking.ranks(model, data, phase, options)
  local o = util.options(options or {}, known, "hstu.ranks")
  local was, ranks, ratings = model.training, {}, {}
  model:eval()
  quern.no_grad(function()
    local items, keep = model:table(), mask_of(model.items, o.catalogue or ids_of(o.domain))
    local users_of = quern.inference(model, "users", function(m, batch) return m:users(batch) end)
    for batch in batches_of(data, phase, o.batch or 256, o.domain) do
      quern.scope(function()
        local seen = o.filter_seen ~= false and batch.items or nil
        local users, ties = users_of(batch), { ties = o.ties or "average" }
        local rank = items and quern.rank_targets(users, items, batch.last_targets, seen, keep, ties)
          or quern.rank_scores(model:scores(users), batch.last_targets, seen, keep, ties)
        append(ranks, rank)
        if batch.target_ratings then
          local last = batch.items:offsets():narrow(1, 2, batch.n_sequences) - 1
          append(ratings, quern.index_select(batch.target_ratings:values(), last, 1))
        end
      end)
    end
  end)
  model:train(was)
  return ranks, #ratings > 0 and ratings or nil
end

--- HR@K, NDCG@K and MRR of a phase. With min_rating also those of targets rated at least so,
--- under names that end in " rated".
---@param model table
---@param data quern.Sequences
---@param phase string
---@param options table? as ranks; and k = { 10, 50, 200 }, min_rating
---@return table<string, number>
function ranking.evaluate(model, data, phase, options)
  local o = options or {}
  local ranks, ratings = ranking.ranks(model, data, phase, o)
  local out = metrics.ranking(ranks, o.k or { 10, 50, 200 })
  if not o.min_rating then return out end
  if not ratings then util.fail("argument", "hstu.evaluate: min_rating, but the data have no ratings") end
  local liked = {}
  for i, r in ipairs(ranks) do
    if ratings[i] >= o.min_rating then liked[#liked + 1] = r end
  end
  for name, value in util.sorted(metrics.ranking(liked, o.k or { 10, 50, 200 })) do out[name .. " rated"] = value end
  return out
end

--- The metrics of each domain of merged data: its targets among its own items.
---@param model table
---@param data quern.Sequences with domains
---@param phase string
---@param options table? as evaluate
---@return table<string, table<string, number>> by the domain's name
function ranking.domains(model, data, phase, options)
  if not data.domains then util.fail("argument", "hstu.domains: the data are not merged of several") end
  local out = {}
  for _, domain in ipairs(data.domains) do
    local o = util.copy(options or {})
    o.domain = domain
    out[domain.name] = ranking.evaluate(model, data, phase, o)
  end
  return out
end

--- Means of the metrics of several runs, and for more than one the standard deviations as "NAME sd".
---@param results table<string, number>[]
---@return table<string, number>
function ranking.mean(results)
  if #results < 2 then return results[1] or {} end
  local out = { runs = #results }
  for name in util.sorted(results[1]) do
    local sum, square = 0.0, 0.0
    for _, m in ipairs(results) do sum = sum + m[name] end
    local mean = sum / #results
    for _, m in ipairs(results) do square = square + (m[name] - mean) ^ 2 end
    out[name] = mean
    if name ~= "n" then out[name .. " sd"] = math.sqrt(square / (#results - 1)) end
  end
  out.n = results[1].n
  return out
end

return ranking
