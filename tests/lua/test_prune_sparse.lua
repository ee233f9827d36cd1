--- prune's sparse execution: products by rows, tables, compaction, compiled models, masked training.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local nn = quern.nn
local prune, hstu = quern.plugin "prune", quern.plugin "hstu"

local function sparse(shape, dtype, above)
  local w = quern.normal { shape = shape }
  return quern.masked_fill(w, quern.le(w, above or 1), 0):to(dtype or "f32")
end

local function distance(a, b)
  a, b = a:detach():to "f64", b:detach():to "f64"
  return math.sqrt(quern.sum((a - b) * (a - b)):item() / math.max(quern.sum(b * b):item(), 1e-30))
end

-- The kept places of a matrix, counted from 0 in row-major order.
local function places(w)
  local out = {}
  for i, v in ipairs(w:reshape { w:numel() }:totable()) do
    if v ~= 0 then out[#out + 1] = i - 1 end
  end
  return quern.tensor(out, "i64")
end

local function gradients(make, x, w, b, g)
  for _, t in ipairs { x, w, b } do t:requires_grad_(true) end
  local y = make(x, w, b)
  quern.sum(y * g):backward()
  return y
end

local Net = nn.class "Net"
function Net:init(widths)
  self.layer = nn.ModuleList {}
  for i = 1, #widths - 1 do
    self.layer:add(nn.Linear(widths[i], widths[i + 1], { act = i < #widths - 1 and "silu" or "none" }))
  end
end
function Net:forward(x)
  for i = 1, #self.layer do x = self.layer[i](x) end
  return x
end
function Net:loss(batch) return quern.mse(self(batch.x), batch.y) end

return {
  { "csr_linear equals the dense map, forward and backward, for any sizes", function()
    for _, dtype in ipairs { "f32", "f64" } do
      for i, s in ipairs { { 1, 7, 5 }, { 16, 33, 50 }, { 17, 16, 64 }, { 65, 100, 50 }, { 200, 3, 70 } } do
        quern.seed(i)
        local n, O, I = table.unpack(s)
        local w, x = sparse({ O, I }, dtype), quern.normal { shape = { n, I } }:to(dtype)
        local b, g = quern.normal { shape = { O } }:to(dtype), quern.normal { shape = { n, O } }:to(dtype)
        local csr = prune.csr(w)
        for _, act in ipairs { "none", "relu", "silu" } do
          local xs, vs, bs = x:clone(), csr.values:clone(), b:clone()
          local y = gradients(function(a, v, c)
            return quern.csr_linear(a, v, csr.starts, csr.cols, csr.cols16, c, { outputs = O, act = act })
          end, xs, vs, bs, g)
          local xd, wd, bd = x:clone(), w:clone(), b:clone()
          local yd = gradients(function(a, v, c) return quern.linear(a, v, c, { act = act }) end, xd, wd, bd, g)
          local limit = dtype == "f32" and 1e-6 or 1e-14
          check.yes(distance(y, yd) < limit and distance(xs.grad, xd.grad) < limit and
                    distance(bs.grad, bd.grad) < limit)
          local dense = quern.take(wd.grad:reshape { O * I }, places(w))
          check.yes(distance(vs.grad, dense) < limit, "values' gradient")
        end
      end
    end
  end },

  { "csr_linear's gradients agree with finite differences, its bits with any number of workers", function()
    quern.seed(2)
    local w = prune.csr(sparse({ 9, 11 }, "f64"))
    local x, b = quern.normal { shape = { 5, 11 } }, quern.normal { shape = { 9 } }
    quern.gradcheck(function(a, v, c)
      return quern.csr_linear(a, v, w.starts, w.cols, w.cols16, c, { outputs = 9, act = "silu" })
    end, { x, w.values, b })
    local function bits(threads)
      local before = quern.threads()
      quern.threads(threads)
      quern.seed(3)
      local c, xs = prune.csr(sparse { 70, 40 }), quern.normal { shape = { 700, 40 } }:requires_grad_(true)
      local v = c.values:requires_grad_(true)
      local y = quern.csr_linear(xs, v, c.starts, c.cols, c.cols16, nil, { outputs = 70 })
      quern.sum(y * y):backward()
      quern.threads(before)
      return y:detach():bytes() .. xs.grad:bytes() .. v.grad:bytes()
    end
    local one = bits(1)
    for _, n in ipairs { 2, 3, 7 } do check.yes(bits(n) == one, n .. " workers") end
  end },

  { "rows of a sparse table, and users' scores with it", function()
    quern.seed(4)
    local dense = sparse({ 30, 12 }, "f64", 0)
    local t, ids = prune.csr(dense), quern.tensor({ { 3, 0, 3 }, { 29, 7, 3 } }, "i64")
    check.equal(distance(t:rows(ids), quern.embedding(dense, ids)), 0.0)
    local users = quern.normal { shape = { 4, 12 } }:to "f64"
    check.yes(distance(t:linear(users), quern.linear(users, dense)) < 1e-14)
    quern.gradcheck(function(v) return quern.csr_embedding(ids, v, t.starts, t.cols, t.cols16, { dim = 12 }) end,
                    { t.values })
    check.fails(function() t:rows(quern.tensor({ 30 }, "i64")) end, "id 30", "0..29")
  end },

  { "a matrix that is no matrix is refused", function()
    local x, v = quern.tensor { { 1, 2, 3 } }, quern.tensor { 10, 20 }
    local function with(rows, cols, cols16)
      return function() quern.csr_linear(x, v, quern.i64(rows), cols, cols16, nil, { outputs = 2 }) end
    end
    check.fails(with({ 0, 1, 2 }, quern.i32 { 0, 3 }), "column 3", "0..2")
    check.fails(with({ 0, 1, 2 }, quern.i32 { 0, -1 }), "column -1")
    check.fails(with({ 0, 2, 1 }, quern.i32 { 0, 1 }), "rows must rise")
    check.fails(with({ 0, 1, 2 }), "cols or cols16")
    check.fails(function() prune.csr(quern.zeros { 2, 2, 2 }) end, "matrix")
  end },

  { "memory: six bytes for a kept weight", function()
    quern.seed(1)
    local csr = prune.csr(sparse { 100, 200 })
    check.equal(csr:bytes(), 6 * csr.values:numel() + 8 * 101)
  end },

  { "a compiled model gives what the dense one gives, in every form", function()
    quern.seed(6)
    local model = Net { 20, 40, 30, 6 }
    prune.mask("random", model, nil, { density = 0.05 }):bind(model)
    local x = quern.normal { shape = { 33, 20 } }
    local function output() return quern.no_grad(function() return model(x):clone() end) end
    local before = output()
    for _, format in ipairs { "csr", "compact", "dense", "auto" } do
      local compiled = prune.compile(model, { format = format, tokens = 33, turns = 1 })
      check.yes(distance(output(), before) < 1e-6, format)
      if format ~= "auto" then check.equal(compiled.parts[1].format, format) end
      check.yes(tostring(compiled):find("layer.1", 1, true))
      local text, numbers = compiled:bench { run = function(m) m(x) end, rounds = 1 }
      check.yes(text:find("compiled", 1, true) and numbers.ratio > 0)
      compiled:restore()
      check.equal(distance(output(), before), 0.0)
    end
    check.fails(function() prune.compile(model, { format = "coo" }) end, "coo")
    check.fails(function() prune.compile(nn.LayerNorm(4)) end, "no linear maps")
  end },

  { "a compiled HSTU encodes jagged sequences", function()
    quern.seed(7)
    local model = hstu.model { items = 30, dim = 16, blocks = 2, heads = 2, max_len = 10, rab = "pos" }
    prune.mask("erk", model, nil, { density = 0.1 }):bind(model)
    model:eval()
    local batch = { items = quern.jagged({ { 1, 2, 3 }, { 4, 5 }, { 6 } }, "i64"), longest = 3, n_sequences = 3 }
    local function encode() return quern.no_grad(function() return model:encode(batch):values():clone() end) end
    local before = encode()
    for _, format in ipairs { "csr", "compact" } do
      local compiled = prune.compile(model, { format = format, tokens = 6, turns = 1 })
      check.yes(distance(encode(), before) < 1e-6, format)
      compiled:restore()
    end
  end },

  { "a compiled item table gives the same ranks from less memory", function()
    local data = quern.data.sequences { set = "dirichlet", protocol = "standard", max_len = 10,
      dirichlet = { n_items = 60, n_categories = 4, n_records = 40, length = 10 } }
    for _, norm in ipairs { "l2", "none" } do
      quern.seed(9)
      local model = hstu.model { items = data.n_items, dim = 16, blocks = 1, max_len = 10, rab = "pos", norm = norm }
      prune.mask("magnitude", model, nil, { groups = { dense = 0.2, embedding = 0.1 }, min_per_row = 1,
                                           guard = "report" }):bind(model)
      local before = hstu.ranks(model, data, "test")
      local compiled = prune.compile(model, { tables = true, turns = 1, tokens = 20 })
      local part = compiled.parts[1]
      check.equal({ part.name, part.format, model.item.weight }, { "item", "csr", nil })
      check.yes(part.after < 0.5 * part.before)
      check.near(hstu.ranks(model, data, "test"), before, 1e-9, norm)
      compiled:restore()
      check.equal(hstu.ranks(model, data, "test"), before)
    end
  end },

  { "a compiled model can be trained on its pattern", function()
    quern.seed(8)
    local model = Net { 6, 10, 3 }
    prune.mask("random", model, nil, { density = 0.3 }):bind(model)
    prune.compile(model, { format = "csr", tokens = 4, turns = 1 })
    local batch = { x = quern.normal { shape = { 32, 6 } }, y = quern.normal { shape = { 32, 3 } } }
    local opt, first = quern.optim.Adam(model:parameters(), { lr = 0.02 }), nil
    for _ = 1, 40 do
      local loss = model:loss(batch)
      first = first or loss:item()
      loss:backward()
      opt:step()
      opt:zero_grad()
    end
    check.yes(model:loss(batch):item() < 0.9 * first)
  end },

  { "masked training equals training of the smaller network", function()
    local function data()
      quern.seed(12)
      return { x = quern.normal { shape = { 24, 5 } }, y = quern.normal { shape = { 24, 2 } } }
    end
    quern.seed(10)
    local small, big = Net { 5, 4, 2 }, Net { 5, 9, 2 }
    local s, state = small:state(), {}
    local kept = {}
    kept["layer.1.weight"], kept["layer.2.weight"] = quern.zeros({ 9, 5 }, "bool"), quern.zeros({ 2, 9 }, "bool")
    quern.no_grad(function()                    -- units 1, 3, 5, 7 of the big one are those of the small one
      for name, t in pairs(big:state()) do state[name] = quern.zeros(t.shape) end
      state["layer.2.bias"] = s["layer.2.bias"]
      for i = 1, 4 do
        for _, from in ipairs { "layer.1.weight", "layer.1.bias" } do
          state[from]:narrow(1, 2 * i - 1, 1):copy_(s[from]:narrow(1, i, 1))
        end
        state["layer.2.weight"]:narrow(2, 2 * i - 1, 1):copy_(s["layer.2.weight"]:narrow(2, i, 1))
        kept["layer.1.weight"]:narrow(1, 2 * i - 1, 1):fill_(1)
        kept["layer.2.weight"]:narrow(2, 2 * i - 1, 1):fill_(1)
      end
    end)
    big:load_state(state)
    prune.Mask(kept):bind(big)
    for _, model in ipairs { small, big } do
      local opt, batch = quern.optim.Adam(model:parameters(), { lr = 0.01, weight_decay = 0.01 }), data()
      for _ = 1, 50 do
        model:loss(batch):backward()
        opt:clip(0.7)
        opt:step()
        opt:zero_grad()
      end
    end
    for i = 1, 4 do
      for _, name in ipairs { "layer.1.weight", "layer.1.bias" } do
        local a, b = big:state()[name]:narrow(1, 2 * i - 1, 1), small:state()[name]:narrow(1, i, 1)
        check.yes(distance(a, b) < 1e-5, name)
      end
    end
    local left = quern.logical_and(quern.ne(big.layer[1].weight, 0), quern.logical_not(kept["layer.1.weight"]))
    check.equal(quern.sum(left:cast "i64"):item(), 0)
  end },

  { "an interrupted training of a pruned model goes on with its mask and the same bits", function()
    local function train(folder, resume, stop)
      quern.seed(5)
      local model = Net { 6, 12, 3 }
      local rows = { x = quern.normal { shape = { 40, 6 } }, y = quern.normal { shape = { 40, 3 } } }
      local mask = prune.mask("random", model, nil, { density = 0.3, seed = 1 }):bind(model)
      if resume then mask = prune.Mask.full(prune.parameters(model), model):bind(model) end   -- to be replaced
      local function after_step(_, fit) if fit.step == stop then error("stopped here", 0) end end
      quern.fit(model, quern.data.tensors(rows, { batch = 10, seed = 2 }), { epochs = 4, folder = folder,
        resume = resume, progress = false, seed = 4, optim = { name = "adam", lr = 0.01 }, checkpoint_steps = 3,
        hooks = { mask, { after_step = after_step } } })
      return model, mask
    end
    local whole, mask = train(check.folder(), false)
    local folder = check.folder()
    check.fails(function() train(folder, false, 8) end, "stopped here")
    local again, mask2 = train(folder, true)
    check.yes(mask == mask2)
    for name, t in pairs(whole:state()) do check.yes(again:state()[name]:bytes() == t:bytes(), name) end
  end },
}
