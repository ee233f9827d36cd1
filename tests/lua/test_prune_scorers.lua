--- prune's scorers on worked examples: flow and SynFlow, steps, second order, variants.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local nn = quern.nn
local prune, hstu = quern.plugin "prune", quern.plugin "hstu"

local Net = nn.class "Net"
function Net:init(widths, act, init, bias)
  self.layer = nn.ModuleList {}
  for i = 1, #widths - 1 do
    self.layer:add(nn.Linear(widths[i], widths[i + 1], { act = i < #widths - 1 and act or "none", bias = bias == true,
                                                        init = init }))
  end
end
function Net:forward(x)
  for i = 1, #self.layer do x = self.layer[i](x) end
  return x
end
function Net:loss(batch) return quern.mse(self(batch.x), batch.y) end

local function weights(model, list)
  local state = {}
  for i, w in ipairs(list) do state[("layer.%d.weight"):format(i)] = quern.tensor(w) end
  return model:load_state(state)
end

local function truths(t) return quern.sum(t:cast "i64"):item() end

local function batches(n, inputs, outputs)
  local out = {}
  local function noise(width) return quern.normal { shape = { 16, width } } end
  for i = 1, n do out[i] = { x = noise(inputs), y = noise(outputs) } end
  return out
end

return {
  { "SynFlow's worked example: R and scores", function()
    local model = weights(Net({ 2, 2, 1 }, "relu"), { { { 1, -2 }, { 3, 4 } }, { { 2, -1 } } })
    local R = prune.flow.run(model, {})
    check.equal(R, 13.0)
    local s, name = nil, "layer.%d.weight"
    prune.register { name = "spy", needs = { target = true }, score = function(job)
      s = prune.scorer "synflow".score(setmetatable({ options = { rounds = 1 } }, { __index = job }))
      return s
    end }
    prune.mask("spy", model, nil, { density = 0.5 })
    check.near(s[name:format(1)], { { 2, 4 }, { 3, 4 } }, 1e-12)
    check.near(s[name:format(2)], { { 6, 7 } }, 1e-12)
  end },

  { "flow is the same through every layer, and the model is left as it was", function()
    quern.seed(2)
    local model = Net({ 30, 40, 20, 10 }, "silu")
    local w = {}
    for _, p in ipairs(prune.parameters(model)) do w[p.name] = quern.abs(p.tensor:detach():to "f64") end
    local R, grads = prune.flow.run(model, w)
    for name, g in pairs(grads) do check.near(quern.sum(w[name] * g):item() / R, 1, 1e-9, name) end
    check.equal({ model.layer[1].act, model.layer[1].weight.dtype }, { "silu", "f32" })
  end },

  { "dead paths do not count, and their budget can be moved", function()
    local model = weights(Net({ 2, 2, 1 }, "relu"), { { { 1, 1 }, { 1, 1 } }, { { 1, 1 } } })
    local mask = prune.Mask({ ["layer.1.weight"] = quern.tensor({ { 1, 1 }, { 1, 0 } }, "bool"),
                              ["layer.2.weight"] = quern.tensor({ { 0, 1 } }, "bool") }, nil, model)
    check.near(mask:density(), 4 / 6)
    check.near(mask:effective(), 2 / 6)
    quern.seed(5)
    local wide = Net({ 20, 30, 5 }, "relu")
    local plain = prune.mask("random", wide, nil, { density = 0.03, seed = 9 })
    local filled = prune.mask("random", wide, nil, { density = 0.03, seed = 9, fill_dead = true })
    check.equal(filled:count(), plain:count())
    check.yes(filled:effective() > plain:effective())
  end },

  { "what is kept at random has nothing to do with the initial weights, under one seed for both", function()
    for _, how in ipairs { "random", "erk" } do
      quern.seed(9)
      local model = Net({ 60, 50, 20 }, "relu", "kaiming_normal")
      local mask = prune.mask(how, model, nil, { density = 0.2, seed = 9 })
      for _, p in ipairs(prune.parameters(model)) do
        local w, kept = p.tensor:detach(), mask.kept[p.name]:cast "f32"
        local n, sd = kept:sum():item(), math.sqrt((w * w):mean():item())
        local mean = (w * kept):sum():item() / n
        check.yes(math.abs(mean) < 4 * sd / math.sqrt(n), ("%s: kept weights of %s: mean %g"):format(how, p.name, mean))
      end
    end
  end },

  { "a comparison prunes the same fresh models, trains each alike, and sums over seeds", function()
    quern.seed(6)
    local rows, told, shares = batches(1, 6, 2)[1], {}, {}
    local data = quern.data.tensors(rows, { batch = 8, seed = 1 })
    local function train(model, how)
      shares[how.name] = how.share
      quern.fit(model, data, { epochs = math.ceil(4 * how.share), optim = { name = "sgd", lr = 0.05 }, seed = how.seed,
                               progress = false, loss = function(m, b) return m:loss(b) end })
    end
    local function run(options)
      local o = { methods = { "magnitude", { name = "spread", how = "snip", select = { alloc = "layer" } } },
        densities = { 0.5, 0.25 }, seeds = { 1, 2 }, data = data, train = train,
        make = function(seed)
          quern.seed(seed)
          return Net({ 6, 8, 2 }, "relu")
        end,
        evaluate = function(m) return { mse = m:loss(rows):item() } end,
        say = function(x, model) told[#told + 1] = { x, model } end }
      for k, v in pairs(options or {}) do o[k] = v end
      return prune.compare(o)
    end
    local c = run()
    check.equal({ #c.records, #told }, { 10, 10 })
    local s = c:summary "mse"
    check.equal({ s.dense[1.0].n, s.spread[0.25].n, s.magnitude[0.5].n }, { 2, 2, 2 })
    check.near(s.dense[1.0].mean, (c.records[1].metrics.mse + c.records[6].metrics.mse) / 2, 1e-12)
    check.near(c:means("mse").spread["mse at 25 %"], s.spread[0.25].mean, 1e-12)
    check.yes(c:table("mse"):find("spread", 1, true))
    check.near(c.records[3].layers, { 0.5, 0.5 }, 1e-12)                       -- of spread, at one half
    check.near(c.records[2].metrics.density, 0.5, 1e-12)
    c:relate("mse", "of dense")
    check.near(c.records[7].metrics["of dense"], c.records[7].metrics.mse / c.records[6].metrics.mse, 1e-12)
    local order = {}
    for method, density, results in c:each() do order[#order + 1] = ("%s %g %d"):format(method, density, #results) end
    check.equal(order, { "dense 1 2", "magnitude 0.5 2", "spread 0.5 2", "magnitude 0.25 2", "spread 0.25 2" })
    for _, t in ipairs(told) do
      local kept, all = 0, 0
      for _, p in ipairs(prune.parameters(t[2])) do
        kept, all = kept + truths(quern.ne(p.tensor, 0)), all + p.tensor:numel()
      end
      check.near(kept / all, t[1].density, 1e-12, t[1].method)
    end
    run { variant = "post", densities = { 0.5 }, seeds = { 1 } }
    check.equal({ shares["dense-1"], shares["magnitude-50-1"] }, { 1, 0.2 })
    check.fails(function() run { methods = { "snup" } } end, "snup", "snip")
    check.fails(function() run { alloc = "erk" } end, "alloc")
  end },

  { "magnitude collapses where SynFlow does not", function()
    quern.seed(11)
    local model = Net({ 784, 200, 200, 100, 10 }, "relu", { "kaiming_normal" })
    local by_size = prune.mask("magnitude", model, nil, { density = 0.02, guard = "report" }):densities()
    check.yes(by_size["layer.1.weight"] < 0.001)
    local flow = prune.mask("synflow", model, nil, { density = 0.02 }):densities()
    for i, d in ipairs { 0.010, 0.023, 0.066, 0.555 } do
      check.yes(math.abs(flow[("layer.%d.weight"):format(i)] - d) < 0.15 * d, "layer " .. i)
    end
    check.equal(#prune.mask("synflow", model, nil, { density = 0.005 }):collapsed(), 0)
  end },

  { "steps follow d^(t/T); FORCE may bring weights back, iterative SNIP never does", function()
    quern.seed(4)
    local model, data, seen = Net({ 10, 12, 3 }, "relu"), batches(2, 10, 3), {}
    for _, how in ipairs { "itersnip", "force" } do
      local scorer = prune.scorer(how)
      seen[how] = {}
      local watched = { name = "watched", needs = scorer.needs, options = scorer.options, score = function(job)
        local pick = job.select
        job.scorer = scorer
        job.select = function(...)
          local mask = pick(...)
          table.insert(seen[how], mask)
          return mask
        end
        return scorer.score(job)
      end }
      table.insert(seen[how], prune.mask(watched, model, data, { density = 0.1, steps = 4 }))
      for t, d in ipairs { 0.5623, 0.3162, 0.1778, 0.1 } do check.near(seen[how][t]:density(), d, 5e-3) end
    end
    for t = 2, 4 do check.yes(seen.itersnip[t]:within(seen.itersnip[t - 1])) end
    local revived = false
    for t = 2, 4 do revived = revived or not seen.force[t]:within(seen.force[t - 1]) end
    check.yes(revived, "FORCE brought none back")
  end },

  { "NPB's greedy choice against all choices", function()
    local random = quern.det.random(5)
    local function value(m, paths, o)
      local I, O, nodes, sum, kernels, ins, outs = #paths, o.outputs, 0, 0, 0, {}, {}
      for i = 1, I do
        for j = 1, O do
          if m[i][j] > 0 then kernels, ins[i], outs[j] = kernels + 1, 1, 1 end
          sum = sum + paths[i] * m[i][j]
        end
      end
      for _ in pairs(ins) do nodes = nodes + 1 end
      for _ in pairs(outs) do nodes = nodes + 1 end
      local sorted, most, left = table.move(paths, 1, I, 1, {}), 0, o.budget
      table.sort(sorted, function(a, b) return a > b end)
      for _, p in ipairs(sorted) do
        local n = math.min(left, O * o.cap)
        most, left = most + p * n, left - n
      end
      return o.alpha * nodes / (I + O) + (1 - o.alpha) * sum / most + o.beta * kernels / o.budget
    end
    for _ = 1, 40 do
      local cap = random:range(1, 2)
      local most = cap == 1 and 4 or 3
      local I, O = random:range(1, most), random:range(1, most)
      local o = { outputs = O, cap = cap, budget = random:range(1, I * O * cap),
                  beta = ({ 0, 0.3, 1 })[random:range(1, 3)], alpha = ({ 0.01, 0.5, 0.9 })[random:range(1, 3)] }
      local paths, best, m = {}, -1, {}
      for i = 1, I do paths[i], m[i] = random:range(1, 6) + 0.0, {} end
      local function all(at, left)
        if at == I * O then
          if left == 0 then best = math.max(best, value(m, paths, o)) end
          return
        end
        for k = 0, math.min(cap, left) do
          m[at // O + 1][at % O + 1] = k
          all(at + 1, left - k)
        end
      end
      all(0, o.budget)
      local got = value(quern.npb_kernels(quern.tensor(paths, "f64"), o):totable(), paths, o)
      check.near(got, best, 1e-12)
    end
    local one = quern.tensor({ 1 }, "f64")
    check.fails(function() quern.npb_kernels(one, { outputs = 2, budget = 3 }) end, "budget is 3")
  end },

  { "NPB and PHEW keep paths: little of what they keep is dead", function()
    quern.seed(13)
    local model = Net({ 40, 30, 20, 5 }, "relu")
    local random = prune.mask("erk", model, nil, { density = 0.05, guard = "report" })
    for _, how in ipairs { "npb", "phew" } do
      local mask = prune.mask(how, model, nil, { density = 0.05 })
      check.equal(mask:count(), random:count(), how)
      check.yes(mask:effective() > random:effective(), how)
    end
    check.near(prune.mask("phew", model, nil, { density = 0.05 }):effective(), 0.05, 2e-3)
    check.fails(function() prune.mask("phew", hstu.model { items = 9, dim = 8 }, nil, { density = 0.5 }) end, "chain")
  end },

  { "GraSP's worked example", function()
    local model = weights(Net({ 2, 1 }, "none"), { { { 0.5, -0.25 } } })
    local batch = { x = quern.tensor { { 1, 2 } }, y = quern.tensor { { 1 } } }
    local function half(m, b) return quern.mse(m(b.x), b.y) * 0.5 end
    local params = prune.parameters(model)
    for _, method in ipairs { "exact", "difference" } do
      local Hg, g, how = prune.hessian(model, params, half, function() return prune.batches { batch } end, nil,
                                       { method = method })
      check.equal(how, method)
      check.near(g["layer.1.weight"], { { -1, -2 } }, 1e-6)
      check.near(Hg["layer.1.weight"], { { -5, -10 } }, 1e-4)
    end
    local mask = prune.mask("grasp", model, { batch }, { density = 0.5, loss = half, temperature = 1 })
    check.equal(mask.kept["layer.1.weight"]:totable(), { { false, true } })
  end },

  { "GraSP softens the outputs by its temperature, where the loss calls the model", function()
    quern.seed(3)
    local model, x = Net({ 6, 7, 4 }, "relu"), quern.normal { shape = { 12, 6 } }
    local batch = { x = x, y = quern.remainder(quern.arange(0, 12, 1, "i64"), 4) }
    local function by(T) return function(m, b) return quern.cross_entropy(m(b.x) / T, b.y) end end
    local function scores(loss, o)
      o.loss = loss
      return prune.score("grasp", model, { batch }, o).scores["layer.1.weight"]
    end
    local function equal(a, b) check.equal(a:totable(), b:totable()) end
    equal(scores(by(1), {}), scores(by(200), { temperature = 1 }))
    equal(scores(by(1), { temperature = 7 }), scores(by(7), { temperature = 1 }))
    local function around(m, b) return quern.cross_entropy(m:forward(b.x), b.y) end
    check.fails(function() scores(around, { temperature = 200 }) end, "does not call the model")
    equal(scores(around, {}), scores(by(1), { temperature = 1 }))
    check.fails(function() scores(by(1), { temperature = 0 }) end, "must be positive")
  end },

  { "the exact Hessian product agrees with central differences", function()
    quern.seed(6)
    local model, data = Net({ 8, 9, 4 }, "silu", nil, true), batches(3, 8, 4)
    model:to "f64"
    for _, b in ipairs(data) do b.x, b.y = b.x:to "f64", b.y:to "f64" end
    local function all() return prune.batches(data) end
    local params = prune.parameters(model)
    local exact, v = prune.hessian(model, params, model.loss, all, nil, { method = "exact" })
    local near = prune.hessian(model, params, model.loss, all, v, { method = "difference", epsilon = 1e-4 })
    for name, h in pairs(exact) do
      check.near(quern.sum(quern.abs(h - near[name])):item() / quern.sum(quern.abs(h)):item(), 0, 1e-6, name)
    end
  end },

  { "where an op has no second order, exact is refused and auto takes differences", function()
    quern.seed(9)
    local model = hstu.model { items = 20, dim = 8, blocks = 1, max_len = 6, rab = "pos" }
    local batch = { items = quern.jagged({ { 1, 2, 3 }, { 4, 5 } }, "i64"),
                    targets = quern.jagged({ { 2, 3, 4 }, { 5, 6 } }, "i64"), longest = 3, n_sequences = 2 }
    local function all() return prune.batches { batch } end
    local params, loss = prune.parameters(model), hstu.softmax { negatives = "full" }
    model:eval()
    check.fails(function() prune.hessian(model, params, loss, all, nil, { method = "exact" }) end, "second-order")
    check.equal(select(3, prune.hessian(model, params, loss, all)), "difference")
  end },

  { "scorers leave the model as it was", function()
    quern.seed(8)
    local model, data = Net({ 10, 14, 6 }, "relu", nil, true), batches(3, 10, 6)
    local before = {}
    for name, t in pairs(model:state()) do before[name] = t:detach():clone() end
    for _, how in ipairs { "random", "erk", "magnitude", "snip", "itersnip", "force", "grasp", "synflow", "prospr1",
                           "npb", "phew" } do
      local mask = prune.mask(how, model, data, { density = 0.2, guard = "report" })
      check.equal(mask:count(), prune.count(10 * 14 + 14 * 6, 0.2), how)
      for name, t in pairs(model:state()) do
        check.equal(truths(quern.ne(t, before[name])), 0, how .. " " .. name)
      end
      check.yes(model.training, how)
      for _, p in ipairs(model:parameters()) do check.yes(p.tensor.grad == nil, how) end
    end
  end },

  { "a scorer from elsewhere, by name or as an object", function()
    local mine = prune.register { name = "backwards", summary = "small first", score = function(job)
      local out = job:magnitudes()
      for name, s in pairs(out) do out[name] = -s end
      return out
    end }
    local model = Net({ 6, 5 }, "none")
    local a = prune.mask("backwards", model, nil, { density = 0.4 })
    check.yes(a == prune.mask(mine, model, nil, { density = 0.4 }))
    check.equal((a & prune.mask("magnitude", model, nil, { density = 0.4 })):count(), 0)
  end },

  { "a scorer written in C stands beside the others", function()
    quern.seed(14)
    local model, data = Net({ 12, 10, 4 }, "silu"), batches(3, 12, 4)
    local names = {}
    for _, name in ipairs(prune.scorers()) do names[name] = true end
    check.yes(names.taylor and names.snip)
    local mask = prune.mask("taylor", model, data, { density = 0.25 })
    check.equal(mask:count(), prune.count(160, 0.25))
    check.yes(mask:iou(prune.mask("snip", model, data, { density = 0.25 })) > 0.95)
    check.fails(function() prune.mask("taylor", model, nil, { density = 0.25 }) end, "taylor needs data")
  end },

  { "HSTU and SASRec: groups by role, flow, variants", function()
    local data = quern.data.sequences { set = "dirichlet", protocol = "standard", max_len = 12,
      dirichlet = { n_items = 40, n_categories = 4, n_records = 60, length = 12 } }
    local loss = hstu.softmax { negatives = "full" }
    for _, kind in ipairs { "model", "sasrec" } do
      local function make()
        quern.seed(3)
        return hstu[kind](kind == "model" and { items = data.n_items, dim = 8, blocks = 2, max_len = 12, rab = "pos" }
          or { items = data.n_items, dim = 8, blocks = 2, max_len = 12 })
      end
      local steps = 0
      local function train(model, share)
        quern.fit(model, data, { batch = 16, bucket = false, epochs = math.ceil(2 * share), loss = loss, seed = 1,
          progress = false, hooks = { { after_step = function() steps = steps + 1 end } } })
      end
      for _, variant in ipairs { "pai", "post", "lth" } do
        local model, mask = prune.variant { variant = variant, how = variant == "pai" and "snip" or "magnitude",
          make = make, train = train, data = data, loss = loss, rounds = 2,
          select = { groups = { dense = 0.3, embedding = 0.5 }, min_per_row = 1, guard = "report" } }
        for _, p in ipairs(model:parameters()) do
          local kept = mask.kept[p.name]
          check.equal(kept ~= nil, p.role == "weight.linear" or p.role == "embedding", p.name)
          if kept then
            check.equal(truths(quern.logical_and(quern.ne(p.tensor, 0), quern.logical_not(kept))), 0, p.name)
          end
        end
        check.near(mask:density(), 0.3, 0.2)
        check.yes(mask:effective() > 0 and mask:effective() <= mask:density())
      end
      check.yes(steps > 0)
    end
  end },
}
