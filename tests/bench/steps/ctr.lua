--- Click prediction as in Deep Interest Network (Zhou et al. 2018): each of 500 past items is weighed against
-- the candidate by a small network of [q, k, q - k, q k], the weighted sum goes with the candidate and the user into
-- another. Batches of 1024, 200,000 rows of width 16, gradients by rows. SPDX-License-Identifier: MIT

local quern = require "quern"
local nn = require "quern.nn"
local models = require "models"

local size = models.size
local BATCH, PAST, D, ROWS = size(1024, 20), size(500, 7), 16, size(200000, 90)

local Model = nn.class "InterestNetwork"

function Model:init()
  self.table = nn.Embedding(ROWS, D, { sparse = true })
  self.weigh = nn.Sequential(nn.Linear(4 * D, 80, { act = "relu" }), nn.Linear(80, 40, { act = "relu" }),
                             nn.Linear(40, 1))
  self.out = nn.Sequential(nn.Linear(3 * D, 200, { act = "relu" }), nn.Linear(200, 80, { act = "relu" }),
                           nn.Linear(80, 1))
end

function Model:forward(b)
  local k, q, user = self.table(b.past), self.table(b.item), self.table(b.user)
  local n = b.item.shape[1]
  local wide = q:reshape({ n, 1, D }):expand({ n, PAST, D })
  local a = self.weigh(quern.concat({ wide, k, wide - k, wide * k }, 3))
  local pooled = quern.matmul(a:reshape({ n, 1, PAST }), k):reshape({ n, D })
  return self.out(quern.concat({ pooled, q, user }, 2)):reshape({ n })
end

local function make()
  quern.seed(1)
  local model = Model()
  local batch = { past = quern.randint({ BATCH, PAST }, 0, ROWS), item = quern.randint({ BATCH }, 0, ROWS),
                  user = quern.randint({ BATCH }, 0, ROWS), click = quern.uniform { shape = { BATCH } } }
  batch.click = quern.cast(quern.gt(batch.click, 0.5), "f32")
  local function loss(m, b) return quern.bce_with_logits(m(b), b.click) end
  local step, how = models.step(model, batch, loss, { name = "adam_rows", lr = 1e-3 })
  return { model = model, batch = batch, step = step, how = how }
end

local N = BATCH * PAST
return {
  { name = "DIN-style CTR B1024, 500 behaviours, d16", make = make, items = function() return BATCH end,
    unit = "samples",
    flops = 6 * (N * (4 * D * 80 + 80 * 40 + 40 + D) + BATCH * (3 * D * 200 + 200 * 80 + 80)),
    peer = { case = "ctr.step", backends = { "eager", "compile", "jax" },
             args = { batch = BATCH, past = PAST, dim = D, rows = ROWS } } },
}
