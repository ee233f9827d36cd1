--- prune: masks through every optimizer, selection, scorers on worked examples.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local nn = quern.nn
local prune = quern.plugin "prune"

local Net = nn.class "Net"
function Net:init(widths, options)
  self.layer = nn.ModuleList {}
  for i = 1, #widths - 1 do
    local o = { act = i < #widths - 1 and "relu" or "none", bias = options and options.bias,
                init = options and options.init, dtype = options and options.dtype }
    self.layer:add(nn.Linear(widths[i], widths[i + 1], o))
  end
end
function Net:forward(x)
  for i = 1, #self.layer do x = self.layer[i](x) end
  return x
end
function Net:loss(batch) return quern.mse(self(batch.x), batch.y) end

local function noise(shape) return quern.normal { shape = shape } end

local function make(widths, options)
  quern.seed(7)
  local data = { x = noise { 48, widths[1] }, y = noise { 48, widths[#widths] } }
  return Net(widths, options), quern.data.tensors(data, { batch = 16, seed = 3 })
end

local function truths(t) return quern.sum(t:cast "i64"):item() end

local function nonzero_where_pruned(model, mask)
  local n = 0
  for _, p in ipairs(model:parameters()) do
    local kept = mask.kept[p.name]
    if kept then n = n + truths(quern.logical_and(quern.ne(p.tensor, 0), quern.logical_not(kept))) end
  end
  return n
end

return {
  { "pruned weights are exactly 0 after every step of every optimizer", function()
    for _, o in ipairs {
      { name = "sgd", lr = 0.1, momentum = 0.9, weight_decay = 0.01 },
      { name = "sgd", lr = 0.1, momentum = 0.9, nesterov = true, weight_decay = 0.01 },
      { name = "adam", lr = 0.01, weight_decay = 0.01 }, { name = "adamw", lr = 0.01, weight_decay = 0.1 },
      { name = "adam_rows", lr = 0.01 }, { name = "adagrad_rows", lr = 0.1, weight_decay = 0.01 },
    } do
      local model, data = make { 12, 20, 4 }
      local mask = prune.mask("random", model, nil, { density = 0.2 }):bind(model)
      local steps, moved, ema = 0, model.layer[1].weight:detach():clone(), quern.ema(model, { decay = 0.9 })
      quern.fit(model, data, { epochs = 3, optim = o, clip = 0.5, progress = false, hooks = { ema, {
        after_step = function()
          steps = steps + 1
          check.equal(nonzero_where_pruned(model, mask), 0, o.name)
          check.equal(ema:with(model, function() return nonzero_where_pruned(model, mask) end), 0, "average")
        end } } })
      check.equal(steps, 9)
      check.yes(truths(quern.ne(moved, model.layer[1].weight)) > 0, "the kept ones move")
    end
  end },

  { "clipping counts kept gradients alone", function()
    local model = make { 3, 2 }
    local opt = quern.optim.SGD(model:parameters(), { lr = 1.0 })
    prune.Mask({ ["layer.1.weight"] = quern.tensor({ { 1, 0, 0 }, { 0, 0, 0 } }, "bool") }):bind(model, opt)
    quern.sum(model.layer[1].weight * quern.tensor { { 3, 100, 100 }, { 100, 100, 100 } }):backward()
    check.near(opt:clip(1), 3, 1e-6)
  end },

  { "a mask file holds bits and is refused when damaged or of another model", function()
    local model = make { 9, 7, 3 }
    local mask = prune.mask("magnitude", model, nil, { density = 0.3 })
    local path = check.temporary "a.mask"
    mask:save(path)
    check.yes(prune.Mask.load(path, model) == mask)
    local bytes = check.read(path)
    check.write(path, bytes:sub(1, -2))
    check.fails(function() prune.Mask.load(path) end, path)
    check.write(path, bytes:sub(1, -2) .. string.char(bytes:byte(-1) ~ 1))
    check.fails(function() prune.Mask.load(path) end, "damaged", "SHA-256")
    check.write(path, bytes)
    check.fails(function() prune.Mask.load(path, make { 9, 8, 3 }) end, "layer.1.weight", "[8,9]", "[7,9]")
  end },

  { "algebra, intersection over union, densities", function()
    local function of(...) return prune.Mask { a = quern.tensor({ ... }, "bool") } end
    local x, y = of(1, 1, 0, 0), of(1, 0, 1, 0)
    check.yes((x & y) == of(1, 0, 0, 0) and (x | y) == of(1, 1, 1, 0) and (x ~ y) == of(0, 1, 1, 0))
    check.yes(~x == of(0, 0, 1, 1) and x ~= y)
    check.near(x:iou(y), 1 / 3)
    check.equal({ (x & y):within(x), x:within(y) }, { true, false })
    check.equal({ x:count() }, { 2, 4 })
    check.equal(x:densities(), { a = 0.5 })
    check.fails(function() return x & prune.Mask { b = quern.tensor({ 1 }, "bool") } end, "different models")
  end },

  { "topk_select agrees with a sorted list, drops the lowest index of equals, and refuses NaN", function()
    quern.seed(3)
    for _, dtype in ipairs { "f32", "f64" } do
      for _, shape in ipairs { { dtype == "f32" and 270000 or 3000 }, { 7, 91 } } do
        local x = quern.round(noise(shape):to(dtype) * 50)          -- many equal scores
        local alive = quern.gt(noise(shape), -1)
        for _, k in ipairs(shape[1] > 9999 and { 99999 } or { 0, 1, 20, shape[#shape] // 2 }) do
          local kept = quern.topk_select(x, alive, { k = k })
          check.equal(truths(quern.logical_and(kept, quern.logical_not(alive))), 0)
          check.equal(truths(kept), k * x:numel() // shape[#shape])
          local rows, keeps = x:reshape({ -1, shape[#shape] }), kept:reshape({ -1, shape[#shape] })
          local lives = alive:reshape({ -1, shape[#shape] })
          for r = 1, math.min(3, rows.shape[1]) do
            local v, keep = rows:select(1, r):totable(), keeps:select(1, r):totable()
            local live = lives:select(1, r):totable()
            local order = {}
            for i = 1, #v do if live[i] then order[#order + 1] = i end end
            table.sort(order, function(a, b) if v[a] ~= v[b] then return v[a] > v[b] end return a > b end)
            for i = 1, #order do
              if keep[order[i]] ~= (i <= k) then error(("row %d, place %d"):format(r, order[i])) end
            end
          end
        end
      end
    end
    check.equal(quern.topk_select(quern.full({ 4 }, 2.5), nil, { k = 2 }):totable(), { false, false, true, true })
    check.fails(function() quern.topk_select(quern.tensor { 1, 0 / 0 }, nil, { k = 1 }) end, "score 2", "NaN")
    check.fails(function()
      quern.topk_select(quern.tensor { 1, 2 }, quern.tensor({ 1, 0 }, "bool"), { k = 2 })
    end, "k is 2", "1 scores that are alive")
  end },

  { "ERK gives the densities of the specification", function()
    local shapes = { { 300, 784 }, { 100, 300 }, { 10, 100 } }
    local d, eps = prune.erk(shapes, 0.05)
    check.near(eps, 8.350063, 1e-6)
    check.near(d, { 0.038484, 0.111334, 0.918507 }, 1e-5)
    check.near((prune.erk(shapes, 0.10)), { 0.079568, 0.230189, 1.0 }, 1e-5)
  end },

  { "every allocation keeps the exact count, groups have densities of their own", function()
    local Both = nn.class "Both"
    function Both:init() self.table, self.out = nn.Embedding(50, 8), nn.Linear(8, 30) end
    local model = Both()
    for _, alloc in ipairs { "global", "layer", "erk" } do
      local mask = prune.mask("random", model, nil, { groups = { dense = 0.137, embedding = 0.5 }, alloc = alloc,
                                                      min_per_row = 1 })
      check.equal(mask:count "out.weight", prune.count(240, 0.137), alloc)
      check.equal(mask:count "table.weight", 200, alloc)
      local rows = quern.sum(mask.kept["table.weight"]:cast("i64"), { dim = 2 })
      check.yes(truths(quern.eq(rows, 0)) == 0, "each row keeps one")
    end
    check.equal(prune.mask("magnitude", model, nil, { density = 0.1 }).names, { "out.weight" })
    local both = { groups = { dense = 0.2, embedding = 0.3 } }
    check.yes(prune.score("magnitude", model):select(both) == prune.mask("magnitude", model, nil, both))
  end },

  { "SNIP's worked example", function()
    local model = make({ 2, 1 }, { bias = false, dtype = "f64" })
    model:load_state { ["layer.1.weight"] = quern.tensor({ { 0.5, -0.25 } }, "f64") }
    local batch = { x = quern.tensor({ { 1, 2 } }, "f64"), y = quern.tensor({ { 1 } }, "f64") }
    local function half(m, b) return quern.mse(m(b.x), b.y) * 0.5 end
    local s = prune.score("snip", model, { batch }, { loss = half })
    check.near(s.scores["layer.1.weight"], { { 0.5, 0.5 } }, 1e-12)
  end },

  { "SNIP is the derivative by the mask", function()
    local model, data = make({ 6, 5, 2 }, { dtype = "f32" })
    model:to "f64"
    local batch = { x = noise({ 8, 6 }):to "f64", y = noise({ 8, 2 }):to "f64" }
    local scores = prune.score("snip", model, { batch }).scores["layer.1.weight"]
    local w, h = model.layer[1].weight, 1e-5
    local w0 = w:detach():clone()
    for _, at in ipairs { { 1, 1 }, { 3, 2 }, { 5, 6 } } do
      local function loss(m)
        return quern.no_grad(function()
          local t = w0:totable()
          t[at[1]][at[2]] = t[at[1]][at[2]] * m
          w:copy_(quern.tensor(t, "f64"))
          return model:loss(batch):item()
        end)
      end
      local slope = (loss(1 + h) - loss(1 - h)) / (2 * h)
      check.near(scores:totable()[at[1]][at[2]], math.abs(slope), 1e-6)
    end
    check.yes(data ~= nil)
  end },

  { "bad input is named", function()
    local model = make { 5, 4, 2 }
    local function with(o) return function() prune.mask("magnitude", model, nil, o) end end
    check.fails(with { density = 0 }, "density", "(0, 1]")
    check.fails(with { density = 1.5 }, "density", "1.5")
    check.fails(with {}, "density or groups")
    check.fails(with { density = 0.5, alloc = "globl" }, "globl", "global")
    check.fails(with { groups = { danse = 0.5 } }, "danse", "dense")
    check.fails(function() prune.mask("magnitud", model, nil, { density = 0.5 }) end, "magnitud", "magnitude")
    check.fails(function() prune.mask("snip", model, nil, { density = 0.5 }) end, "snip needs data")
    check.fails(function() prune.mask("magnitude", nn.LayerNorm(4), nil, { density = 0.5 }) end, "no weights to prune")
    model.layer[2].weight:detach():zero_()
    check.fails(with { density = 0.2 }, "layer.2.weight has 0 of 8 weights", "min_per_layer")
    local collapsed = prune.mask("magnitude", model, nil, { density = 0.2, guard = "report" })
    check.equal(collapsed:collapsed(), { "layer.2.weight" })
    model.layer[2].weight:detach():fill_(0 / 0)
    check.fails(with { density = 0.2 }, "8 of the scores of layer.2.weight are NaN")
  end },
}
