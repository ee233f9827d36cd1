--- Baselines that count: popularity, and first-order Markov transitions.
--
-- Counts come from the inputs of the phase that is judged, so nothing of its targets leaks in;
-- give them data without max_len to use whole histories.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local metrics = require "quern.metrics"
local util = require "quern.util"

local baselines = {}

local ROWS = 128                 -- users scored at a time

-- popularity[id], next[a][b] = how often b came right after a.
local function count(data, phase)
  local popularity, follows = {}, {}
  for id = 1, data.n_items do popularity[id] = 0 end
  for batch in data:batches(phase, 512) do
    local items, offsets = batch.items:values():totable(), batch.items:offsets():totable()
    for b = 1, #offsets - 1 do
      local before
      for t = offsets[b] + 1, offsets[b + 1] do
        local id = items[t]
        popularity[id] = popularity[id] + 1
        if before then
          local row = follows[before] or {}
          follows[before] = row
          row[id] = (row[id] or 0) + 1
        end
        before = id
      end
    end
  end
  return popularity, follows
end

-- Metrics of scores(last item) -> list of columns 0..items.
local function judge(data, phase, options, scores)
  local o = util.options(options or {}, { k = 1, ties = 1, filter_seen = 1 }, "baseline")
  local ranks = {}
  for batch in data:batches(phase, ROWS) do
    quern.scope(function()
      local items, offsets, rows = batch.items:values():totable(), batch.items:offsets():totable(), {}
      for b = 1, #offsets - 1 do rows[b] = scores(items[offsets[b + 1]]) end
      local rank = quern.rank_scores(quern.tensor(rows, "f32"), batch.last_targets,
        o.filter_seen ~= false and batch.items or nil, { ties = o.ties or "average" })
      for _, r in ipairs(rank:totable()) do ranks[#ranks + 1] = r end
    end)
  end
  return metrics.ranking(ranks, o.k or { 10, 50, 200 })
end

--- Items by how often they occur.
---@param data quern.Sequences
---@param phase string
---@param options {k: integer[]?, ties: string?, filter_seen: boolean?}?
---@return table<string, number>
function baselines.popularity(data, phase, options)
  local popularity = count(data, phase)
  local row = table.move(popularity, 1, #popularity, 2, { 0 })
  return judge(data, phase, options, function() return row end)
end

--- Items by how often they came right after the user's last one, then by popularity.
---@param data quern.Sequences
---@param phase string
---@param options table?
---@return table<string, number>
function baselines.markov(data, phase, options)
  local popularity, follows = count(data, phase)
  local most = 0
  for _, n in ipairs(popularity) do most = math.max(most, n) end
  local base = { 0 }
  for id, n in ipairs(popularity) do base[id + 1] = n / (most + 1) end
  return judge(data, phase, options, function(last)
    local row = table.move(base, 1, #base, 1, {})
    for id, n in pairs(follows[last] or {}) do row[id + 1] = row[id + 1] + n end
    return row
  end)
end

return baselines
