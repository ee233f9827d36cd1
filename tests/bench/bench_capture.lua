--- The same training step eager and captured, in turn: HSTU, B 128 sequences of T 200, D 50, 2 blocks,
-- 128 negatives for each position of 3706 items, dropout 0.2. Times are of the step without
-- the optimizer; cpu: of all threads together, for busy machines. SPARSE=1: gradients of the table by rows.
--   quern lua tests/bench/bench_capture.lua [rounds [slice_kib ...]]
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local core = require "quern.core"
local hstu = quern.plugin "hstu"

local B, T, V, D = 128, 200, 3706, 50
local rounds = tonumber(arg[1]) or 5

local offsets = {}
for b = 0, B do offsets[b + 1] = b * T end
offsets = quern.tensor(offsets, "i64")

local function sequences(low, high) return quern.jagged(quern.randint({ B * T }, low, high), offsets) end

quern.seed(1)
local model = hstu.model { items = V, dim = D, blocks = 2, max_len = T, dropout = 0.2,
                           sparse = os.getenv("SPARSE") == "1" }
local loss_of = hstu.softmax { negatives = 128 }
local times = sequences(0, 100000000)
local batch = { items = sequences(1, V + 1), targets = sequences(1, V + 1), times = times, next_times = times,
                n_sequences = B, n_tokens = B * T, longest = T }

local function step(b)
  local loss = loss_of(model, b)
  loss:backward()
  return loss
end

local parameters = model:parameters()
local function clear()                  -- as an optimizer does
  for _, p in ipairs(parameters) do p.tensor:zero_grad() end
end

local function time(fn)
  local value
  clear()
  local began, cpu = core.clock(), os.clock()
  quern.scope(function() value = fn(batch):item() end)
  return (core.clock() - began) * 1e3, (os.clock() - cpu) * 1e3, value
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

local sizes = { table.unpack(arg, 2) }
if #sizes == 0 then sizes = { "default" } end
for _, kib in ipairs(sizes) do
  local captured = quern.capture(step, { slice_kib = math.tointeger(tonumber(kib)) })
  quern.step(0)
  time(captured)
  local eager_ms, captured_ms, eager_cpu, captured_cpu, a, b = {}, {}, {}, {}, nil, nil
  for r = 1, rounds do
    quern.step(r)
    eager_ms[r], eager_cpu[r], a = time(step)
    quern.step(r)
    captured_ms[r], captured_cpu[r], b = time(captured)
  end
  local d = captured:describe()
  local em, cm, ec, cc = median(eager_ms), median(captured_ms), median(eager_cpu), median(captured_cpu)
  print(("slice_kib %-8s eager %7.1f ms (cpu %7.1f)  captured %7.1f ms (cpu %7.1f)  ratio %.2f (cpu %.2f)"):format(
    kib, em, ec, cm, cc, em / cm, ec / cc))
  print(("  %d slices, arena %.0f KiB, %d threads; loss %.6f, %.6f"):format(d.slices, d.arena_bytes / 1024,
    quern.threads(), a, b))
  if os.getenv("QUERN_PLAN") then print(captured:plan()) end
end
