--- Captured steps: what they give equals eager steps; what cannot be captured is refused by name.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local sys = require "quern.sys"
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
  check.yes(tostring(e):find("test_capture.lua:", 1, true), "no line in: " .. tostring(e))
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

local function tagger(sparse, options)
  quern.seed(12)
  local e = quern.normal({ 50, 8 }):requires_grad_(true)
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

-- ---- Equal to eager ------------------------------------------------------------------

local function mlp_equals_eager()
  local step, parameters, batch = mlp()
  same_as_eager(step, parameters, { batch(37), batch(8), batch(1), batch(200) }, 4e-6)
end

local function weighted_means_equal_eager()
  for _, sparse in ipairs { true, false } do
    local step, parameters, batch = tagger(sparse)
    same_as_eager(step, parameters, { batch(lengths_a), batch(lengths_b) }, 4e-6)
  end
end

local function ignored_labels_do_not_count()
  local step, parameters, batch = tagger(false, { ignore_index = 2 })
  same_as_eager(step, parameters, { batch(lengths_a), batch(lengths_b) }, 4e-6)
end

local function sums_equal_eager()
  local step, parameters, batch = tagger(true, { reduction = "sum" })
  same_as_eager(step, parameters, { batch(lengths_a), batch(lengths_b) }, 4e-6)
end

local function ratios_and_extra_terms_equal_eager()
  quern.seed(3)
  local w = quern.normal({ 4 }):requires_grad_(true)
  local function step(batch)
    local each = (batch.x * w):sum(2)
    local loss = (each * each * batch.weights):sum() / batch.weights:sum() + (w * w):sum() * 0.1
    loss:backward()
    return loss
  end
  local function batch(n) return { x = quern.normal { n, 4 }, weights = quern.uniform { n } } end
  same_as_eager(step, { w }, { batch(33), batch(9) }, 4e-6)
end

local function double_precision_agrees_to_rounding()
  quern.seed(5)
  local w = quern.normal({ 4, 3 }):cast("f64"):detach():requires_grad_(true)
  local function step(batch)
    local loss = quern.mse(batch.x:matmul(w):tanh(), batch.t)
    loss:backward()
    return loss
  end
  local function batch(n) return { x = quern.normal({ n, 4 }):cast("f64"), t = quern.normal({ n, 3 }):cast("f64") } end
  same_as_eager(step, { w }, { batch(50), batch(13) }, 1e-12)
end

local function jagged_attention_equals_eager()
  local step, parameters, batch = attention_model()
  same_as_eager(step, parameters, { batch(lengths_a), batch(lengths_b) }, 4e-6)
end

local function plugin_model()
  local ok, hstu = pcall(quern.plugin, "hstu")
  if not ok then check.skip("the plugin hstu is not built") end
  return hstu
end

local function hstu_equals_eager()
  local hstu = plugin_model()
  for _, sparse in ipairs { false, true } do
    quern.seed(21)
    local model = hstu.model { items = 60, dim = 8, blocks = 2, max_len = 32, dropout = 0.2, sparse = sparse }
    local loss_of = hstu.softmax { negatives = 7 }
    local function step(batch)
      local loss = loss_of(model, batch)
      loss:backward()
      return loss
    end
    local function batch(lengths)
      local n, longest = 0, 0
      for _, length in ipairs(lengths) do n, longest = n + length, math.max(longest, length) end
      local times = jagged(lengths, function(k) return quern.randint({ k }, 0, 1000000) end)
      local function items(k) return quern.randint({ k }, 1, 61) end
      return { items = jagged(lengths, items), targets = jagged(lengths, items), times = times, next_times = times,
               n_sequences = #lengths, n_tokens = n, longest = longest }
    end
    same_as_eager(step, tensors_of(model), { batch(lengths_a), batch(lengths_b) }, 4e-6)
  end
end

-- ---- Bits ----------------------------------------------------------------------------

local function bits_do_not_depend_on_workers()
  local before = quern.threads()
  local step, parameters, batch = attention_model()
  local one = batch(lengths_a)
  local first
  for _, workers in ipairs { 1, 2, 3, 7 } do
    quern.threads(workers)
    local captured = quern.capture(step, { slice_kib = 4 })
    run(captured, parameters, one, 1)
    local loss, grads = run(captured, parameters, one, 1)
    local bits = bytes(grads) .. ("%a"):format(loss)
    first = first or bits
    check.yes(bits == first, workers .. " workers give other bits")
  end
  quern.threads(before)
end

-- Rows that occur once: their gradients are results of single samples.
local function bits_of_rows_do_not_depend_on_slices()
  quern.seed(8)
  local e = quern.normal({ 64, 8 }):requires_grad_(true)
  local function step(batch)
    local x = quern.embedding(e, batch.ids, { sparse = true })
    local loss = (x:tanh() * batch.t):sum()
    loss:backward()
    return loss
  end
  local batch = { ids = quern.randperm(64), t = quern.normal { 64, 8 } }
  local first
  for _, kib in ipairs { 1, 4, 64, 8192 } do
    local captured = quern.capture(step, { slice_kib = kib })
    run(captured, { e }, batch, 1)
    local _, grads = run(captured, { e }, batch, 1)
    first = first or bytes(grads)
    check.yes(bytes(grads) == first, kib .. " KiB give other bits")
  end
end

-- ---- As a step of training -----------------------------------------------------------

local function gradients_add_up()
  local step, parameters, batch = mlp()
  local one, captured = batch(20), quern.capture(step)
  run(captured, parameters, one, 1)
  local _, grads = run(captured, parameters, one, 1)
  quern.step(1)
  captured(one)
  for k, p in ipairs(parameters) do check.yes(distance(p.grad, grads[k] * 2) < 1e-6, "parameter " .. k) end
end

-- A gradient that somebody holds is not written over.
local function held_gradients_stay()
  local step, parameters, batch = mlp()
  local one, captured = batch(20), quern.capture(step)
  run(captured, parameters, one, 1)
  run(captured, parameters, one, 1)
  local held = parameters[1].grad
  local was = held:bytes()
  run(captured, parameters, batch(20), 2)
  captured(batch(9))
  check.yes(held:bytes() == was, "the gradient of an earlier step was changed")
end

local function training_ends_at_the_same_parameters()
  local ends = {}
  for _, capture in ipairs { false, true } do
    local step, parameters, batch = mlp()
    local list = {}
    for i, p in ipairs(parameters) do list[i] = { name = "p" .. i, tensor = p, role = "weight.linear" } end
    local optim = quern.optim.make(list, { name = "adam", lr = 1e-2 })
    local fn = capture and quern.capture(step) or step
    for i = 1, 20 do
      quern.step(i)
      fn(batch(30 + i))
      optim:step()
      optim:zero_grad()
    end
    ends[#ends + 1] = parameters
  end
  for k = 1, #ends[1] do
    local off = distance(ends[2][k]:detach(), ends[1][k]:detach())
    check.yes(off < 1e-5, ("parameter %d: %g"):format(k, off))
  end
end

local function plans_can_be_read()
  local step, _, batch = attention_model()
  local captured = quern.capture(step)
  check.equal(tostring(captured:plan()), "not captured yet: call the step once")
  captured(batch(lengths_a))
  captured(batch(lengths_a))
  local plan = captured:plan()
  local text = tostring(plan)
  for _, words in ipairs { "loss: mean", "slices in 8 lanes", "attention", "f32[N,24]", "test_capture.lua:" } do
    check.yes(text:find(words, 1, true), words .. " is not in\n" .. text)
  end
  local n = 0
  for _, length in ipairs(lengths_a) do n = n + length end
  check.yes(plan.flops >= 2 * n * 8 * (24 + 8 + 40), "products alone are more than " .. plan.flops)
  check.equal({ plan.n_segments, #plan.segments, plan.parameters, plan.segments[1].kind }, { 1, 1, 9, "slices" })
  check.yes(plan:dot():find("n%d+ %-> n%d+"), plan:dot())
  -- one that is cut says why
  local w = quern.normal({ 4, 3 }):requires_grad_(true)
  local cut = quern.capture(function(b)
    local loss = quern.mse(quern.batch_norm(b.x:matmul(w)), b.t)
    loss:backward()
    return loss
  end)
  cut { x = quern.normal { 20, 4 }, t = quern.normal { 20, 3 } }
  text = tostring(cut:plan())
  check.yes(text:find("whole batch", 1, true) and text:find("batch_norm", 1, true)
            and text:find("couples the samples", 1, true), text)
end

-- What depends on parameters only runs once in a step.
local function common_work_is_hoisted()
  quern.seed(4)
  local w = quern.normal({ 4, 3 }):requires_grad_(true)
  local function step(batch)
    local loss = quern.mse(batch.x:matmul(w:tanh()), batch.t)
    loss:backward()
    return loss
  end
  local function batch(n) return { x = quern.normal { n, 4 }, t = quern.normal { n, 3 } } end
  local captured = same_as_eager(step, { w }, { batch(40), batch(11) }, 4e-6)
  check.equal(captured:describe().hoisted, 1)
end

-- A mask that the recipe changes between steps is read as it is.
local function persistent_tensors_are_read_anew()
  quern.seed(6)
  local w, mask = quern.normal({ 4, 3 }):requires_grad_(true), quern.ones { 4, 3 }
  local function step(batch)
    local loss = quern.mse(batch.x:matmul(w * mask), batch.t)
    loss:backward()
    return loss
  end
  local batch = { x = quern.normal { 30, 4 }, t = quern.normal { 30, 3 } }
  local captured = quern.capture(step)
  run(captured, { w }, batch, 1)
  mask[{ 2, {} }] = 0
  local _, eager = run(step, { w }, batch, 1)
  local _, got = run(captured, { w }, batch, 1)
  check.yes(distance(got[1], eager[1]) < 4e-6)
end

local function shared_tensors_are_not_cut()
  quern.seed(7)
  local w = quern.normal({ 4 }):requires_grad_(true)
  local function step(batch)
    local loss = ((batch.x * w * batch.scale):sum(2) - batch.offset):square():mean()
    loss:backward()
    return loss
  end
  local function batch(n)
    return { x = quern.normal { n, 4 }, scale = quern.uniform { 4 }, offset = quern.tensor(0.5) }
  end
  same_as_eager(step, { w }, { batch(21), batch(40) }, 4e-6, { shared = { "scale" } })
end

-- Trains a small model for so many epochs; with a folder, from where it ended there.
local function fitted(options)
  quern.seed(7)
  local x = quern.normal { 40, 2 }
  local y = quern.matmul(x, quern.tensor { { 2 }, { -1 } })
  local model = nn.Sequential { nn.Linear(2, 8), nn.Dropout(0.3), nn.Linear(8, 1) }
  options.loss, options.loss_of = options.loss_of or function(m, batch) return quern.mse(m(batch.x), batch.y) end, nil
  options.progress, options.seed, options.name, options.optim = false, 3, "t", { name = "adamw", lr = 0.02 }
  quern.fit(model, quern.data.tensors({ x = x, y = y }, { batch = 8, seed = 3 }), options)
  return tensors_of(model)
end

local function fit_trains_captured()
  local eager, captured = fitted { epochs = 3, captured = false }, fitted { epochs = 3 }
  for k = 1, #eager do
    check.yes(distance(captured[k]:detach(), eager[k]:detach()) < 1e-5, "parameter " .. k)
  end
  local folder, real, looks = check.folder(), sys.interrupted, 0
  sys.interrupted = function()
    looks = looks + 1
    return looks == 7                -- in the second epoch of five steps
  end
  local ok = pcall(fitted, { epochs = 3, captured = true, folder = folder })
  sys.interrupted = real
  check.yes(not ok, "was not interrupted")
  local resumed = fitted { epochs = 3, captured = true, folder = folder, resume = true }
  check.yes(bytes(resumed) == bytes(captured), "a resumed training has other bits")
end

-- ---- Small steps ---------------------------------------------------------------------

local function weight()
  quern.seed(9)
  return quern.normal({ 4, 3 }):requires_grad_(true)
end

local function finish(loss)
  loss:backward()
  return loss
end

-- ---- Segments ------------------------------------------------------------------------

-- Steps of which a part needs the whole batch, by what couples its samples.
local function coupled(w, v)
  return {
    ["batch norm"] = function(b)
      return finish(quern.mse(quern.batch_norm(b.x:matmul(w)):tanh(), b.t))
    end,
    ["products of samples"] = function(b)
      local y = b.x:matmul(w):tanh()
      return finish(y:matmul(y:transpose(1, 2)):square():mean() + quern.mse(y, b.t))
    end,
    ["softmax along the batch"] = function(b)
      return finish((quern.softmax(b.x:matmul(w), { dim = 1 }) * b.t):square():mean())
    end,
    ["a sample picked"] = function(b) return finish((b.x:matmul(w) - b.t[1]):square():mean()) end,
    ["a mean used by each sample"] = function(b)
      local y = b.x:matmul(w)
      y = (y - y:mean(1)):tanh()
      return finish(((y - y:sum(1) * 0.01) * v):square():mean())
    end,
    ["losses over different things"] = function(b)
      local y = b.x:matmul(w)
      return finish(quern.mse(y, b.t) + y:sum() * 1e-3)
    end,
    ["a sum with a part without samples"] = function(b)
      return finish(quern.mse(b.x:matmul(w), b.t, { reduction = "sum" }) + w:square():sum())
    end,
    ["a function of the mean"] = function(b) return finish((b.x:matmul(w):square():mean() * 0.01):exp()) end,
    ["contrast within the batch"] = function(b)
      local a, z = b.x:matmul(w), (b.t * v):tanh()
      local scores = a:matmul(z:transpose(1, 2))
      return finish(quern.cross_entropy(scores, b.own))
    end,
  }
end

local function xt(n)
  local own = {}
  for i = 1, n do own[i] = i - 1 end
  return { x = quern.normal { n, 4 }, t = quern.normal { n, 3 }, own = quern.tensor(own, "i64") }
end

local function what_couples_samples_runs_between_segments()
  quern.seed(31)
  local w, v = quern.normal({ 4, 3 }):requires_grad_(true), quern.normal({ 1, 3 }):requires_grad_(true)
  local all = coupled(w, v)
  for name, step in quern.util.sorted(all) do
    local function both(b)
      v:zero_grad()
      return step(b)
    end
    local captured = quern.capture(both, { slice_kib = 1 })
    for i, n in ipairs { 40, 11, 64 } do
      local batch = xt(n)
      local loss, grads = run(both, { w }, batch, i)
      local dv = v.grad and v.grad:clone()
      local got, got_grads = run(captured, { w }, batch, i)
      check.near(got, loss, 4e-6, name)
      check.yes(distance(got_grads[1], grads[1]) < 4e-6, name .. ": another gradient")
      check.yes(not dv or distance(v.grad, dv) < 4e-6, name .. ": another gradient of v")
    end
    local d = captured:describe()
    check.yes(d.whole > 0 and d.segments > 1, name .. " was not cut")
  end
end

-- Twenty steps of SGD on models with segments.
local function segmented_bits_do_not_depend_on_workers()
  local before, first = quern.threads(), {}
  for _, workers in ipairs { 1, 2, 3, 7 } do
    quern.threads(workers)
    for _, name in ipairs { "batch norm", "contrast within the batch", "products of samples" } do
      quern.seed(31)
      local w, v = quern.normal({ 4, 3 }):requires_grad_(true), quern.normal({ 1, 3 }):requires_grad_(true)
      local captured = quern.capture(coupled(w, v)[name], { slice_kib = 1 })
      local optim = quern.optim.SGD({ w, v }, { lr = 0.01 })
      for i = 1, 20 do
        quern.step(i)
        captured:run(xt(30 + i))
        optim:fuse(captured)
      end
      local bits = bytes { w:detach(), v:detach() }
      first[name] = first[name] or bits
      check.yes(bits == first[name], ("%s: %d workers give other bits"):format(name, workers))
    end
  end
  quern.threads(before)
end

-- Element-wise runs done piece by piece have the bits of ops done one by one, also where pieces end.
local function fused_runs_have_the_bits_of_single_ops()
  local function model()
    quern.seed(41)
    local w, a = quern.normal({ 6, 48 }):requires_grad_(true), quern.normal({ 48 }):requires_grad_(true)
    local function step(b)
      local y = b.x:matmul(w)
      local gate = quern.sigmoid(y * 2 - 0.5)
      local z = quern.where(quern.gt(y, 0), y * gate, quern.tanh(y)) + y:square() * 0.125
      z = (z + 1):exp():log1p() / (z:abs() + 1)
      return finish(quern.mse(quern.silu(z) - z:neg(), b.t) + (a * 3):tanh():square():mean())
    end
    return step, { w, a }
  end
  for _, n in ipairs { 1, 7, 43, 300 } do
    local first
    for _, fuse in ipairs { true, false } do
      for _, kib in ipairs { 4, 4096 } do
        local step, parameters = model()
        local captured = quern.capture(step, { fuse = fuse, slice_kib = kib })
        quern.seed(42)
        local batch = { x = quern.normal { n, 6 }, t = quern.normal { n, 48 } }
        run(captured, parameters, batch, 1)
        local loss, grads = run(captured, parameters, batch, 1)
        local plan = captured:plan()
        check.yes(fuse and plan.fused > 20 or not fuse and plan.fused == 0, "fused: " .. plan.fused)
        if kib == 4096 then
          local bits = bytes(grads) .. ("%a"):format(loss)
          first = first or bits
          check.yes(bits == first, n .. " samples: fusing changes bits")
        end
      end
    end
  end
end

-- ---- Without gradients -----------------------------------------------------------------

local function forward_passes_return_what_eager_ones_do()
  local before = quern.threads()
  quern.seed(14)
  local e, w = quern.normal { 40, 8 }, quern.normal { 40, 8 }
  local norm = nn.LayerNorm(8)
  local function forward(b)
    local x = norm(quern.embedding(e, b.ids))
    local scores = x:matmul(w:transpose(1, 2))
    local best, which = quern.topk(scores, 3)
    return x, { best = best, which = which, mean = x:mean(), mix = { (x - x:mean(1)):tanh() } }, b.seen * 2
  end
  local first
  for _, workers in ipairs { 1, 2, 3, 7 } do
    quern.threads(workers)
    local captured = quern.capture(forward, { grad = false, slice_kib = 2 })
    for _, lengths in ipairs { lengths_a, lengths_b, { 3 } } do
      quern.seed(15)
      local batch = { ids = jagged(lengths, function(n) return quern.randint({ n }, 0, 40) end),
                      seen = quern.uniform { #lengths } }
      local x, r, seen = quern.no_grad(forward, batch)
      for _ = 1, 2 do
        local cx, cr, cseen = captured(batch)
        check.yes(cx.is_jagged and cx.shape[1] == x.shape[1])
        check.equal(cr.which:totable(), r.which:totable())
        for _, pair in ipairs { { cx, x }, { cr.best, r.best }, { cr.mean, r.mean }, { cr.mix[1], r.mix[1] },
                                { cseen, seen } } do
          check.yes(distance(pair[1], pair[2]) < 4e-6)
        end
        check.equal(cx.requires_grad, false)
        if #lengths == #lengths_a then
          local bits = bytes { cx, cr.best, cr.mean, cr.mix[1], cseen }
          first = first or bits
          check.yes(bits == first, workers .. " workers give other bits")
        end
      end
    end
    check.equal(captured.count, 1)
  end
  quern.threads(before)
end

-- The best of a catalogue, fused with the item product: as topk of all scores, for any number of workers.
local function best_items_are_those_of_all_scores()
  local before = quern.threads()
  quern.seed(16)
  local cases, first = { { 1, 9000, 50, 10 }, { 3, 7, 1, 7 }, { 70, 600, 3, 1 }, { 40, 9000, 8, 100 } }, {}
  for _, workers in ipairs { 1, 2, 3, 7 } do
    quern.threads(workers)
    for i, c in ipairs(cases) do
      quern.seed(i)
      local h, w = quern.normal { c[1], c[3] }, quern.normal { c[2], c[3] }
      w[{ 2, {} }] = w:select(1, 1):clone()                  -- equal scores: the smaller id comes first
      local y, ids = quern.linear_topk(h, w, c[4])
      local want, want_ids = quern.topk(h:matmul(w:transpose(1, 2)), c[4])
      check.yes(distance(y, want) < 1e-6)
      check.equal(ids:totable(), want_ids:totable())
      first[i] = first[i] or bytes { y, ids }
      check.yes(bytes { y, ids } == first[i], workers .. " workers give other bits")
      local captured = quern.capture(function(b) return quern.linear_topk(b.h, w, c[4]) end,
                                     { grad = false, slice_kib = 1 })
      local cy, cids = captured { h = h }
      check.yes(bytes { cy, cids } == first[i], "captured: other bits")
    end
  end
  quern.threads(before)
  local _, late = quern.linear_topk(quern.ones { 1, 2 }, quern.ones { 5, 2 }, 2, { first = 3 })
  check.equal(late:totable(), { { 3, 4 } })
  check.fails(function() quern.linear_topk(quern.ones { 1, 2 }, quern.ones { 5, 2 }, 5, { first = 1 }) end, "k is 5",
              "4 rows from 1 on")
  local wide, n = quern.tensor({ { 1, 0 } }, "f64"), 0 / 0
  local _, best = quern.linear_topk(wide, quern.tensor({ { 2, 0 }, { n, 0 }, { 3, 0 } }, "f64"), 3)
  check.equal(best:totable(), { { 1, 2, 0 } })               -- NaN is seen, not lost
end

local function results_of_forward_passes_are_new_each_time()
  local w = weight()
  local captured = quern.capture(function(b) return b.x:matmul(w) end, { grad = false })
  local one = captured(xt(9))
  local was = one:bytes()
  captured(xt(9))
  check.yes(one:bytes() == was, "a result was overwritten")
  local e = check.fails(function() quern.capture(function() return 3 end, { grad = false })(xt(9)) end, "tensors")
  check.equal(e.status, "argument")
end

-- ---- Refused -------------------------------------------------------------------------

local function reading_values_is_refused()
  local w = weight()
  refuses(function(b)
    local loss = quern.mse(b.x:matmul(w), b.t)
    if loss:item() > 1e9 then loss = loss * 2 end
    return finish(loss)
  end, xt(10), "reads a tensor's value into Lua with item()")
  refuses(function(b)
    local _ = tostring(b.x)
    return finish(quern.mse(b.x:matmul(w), b.t))
  end, xt(10), "tostring()")
  -- a recipe that catches the error does not get away with it
  refuses(function(b)
    pcall(function() return b.x:totable() end)
    return finish(quern.mse(b.x:matmul(w), b.t))
  end, xt(10), "totable()")
end

local function other_calls_for_other_slices_are_refused()
  local w = weight()
  refuses(function(b)
    local y = b.x:matmul(w)
    if b.x.shape[1] > 2 then y = y:tanh() end
    return finish(quern.mse(y, b.t))
  end, xt(10), "does not do the same for every slice")
  refuses(function(b)
    return finish(quern.mse(b.x:matmul(w) * (1 / b.x.shape[1]), b.t))
  end, xt(10), "other values in every slice")
  refuses(function(b) return finish(quern.dropout(b.x:matmul(w), { p = 1 / b.x.shape[1] }):square():mean()) end, xt(10),
          "'p' of dropout is not the same")
end

local function foreign_tensors_are_refused()
  local w, n = weight(), 0
  refuses(function(b)
    n = n + 1
    return finish(quern.mse(b.x:matmul(w) + quern.tensor { n, 1, 1 }, b.t))
  end, xt(10), "has other values in every slice")
  local counter = quern.zeros { 3 }
  refuses(function(b)
    quern.no_grad(function() counter:add_(1) end)
    return finish(quern.mse(b.x:matmul(w), b.t))
  end, xt(10), "writes into a tensor that outlives it")
end

local function other_losses_are_refused()
  local w = weight()
  refuses(function(b) return quern.mse(b.x:matmul(w), b.t) end, xt(10), "does not call backward()")
  refuses(function(b)
    local y = b.x:matmul(w)
    quern.mse(y, b.t):backward()
    return y
  end, xt(10), "must return the loss")
end

local function hooks_of_parameters_are_refused()
  local w = weight()
  w:register_hook(function(g) return g * 2 end)
  refuses(function(b) return finish(quern.mse(b.x:matmul(w), b.t)) end, xt(10), "gradient hook")
end

local function bad_batches_are_refused()
  local w = weight()
  local function step(b) return finish(quern.mse(b.x:matmul(w), b.t)) end
  refuses(step, { x = quern.normal { 10, 4 }, t = quern.normal { 9, 3 } }, "another number of samples")
  refuses(step, {}, "without tensors")
end

-- ---- The optimizer's part --------------------------------------------------------------

-- Five steps with an optimizer; fused: straight from the lanes. All bytes of parameters and state.
local function optimized(settings, fused, clip, masked, sparse)
  local step, parameters, batch = tagger(sparse)
  local list = {}
  for i, p in ipairs(parameters) do list[i] = { name = "p" .. i, tensor = p, role = "weight.linear" } end
  local optim = quern.optim.make(list, settings)
  if masked then optim:set_mask("p2", quern.gt(parameters[2]:detach(), 0)) end
  local captured, done, norms = quern.capture(step), true, {}
  for i = 1, 5 do
    quern.seed(40 + i)
    quern.step(i)
    local b = batch(i % 2 == 0 and lengths_a or lengths_b)
    optim.scale, optim.gain = 1 / i, 0.5
    if fused then
      captured:run(b)
      local norm
      done, norm = optim:fuse(captured, clip)
      norms[i] = norm
    end
    if not fused or not done then
      if not fused then captured(b) end
      if clip then norms[i] = optim:clip(clip) end
      optim:step()
      optim:zero_grad()
    end
  end
  local all = {}
  for _, t in quern.util.sorted((optim:state())) do all[#all + 1] = t end
  return bytes(parameters) .. bytes(all), done, optim.t, norms
end

local function fused_updates_have_the_bits_of_separate_ones()
  local kinds = { { name = "sgd", lr = 0.1 }, { name = "sgd", lr = 0.1, momentum = 0.9, nesterov = true },
                  { name = "adam", lr = 0.01, weight_decay = 0.1 }, { name = "adamw", lr = 0.01, weight_decay = 0.1 },
                  { name = "adam_rows", lr = 0.01 }, { name = "adagrad_rows", lr = 0.1 } }
  for _, settings in ipairs(kinds) do
    for _, clip in ipairs { false, 0.05, 1e6 } do
      for _, masked in ipairs { false, true } do
        for _, sparse in ipairs { false, true } do
          local what = ("%s, clip %s, mask %s, rows %s"):format(settings.name, clip, masked, sparse)
          local a, _, ta, na = optimized(settings, false, clip or nil, masked, sparse)
          local b, done, tb, nb = optimized(settings, true, clip or nil, masked, sparse)
          check.yes(a == b, what .. ": other bits")
          check.equal({ tb, nb }, { ta, na }, what)
          local rows = settings.name:find("rows") ~= nil
          local fused = sparse == rows and not (rows and clip) and settings.name ~= "adagrad_rows"
                        or rows and not sparse and settings.name == "adam_rows"
          check.equal(done, fused, what .. ": fused")
        end
      end
    end
  end
end

-- Parameters after 20 steps of fit, for any number of workers, with and without clipping.
local function trained_bits_do_not_depend_on_workers()
  local before, hstu = quern.threads(), plugin_model()
  local first = {}
  for _, workers in ipairs { 1, 2, 3, 7 } do
    quern.threads(workers)
    for _, clip in ipairs { false, 1.0 } do
      quern.seed(21)
      local model = hstu.model { items = 60, dim = 8, blocks = 2, max_len = 32, dropout = 0.2 }
      local random = quern.det.random(4)
      local batches, n = {}, 0
      for k = 1, 4 do
        local lengths = {}
        for i = 1, 20 do lengths[i] = random:range(1, 9) end
        local function items(m) return quern.randint({ m }, 1, 61) end
        local times = jagged(lengths, function(m) return quern.randint({ m }, 0, 1000000) end)
        batches[k] = { items = jagged(lengths, items), targets = jagged(lengths, items), times = times,
                       next_times = times, n_sequences = 20, longest = 9 }
      end
      local loader = { next = function() n = n + 1; return n % 21 ~= 0 and batches[n % 4 + 1] or nil end,
        seek = function() end, tell = function() return { index = n } end, batches = function() return 20 end }
      local loss_of = hstu.softmax { negatives = 7 }
      local folder = check.folder()
      quern.fit(model, loader, { loss = function(m, b) return loss_of(m, b) end, clip = clip or nil, seed = 3,
        epochs = 1, optim = { name = "adamw", lr = 0.01 }, progress = false, name = "t", folder = folder })
      check.yes(quern.json.decode(check.read(folder .. "/last.json")).execution.captured)
      local bits, key = bytes(tensors_of(model)), tostring(clip)
      first[key] = first[key] or bits
      check.yes(bits == first[key], ("%d workers, clip %s give other bits"):format(workers, clip))
    end
  end
  quern.threads(before)
end

-- Rows whose moments have decayed to denormal numbers cost no more: they are taken for zero.
local function denormal_state_is_flushed()
  quern.seed(2)
  local w = quern.normal({ 64, 8 }):requires_grad_(true)
  local function step(b) return finish((quern.embedding(w, b.ids) * b.t):sum()) end
  local optim = quern.optim.Adam({ w }, { lr = 1e-3 })
  local captured = quern.capture(step)
  local b = { ids = quern.randint({ 16 }, 0, 4), t = quern.normal { 16, 8 } }
  captured:run(b)
  optim:fuse(captured)
  local m = optim.slots.param1.m
  m[{ { 5, 64 }, {} }] = 2e-38                       -- rows that do not occur: 0.9 of it is below 2^-126
  for _ = 1, 30 do
    captured:run(b)
    check.yes(optim:fuse(captured))
  end
  local least = m:narrow(1, 5, 60):abs():max():item()
  check.equal(least, 0.0)
end

-- ---- Watched -------------------------------------------------------------------------

-- What Lua decides anew at each step is not frozen: a factor, a layer, a list of constants.
local function what_lua_decides_is_followed()
  local w = weight()
  local beta, bend, shift = 1.0, false, { 0.5, 1, 2 }
  local function step(b)
    local y = b.x:matmul(w) + quern.tensor(shift)
    if bend then y = y:tanh() end
    return finish(quern.mse(y, b.t) * beta)
  end
  local captured, batch = quern.capture(step), xt(40)
  local function both(what)
    local loss, grads = run(step, { w }, batch, 1)
    local got, got_grads = run(captured, { w }, batch, 1)
    check.near(got, loss, 4e-6, what)
    check.yes(distance(got_grads[1], grads[1]) < 4e-6, what)
  end
  both("as captured")
  beta = 0.25
  both("another factor")
  shift = { 1, -1, 0 }
  both("another constant")
  check.equal(captured.count, 1)
  bend = true
  both("another op")
  check.equal(captured.count, 2)
end

-- A function that keeps changing is refused in the end, and fit goes on eagerly.
local function what_keeps_changing_is_trained_eagerly()
  local folder, ends = check.folder(), {}
  for i, captured in ipairs { true, false } do
    local p
    ends[i] = fitted { epochs = 5, captured = captured, folder = captured and folder or nil,
      loss_of = function(m, batch) return quern.mse(quern.dropout(m(batch.x), { p = p }), batch.y) end,
      hooks = { { before_step = function(_, fit) p = fit.step / 50 end } } }
  end
  for k = 1, #ends[1] do check.yes(distance(ends[1][k]:detach(), ends[2][k]:detach()) < 1e-5, "parameter " .. k) end
  local state = quern.json.decode(check.read(folder .. "/last.json"))
  check.yes(not state.execution.captured and state.execution.why:find("keeps changing", 1, true), state.execution.why)
end

-- Random numbers go on from call to call within a step; a captured step goes on as they do.
local function calls_within_one_step_draw_on()
  local w = weight()
  local function step(b) return finish(quern.mse(quern.dropout(b.x:matmul(w), { p = 0.5 }), b.t)) end
  local captured, batch = quern.capture(step), xt(30)
  captured(batch)
  for _ = 1, 3 do
    quern.step(5)
    quern.normal { 3 }
    w:zero_grad()
    local a, b = step(batch):item(), step(batch):item()
    quern.step(5)
    quern.normal { 3 }
    w:zero_grad()
    check.near(captured(batch):item(), a, 4e-6)
    check.near(captured(batch):item(), b, 4e-6)
  end
  check.equal(captured.count, 1)
end

local function hooks_added_later_are_noticed()
  local w = weight()
  local function step(b) return finish(quern.mse(b.x:matmul(w), b.t)) end
  local captured, batch = quern.capture(step), xt(12)
  captured(batch)
  w:register_hook(function(g) return g * 2 end)
  local e = check.fails(function() captured(batch) end, "gradient hook")
  check.equal(e.status, "unsupported")
end

-- fit says why it does not capture, notes it in its checkpoint, and trains the same.
local function fit_goes_on_eagerly_and_says_why()
  local folder = check.folder()
  local function loss(m, batch)
    local value = quern.mse(m(batch.x), batch.y)
    if value:item() < 0 then error("a square below zero") end
    return value
  end
  local model = fitted { epochs = 1, folder = folder, loss_of = loss }
  local plain = fitted { epochs = 1, captured = false, loss_of = loss }
  check.yes(bytes(model) == bytes(plain), "other parameters than eagerly")
  local state = quern.json.decode(check.read(folder .. "/last.json"))
  check.equal(state.execution.captured, false)
  check.yes(state.execution.why:find("item()", 1, true) and state.execution.why:find("test_capture.lua:", 1, true),
            state.execution.why)
end

local function fit_notes_how_it_captured()
  local folder = check.folder()
  fitted { epochs = 1, folder = folder, slice_kib = 16 }
  local state = quern.json.decode(check.read(folder .. "/last.json"))
  check.equal(state.execution, { captured = true, slice_kib = 16, lanes = 8 })
end

-- After a refusal the recipe goes on eagerly, with its gradients as they were.
local function refusals_leave_gradients_alone()
  local w = weight()
  local function step(b)
    local y = b.x:matmul(w):square():mean()
    return y:item() > 0 and finish(y) or y
  end
  local batch = xt(10)
  finish(quern.mse(batch.x:matmul(w), batch.t))
  local was = w.grad:bytes()
  check.yes(not pcall(quern.capture(step), batch))
  check.yes(w.grad:bytes() == was)
  step(batch)
  check.yes(w.grad:bytes() ~= was)
end

return {
  { "an MLP with dropout equals eager", mlp_equals_eager },
  { "weighted means, dense and row gradients equal eager", weighted_means_equal_eager },
  { "ignored labels do not count", ignored_labels_do_not_count },
  { "sums equal eager", sums_equal_eager },
  { "ratios of sums, and terms without samples, equal eager", ratios_and_extra_terms_equal_eager },
  { "double precision agrees to rounding", double_precision_agrees_to_rounding },
  { "jagged attention equals eager", jagged_attention_equals_eager },
  { "the HSTU plugin equals eager", hstu_equals_eager },
  { "bits do not depend on workers", bits_do_not_depend_on_workers },
  { "bits of rows do not depend on slices", bits_of_rows_do_not_depend_on_slices },
  { "gradients add up over steps", gradients_add_up },
  { "gradients that are held stay", held_gradients_stay },
  { "training ends at the same parameters", training_ends_at_the_same_parameters },
  { "fit trains captured, and resumes with equal bits", fit_trains_captured },
  { "plans can be read", plans_can_be_read },
  { "work on parameters alone is hoisted", common_work_is_hoisted },
  { "persistent tensors are read anew", persistent_tensors_are_read_anew },
  { "shared tensors are not cut", shared_tensors_are_not_cut },
  { "reading values is refused", reading_values_is_refused },
  { "fused runs have the bits of single ops", fused_runs_have_the_bits_of_single_ops },
  { "forward passes return what eager ones do", forward_passes_return_what_eager_ones_do },
  { "best items are those of all scores", best_items_are_those_of_all_scores },
  { "results of forward passes are new each time", results_of_forward_passes_are_new_each_time },
  { "bits of steps in segments do not depend on workers", segmented_bits_do_not_depend_on_workers },
  { "what couples samples runs between segments", what_couples_samples_runs_between_segments },
  { "other calls for other slices are refused", other_calls_for_other_slices_are_refused },
  { "foreign tensors are refused", foreign_tensors_are_refused },
  { "other losses are refused", other_losses_are_refused },
  { "hooks of parameters are refused", hooks_of_parameters_are_refused },
  { "bad batches are refused", bad_batches_are_refused },
  { "fused updates have the bits of separate ones", fused_updates_have_the_bits_of_separate_ones },
  { "trained bits do not depend on workers", trained_bits_do_not_depend_on_workers },
  { "denormal state is flushed", denormal_state_is_flushed },
  { "what Lua decides is followed from step to step", what_lua_decides_is_followed },
  { "what keeps changing is trained eagerly", what_keeps_changing_is_trained_eagerly },
  { "calls within one step draw on", calls_within_one_step_draw_on },
  { "hooks added later are noticed", hooks_added_later_are_noticed },
  { "fit goes on eagerly, and says why", fit_goes_on_eagerly_and_says_why },
  { "fit notes how it captured", fit_notes_how_it_captured },
  { "refusals leave gradients alone", refusals_leave_gradients_alone },
}
