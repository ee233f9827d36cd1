--- What the tests of captured steps share: small models, comparisons with eager steps. SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local nn = quern.nn

-- ---- Helpers -------------------------------------------------------------------------

local function tensors_of(...)
  local list = {}
  for _, module in ipairs { ... } do
    for _, p in ipairs(module:parameters()) do list[#list + 1] = p.tensor end
  end
  return list
end

local function clear(parameters)
  for _, p in ipairs(parameters) do p:zero_grad() end
end

-- The gradient in full, also when it is by rows.
local function gradient(p)
  local ids, rows = p:grad_rows()
  if not ids then return p.grad:clone() end
  return quern.zeros(p.shape, p.dtype):index_add(ids:add(1):sub(1), rows, 1)
end

local function gradients(parameters)
  local out = {}
  for i, p in ipairs(parameters) do out[i] = gradient(p) end
  return out
end

local function run(fn, parameters, batch, step)
  clear(parameters)
  quern.step(step)
  local loss = fn(batch):item()
  return loss, gradients(parameters)
end

local function distance(a, b)
  local off = ((a - b) * (a - b)):sum():item()
  return math.sqrt(off) / (math.sqrt((b * b):sum():item()) + 1e-30)
end

-- A captured step gives loss and gradients of an eager one, on the batch it was captured on and on others.
local function same_as_eager(fn, parameters, batches, tolerance, options)
  local captured = quern.capture(fn, options)
  for i, batch in ipairs(batches) do
    local loss, grads = run(fn, parameters, batch, i)
    for again = 1, 2 do
      local got, got_grads = run(captured, parameters, batch, i)
      check.near(got, loss, tolerance, "loss")
      for k = 1, #grads do
        local off = distance(got_grads[k], grads[k])
        check.yes(off <= tolerance, ("batch %d, call %d, parameter %d: %g"):format(i, again, k, off))
      end
    end
  end
  return captured
end

local function bytes(list)
  local out = {}
  for i, t in ipairs(list) do out[i] = t:bytes() end
  return table.concat(out)
end

local function jagged(lengths, make)
  local offsets, n = { 0 }, 0
  for i, length in ipairs(lengths) do
    n = n + length
    offsets[i + 1] = n
  end
  return quern.jagged(make(n), quern.tensor(offsets, "i64"))
end

local function refuses(fn, batch, words, options)
  local ok, e = pcall(quern.capture(fn, options), batch)
  check.yes(not ok, "the step was captured")
  check.yes(tostring(e):find(words, 1, true), tostring(e) .. "\nlacks: " .. words)
  check.yes(tostring(e):find("[_%w]*captures?[%w_]*%.lua:"), "no line in: " .. tostring(e))
end

-- ---- Models --------------------------------------------------------------------------

local function mlp()
  quern.seed(11)
  local a, b = nn.Linear(6, 16), nn.Linear(16, 3)
  local function step(batch)
    local loss = quern.cross_entropy(b(quern.dropout(a(batch.x):relu(), { p = 0.3 })), batch.y)
    loss:backward()
    return loss
  end
  local function batch(n) return { x = quern.normal { n, 6 }, y = quern.randint({ n }, 0, 3) } end
  return step, tensors_of(a, b), batch
end

local function tagger(sparse, table_type, options)
  quern.seed(12)
  local e = quern.normal({ 50, 8 }):cast(table_type or "f32"):requires_grad_(true)
  local w = quern.normal({ 5, 8 }):requires_grad_(true)
  local function step(batch)
    local x = quern.embedding(e, batch.ids, { sparse = sparse })
    local loss = quern.cross_entropy(quern.linear(x, w), batch.y, batch.weights, options)
    loss:backward()
    return loss
  end
  local function batch(lengths)
    return { ids = jagged(lengths, function(n) return quern.randint({ n }, 0, 50) end),
             y = jagged(lengths, function(n) return quern.randint({ n }, 0, 5) end),
             weights = jagged(lengths, function(n) return quern.uniform { n } end) }
  end
  return step, { e, w }, batch
end

local function attention_model()
  quern.seed(13)
  local e = quern.normal({ 40, 8 }):requires_grad_(true)
  local maps = { nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(8, 40) }
  local norm = nn.LayerNorm(8)
  local function step(batch)
    local x = quern.embedding(e, batch.ids)
    local n = x.shape[1]
    local qkv = maps[1](norm(x)):reshape { n, 3, 2, 4 }
    local y = quern.attention(qkv:select(2, 1), qkv:select(2, 2), qkv:select(2, 3), { causal = true })
    x = x + maps[2](y:reshape { n, 8 })
    local loss = quern.cross_entropy(maps[3](x), batch.y)
    loss:backward()
    return loss
  end
  local parameters = tensors_of(maps[1], maps[2], maps[3], norm)
  parameters[#parameters + 1] = e
  local function batch(lengths)
    return { ids = jagged(lengths, function(n) return quern.randint({ n }, 0, 40) end),
             y = jagged(lengths, function(n) return quern.randint({ n }, 0, 40) end) }
  end
  return step, parameters, batch
end

local lengths_a = { 5, 1, 9, 3, 3, 12, 7, 2, 4, 6, 8, 5, 3, 1, 10, 2, 6 }
local lengths_b = { 2, 14, 1, 1, 6, 3, 30, 2, 5, 7 }

-- ---- Small steps ---------------------------------------------------------------------

local function plugin_model()
  local ok, hstu = pcall(quern.plugin, "hstu")
  if not ok then check.skip("the plugin hstu is not built") end
  return hstu
end

local function weight()
  quern.seed(9)
  return quern.normal({ 4, 3 }):requires_grad_(true)
end

local function finish(loss)
  loss:backward()
  return loss
end

local function xt(n)
  local own = {}
  for i = 1, n do own[i] = i - 1 end
  return { x = quern.normal { n, 4 }, t = quern.normal { n, 3 }, own = quern.tensor(own, "i64") }
end

return {
  tensors_of = tensors_of,
  gradient = gradient,
  gradients = gradients,
  run = run,
  distance = distance,
  same_as_eager = same_as_eager,
  bytes = bytes,
  jagged = jagged,
  refuses = refuses,
  mlp = mlp,
  tagger = tagger,
  attention_model = attention_model,
  lengths_a = lengths_a,
  lengths_b = lengths_b,
  plugin_model = plugin_model,
  weight = weight,
  finish = finish,
  xt = xt,
}
