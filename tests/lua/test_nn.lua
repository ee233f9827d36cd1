--- Modules: names, roles, state, modes; layers against plain arithmetic and each other.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local nn = quern.nn

local function names(list)
  local out = {}
  for i, p in ipairs(list) do out[i] = p.name end
  return out
end

local Block = nn.class "Block"
function Block:init(dim)
  self.norm_in = nn.LayerNorm(dim)
  self.uvqk = nn.Linear(dim, 2 * dim, { bias = false })
  self.out = nn.Linear(2 * dim, dim)
end
function Block:forward(x) return x + self.out(self.uvqk(self.norm_in(x))) end

local Model = nn.class "Model"
function Model:init(dim)
  self.items = nn.Embedding(7, dim)
  self.position = nn.parameter(nn.init.normal({ 5, dim }, { std = 0.1 }), "position")
  self.block = nn.ModuleList { Block(dim), Block(dim) }
  self.drop = nn.Dropout(0.5)
  self.seen = nn.buffer(quern.zeros({ 3 }))
end

-- Central differences of the sum of f's output with respect to one tensor.
local function numeric_grad(f, t, at)
  local flat = t:reshape({ t:numel() })
  local h, out = 1e-5, {}
  quern.no_grad(function()
    for i = 1, math.min(at or t:numel(), t:numel()) do
      local cell = flat:narrow(1, i, 1)
      local was = cell:item()
      cell:fill_(was + h)
      local up = f():item()
      cell:fill_(was - h)
      local down = f():item()
      cell:fill_(was)
      out[i] = (up - down) / (2 * h)
    end
  end)
  return out
end

-- Gradients of all parameters and x of a float64 module against differences.
local function gradients_agree(module, x, ...)
  local extra = table.pack(...)
  module:to("f64")
  x:requires_grad_(true)
  local function f()
    local y = module(x, table.unpack(extra, 1, extra.n))
    return (y * y):sum()
  end
  f():backward()
  for _, p in ipairs(module:parameters()) do
    local got = p.tensor.grad:reshape({ p.tensor:numel() }):totable()
    local expected = numeric_grad(f, p.tensor:detach(), 12)
    for i = 1, #expected do check.near(got[i], expected[i], 1e-6, p.name .. "[" .. i .. "]") end
  end
  local got = x.grad:reshape({ x:numel() }):totable()
  for i, d in ipairs(numeric_grad(f, x:detach(), 12)) do check.near(got[i], d, 1e-6, "x[" .. i .. "]") end
end

local function random(shape) return quern.normal { shape = shape, dtype = "f64" } end

return {
  { "parameters are named by path, in the order of assignment, with roles", function()
    local m = Model(4)
    check.equal(names(m:parameters()), { "items.weight", "position",
      "block.1.norm_in.weight", "block.1.norm_in.bias", "block.1.uvqk.weight", "block.1.out.weight",
      "block.1.out.bias", "block.2.norm_in.weight", "block.2.norm_in.bias", "block.2.uvqk.weight",
      "block.2.out.weight", "block.2.out.bias" })
    local roles = {}
    for i, p in ipairs(m:parameters()) do roles[i] = p.role end
    check.equal({ table.unpack(roles, 1, 7) },
      { "embedding", "position", "norm", "bias", "weight.linear", "weight.linear", "bias" })
    check.equal(m:count(), 7 * 4 + 5 * 4 + 2 * (4 + 4 + 32 + 32 + 4))
    check.equal(m:count("embedding"), 28)
  end },

  { "buffers are in the state but not trained", function()
    local m = Model(4)
    check.yes(m:state().seen)
    for _, p in ipairs(m:parameters()) do check.yes(p.name ~= "seen") end
    local n = 0
    for name in m:named_buffers() do n = n + (name == "seen" and 1 or 0) end
    check.equal(n, 1)
  end },

  { "a tensor in two places is one parameter", function()
    local m = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    m:replace("2.weight", m[1].weight)
    check.equal(names(m:parameters()), { "1.weight", "1.bias", "2.bias" })
  end },

  { "state goes from one model into another", function()
    quern.seed(1)
    local a, b = Model(4), Model(4)
    check.yes(check.show(a.items.weight:totable()) ~= check.show(b.items.weight:totable()))
    b:load_state(a:state())
    for name, t in pairs(a:state()) do check.equal(b:state()[name]:totable(), t:totable(), name) end
    check.yes(b.items.weight ~= a.items.weight or not rawequal(a.items.weight, b.items.weight))
  end },

  { "a state that does not fit is refused by name, and nothing is written", function()
    local m = nn.Linear(2, 3)
    local before = m.weight:totable()
    local state = { weight = quern.zeros({ 3, 2 }), bais = quern.zeros({ 3 }) }
    check.fails(function() m:load_state(state) end, "missing: bias", "unexpected: bais")
    check.fails(function() m:load_state { weight = quern.zeros({ 2, 3 }), bias = quern.zeros({ 3 }) } end,
                "weight is f32[3,2] in the model and f32[2,3] in the state")
    check.equal(m.weight:totable(), before)
    m:load_state({ weight = quern.zeros({ 3, 2 }) }, { strict = false })
    check.equal(m.weight:totable(), { { 0, 0 }, { 0, 0 }, { 0, 0 } })
  end },

  { "train and eval reach all modules; dropout drops in training only", function()
    local m = Model(4)
    check.yes(m.drop.training and m.block[1].training)
    m:eval()
    check.yes(not m.drop.training and not m.block[2].out.training)
    local x = quern.ones({ 1000 })
    check.equal(m.drop(x):sum():item(), 1000.0)
    m:train()
    quern.seed(3)
    local kept = quern.gt(m.drop(x), 0):cast("f32"):sum():item()
    check.yes(kept > 400 and kept < 600, "kept " .. kept)
  end },

  { "a model can change its type and be printed", function()
    local m = Model(4):to("f64")
    for _, p in ipairs(m:parameters()) do check.equal(p.tensor.dtype, "f64") end
    local text = tostring(m)
    for _, part in ipairs { "Model(", "items: Embedding(7 x 4", "2: Block(", "uvqk: Linear(4 -> 8, no bias)",
                            "200 parameters" } do
      check.yes(text:find(part, 1, true), part .. " is missing in\n" .. text)
    end
  end },

  { "wrong arguments are refused by layer and name", function()
    check.fails(function() nn.Linear(0, 3) end, "nn.Linear: inputs")
    check.fails(function() nn.Linear(3, 3, { biass = true }) end, '"biass"', '"bias"')
    check.fails(function() nn.MultiheadAttention(10, { heads = 3 }) end, "10", "3 heads")
    check.fails(function() nn.Dropout(1.5) end, "0..1")
    check.fails(function() nn.parameter(quern.zeros({ 1 }), "wieght.linear") end, "weight.linear")
    check.fails(function() nn.Sequential(1) end, "not a module")
    check.fails(function() nn.Module()(1) end, "no forward")
    check.fails(function() nn.init.make("xaviar_uniform", { 2, 2 }) end, "xavier_uniform")
  end },

  { "initial values have the spread they promise, and follow the seed", function()
    quern.seed(5)
    local w = nn.init.xavier_uniform({ 200, 100 })
    local a = math.sqrt(6 / 300)
    check.yes(w:max():item() <= a and w:min():item() >= -a and w:max():item() > 0.95 * a)
    local function std(t) return math.sqrt(((t - t:mean():item()) * (t - t:mean():item())):mean():item()) end
    check.near(std(nn.init.xavier_normal({ 200, 100 })), math.sqrt(2 / 300), 0.02)
    check.near(std(nn.init.kaiming_normal({ 200, 100 })), math.sqrt(2 / 100), 0.02)
    check.near(std(nn.init.normal({ 20000 }, { std = 0.02 })), 0.02, 0.001)
    local t = nn.init.truncated_normal({ 20000 }, { std = 0.02 })
    check.yes(t:max():item() <= 0.04 + 1e-7 and t:min():item() >= -0.04 - 1e-7 and t:max():item() > 0.036)
    check.near(std(t), 0.02 * 0.8796, 0.001)
    quern.seed(5)
    check.equal(nn.init.xavier_uniform({ 200, 100 }):totable(), w:totable())
  end },

  { "Linear and Embedding do what their formulas say", function()
    local l = nn.Linear(2, 2)
    l:load_state { weight = quern.tensor { { 1, 2 }, { 3, 4 } }, bias = quern.tensor { 10, 20 } }
    check.equal(l(quern.tensor { { 1, 1 } }):totable(), { { 13, 27 } })
    local e = nn.Embedding(4, 2, { padding = 0 })
    check.equal(e.weight:totable()[1], { 0, 0 })
    check.equal(e(quern.tensor({ 0, 2 }, "i64")):totable(), { { 0, 0 }, e.weight:totable()[3] })
    e(quern.tensor({ 0, 2, 2 }, "i64")):sum():backward()
    check.equal(e.weight.grad:totable(), { { 0, 0 }, { 0, 0 }, { 2, 2 }, { 0, 0 } })
  end },

  { "a sparse Embedding has gradients by rows, equal to the dense ones", function()
    local e = nn.Embedding(5, 2, { sparse = true })
    e(quern.tensor({ 3, 1, 3 }, "i64")):sum():backward()
    check.equal(e.weight.grad, nil)
    local ids, rows = e.weight:grad_rows()
    check.equal(ids:totable(), { 1, 3 })
    check.equal(rows:totable(), { { 1, 1 }, { 2, 2 } })
  end },

  { "gradients of the layers agree with differences", function()
    quern.seed(2)
    gradients_agree(nn.Linear(3, 4), random { 5, 3 })
    gradients_agree(Block(4), random { 3, 4 })
    gradients_agree(nn.RMSNorm(4), random { 3, 4 })
    gradients_agree(nn.Conv1d(2, 3, 3, { padding = 1 }), random { 2, 2, 5 })
    gradients_agree(nn.Conv2d(2, 3, 3, { stride = 2, padding = 1 }), random { 1, 2, 5, 5 })
    gradients_agree(nn.ConvTranspose2d(2, 3, 3, { stride = 2 }), random { 1, 2, 3, 3 })
    gradients_agree(nn.BatchNorm1d(3), random { 6, 3 })
    gradients_agree(nn.MultiheadAttention(4, { heads = 2, causal = true }), random { 2, 3, 4 })
    gradients_agree(nn.GRU(2, 3, { layers = 2 }), random { 2, 4, 2 })
    gradients_agree(nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.Linear(4, 2), nn.Tanh()), random { 2, 3 })
  end },

  { "BatchNorm normalises by the batch in training and by what it kept after", function()
    local bn = nn.BatchNorm1d(1, { momentum = 0.5 })
    local y = bn(quern.tensor { { 1 }, { 3 } })
    check.near(y:totable(), { { -1 }, { 1 } }, 1e-4)
    check.near(bn.running_mean:totable(), { 1 }, 1e-6)
    check.near(bn.running_var:totable(), { 1.5 }, 1e-6)             -- (1 + 2) / 2, 2 is unbiased
    bn:eval()
    check.near(bn(quern.tensor { { 1 } }):totable(), { { 0 } }, 1e-6)
    check.fails(function() nn.BatchNorm2d(1)(quern.zeros({ 2, 1 })) end, "[N,C,H,W]")
  end },

  { "attention of a jagged batch equals that of each sequence alone", function()
    quern.seed(4)
    local m = nn.MultiheadAttention(4, { heads = 2, causal = true })
    local a, b = quern.normal { shape = { 3, 4 } }, quern.normal { shape = { 2, 4 } }
    local y = m(quern.jagged(quern.concat { a, b }, quern.tensor({ 0, 3, 5 }, "i64")))
    check.near(y:totable()[1], m(a:reshape({ 1, 3, 4 })):totable()[1], 1e-6)
    check.near(y:totable()[2], m(b:reshape({ 1, 2, 4 })):totable()[1], 1e-6)
  end },

  { "a GRU with lengths ends each sequence where it ends", function()
    quern.seed(6)
    local g = nn.GRU(2, 3)
    local x = quern.normal { shape = { 2, 4, 2 } }
    local _, h = g(x, { lengths = { 4, 2 } })
    local _, short = g(x:narrow(1, 2, 1):narrow(2, 1, 2))
    check.near(h:totable()[1][2], short:totable()[1][1], 1e-6)
    check.fails(function() g(quern.zeros({ 2, 4, 3 })) end, "[B,T,2]")
  end },

  { "pooling, upsampling, flattening keep their shapes", function()
    local x = quern.arange(0, 16, 1, "f32"):reshape({ 1, 1, 4, 4 })
    check.equal(nn.MaxPool2d(2)(x):totable(), { { { { 5, 7 }, { 13, 15 } } } })
    check.equal(nn.AvgPool2d(2)(x):totable(), { { { { 2.5, 4.5 }, { 10.5, 12.5 } } } })
    check.equal(nn.AdaptiveAvgPool2d(1)(x):totable(), { { { { 7.5 } } } })
    check.equal(nn.Upsample(2)(x).shape, { 1, 1, 8, 8 })
    check.equal(nn.Flatten()(x).shape, { 1, 16 })
  end },
}
