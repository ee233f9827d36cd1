--- Sparse products beside dense ones, in turns; a compiled HSTU; selection among ten million scores.
--
--   quern lua tests/bench/bench_prune.lua [rounds]
--
-- y = x W' with W [m,k] and n tokens, f32, threads as set: dense by the host's product, sparse by rows
-- (csr_linear). A round takes both in turns; the ratio is dense / sparse, the median and the range of the rounds.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local prune = quern.plugin "prune"

local rounds = tonumber(arg and arg[1]) or 7
local function now() return quern._io.clock() end

-- The best of some short bursts, since other work on the machine only adds.
local function seconds(fn)
  local best = math.huge
  for _ = 1, 8 do
    local n, start = 0, now()
    repeat
      quern.scope(fn)
      n = n + 1
    until now() - start > 0.002
    best = math.min(best, (now() - start) / n)
  end
  return best
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

local shapes = { { 200, 50, 1600 }, { 256, 64, 128 }, { 1024, 256, 16 }, { 1024, 256, 128 }, { 1024, 256, 2048 },
                 { 2048, 512, 512 } }
local sparsities = { 80, 90, 95, 98, 99 }

local function compare(m, k, n, sparsity)
  local w = quern.normal { shape = { m, k } }
  local scores = quern.normal { shape = { m * k } }
  local keep = quern.topk_select(scores, nil, { k = prune.count(m * k, 1 - sparsity / 100) })
  local x, ratios = quern.normal { shape = { n, k } }, {}
  w = quern.masked_fill(w, quern.logical_not(keep):reshape { m, k }, 0)
  local csr = prune.csr(w)
  local function dense() return quern.linear(x, w) end
  local function sparse() return csr:linear(x) end
  seconds(dense)
  seconds(sparse)
  for i = 1, rounds do ratios[i] = seconds(dense) / seconds(sparse) end
  local mid = median(ratios)
  if m == 1024 and n == 128 and sparsity == 95 and quern.system().isa ~= "plain" and mid < 3 then
    error(("1024 x 256, 128 tokens, 95 %%: %.1f times the dense product, at least 3 are expected"):format(mid), 0)
  end
  return ("%.1f (%.1f..%.1f)"):format(mid, ratios[1], ratios[#ratios])
end

-- An HSTU of width d with 95 % of its matrices pruned, 16 sequences of 64 events.
local function wide_hstu(dim)
  local hstu = quern.plugin "hstu"
  quern.seed(1)
  local model, ids = hstu.model { items = 2000, dim = dim, blocks = 2, heads = 4, max_len = 64 }, {}
  prune.mask("erk", model, nil, { density = 0.05 }):bind(model)
  for b = 1, 16 do
    ids[b] = {}
    for i = 1, 64 do ids[b][i] = (b * i * 7) % 2000 + 1 end
  end
  local items = quern.jagged(ids, "i64")
  local batch = { items = items, times = items, next_times = items, longest = 64, n_sequences = 16 }
  local compiled = prune.compile(model, { tokens = 16 * 64 })
  print(("HSTU, d %d, 2 blocks, 4 heads, 95 %% of the dense matrices pruned"):format(dim))
  print(compiled)
  print((compiled:bench { run = function(m) m:encode(batch) end }))
end

quern.no_grad(function()
  print(("%d threads, %s; dense / sparse time"):format(quern.threads(), quern.system().isa or ""))
  local rows = { { "m,k,n" } }
  for _, s in ipairs(sparsities) do table.insert(rows[1], s .. " %") end
  for _, shape in ipairs(shapes) do
    local row = { table.concat(shape, ",") }
    for _, s in ipairs(sparsities) do row[#row + 1] = compare(shape[1], shape[2], shape[3], s) end
    rows[#rows + 1] = row
  end
  print(quern.util.table(rows))
  wide_hstu(256)
  wide_hstu(512)
  local scores = quern.normal { shape = { 10000000 } }
  for _, k in ipairs { 1000, 1000000, 9000000 } do
    local times = {}
    for i = 1, 5 do
      local start = now()
      quern.scope(function() quern.topk_select(scores, nil, { k = k }) end)
      times[i] = now() - start
    end
    print(("topk_select of 10,000,000, k = %d: %.0f ms (%.0f..%.0f)"):format(k, median(times) * 1e3, times[1] * 1e3,
                                                                        times[5] * 1e3))
  end
end)
