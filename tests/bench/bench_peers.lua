--- One table of what users would compare: the peers that are installed, with versions and settings, and three rounds of
-- the HSTU step and of its inference with every backend that has them, ours and theirs in turns.
--   quern lua tests/bench/bench_peers.lua [options of lib/bench.lua]
-- SPDX-License-Identifier: MIT

package.path = arg[0]:gsub("[^/]*$", "lib/?.lua;") .. package.path
local quern = require "quern"
local models = require "models"

local b = require "bench".open("peers")

for _, case in ipairs(models.all()) do
  if case.name:find("HSTU D50 L2, 128", 1, true) and not b:skipped(case.name) then
    local made = case.make()
    b:case { name = case.name .. ", training", flops = case.flops, l2_bytes = case.l2_bytes, add = true,
             ours = made.step, items = case.items(), unit = "tokens", peer = case.peer }
    made.model:eval()
    local batch, items = case.infer_batch(128), nil
    quern.no_grad(function() items = made.model:table() end)
    b:case { name = "HSTU D50 L2, inference B128", flops = case.infer_flops, items = 128, unit = "sequences",
             peer = case.infer_peer, ours = function()
      quern.scope(function()
        quern.no_grad(function()
          local users = quern.l2_normalize(made.model:users(batch), { eps = 1e-6 })
          return quern.linear_topk(users, items, 10, { first = 1 })
        end)
      end)
    end }
  end
end
b:close()
