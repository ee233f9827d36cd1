--- Attention alone, forward and backward, biases and their gradients included: pointwise SiLU and softmax, full
-- sequences and jagged ones. FLOPs: 4 and 10 times pairs times width, the causal half only.
--   quern lua tests/bench/bench_attn.lua [options of lib/bench.lua]
-- SPDX-License-Identifier: MIT

package.path = arg[0]:gsub("[^/]*$", "lib/?.lua;") .. package.path
local quern = require "quern"
quern.plugin "hstu"

local b = require "bench".open("attn")

local function lengths_of(c)
  local random, offsets, pairs_, at = quern.det.random(1), { 0 }, 0, 0
  for s = 1, c.batch do
    local l = c.shortest and random:range(c.shortest, c.length) or c.length
    at = at + l
    offsets[s + 1] = at
    pairs_ = pairs_ + (c.full and l * l or l * (l + 1) // 2)
  end
  return quern.tensor(offsets, "i64"), at, pairs_
end

-- What the attention takes: q, k, v and for SiLU the biases; the gradient of its result; numbers of pairs; the buckets.
local function inputs_of(c)
  quern.seed(1)
  local offsets, tokens, pairs_ = lengths_of(c)
  local function rows() return quern.jagged(quern.normal { shape = { tokens, c.heads, c.dim }, std = 0.3 }, offsets) end
  local leaves, buckets = { rows(), rows(), rows() }, nil -- luacheck: ignore 311
  if c.score == "silu" then
    leaves[4] = quern.normal { shape = { 2 * (c.length + 11) - 1 }, std = 0.1 }
    leaves[5] = quern.normal { shape = { 129 }, std = 0.1 }
    local times = quern.jagged(quern.randint({ tokens }, 0, 100000000), offsets)
    buckets = quern.time_bucket(times, times, { width = c.length })
  end
  return leaves, quern.normal { shape = { tokens, c.heads, c.dim } }, pairs_, buckets
end

local function attend(c, leaves, buckets)
  local q, k, v, bp, bt = table.unpack(leaves)
  if c.score == "softmax" then return quern.attention(q, k, v, { causal = not c.full }) end
  return quern.hstu_attention(q, k, v, bp, bt, buckets, { n = c.length + 11, score = "silu" })
end

-- The result, and the gradients of all leaves.
local function results(c, leaves, dy, buckets)
  for _, t in ipairs(leaves) do t:requires_grad_(true) end
  local y = attend(c, leaves, buckets)
  y:backward(dy)
  local list = { y:detach() }
  for i, t in ipairs(leaves) do
    list[i + 1] = t.grad:detach()
    t:zero_grad()
    t:requires_grad_(false)
  end
  return list
end

-- The largest relative distance of a result or gradient from the same in f64.
local function error_of(c, leaves, dy, buckets)
  local worst, exact = 0, {}
  for i, t in ipairs(leaves) do exact[i] = t:to("f64") end
  local ours, right = results(c, leaves, dy, buckets), results(c, exact, dy:to("f64"), buckets)
  for i, t in ipairs(right) do
    local off = ours[i]:to("f64") - t
    worst = math.max(worst, math.sqrt((off * off):sum():item() / (t * t):sum():item()))
  end
  return worst
end

-- Forward, and forward with backward, as calls.
local function calls(c, leaves, dy, buckets)
  local function forward()
    quern.scope(function() quern.no_grad(function() attend(c, leaves, buckets) end) end)
  end
  local function both() quern.scope(function() results(c, leaves, dy, buckets) end) end
  return forward, both
end

local cases = {
  { name = "SiLU d50 H1, full", score = "silu", heads = 1, dim = 50 },
  { name = "SiLU d50 H1, lengths 18 to 200", score = "silu", heads = 1, dim = 50, shortest = 18 },
  { name = "softmax d50 H1, full", score = "softmax", heads = 1, dim = 50 },
  { name = "SiLU d25 H2, full", score = "silu", heads = 2, dim = 25 },
  { name = "SiLU d64 H4, full", score = "silu", heads = 4, dim = 64 },
  { name = "softmax d64 H4 T256 B16, not causal", score = "softmax", heads = 4, dim = 64, batch = 16, length = 256,
    full = true },
  { name = "SiLU d64 H1 T2048 B4", score = "silu", heads = 1, dim = 64, batch = 4, length = 2048 },
}

for _, c in ipairs(cases) do
  c.batch, c.length = c.batch or 128, c.length or 200
  if not b:skipped(c.name) then
    local leaves, dy, pairs_, buckets = inputs_of(c)
    local forward, both = calls(c, leaves, dy, buckets)
    local work, off = pairs_ * c.heads * c.dim, nil -- luacheck: ignore 311
    quern.scope(function() off = error_of(c, leaves, dy, buckets) end)
    b:case { name = c.name .. ", forward", flops = 4 * work, ours = forward }
    -- what PyTorch has for sequences of different lengths is padding
    local args = { batch = c.batch, length = c.length, heads = c.heads, dim = c.dim, score = c.score }
    local peer = c.length < 1000 and not c.full
      and { case = "hstu.attention", args = args, backends = { "eager", "compile" } } or nil
    b:case { name = c.name .. ", forward and backward", flops = 14 * work, ours = both, peer = peer,
             note = ("off by %.0e from f64"):format(off) }
  end
end
b:close()
