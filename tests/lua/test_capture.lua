--- Captured steps: what they give equals eager steps; what cannot be captured is refused by name.
-- SPDX-License-Identifier: MIT

local check = require "check"
local captures = require "captures"
local quern = require "quern"
local tensors_of = captures.tensors_of
local run = captures.run
local distance = captures.distance
local same_as_eager = captures.same_as_eager
local bytes = captures.bytes
local jagged = captures.jagged
local refuses = captures.refuses
local mlp = captures.mlp
local tagger = captures.tagger
local attention_model = captures.attention_model
local lengths_a = captures.lengths_a
local lengths_b = captures.lengths_b
local plugin_model = captures.plugin_model
local weight = captures.weight
local finish = captures.finish
local xt = captures.xt

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
  local step, parameters, batch = tagger(false, nil, { ignore_index = 2 })
  same_as_eager(step, parameters, { batch(lengths_a), batch(lengths_b) }, 4e-6)
end

local function sums_equal_eager()
  local step, parameters, batch = tagger(true, nil, { reduction = "sum" })
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

-- The gradients of key biases are zero but for rounding, and nothing else is: SASRec is captured with each loss.
local function sasrec_equals_eager()
  local hstu = plugin_model()
  for _, loss_of in ipairs { hstu.bce { negatives = 1 }, hstu.softmax { negatives = "full" } } do
    quern.seed(22)
    local model = hstu.sasrec { items = 60, dim = 8, blocks = 2, max_len = 32, dropout = 0.2 }
    local function step(batch)
      local loss = loss_of(model, batch)
      loss:backward()
      return loss
    end
    local function items(k) return quern.randint({ k }, 1, 61) end
    local batch = { items = jagged(lengths_a, items), targets = jagged(lengths_a, items), longest = 12 }
    batch.times = jagged(lengths_a, function(k) return quern.randint({ k }, 0, 1000) end)
    batch.next_times, batch.n_sequences = batch.times, #lengths_a
    local parameters = tensors_of(model)
    local captured = quern.capture(step)
    run(captured, parameters, batch, 1)
    local loss, grads = run(step, parameters, batch, 2)
    local got, got_grads = run(captured, parameters, batch, 2)
    check.near(got, loss, 4e-6, "loss")
    for i, p in ipairs(model:parameters()) do
      local off = distance(got_grads[i], grads[i])
      if p.name:find("key.bias", 1, true) then
        check.yes(grads[i]:abs():max():item() < 1e-7, p.name)
      else
        check.yes(off < 4e-6, ("%s: %g"):format(p.name, off))
      end
    end
  end
end

-- Batches of timed sequences carry all_times, longer by one than the rest.
local function what_loaders_add_does_not_matter()
  local step, parameters, batch = tagger(false)
  local longer = {}
  for i, n in ipairs(lengths_a) do longer[i] = n + 1 end
  local one = batch(lengths_a)
  one.all_times = jagged(longer, function(n) return quern.randint({ n }, 0, 9) end)
  one.epoch, one.index = 3, 7
  same_as_eager(step, parameters, { one }, 4e-6)
end

-- Rows that occur once: their gradients are results of single samples.
local function bits_of_rows_do_not_depend_on_slices()
  quern.seed(8)
  local e = quern.normal({ 64, 8 }):requires_grad_(true)
  local function step(batch)
    local x = quern.layer_norm(quern.embedding(e, batch.ids, { sparse = true }))
    local loss = (quern.softmax(quern.silu(x) * batch.t, 2) * x:tanh()):sum()
    loss:backward()
    return loss
  end
  local batch = { ids = quern.randperm(64), t = quern.normal { 64, 8 } }
  local _, eager = run(step, { e }, batch, 1)
  local first = bytes(eager)                     -- each row of the table is of one sample: no sum is cut
  for _, kib in ipairs { 1, 4, 64, 8192 } do
    local captured = quern.capture(step, { slice_kib = kib })
    run(captured, { e }, batch, 1)
    local _, grads = run(captured, { e }, batch, 1)
    check.yes(bytes(grads) == first, kib .. " KiB give other bits than eagerly")
  end
end

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
  refuses(function(b)
    quern.no_grad(function() w:mul_(0.5) end)
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
  { "SASRec equals eager", sasrec_equals_eager },
  { "what loaders add does not matter", what_loaders_add_does_not_matter },
  { "bits do not depend on workers", bits_do_not_depend_on_workers },
  { "bits of rows do not depend on slices", bits_of_rows_do_not_depend_on_slices },
  { "gradients add up over steps", gradients_add_up },
  { "gradients that are held stay", held_gradients_stay },
  { "work on parameters alone is hoisted", common_work_is_hoisted },
  { "persistent tensors are read anew", persistent_tensors_are_read_anew },
  { "shared tensors are not cut", shared_tensors_are_not_cut },
  { "reading values is refused", reading_values_is_refused },
  { "other calls for other slices are refused", other_calls_for_other_slices_are_refused },
  { "foreign tensors are refused", foreign_tensors_are_refused },
  { "other losses are refused", other_losses_are_refused },
  { "hooks of parameters are refused", hooks_of_parameters_are_refused },
  { "bad batches are refused", bad_batches_are_refused },
  { "what Lua decides is followed from step to step", what_lua_decides_is_followed },
  { "calls within one step draw on", calls_within_one_step_draw_on },
  { "hooks added later are noticed", hooks_added_later_are_noticed },
  { "refusals leave gradients alone", refusals_leave_gradients_alone },
}
