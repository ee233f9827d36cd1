--- Whole training steps (loss, backward, optimizer), ours beside the peers', in turns: the models of tests/bench/steps.
--   quern lua tests/bench/bench_step.lua [--only TEXT] [--rounds N] [--peers LIST] [--profile] [--json] [--eager]
-- Before, the losses of HSTU on equal parameters and an equal batch are compared with the peer's.
-- SPDX-License-Identifier: MIT

package.path = arg[0]:gsub("[^/]*$", "lib/?.lua;") .. package.path
local quern = require "quern"
local models = require "models"
local hstu = quern.plugin "hstu"

local b = require "bench".open("step")
models.eager = b.eager

-- Both sides on the same parameters and batch, without dropout: the losses must agree.
local function agree()
  local random, ids, targets, times, nexts = quern.det.random(3), {}, {}, {}, {}
  for s = 1, 4 do
    local t = 1000
    ids[s], targets[s], times[s], nexts[s] = {}, {}, {}, {}
    for i = 1, 20 do
      ids[s][i], targets[s][i], times[s][i] = random:range(1, 60), random:range(1, 60), t
      t = t + random:range(0, 100000)
      nexts[s][i] = t
    end
  end
  quern.seed(5)
  local model = hstu.model { items = 60, dim = 16, heads = 2, max_len = 20 }
  model:eval()
  local batch = { items = quern.jagged(ids, "i64"), targets = quern.jagged(targets, "i64"), longest = 20,
                  times = quern.jagged(times, "i64"), next_times = quern.jagged(nexts, "i64") }
  local loss = hstu.softmax { negatives = "full" } (model, batch):item()
  local state, path = { ids = quern.tensor(ids, "i64"), targets = quern.tensor(targets, "i64"),
                        times = quern.tensor(times, "i64"), query = quern.tensor(nexts, "i64") }, os.tmpname()
  for name, t in pairs(model:state()) do
    name = name:gsub("item.weight", "item"):gsub("uvqk.weight", "uvqk")
               :gsub("block%.(%d)", function(i) return ("block.%d"):format(i - 1) end)
    state[name] = t:detach()
  end
  quern.save(path, state)
  local answer = b:ask { case = "hstu.agree", backend = "eager", check = true,
                         args = { path = path, items = 60, dim = 16, heads = 2, blocks = 2, length = 20 } }
  os.remove(path)
  if not answer then return end
  if not answer.value then error("the peer failed: " .. tostring(answer.error), 0) end
  if math.abs(answer.value - loss) > 1e-5 * answer.value then
    error(("the peer computes something else: %.7f, we %.7f"):format(answer.value, loss), 0)
  end
  b:say("same parameters, same batch: loss %.6f here, %.6f in PyTorch", loss, answer.value)
end

-- A function of its own, so that nothing of the model is left on the stack when the next one's memory is counted.
local function measure(case)
  local made = case.make()
  made.step()
  b:case { name = case.name, flops = case.flops, bytes = case.bytes, l2_bytes = case.l2_bytes, add = true,
           ours = made.step, items = case.items(), unit = case.unit, peer = case.peer, seconds = 0.8,
           note = made.how and made.how() }
end

agree()
for _, case in ipairs(models.all()) do
  if not b:skipped(case.name) then
    measure(case)
    collectgarbage()
  end
end
b:close()
