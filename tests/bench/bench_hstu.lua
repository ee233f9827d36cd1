--- Training steps of HSTU: ours beside PyTorch's, in turns.
--
--   quern lua tests/bench/bench_hstu.lua [--json] [--profile] [rounds]
--
-- The ML-1M settings: 3952 items, batches of 128 sequences of 200 events, d = 50, two
-- blocks, one head, dropout 0.2, Adam. Both sides see full sequences ("padded alike"); one
-- row has sequences of 18..200 events, which we take as they are and PyTorch pads.
-- QUERN_PEER names a Python with PyTorch; without one only our side runs.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local hstu = quern.plugin "hstu"

local json, profile, rounds = false, false, 3
for _, a in ipairs(arg or {}) do
  if a == "--json" then json = true elseif a == "--profile" then profile = true else rounds = tonumber(a) or rounds end
end

local peer = os.getenv("QUERN_PEER")
local here = (arg and arg[0] or "tests/bench/bench_hstu.lua"):match("^(.*)/[^/]*$") or "."

local cases = {
  { name = "d50 l2 h1, 128 negatives a token", loss = "uniform" },
  { name = "d50 l2 h1, 128 shared negatives", loss = "shared" },
  { name = "d50 l2 h1, full softmax", loss = "full" },
  { name = "d50 l2 h1, shared, lengths 18..200", loss = "shared", shortest = 18 },
  { name = "d50 l8 h2, 128 shared negatives", loss = "shared", blocks = 8, heads = 2 },
}

local ITEMS, BATCH, LENGTH = 3952, 128, 200

local function random_batch(case)
  local random = quern.det.random(1)
  local ids, targets, times, nexts = {}, {}, {}, {}
  for b = 1, BATCH do
    local n = case.shortest and random:range(case.shortest, LENGTH) or LENGTH
    local t, row = random:range(0, 1000000), { {}, {}, {}, {} }
    for i = 1, n do
      row[1][i], row[2][i], row[3][i] = random:range(1, ITEMS), random:range(1, ITEMS), t
      t = t + random:range(0, 1000000)
      row[4][i] = t
    end
    ids[b], targets[b], times[b], nexts[b] = row[1], row[2], row[3], row[4]
  end
  local batch = { items = quern.jagged(ids, "i64"), targets = quern.jagged(targets, "i64"), longest = LENGTH,
    times = quern.jagged(times, "i64"), next_times = quern.jagged(nexts, "i64"), n_sequences = BATCH }
  batch.n_tokens = batch.items:values().shape[1]
  return batch
end

local function stepper(case)
  quern.seed(1)
  local model = hstu.model { items = ITEMS, dim = 50, blocks = case.blocks or 2, heads = case.heads or 1, max_len = LENGTH }
  local loss = hstu.softmax { negatives = case.loss == "full" and "full" or { n = 128, sampler = case.loss } }
  local optim = quern.optim.make(model:parameters(), { name = "adamw", lr = 1e-3, betas = { 0.9, 0.98 } })
  optim:prepare()
  local batch, n = random_batch(case), 0
  return function()
    n = n + 1
    quern.step(n)
    quern.scope(function()
      loss(model, batch):backward()
      optim:step()
      optim:zero_grad()
    end)
  end, batch.n_tokens
end

local function now() return quern._io.clock() end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2], list[1]
end

local function ours(step, n)
  local times = {}
  for i = 1, n do
    local start = now()
    step()
    times[i] = (now() - start) * 1e3
  end
  return median(times)
end

local function theirs(case, n)
  if not peer or peer == "" then return nil end
  local command = ("%s %s/torch_hstu.py --loss %s --steps %d --threads %d --blocks %d --heads %d --shortest %d"):format(peer, here,
    case.loss, n, quern.threads(), case.blocks or 2, case.heads or 1, case.shortest or LENGTH)
  local pipe = io.popen(command)
  local line = pipe and pipe:read("a") or ""
  if not pipe or not pipe:close() or line == "" then return nil end
  return quern.json.decode(line).ms
end

local rows = { { "training step", "tokens", "ours ms", "tokens/s", "PyTorch ms", "ratio by round" } }
for _, case in ipairs(cases) do
  local step, tokens = stepper(case)
  step()
  if profile then
    quern.profile("start")
    ours(step, 5)
    quern.profile("stop")
    print(case.name .. "\n" .. quern.profile("table"))
  end
  local mine, other, ratios = {}, {}, {}
  for round = 1, rounds do
    mine[round] = ours(step, 7)
    other[round] = theirs(case, 3)
    if other[round] then ratios[round] = ("%.1f"):format(other[round] / mine[round]) end
  end
  local ms, peer_ms = median(mine), #other > 0 and median(other) or nil
  rows[#rows + 1] = { case.name, ("%d"):format(tokens), ("%.1f"):format(ms), ("%.0f"):format(tokens / ms * 1e3),
                      peer_ms and ("%.0f"):format(peer_ms) or "-", table.concat(ratios, " ") }
  if json then print(quern.json.encode { case = case.name, tokens = tokens, ms = ms, peer_ms = peer_ms }) end
  collectgarbage()
end
if not json then
  print(("%d threads, %s"):format(quern.threads(), quern.system().isa or ""))
  print(quern.util.table(rows, { right = { [2] = true, [3] = true, [4] = true, [5] = true } }))
end
