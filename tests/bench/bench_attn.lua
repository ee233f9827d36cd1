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

-- Forward, and forward with backward, as calls.
local function calls(c)
  quern.seed(1)
  local offsets, tokens, pairs_ = lengths_of(c)
  local function rows() return quern.jagged(quern.normal { shape = { tokens, c.heads, c.dim }, std = 0.3 }, offsets) end
  local q, k, v = rows(), rows(), rows()
  local dy = quern.normal { shape = { tokens, c.heads, c.dim } }
  local leaves, run = { q, k, v }, nil -- luacheck: ignore 311
  if c.score == "silu" then
    local n = c.length + 11
    local bp, bt = quern.normal { shape = { 2 * n - 1 }, std = 0.1 }, quern.normal { shape = { 129 }, std = 0.1 }
    local times = quern.jagged(quern.randint({ tokens }, 0, 100000000), offsets)
    local buckets = quern.time_bucket(times, times, { width = c.length })
    leaves[4], leaves[5] = bp, bt
    run = function() return quern.hstu_attention(q, k, v, bp, bt, buckets, { n = n, score = "silu" }) end
  else
    run = function() return quern.attention(q, k, v, { causal = not c.full }) end
  end
  local function forward() quern.scope(function() quern.no_grad(run) end) end
  local function both()
    for _, t in ipairs(leaves) do t:requires_grad_(true) end
    quern.scope(function()
      run():backward(dy)
      for _, t in ipairs(leaves) do t:zero_grad() end
    end)
    for _, t in ipairs(leaves) do t:requires_grad_(false) end
  end
  return forward, both, pairs_
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
    local forward, both, pairs_ = calls(c)
    local work = pairs_ * c.heads * c.dim
    b:case { name = c.name .. ", forward", flops = 4 * work, ours = forward }
    -- what PyTorch has for sequences of different lengths is padding
    local args = { batch = c.batch, length = c.length, heads = c.heads, dim = c.dim, score = c.score }
    local peer = c.length < 1000 and not c.full
      and { case = "hstu.attention", args = args, backends = { "eager", "compile" } } or nil
    b:case { name = c.name .. ", forward and backward", flops = 14 * work, ours = both, peer = peer }
  end
end
b:close()
