--- A masked-token transformer: D 256, 4 blocks, 4 heads, batches of 16 sequences of 256 tokens over 3706,
-- a fifth of them to be told; pre-norm, GELU, 4 D inside. SPDX-License-Identifier: MIT

local quern = require "quern"
local nn = require "quern.nn"
local models = require "models"

local size = models.size
local TOKENS, D, BLOCKS, HEADS = size(3706, 70), size(256, 16), size(4, 2), 4
local LENGTH, BATCH, MASKED = size(256, 20), size(16, 10), size(51, 4)

local Block = nn.class "Block"

function Block:init()
  self.norm1, self.norm2 = nn.LayerNorm(D), nn.LayerNorm(D)
  self.attention = nn.MultiheadAttention(D, { heads = HEADS })
  self.inner, self.outer = nn.Linear(D, 4 * D, { act = "gelu" }), nn.Linear(4 * D, D)
end

function Block:forward(x)
  x = x + self.attention(self.norm1(x))
  return self.outer(self.inner(self.norm2(x)), x)
end

local Model = nn.class "MaskedTransformer"

function Model:init()
  self.token, self.place = nn.Embedding(TOKENS + 1, D), nn.Embedding(LENGTH, D)
  self.block = nn.ModuleList {}
  for _ = 1, BLOCKS do self.block:add(Block()) end
  self.norm, self.out = nn.LayerNorm(D), nn.Linear(D, TOKENS)
end

function Model:forward(ids)
  local x = self.token(ids) + self.place(quern.arange(LENGTH))
  for i = 1, #self.block do x = self.block[i](x) end
  return self.norm(x)
end

local function make()
  quern.seed(1)
  local model, random = Model(), quern.det.random(1)
  local ids, at, targets = models.ids(random, BATCH * LENGTH, 1, TOKENS), {}, {}
  for b = 0, BATCH - 1 do
    for i = 0, MASKED - 1 do
      local place = b * LENGTH + i * 5
      if b == 0 then at[#at + 1] = i * 5 end
      targets[#targets + 1] = ids[place + 1] - 1
      ids[place + 1] = 0
    end
  end
  -- the same places of each sequence are masked, so that a slice of the batch is some sequences
  local batch = { ids = quern.tensor(ids, "i64"):reshape({ BATCH, LENGTH }),
                  targets = quern.tensor(targets, "i64"):reshape({ BATCH, MASKED }) }
  local places = quern.tensor(at, "i64")
  local function loss(m, b)
    local x = quern.index_select(m(b.ids), places, 2)
    local n = x.shape[1] * MASKED
    return quern.cross_entropy(m.out(x:reshape({ n, D })), b.targets:reshape({ n }))
  end
  local step, how = models.step(model, batch, loss)
  return { model = model, batch = batch, step = step, how = how }
end

local N = BATCH * LENGTH
return {
  { name = "masked-token transformer D256 L4 T256 B16", make = make, items = function() return N end, unit = "tokens",
    flops = BLOCKS * (6 * N * 12 * D ^ 2 + 12 * N * LENGTH * D) + 6 * BATCH * MASKED * TOKENS * D,
    peer = { case = "transformer.step", backends = { "eager", "compile", "jax" },
             args = { tokens = TOKENS, dim = D, blocks = BLOCKS, heads = HEADS, length = LENGTH, batch = BATCH,
                      masked = MASKED } } },
}
