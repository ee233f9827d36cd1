--- Backbones behind one interface: every one with every loss, switches, side information, storage.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local help = require "lrm_help"
local backbones = quern.plugin "backbones"
local hstu = quern.plugin "hstu"

local tests = {}
local function test(promise, fn) tests[#tests + 1] = { promise, fn } end

local function make(name, options)
  quern.seed(1)
  local o = { name = name, items = 30, dim = 16, blocks = 2, heads = 2, max_len = 24, dropout = 0 }
  for k, v in pairs(options or {}) do o[k] = v end
  return backbones.make(o)
end

-- ---- One interface ----------------------------------------------------------------------------

test("every backbone gives finite losses and a gradient to each parameter, with every loss", function()
  local rows, times = help.random_rows(3, 3, 7, 30)
  for _, name in ipairs(backbones.names) do
    for _, loss in ipairs { "full", "sampled", "shared", "in_batch", "bce", "gbce" } do
      local model = make(name)
      if model.norm == "none" and loss == "in_batch" then goto continue end
      local value = backbones.loss { name = loss, negatives = 5 }(model, help.batch_of(rows, times))
      check.yes(value:item() == value:item() and value:item() > 0, name .. " " .. loss)
      value:backward()
      for parameter, t in model:named_parameters() do
        check.yes(t.grad, ("%s %s: %s has no gradient"):format(name, loss, parameter))
      end
      ::continue::
    end
  end
end)

test("the backbone alone turns jagged rows into jagged rows of the same shape", function()
  local rows, times = help.random_rows(4, 3, 7, 30)
  for _, name in ipairs(backbones.names) do
    local model, batch = make(name), help.batch_of(rows, times)
    local x = model:embed(batch)
    local y = model:transform(x, model:context(batch))
    check.equal({ y.shape, y:offsets():totable() }, { x.shape, batch.items:offsets():totable() }, name)
  end
end)

test("a later item leaves earlier positions with the same bits, in every backbone", function()
  for _, name in ipairs(backbones.names) do
    local rows, times = help.random_rows(5, 1, 20, 30)
    local model = make(name)
    model:eval()
    local before = model:encode(help.batch_of(rows, times))
    rows[1][12] = rows[1][12] % 30 + 1
    local after = model:encode(help.batch_of(rows, times))
    check.equal(help.rows_of(after, 1, 11), help.rows_of(before, 1, 11), name)
    check.yes(check.show(help.rows_of(after, 12, 20)) ~= check.show(help.rows_of(before, 12, 20)), name)
  end
end)

test("every backbone learns a cycle without fault in 200 steps", function()
  local batch = help.cycle()
  for _, name in ipairs(backbones.names) do
    local model = make(name, { items = 10, rab = (name == "hstu" or name:match "^sasrec") and "pos" or nil })
    local function faultless(_, step) return step % 10 == 0 and help.hits(model, batch) == 1 end
    local _, steps = help.train(model, backbones.loss { name = "full" }, batch, 200, faultless)
    check.yes(steps < 200, ("%s: %.2f after %d steps"):format(name, help.hits(model, batch), steps))
  end
end)

test("parameters are named and tagged alike, so that pruners find the matrices of any backbone", function()
  for _, name in ipairs(backbones.names) do
    local linear = 0
    for parameter, _, role in make(name):named_parameters() do
      if role == "weight.linear" then
        check.yes(parameter:match "^block%.%d+%.", name .. ": " .. parameter)
        linear = linear + 1
      end
    end
    check.yes(linear >= 4, name)
  end
end)

-- ---- Switches -----------------------------------------------------------------------------------

test("grouped key heads equal full ones whose maps repeat", function()
  local rows = help.random_rows(6, 2, 9, 30)
  local few, full = make("llama", { heads = 4, kv_heads = 2 }), make("llama", { heads = 4 })
  local state = {}
  for name, t in pairs(few:state()) do
    if name:match "key%.weight$" or name:match "value%.weight$" then    -- heads 1, 1, 2, 2
      state[name] = quern.concat { t:narrow(1, 1, 4), t:narrow(1, 1, 4), t:narrow(1, 5, 4), t:narrow(1, 5, 4) }
    else state[name] = t end
  end
  full:load_state(state)
  local batch = help.batch_of(rows)
  check.near(help.rows_of(few:encode(batch), 1, 18), help.rows_of(full:encode(batch), 1, 18), 1e-6)
end)

test("each switch changes what is computed", function()
  local rows, times = help.random_rows(8, 2, 9, 30)
  local seen = {}
  for _, o in ipairs { { "hstu" }, { "hstu", rope = true }, { "hstu", residual = "sasrec" },
                       { "hstu", residual = "post" }, { "hstu-product" }, { "hstu-product", places = "start" },
                       { "hstu-product", norm_heads = true }, { "hstu-rope" }, { "sasrec" }, { "sasrec", rab = "pos" },
                       { "sasrec", rab = "pos+time" }, { "sasrec", residual = "llama" },
                       { "sasrec", residual = "hstu" }, { "llama" }, { "llama", hidden = 8 }, { "gpt" } } do
    local name = table.remove(o, 1)
    local model = make(name, o)
    model:eval()
    local text = check.show(help.rows_of(model:encode(help.batch_of(rows, times)), 18, 18))
    check.yes(not seen[text] and not text:find "nan", name .. ": " .. check.show(o))
    seen[text] = true
  end
end)

test("rotary positions make scores depend on distances alone", function()
  for _, name in ipairs { "llama", "hstu-rope" } do
    local model, offset = make(name), { 0, 5 }
    model:eval()
    local q = quern.jagged(quern.normal { shape = { 5, 2, 8 } }, offset)
    local function last(shift)
      local r = quern.rope(q, { offset = shift })
      return quern.hstu_attention(r, r, q, { n = 30, score = "softmax" }):values()
    end
    check.near(last(0):totable(), last(11):totable(), 1e-5, name)
  end
end)

-- ---- Losses ---------------------------------------------------------------------------------------

test("gBCE weighs the positive by beta = a (t (1 - 1/a) + 1/a), which is 1 for t = 0", function()
  local model = make "sasrec-original"
  local rows = help.random_rows(9, 2, 9, 30)
  local function value(loss)
    quern.step(7)
    return loss(model, help.batch_of(rows)):item()
  end
  local a = 6 / 29
  check.near(hstu.gbce { negatives = 6, t = 0.75 }:beta(model), a * (0.75 * (1 - 1 / a) + 1 / a), 1e-12)
  check.near(value(hstu.gbce { negatives = 6, t = 0 }), value(hstu.bce { negatives = 6 }), 1e-6)
  check.yes(value(hstu.gbce { negatives = 6, t = 1 }) < value(hstu.bce { negatives = 6 }))
end)

-- ---- What stands beside the items -------------------------------------------------------------------

test("attributes, behaviours and ratings enter the input, and have gradients", function()
  local rows = help.random_rows(10, 2, 5, 30)
  local function lists(values)
    return { { table.unpack(values, 1, 5) }, { table.unpack(values, 6, 10) } }
  end
  local more = { behaviours = { lists { 0, 1, 2, 0, 1, 2, 2, 1, 0, 0 }, "i64" },
                 ratings = { lists { 1., 5., 3., 3., 2., 4., 4., 1., 2., 5. }, "f32" } }
  local pools = { {} }
  for v = 1, 30 do pools[v + 1] = v % 3 == 0 and {} or { v % 4 + 1, v % 3 + 1 } end
  for _, o in ipairs { { attributes = { lists = quern.jagged(pools, "i64"), n = 4 } }, { behaviours = 3 },
                       { ratings = { levels = 5, dim = 8 } } } do
    o.rab = "pos"
    local model = make("hstu", o)
    local batch = help.batch_of(rows, nil, more)
    check.equal(model:encode(batch).shape, { 10, 16 })
    backbones.loss { name = "full" }(model, batch):backward()
    local side = 0
    for name, t in model:named_parameters() do
      if name:match "^side%." then
        side = side + 1
        check.yes(t.grad:abs():sum():item() > 0, name)
      end
    end
    check.equal(side, 1)
    if not o.attributes then check.fails(function() model:encode(help.batch_of(rows)) end, "the data have none") end
  end
end)

test("a table in bf16 takes half the bytes and still learns", function()
  local batch = help.cycle()
  local model = make("hstu", { items = 10, rab = "pos", storage = "bf16" })
  check.equal(model.item.weight.dtype, "bf16")
  local before = quern.cast(model.item.weight, "f32"):clone()
  local function faultless(_, step) return step % 10 == 0 and help.hits(model, batch) == 1 end
  local _, steps = help.train(model, backbones.loss { name = "full" }, batch, 200, faultless)
  check.yes(steps < 200, ("%.2f"):format(help.hits(model, batch)))
  check.yes((quern.cast(model.item.weight, "f32") - before):abs():max():item() > 0.01)
  check.equal(model.item.weight.dtype, "bf16")
end)

-- ---- Settings of recipes ----------------------------------------------------------------------------

-- The model and the loss that a recipe with these settings would have.
local function from_settings(sets)
  local recipe = quern.recipe { name = "settings", params = { model = backbones.model_params { dim = 8 },
    loss = backbones.loss_params(), train = backbones.train_params { epochs = 1, batch = 4 } }, sizes = {},
    main = function() end }
  local cfg = recipe:resolve(nil, sets)
  return backbones.from(cfg.model, { items = 30, max_len = 24, rab = "pos" }), cfg
end

test("settings alone reach every switch of every backbone, and every loss", function()
  local rows, times = help.random_rows(3, 3, 7, 30)
  for _, case in ipairs {
    { "hstu", "score=softmax,gate=false", function(m) return m.block[1].settings.score == "softmax" and m.rab.pos end },
    { "hstu", "rab=none rope=true", function(m) return m.block[1].rope and not m.rab.pos end },
    { "hstu", "rab=pos+time,time_query=current", function(m) return m.rab.time and m.time_query == "current" end },
    { "hstu", "sparse=true", function(m) return m.sparse end },
    { "hstu-product", "norm_heads=true,places=start", function(m) return not m.from_end end },
    { "sasrec", "rab=pos,residual=llama,hidden=12", function(m)
      return m.block[1].bp and m.block[1].residual == "llama"
    end },
    { "llama", "kv_heads=1", function(m) return m.block[1].attention.kv_heads == 1 end },
    { "gpt", "hidden=12,norm=none", function(m) return m.norm == "none" end } } do
    for _, loss in ipairs { "full", "sampled", "shared", "bce", "gbce" } do
      local model, cfg = from_settings { "model.backbone=" .. case[1], "model.heads=2", "model.switches=" .. case[2],
                                         "loss.name=" .. loss, "loss.negatives=5" }
      check.yes(case[3](model), case[1] .. " " .. case[2])
      local value = backbones.loss(cfg.loss)(model, help.batch_of(rows, times))
      check.yes(value:item() > 0 and value:item() < 1e3, case[1] .. " " .. case[2] .. " " .. loss)
    end
  end
  check.fails(function() from_settings { "model.switches=gates=false" } end, "gates", "gate")
  check.fails(function() from_settings { "model.switches=gate" } end, "not name=value", "score=softmax")
end)

-- ---- Refusals ---------------------------------------------------------------------------------------

test("what cannot be is refused in words", function()
  check.fails(function() make "lama" end, "lama", "llama")
  check.fails(function() make("gpt", { rab = "pos" }) end, "rab")
  make("gpt", { rab = "none" })
  check.fails(function() make("llama", { heads = 4, kv_heads = 3 }) end, "do not divide")
  check.fails(function() make("hstu", { actions = 2, storage = "bf16" }) end, "actions")
  check.fails(function() backbones.loss { name = "softmaks" } end, "softmaks")
  check.fails(function() hstu.gbce { t = 2 } end, "[0, 1]")
end)

return tests
