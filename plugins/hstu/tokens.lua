--- What is made of batches before a model sees them: actions as tokens, and Stochastic Length.
--
-- Items and actions interleaved (Zhai et al. 2024, table 1), twice as many tokens:
--   after     item_1 action_1 item_2 action_2 ...      action i was done on item i; then item i+1 is predicted
--   before    item_1 action_2 item_2 action_3 ...      the item is predicted that action i+1 is done on
-- Actions are tokens items+1 .. items+actions; only they predict items. supervise limits the loss
-- to targets with one behaviour.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"

local tokens = {}

-- ---- Interleaving -----------------------------------------------------------------------------

-- a_1 b_1 a_2 b_2 ..., as values
local function weave(a, b)
  return quern.stack({ a:values(), b:values() }, 2):reshape({ 2 * a.shape[1] })
end
tokens.weave = weave

-- What happened to the events, from 0: behaviours, or ratings less one.
local function actions_of(batch, o, next_event)
  local key = next_event and "target_" .. o.of or o.of
  local a = batch[key] or util.fail("argument", ("hstu.tokens: the data have no %s"):format(o.of))
  if o.of == "ratings" then return quern.cast(quern.round(a), "i64") - 1 end
  return a
end

-- 1 where a position counts: all, or those whose target has the wanted behaviour.
local function counts(batch, o)
  if not o.supervise then return quern.full({ batch.items.shape[1] }, 1.0) end
  return quern.cast(quern.eq(batch.target_behaviours:values(), o.supervise), "f32")
end

-- Actions go to items, and events are left out, before anything else becomes a token.
local function need_events(batch, who)
  if not batch.tokens then return end
  util.fail("unsupported", who .. ": the batches have tokens besides their items already", nil,
            "order: hstu.stochastic_length, then hstu.tokens, then hstu.context_tokens")
end

local function interleave(batch, o, n_items)
  local before = o.order == "before"
  local a = actions_of(batch, o, before)
  local twice = batch.items:offsets() * 2
  local function jagged(x, y) return quern.jagged(weave(x, y), twice) end
  batch.tokens = jagged(batch.items, a + (n_items + 1))
  batch.loss_weights = weave(quern.zeros { batch.items.shape[1] }, counts(batch, o))
  batch.targets = jagged(batch.items, batch.targets)
  if batch.times then
    local own = before and batch.next_times or batch.times
    batch.times, batch.next_times = jagged(batch.times, own), jagged(own, batch.next_times)
  end
  batch.n_tokens, batch.longest = 2 * batch.n_tokens, 2 * batch.longest
  return batch
end

local known = { of = 1, order = 1, n = 1, supervise = 1, tokens = 1 }

--- Data whose batches are interleaved with their actions. The model needs actions = data.actions and room for
--- twice the tokens.
---@param data quern.Sequences with behaviours or ratings
---@param options {of: string?, order: string?, n: integer?, supervise: string?, tokens: boolean?}? of:
---  "behaviours" (default) or "ratings"; order: "after" (default) or "before"; n: how many actions, default the
---  data's behaviours, or 5 ratings; supervise: the name of the only behaviour that targets count with;
---  tokens = false: items alone, for supervise without interleaving
---@return quern.Mapped data with actions
function tokens.interleaved(data, options)
  local who = "hstu.tokens"
  local o = util.copy(util.options(options or {}, known, who))
  o.of = util.choose(o.of or "behaviours", { "behaviours", "ratings" }, who .. ": of")
  o.order = util.choose(o.order or "after", { "after", "before" }, who .. ": order")
  if o.supervise then
    local names = data.behaviours or util.fail("argument", who .. ": the data have no behaviours to supervise by")
    local wanted = util.choose(o.supervise, names, who .. ": supervise")
    for i, name in ipairs(names) do
      if name == wanted then o.supervise = i - 1 end
    end
  end
  local plain = o.tokens == false
  local out = quern.data.map(data, function(batch)
    need_events(batch, who)
    if plain then
      batch.loss_weights = counts(batch, o)
      return batch
    end
    return interleave(batch, o, data.n_items)
  end)
  out.actions = not plain and (o.n or data.behaviours and #data.behaviours or 5) or 0
  return out
end

-- ---- Stochastic Length --------------------------------------------------------------------------

-- Offsets of the kept, and for each kept token where its next kept one is; behind the last: T + its sequence.
local function kept_rows(keep, offsets)
  local rows, nexts, starts, T = {}, {}, { 0 }, offsets[#offsets]
  for b = 1, #offsets - 1 do
    local first = #rows + 1
    for t = offsets[b], offsets[b + 1] - 1 do
      if keep[t + 1] ~= 0 then rows[#rows + 1] = t end
    end
    for i = first, #rows do nexts[i] = i < #rows and rows[i + 1] or T + b - 1 end
    starts[b + 1] = #rows
  end
  return quern.i64(rows), quern.i64(nexts), starts
end

-- Each field of an event with the field of its target: kept events, and the next kept or the final one behind.
local pairs_of = { { "items", "targets" }, { "times", "next_times" }, { "ratings", "target_ratings" },
                   { "behaviours", "target_behaviours" } }

local function cut(batch, o)
  need_events(batch, "hstu.stochastic_length")
  local offsets = batch.items:offsets():totable()
  local clock = batch.times or quern.sequence_places(batch.items, { most = 1 << 40 })
  local keep = quern.stochastic_length(clock, o):values():totable()
  local rows, nexts, starts = kept_rows(keep, offsets)
  local last, longest = batch.items:offsets():narrow(1, 2, #offsets - 1) - 1, 0
  for b = 1, #starts - 1 do longest = math.max(longest, starts[b + 1] - starts[b]) end
  for _, pair in ipairs(pairs_of) do
    local own, target = batch[pair[1]], batch[pair[2]]
    if own then
      local final = quern.index_select(target:values(), last, 1)
      local all = quern.concat { own:values(), final }
      batch[pair[1]] = quern.jagged(quern.index_select(own:values(), rows, 1), starts)
      batch[pair[2]] = quern.jagged(quern.index_select(all, nexts, 1), starts)
    end
  end
  batch.all_times = nil
  batch.n_tokens, batch.longest = rows.shape[1], longest
  return batch
end

--- Data whose long training sequences are cut to a sample of their events (Stochastic Length, Zhai et al. 2024,
--- eq. 4). Each kept event predicts the next kept one, the last the sequence's target. Other phases stay whole.
---@param data quern.Sequences
---@param options {limit: integer, alpha: number?, select: string?} limit: the longest history N_c; alpha: 1.6, in
---  (1, 2]; select: "weighted" (default), "random", "greedy"
---@return quern.Mapped
function tokens.stochastic_length(data, options)
  local o = util.options(options, { limit = 1, alpha = 1, select = 1 }, "hstu.stochastic_length")
  util.integer(o.limit, "hstu.stochastic_length: limit", 1)
  return quern.data.map(data, function(batch, phase) return phase == "train" and cut(batch, o) or batch end)
end

return tokens
