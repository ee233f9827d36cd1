--- Losses over a catalogue, forward and backward: all items in one pass, shared and per-row sampled ones.
-- FLOPs: three products (scores, gradient of rows, gradient of the table).
--   quern lua tests/bench/bench_loss.lua [options of lib/bench.lua]
-- SPDX-License-Identifier: MIT

package.path = arg[0]:gsub("[^/]*$", "lib/?.lua;") .. package.path
local quern = require "quern"

local b = require "bench".open("loss")

local function tensors(c)
  quern.seed(1)
  return quern.normal { shape = { c.rows, c.dim } }:requires_grad_(true),
         quern.normal { shape = { c.items, c.dim }, std = 0.1 }:requires_grad_(true),
         quern.randint({ c.rows }, 0, c.items)
end

local function case(c)
  if b:skipped(c.name) then return end
  local h, w, t = tensors(c)
  local function both()
    quern.scope(function()
      local l
      if c.negatives then
        local ids = quern.randint(c.shared and { c.negatives } or { c.rows, c.negatives }, 0, c.items)
        l = quern.sampled_softmax(h, w, t, ids)
      else
        l = quern.linear_cross_entropy(h, w, t)
      end
      l:backward()
      h:zero_grad()
      w:zero_grad()
    end)
  end
  local scored = c.negatives and c.negatives + 1 or c.items
  b:case { name = c.name, flops = 6 * c.rows * scored * c.dim, ours = both, add = true,
           l2_bytes = c.negatives and not c.shared and c.rows * scored * c.dim * 4 * 4 or nil,
           peer = { case = c.negatives and "hstu.sampled" or "hstu.entropy", backends = { "eager", "compile" },
                    args = { rows = c.rows, items = c.items, dim = c.dim, negatives = c.negatives,
                             shared = c.shared or false } } }
end

case { name = "all of 3706 items, 25600 rows, d64", rows = 25600, items = 3706, dim = 64 }
case { name = "all of 3706 items, 4096 rows, d256", rows = 4096, items = 3706, dim = 256 }
case { name = "all of 100000 items, 2048 rows, d64", rows = 2048, items = 100000, dim = 64 }
case { name = "128 negatives a row, 25600 rows of 3706, d64", rows = 25600, items = 3706, dim = 64, negatives = 128 }
case { name = "128 shared negatives, 25600 rows of 3706, d64", rows = 25600, items = 3706, dim = 64, negatives = 128,
       shared = true }
b:close()
