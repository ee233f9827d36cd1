--- HSTU and SASRec on batches of 128 sequences of 200 events, the ML-1M settings.
-- Floors: FLOPs of the products (half of the attention's pairs), and for per-token negatives the rows of the
-- table, four passes at the rate of the second cache. SPDX-License-Identifier: MIT

local quern = require "quern"
local models = require "models"
local hstu = quern.plugin "hstu"

local ITEMS, BATCH, LENGTH = models.size(3706, 80), models.size(128, 18), models.size(200, 24)

local function batch_of(shortest, size)
  local random = quern.det.random(1)
  local ids, targets, times, nexts = {}, {}, {}, {}
  for b = 1, size do
    local n = shortest and random:range(shortest, LENGTH) or LENGTH
    local t, row = random:range(0, 1000000), { {}, {}, {}, {} }
    for i = 1, n do
      row[1][i], row[2][i], row[3][i] = random:range(1, ITEMS), random:range(1, ITEMS), t
      t = t + random:range(0, 1000000)
      row[4][i] = t
    end
    ids[b], targets[b], times[b], nexts[b] = row[1], row[2], row[3], row[4]
  end
  local batch = { items = quern.jagged(ids, "i64"), targets = quern.jagged(targets, "i64"), longest = LENGTH,
    times = quern.jagged(times, "i64"), next_times = quern.jagged(nexts, "i64"), n_sequences = size }
  batch.n_tokens = batch.items:values().shape[1]
  return batch
end

local losses = {
  uniform = function() return hstu.softmax { negatives = { n = 128, sampler = "uniform" } } end,
  shared = function() return hstu.softmax { negatives = { n = 128, sampler = "shared" } } end,
  full = function() return hstu.softmax { negatives = "full" } end,
  bce = function() return hstu.bce { negatives = 1 } end,
}

-- FLOPs of the sampled or full loss of a token: three products with each item that is scored.
local scored = { uniform = 129, shared = 129, full = ITEMS, bce = 2 }

local function flops_of(c, train)
  local tokens, pairs = BATCH * LENGTH, BATCH * LENGTH * (LENGTH + 1) / 2
  if c.shortest then              -- expected lengths of a uniform draw
    local n, sum, square = LENGTH - c.shortest + 1, 0, 0
    for l = c.shortest, LENGTH do sum, square = sum + l, square + l * (l + 1) / 2 end
    tokens, pairs = BATCH * sum / n, BATCH * square / n
  end
  local maps = c.model == "sasrec" and 6 or 5
  local block = tokens * 2 * maps * c.dim ^ 2
  local attention = pairs * 4 * c.dim
  if not train then return c.blocks * (block + attention) + 2 * BATCH * ITEMS * c.dim end
  return c.blocks * (3 * block + 3.5 * attention) + 6 * tokens * scored[c.loss] * c.dim
end

local function case(c)
  c.model = c.model or "hstu"
  c.heads = c.heads or 1
  local tokens
  local function make()
    quern.seed(1)
    local o = { items = ITEMS, dim = c.dim, blocks = c.blocks, heads = c.heads, max_len = LENGTH }
    local model = c.model == "hstu" and hstu.model(o) or hstu.sasrec(o)
    local batch = batch_of(c.shortest, BATCH)
    tokens = batch.n_tokens
    local step, how = models.step(model, batch, losses[c.loss]())
    return { model = model, batch = batch, step = step, how = how }
  end
  local args = { model = c.model, items = ITEMS, batch = BATCH, length = LENGTH, dim = c.dim, blocks = c.blocks,
                 heads = c.heads, loss = c.loss, shortest = c.shortest }
  return { name = c.name, flops = flops_of(c, true), make = make, items = function() return tokens end, unit = "tokens",
           l2_bytes = c.loss == "uniform" and BATCH * LENGTH * 129 * c.dim * 4 * 4 or nil,
           infer_flops = c.infer and flops_of(c, false), infer_batch = function(n) return batch_of(nil, n) end,
           peer = { case = "hstu.step", args = args,
                    backends = { "eager", "compile", c.model == "sasrec" and "jax" or nil } },
           infer_peer = { case = "hstu.infer", args = args, backends = { "eager", "compile", "onnx" } } }
end

return {
  case { name = "HSTU D50 L2, 128 negatives a token", dim = 50, blocks = 2, loss = "uniform", infer = true },
  case { name = "HSTU D50 L2, lengths 18 to 200, shared", dim = 50, blocks = 2, loss = "shared", shortest = 18 },
  case { name = "HSTU D50 L8 H2, 128 negatives a token", dim = 50, blocks = 8, heads = 2, loss = "uniform" },
  case { name = "HSTU D256 L4 H4, shared negatives", dim = models.size(256, 32),
         blocks = 4, heads = 4, loss = "shared", infer = true },
  case { name = "SASRec D50 L2, 1 negative", model = "sasrec", dim = 50, blocks = 2, loss = "bce", infer = true },
  case { name = "SASRec D50 L2, full softmax", model = "sasrec", dim = 50, blocks = 2, loss = "full" },
}
