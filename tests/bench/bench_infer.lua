--- Inference: the ten best items for each sequence, all positions through the stack; throughput for batches of 128 and
-- the latency of one request (p50, p99).
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
    local function requests(n)
      local batch = case.infer_batch(n)
      return function()
        quern.scope(function()
          quern.no_grad(function()
            local users = quern.l2_normalize(model:users(batch), { eps = 1e-6 })
            return quern.linear_topk(users, items, 10, { first = 1 })
          end)
        end)
      end
    end
    local function peer(n)
      local args = {}
      for k, v in pairs(case.infer_peer.args) do args[k] = v end
      args.batch, args.shortest = n, nil
      return { case = case.infer_peer.case, args = args, backends = case.infer_peer.backends }
    end
    b:case { name = name .. ", B128", flops = case.infer_flops, ours = requests(128), items = 128, unit = "sequences",
             peer = peer(128) }
    b:latency { name = name .. ", B1", ours = requests(1), peer = peer(1), calls = 200 }
  end
end
b:close()
