--- Entropy: how predictable sequences are, by several estimators in one table.
--
--   local q = perflaw.entropy { data = data, max_len = 50, m = { 1, 2 } }
--   print(q.tokens, q.apen[2], q.pooled[1].plain, q.warnings[1])
--
-- Sequences are truncated to their last max_len items first. Per-user estimators are plain
-- means over users. Where ids hardly repeat within a user, ApEn with r < 1 is
-- ln((L-m+1)/(L-m)), a function of the length alone: the table says so.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"

local entropy = {}

local FEW_REPEATS, MANY_SINGLES = 0.9, 0.5

-- ---- Sequences ----------------------------------------------------------------------------

-- Input and last target of each sequence of the training phase: its whole history where
-- the dataset was made with protocol = "whole".
local function histories(data)
  local lists = {}
  for batch in data:loader("train", { batch = 256, shuffle = false }):epoch() do
    local rows, last = batch.items:totable(), batch.last_targets:totable()
    for b, row in ipairs(rows) do
      row[#row + 1] = last[b]
      lists[#lists + 1] = row
    end
  end
  return lists
end

local function lists_of(data)
  if type(data) == "table" and type(data.loader) == "function" then return histories(data) end
  if quern.is_tensor(data) and data.is_jagged then return data:totable() end
  if type(data) == "table" and (data[1] == nil or type(data[1]) == "table") then return data end
  util.fail("argument", "entropy: data must be a jagged i64 tensor, lists of ids, or a dataset of sequences")
end

-- The last max_len items of each sequence, as one jagged tensor, and the lengths.
local function gather(data, max_len)
  local flat, at, lengths = {}, { 0 }, {}
  for b, row in ipairs(lists_of(data)) do
    local first = max_len and math.max(1, #row - max_len + 1) or 1
    table.move(row, first, #row, #flat + 1, flat)
    at[b + 1], lengths[b] = #flat, #row - first + 1
  end
  local values = #flat > 0 and quern.i64(flat) or quern.zeros(0, "i64")
  return quern.jagged(values, at), flat, lengths
end

local function mean_over(values, lengths, more_than)
  local sum, n = 0.0, 0
  for i, v in ipairs(values) do
    if lengths[i] > more_than then sum, n = sum + v, n + 1 end
  end
  return n > 0 and sum / n or nil, #values - n
end

-- ---- Estimators -----------------------------------------------------------------------------

-- H(m), H(m+1) and their difference, plain and corrected.
local function pooled(items, m)
  local out = { total = 0 }
  local low = table.pack(quern.gram_entropy(items, { m = m }))
  local high = table.pack(quern.gram_entropy(items, { m = m + 1 }))
  for i, name in ipairs { "plain", "miller_madow", "chao_shen" } do
    out[name] = high[i]:item() - low[i]:item()
  end
  out.entropy, out.total, out.distinct = low[1]:item(), high[4]:item(), high[5]:item()
  out.single_share = out.total > 0 and high[6]:item() / out.total or 0.0
  return out
end

-- The share of sequences with an id that occurs twice.
local function repeat_share(flat, lengths)
  local at, repeating = 0, 0
  for _, n in ipairs(lengths) do
    local seen, again = {}, false
    for i = at + 1, at + n do
      again = again or seen[flat[i]]
      seen[flat[i]] = true
    end
    repeating, at = repeating + (again and 1 or 0), at + n
  end
  return #lengths > 0 and repeating / #lengths or 0.0
end

---@class perflaw.EntropyOptions
---@field data userdata|table a jagged i64 tensor, lists of ids, or a dataset of sequences
---  (protocol = "whole" keeps all of each history)
---@field max_len integer? last items of each sequence
---@field m integer|integer[]? gram lengths, { 2 }
---@field r number? tolerance of ApEn, 0.2; below 1: equal ids
---@field lz string[]? of { "repo", "classic" }
---@field block integer? ids in a block of shannon and zlib, 10000

local known = { data = 1, max_len = 1, m = 1, r = 1, lz = 1, block = 1 }

--- Tokens and entropies of a set of sequences, in nats (shannon: bits).
---@param o perflaw.EntropyOptions
---@return table { users, tokens, apen[m], pooled[m], lz[variant], shannon, zlib, repeat_share, skipped[m], warnings }
function entropy.of(o)
  o = util.options(o, known, "entropy")
  local max_len = o.max_len and util.integer(o.max_len, "entropy: max_len", 1)
  local items, flat, lengths = gather(o.data, max_len)
  local r = o.r or 0.2
  local q = { users = #lengths, tokens = #flat, apen = {}, pooled = {}, lz = {}, skipped = {}, warnings = {},
              repeat_share = repeat_share(flat, lengths) }
  for _, m in ipairs(type(o.m) == "table" and o.m or { o.m or 2 }) do
    util.integer(m, "entropy: m", 1, 63)
    q.apen[m], q.skipped[m] = mean_over(quern.apen(items, { m = m, r = r }):totable(), lengths, m)
    q.pooled[m] = pooled(items, m)
    if q.pooled[m].single_share > MANY_SINGLES then
      q.warnings[#q.warnings + 1] = ("%.0f %% of the %d-grams occur once: the pooled entropy of order %d is "
        .. "undersampled"):format(q.pooled[m].single_share * 100, m + 1, m)
    end
  end
  for _, variant in ipairs(o.lz or { "repo", "classic" }) do
    q.lz[variant] = mean_over(quern.lz_entropy(items, { variant = variant }):totable(), lengths, 0)
  end
  local shannon, zlib, blocks = quern.block_entropy(items:values(), { block = o.block or 10000 })
  if blocks:item() > 0 then q.shannon, q.zlib = shannon:item(), zlib:item() end
  if r < 1 and q.repeat_share < 1 - FEW_REPEATS then
    q.warnings[#q.warnings + 1] = ("%.0f %% of the users never repeat an item: ApEn says only how long their "
      .. "sequences are; use the pooled form"):format((1 - q.repeat_share) * 100)
  end
  return q
end

return entropy
