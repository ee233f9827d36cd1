--- Inference: the ten best items for each sequence, all positions through the stack; throughput for batches of 128
-- (captured, as evaluations run; --eager: not) and the latency of one request, eagerly (p50, p99).
--   quern lua tests/bench/bench_infer.lua [options of lib/bench.lua]
-- SPDX-License-Identifier: MIT

package.path = arg[0]:gsub("[^/]*$", "lib/?.lua;") .. package.path
local quern = require "quern"
local models = require "models"

local b = require "bench".open("infer")

for _, case in ipairs(models.all()) do
  local name = case.name:gsub(",.*", "")
  if case.infer_flops and not (b:skipped(name .. ", B128") and b:skipped(name .. ", B1")) then
    local model = case.make().model
    model:eval()
    local items
    quern.no_grad(function() items = model:table() end)
    local function users(m, batch) return quern.l2_normalize(m:users(batch), { eps = 1e-6 }) end
    local function eagerly(batch) return users(model, batch) end
    local function captured()
      local pass, state = quern.inference(model, "users", users)
      return function(batch)
        local vectors = pass(batch)
        if not state.captured then error(state.why, 0) end
        return vectors
      end
    end
    local function requests(n, pass)
      local batch = case.infer_batch(n)
      return function()
        quern.scope(function()
          quern.no_grad(function() return quern.linear_topk(pass(batch), items, 10, { first = 1 }) end)
        end)
      end
    end
    local function peer(n)
      local args = {}
      for k, v in pairs(case.infer_peer.args) do args[k] = v end
      args.batch, args.shortest = n, nil
      return { case = case.infer_peer.case, args = args, backends = case.infer_peer.backends }
    end
    b:case { name = name .. ", B128", flops = case.infer_flops, items = 128, unit = "sequences",
             ours = requests(128, b.eager and eagerly or captured()), peer = peer(128) }
    b:latency { name = name .. ", B1", ours = requests(1, eagerly), peer = peer(1), calls = 200 }
  end
end
b:close()
