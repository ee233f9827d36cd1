--- Rows of tables: gather, gradient by rows added up, lazy Adam; by size of the table, width of a row and skew.
-- Floors: bytes of the rows read and written, at the copy rate; small tables, which stay in cache, pass it.
--   quern lua tests/bench/bench_embed.lua [options of lib/bench.lua]
-- SPDX-License-Identifier: MIT

package.path = arg[0]:gsub("[^/]*$", "lib/?.lua;") .. package.path
local quern = require "quern"

local b = require "bench".open("embed")

local IDS = 512000

-- Row r is drawn in proportion to 1/(r + 1), by the inverse of the distribution's integral.
local function zipf(rows)
  local u = quern.uniform { shape = { IDS } }
  return quern.cast(quern.clamp(quern.exp(u * math.log(rows)) - 1, { min = 0, max = rows - 1 }), "i64")
end

local function case(name, rows, width, skew)
  local full = ("%s, %d x %d%s"):format(name, rows, width, skew and ", Zipf" or "")
  if b:skipped(full) then return end
  quern.seed(1)
  local w = quern.normal { shape = { rows, width }, std = 0.02 }
  local ids = skew and zipf(rows) or quern.randint({ IDS }, 0, rows)
  local bytes, run = IDS * width * 4, nil -- luacheck: ignore 311
  local peer
  if name == "gather" then
    bytes = 2 * bytes
    run = function() quern.scope(function() quern.no_grad(function() return quern.embedding(w, ids) end) end) end
    peer = "lookup"
  elseif name == "scatter-add" then
    local dy = quern.normal { shape = { IDS, width } }
    bytes = 3 * bytes + rows * width * 4 -- the gradient's zeros are written too
    run = function() quern.scope(function() return quern.embedding_grad(dy, ids, { rows = rows }) end) end
    peer = "scatter"
  else
    w:requires_grad_(true)
    local dy = quern.normal { shape = { IDS, width } }
    local parameter = { name = "w", tensor = w, role = "embedding" }
    local optim = quern.optim.make({ parameter }, { name = "adam_rows", lr = 1e-3 })
    optim:prepare()
    bytes = 8 * bytes
    run = function()
      quern.scope(function()
        quern.embedding(w, ids, { sparse = true }):backward(dy)
        optim:step()
        optim:zero_grad()
      end)
    end
  end
  b:case { name = full, bytes = bytes, ours = run, items = IDS, unit = "rows",
           peer = peer and not skew and { case = "elem." .. peer, backends = { "eager" },
                                          args = { table = rows, width = width, ids = IDS } } }
end

for _, table_ in ipairs { { 4000, 64 }, { 200000, 16 }, { 1000000, 64 } } do
  for _, skew in ipairs { false, true } do
    case("gather", table_[1], table_[2], skew)
    case("scatter-add", table_[1], table_[2], skew)
  end
end
case("lazy Adam", 200000, 16, false)
case("lazy Adam", 1000000, 64, true)
b:close()
