--- Optimizers against their formulas in plain Lua; schedules; clipping; state; masks.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local optim, schedule = quern.optim, quern.schedule

-- One leaf whose loss is sum(c w), so that its gradient is c.
local function leaf(values) return quern.tensor(values, "f64"):requires_grad_(true) end
local function pull(w, c) (w * quern.tensor(c, "f64")):sum():backward() end

-- Steps of an optimizer on w with gradients from a list; the values after each.
local function path(make, w0, grads)
  local w = leaf(w0)
  local opt, out = make({ w }), {}
  for i, g in ipairs(grads) do
    opt:zero_grad()
    pull(w, g)
    opt:step()
    out[i] = w:detach():totable()
  end
  return out
end

local GRADS = { { 0.5, -1.0 }, { 0.25, 2.0 }, { -1.0, 0.125 }, { 0.0, 0.5 } }

local function adam_path(w, o, decoupled)
  local m, v, out = { 0, 0 }, { 0, 0 }, {}
  for t, g0 in ipairs(GRADS) do
    out[t] = {}
    for i = 1, 2 do
      local g = g0[i]
      if decoupled then w[i] = w[i] * (1 - o.lr * o.wd) else g = g + o.wd * w[i] end
      m[i] = o.b1 * m[i] + (1 - o.b1) * g
      v[i] = o.b2 * v[i] + (1 - o.b2) * g * g
      w[i] = w[i] - o.lr * (m[i] / (1 - o.b1 ^ t)) / (math.sqrt(v[i] / (1 - o.b2 ^ t)) + o.eps)
      out[t][i] = w[i]
    end
  end
  return out
end

local function sgd_path(w, lr, mu, nesterov, wd)
  local m, out = { 0, 0 }, {}
  for t, g0 in ipairs(GRADS) do
    out[t] = {}
    for i = 1, 2 do
      local g = g0[i] + wd * w[i]
      m[i] = mu * m[i] + g
      w[i] = w[i] - lr * (nesterov and g + mu * m[i] or m[i])
      out[t][i] = w[i]
    end
  end
  return out
end

return {
  { "SGD, momentum, Nesterov, weight decay follow their formulas", function()
    for _, c in ipairs { { 0, false, 0 }, { 0.9, false, 0 }, { 0.9, true, 0.1 } } do
      local got = path(function(p)
        return optim.SGD(p, { lr = 0.1, momentum = c[1], nesterov = c[2], weight_decay = c[3] })
      end, { 1, -2 }, GRADS)
      check.near(got, sgd_path({ 1, -2 }, 0.1, c[1], c[2], c[3]), 1e-12)
    end
  end },

  { "Adam and AdamW follow their formulas", function()
    local o = { lr = 0.05, b1 = 0.9, b2 = 0.98, eps = 1e-8, wd = 0.1 }
    local function make(kind)
      return function(p) return kind(p, { lr = 0.05, betas = { 0.9, 0.98 }, weight_decay = 0.1 }) end
    end
    check.near(path(make(optim.Adam), { 1, -2 }, GRADS), adam_path({ 1, -2 }, o, false), 1e-9)
    check.near(path(make(optim.AdamW), { 1, -2 }, GRADS), adam_path({ 1, -2 }, o, true), 1e-9)
  end },

  { "lazy Adam moves the rows that occur and leaves the others", function()
    local e = quern.nn.Embedding(4, 2, { sparse = true, dtype = "f64" })
    local before = e.weight:detach():totable()
    local opt = optim.AdamRows(e:parameters(), { lr = 0.1 })
    e(quern.tensor({ 1, 3, 1 }, "i64")):sum():backward()
    opt:step()
    local after = e.weight:detach():totable()
    check.equal(after[1], before[1])
    check.equal(after[3], before[3])
    for _, r in ipairs { 2, 4 } do                         -- the first step of Adam is lr sign(g)
      check.near(after[r], { before[r][1] - 0.1, before[r][2] - 0.1 }, 1e-6)
    end
  end },

  { "AdamW on a table with rows equals the dense update", function()
    local function train(sparse)
      quern.seed(8)
      local e = quern.nn.Embedding(5, 3, { sparse = sparse, dtype = "f64" })
      local opt = optim.AdamW(e:parameters(), { lr = 0.1, weight_decay = 0.01 })
      for _, ids in ipairs { { 1, 2 }, { 2, 2, 4 }, { 0 } } do
        opt:zero_grad()
        local y = e(quern.tensor(ids, "i64"))
        quern.sum(y * y):backward()
        opt:step()
      end
      return e.weight:detach():totable()
    end
    check.near(train(true), train(false), 1e-12)
  end },

  { "row-wise Adagrad keeps one sum per row", function()
    local e = quern.nn.Embedding(3, 2, { sparse = true, dtype = "f64" })
    local w = e.weight:detach():totable()
    local opt = optim.AdagradRows(e:parameters(), { lr = 0.1, eps = 1e-10 })
    local h = 0
    for _ = 1, 3 do
      opt:zero_grad()
      local y = e(quern.tensor({ 1 }, "i64"))
      quern.sum(y * quern.tensor({ { 1, 3 } }, "f64")):backward()
      opt:step()
      h = h + (1 + 9) / 2
      w[2] = { w[2][1] - 0.1 * 1 / math.sqrt(h), w[2][2] - 0.1 * 3 / math.sqrt(h) }
    end
    check.near(e.weight:detach():totable(), w, 1e-9)
    check.equal(opt:state()["weight:h"].shape, { 3 })
  end },

  { "groups have their own rates; unknown options and doubles are refused", function()
    local a, b = leaf { 1 }, leaf { 1 }
    local opt = optim.SGD({ { params = { a } }, { params = { b }, lr = 0.5 } }, { lr = 0.1 })
    pull(a, { 1 })
    pull(b, { 1 })
    opt:step()
    check.near({ a:item(), b:item() }, { 0.9, 0.5 }, 1e-12)
    check.fails(function() optim.SGD({ a, a }) end, "given twice")
    check.fails(function() optim.SGD({ a }, { learning_rate = 1 }) end, "learning_rate")
    check.fails(function() optim.SGD({ a }, { lr = -1 }) end, "lr", "non-negative")
    check.fails(function() optim.Adam({ a }, { betas = { 0.9, 1 } }) end, "betas")
    check.fails(function() optim.make({ a }, { name = "adamv" }) end, '"adamv"', "did you mean")
    check.fails(function() optim.SGD({}) end, "no parameters")
  end },

  { "clipping limits the common norm of dense and row gradients", function()
    local w = leaf { 0, 0 }
    local e = quern.nn.Embedding(3, 1, { sparse = true, dtype = "f64", init = "zeros" })
    local opt = optim.SGD({ { params = { w } }, { params = e } }, { lr = 1.0 })
    pull(w, { 3, 0 })
    quern.sum(e(quern.tensor({ 1 }, "i64")) * 4):backward()
    check.near(opt:clip(1.0), 5.0, 1e-9)
    opt:step()
    check.near(w:detach():totable(), { -0.6, 0 }, 1e-5)
    check.near(e.weight:detach():totable(), { { 0 }, { -0.8 }, { 0 } }, 1e-5)
    opt:zero_grad()
    pull(w, { 1, 0 })
    opt:step()
    check.near(w:detach():totable(), { -1.6, 0 }, 1e-5)   -- the next step is free again
  end },

  { "masked values are zero and stay zero", function()
    local w = leaf { 1, 2, 3 }
    local opt = optim.AdamW({ w }, { lr = 0.1 })
    pull(w, { 1, 1, 1 })
    opt:step()
    opt:set_mask("param1", quern.tensor({ 1, 0, 1 }, "u8"))
    for _ = 1, 20 do
      opt:zero_grad()
      pull(w, { 1, 1, 1 })
      opt:step()
      check.equal(w:detach():totable()[2], 0.0)
    end
    check.yes(w:detach():totable()[1] < 0)
    check.fails(function() opt:set_mask("param2", nil) end, "param2")
  end },

  { "a module's mask counts for an optimizer made before it was set, and no longer once it is taken away", function()
    local line = quern.nn.Linear(3, 1, { bias = false })
    local opt = optim.SGD(line:parameters(), { lr = 0.1, momentum = 0.9 })
    local function steps()
      for _ = 1, 3 do
        opt:zero_grad()
        quern.sum(line(quern.ones { 2, 3 })):backward()
        opt:step()
      end
      return line.weight:detach():totable()[1]
    end
    line:set_mask("weight", quern.tensor({ { 1, 0, 1 } }, "bool"))
    local w = steps()
    check.equal({ w[2], w[1] ~= 0 }, { 0.0, true })
    check.yes(opt:state()["weight:mask"])
    line:set_mask("weight", nil)
    check.yes(steps()[2] < 0)
    check.equal(opt:state()["weight:mask"], nil)
  end },

  { "state saved in the middle continues with the same bits", function()
    local function run(cut)
      local w = leaf { 1, -2 }
      local opt = optim.AdamW({ w }, { lr = 0.05 })
      for i, g in ipairs(GRADS) do
        opt:zero_grad()
        pull(w, g)
        opt:step()
        if i == cut then
          local path_ = check.folder() .. "/s.safetensors"
          local tensors, values = opt:state()
          quern.save(path_, tensors)
          opt = optim.AdamW({ w }, { lr = 0.05 })
          opt:load_state((quern.load(path_)), values)
        end
      end
      return w:detach():totable()
    end
    check.equal(run(2), run(nil))
    local opt = optim.AdamW({ leaf { 1 } })
    check.fails(function() opt:load_state({}, { kind = "SGD" }) end, "SGD", "AdamW")
    check.fails(function() opt:load_state({ ["x:m"] = quern.zeros({ 1 }) }, { kind = "AdamW" }) end, "x:m")
  end },

  { "a parameter in bf16 has a master in f32, so that steps below its last place are not lost", function()
    local function trained(master, moments)
      local w = quern.ones({ 256 }, "bf16"):requires_grad_(true)
      local opt = optim.SGD({ w }, { lr = 1e-4, momentum = 0.5, master = master, moments = moments })
      for i = 1, 500 do
        quern.sum(w * 1.0):backward()             -- 2e-4 a step; half a unit of bf16 below 1 is 2e-3
        opt:step()
        opt:zero_grad()
        check.equal(opt.t, i)
      end
      return w:detach():cast("f32"), (opt:state())
    end
    local w, state = trained(true)
    check.near(w:totable()[1], 0.9002, 2e-3)
    check.near(state["param1:master"]:totable()[1], 0.9002, 1e-4)
    check.equal({ state["param1:master"].dtype, state["param1:m"].dtype }, { "f32", "f32" })
    check.equal(select(2, trained(true, "bf16"))["param1:m"].dtype, "bf16")
    local without, none = trained(false)
    check.equal(none["param1:master"], nil)
    check.near(without:mean():item(), 0.9002, 2e-3)             -- rounded at random: right on average
    check.yes(without:totable()[1] ~= without:totable()[2] or without:totable()[2] ~= without:totable()[3])
    check.fails(function() trained("yes") end, "master must be true or false")
  end },

  { "a master follows what others write into the parameter: masks, loaded values", function()
    local w = quern.tensor({ 1, 2, 3, 4 }, "f32"):cast("bf16"):requires_grad_(true)
    local opt = optim.AdamW({ w }, { lr = 1e-3, weight_decay = 0 })
    local function step()
      quern.sum(w * 1.0):backward()
      opt:step()
      opt:zero_grad()
    end
    step()
    opt:set_mask("param1", quern.tensor({ true, false, true, true }, "bool"))
    quern.no_grad(function() w:narrow(1, 4, 1):fill_(8) end)
    for _ = 1, 3 do step() end
    local master = opt:state()["param1:master"]:totable()
    check.equal(master[2], 0.0)
    check.near({ master[1], master[3], master[4] }, { 0.996, 2.996, 7.997 }, 1e-4)
    check.equal(w:detach():cast("f32"):totable(), quern.tensor(master):cast("bf16"):cast("f32"):totable())
    check.fails(function() quern.follow_bf16_(quern.ones(4), quern.ones(4)) end, "master must be f32 and w bf16")
    local odd = quern.follow_bf16_(quern.tensor { 0 / 0, math.huge, 1.001, 5 },
                                   quern.tensor({ 0 / 0, math.huge, 1, 7 }):cast("bf16")):totable()
    check.yes(odd[1] ~= odd[1])
    check.near({ odd[3], odd[4] }, { 1.001, 7 }, 1e-6)
    check.equal(odd[2], math.huge)
  end },

  { "gradients by rows of a table in bf16 are those of a table in f32", function()
    local function trained(dtype, name)
      quern.seed(3)
      local w = quern.normal({ 9, 5 }):cast("bf16"):cast(dtype):requires_grad_(true)
      local opt = optim.make({ w }, { name = name, lr = 0.01 })
      for i = 1, 3 do
        local ids = quern.tensor({ i, 2, 8, 2 }, "i64")
        local y = quern.embedding(w, ids, { sparse = true })
        quern.sum(y * y):backward()
        quern.sum(quern.embedding(w, ids, { sparse = true })):backward()   -- added to what is there
        opt:step()
        opt:zero_grad()
      end
      return (opt:state())["param1:master"] or w:detach()
    end
    for _, name in ipairs { "adam_rows", "adagrad_rows", "adamw" } do
      check.near(trained("bf16", name):totable(), trained("f32", name):totable(), 2e-3, name)
    end
  end },

  { "schedules have the shapes of their formulas", function()
    check.equal(schedule.constant():at(99), 1.0)
    local w = schedule.warmup { warmup = 4 }
    check.near({ w:at(0), w:at(3), w:at(9) }, { 0.25, 1, 1 }, 1e-12)
    local c = schedule.cosine { steps = 10, warmup = 2, low = 0.1 }
    check.near({ c:at(0), c:at(2), c:at(6), c:at(10), c:at(50) }, { 0.5, 1, 0.55, 0.1, 0.1 }, 1e-12)
    local s = schedule.step { every = 3, gamma = 0.5 }
    check.near({ s:at(0), s:at(2), s:at(3), s:at(8) }, { 1, 1, 0.5, 0.25 }, 1e-12)
    check.fails(function() schedule.make("cosin") end, "cosine")
    check.fails(function() schedule.cosine { steps = 2, warmup = 2 } end, "steps")
  end },

  { "plateau lowers the rate after patience runs out, and its state carries over", function()
    local p = schedule.plateau { patience = 1, gamma = 0.5 }
    for _, v in ipairs { 0.1, 0.2, 0.2 } do p:observe(v) end
    check.equal(p:at(0), 1.0)
    p:observe(0.15)
    check.equal(p:at(0), 0.5)
    local q = schedule.plateau { patience = 1, gamma = 0.5 }
    q:load_state(quern.json.decode(quern.json.encode(p:state())))
    check.equal(q:at(0), 0.5)
    check.fails(function() q:load_state { kind = "cosine" } end, "cosine")
  end },
}
