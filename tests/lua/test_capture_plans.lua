--- Plans of captured steps, fused runs, and captured forward passes.
-- SPDX-License-Identifier: MIT

local check = require "check"
local captures = require "captures"
local quern = require "quern"
local tensors_of = captures.tensors_of
local nn = quern.nn
local run = captures.run
local distance = captures.distance
local bytes = captures.bytes
local jagged = captures.jagged
local attention_model = captures.attention_model
local lengths_a = captures.lengths_a
local lengths_b = captures.lengths_b
local weight = captures.weight
local finish = captures.finish
local xt = captures.xt

local function plans_can_be_read()
  local step, _, batch = attention_model()
  local captured = quern.capture(step)
  check.equal(tostring(captured:plan()), "not captured yet: call the step once")
  captured(batch(lengths_a))
  captured(batch(lengths_a))
  local plan = captured:plan()
  local text = tostring(plan)
  for _, words in ipairs { "loss: mean", "slices in 8 lanes", "attention", "f32[N,24]", "captures.lua:" } do
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

-- Whatever the budget, all lanes have as many slices, of nearly as many rows.
local function slices_are_shared_out_evenly()
  local step, _, batch = attention_model()
  local lengths = {}
  for i = 1, 90 do lengths[i] = 1 + i * i * 7 % 13 end
  local b = batch(lengths)
  for _, kib in ipairs { 20, 28, 40, 90, 100000 } do
    local captured = quern.capture(step, { slice_kib = kib })
    captured(b)
    captured(b)
    local plan = captured:plan()
    check.equal(plan.slices % 8, 0, plan.slices .. " slices within " .. kib .. " KiB")
    check.equal(plan.slices > 8, kib < 90, plan.slices .. " slices within " .. kib .. " KiB")
  end
end

-- Weights are packed when a step begins: what the optimizer did to them since is seen, and a mask's zeros are.
local function packed_weights_are_those_of_the_step()
  local step, parameters, batch = captures.mlp()
  local captured, b = quern.capture(step), batch(40)
  captured(b)
  local read = (6 * 16 + 2 * 16 * 3) * 4 -- W1 forward, W2 forward and backward
  check.yes(captured:plan().packed_bytes >= read, captured:plan().packed_bytes .. " bytes are packed")
  for round = 1, 3 do
    quern.no_grad(function()
      for _, p in ipairs(parameters) do
        p:mul_(-1.1)
        p:mul_(quern.cast(quern.gt(p, 0), "f32"))
      end
    end)
    local loss, grads = run(step, parameters, b, round)
    local got, got_grads = run(captured, parameters, b, round)
    check.near(got, loss, 1e-6)
    for k = 1, #grads do check.yes(distance(got_grads[k], grads[k]) < 4e-6, "gradients differ") end
  end
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

-- Slices of more elements than a piece: an early op's second piece comes after a late op's first one.
local function long_runs_do_not_overwrite_what_they_still_need()
  quern.seed(43)
  local w = quern.normal({ 64 }):requires_grad_(true)
  local forms = {
    function(x) return (x * w):tanh():mul(2):add(1):square() end,
    function(x)
      local y = x * w
      return y * quern.tanh(y * 0.5) + x:abs():add(1):log() - y:square() * 0.1
    end,
    function(x)
      local y = quern.silu(x * w)
      return quern.where(quern.gt(y, 0), y:sigmoid(), y * 0.2):exp() * y
    end,
  }
  for i, f in ipairs(forms) do
    local first
    for _, fuse in ipairs { true, false } do
      local captured = quern.capture(function(b) return finish((f(b.x) * b.t):mean()) end, { fuse = fuse })
      quern.seed(44)
      local batch = { x = quern.normal { 700, 64 }, t = quern.normal { 700, 64 } }
      local loss, grads = run(captured, { w }, batch, 1)
      check.yes(not fuse or captured:plan().fused > 4, "fused: " .. captured:plan().fused)
      local bits = bytes(grads) .. ("%a"):format(loss)
      first = first or bits
      check.yes(bits == first, ("form %d: fusing changes bits"):format(i))
    end
  end
end

-- ---- What is held between forward and backward -----------------------------------------------

-- Three blocks of norm, map and gate, wide enough that what is kept is more than statistics.
local function deep()
  quern.seed(61)
  local parameters, layers = {}, {}
  for i = 1, 3 do
    layers[i] = { nn.LayerNorm(64), nn.Linear(64, 64, { act = "silu" }) }
    for _, t in ipairs(tensors_of(table.unpack(layers[i]))) do parameters[#parameters + 1] = t end
  end
  local function step(b)
    local x = b.x
    for i, l in ipairs(layers) do
      local y = l[2](l[1](x))
      x = x + quern.dropout(y * quern.tanh(y * 0.5), { p = 0.1 * i })
    end
    return finish(quern.mse(x, b.t))
  end
  local function batch(n) return { x = quern.normal { n, 64 }, t = quern.normal { n, 64 } } end
  return step, parameters, batch
end

local function held(options, n)
  local step, parameters, batch = deep()
  local captured = quern.capture(step, options)
  quern.seed(62)
  local one = batch(n)
  run(captured, parameters, one, 1)
  local loss, grads = run(captured, parameters, one, 2)
  return { loss = loss, grads = grads, plan = captured:plan() }
end

local function cheap_ops_run_again_with_the_same_bits_in_less_memory()
  for _, n in ipairs { 40, 9 } do
    local kept, again = held({ recompute = false, slices = true }, n), held({ recompute = true, slices = true }, n)
    check.equal(kept.plan.again, 0)
    check.yes(again.plan.again >= 3, again.plan.again)
    check.yes(tostring(again.plan):find("again: layer_norm", 1, true), tostring(again.plan))
    check.equal(("%a"):format(again.loss), ("%a"):format(kept.loss))
    check.yes(bytes(again.grads) == bytes(kept.grads), "other gradients")
    check.yes(again.plan.arena_bytes < kept.plan.arena_bytes, again.plan.arena_bytes)
  end
  -- by itself where that brings a sample within the budget: neither far above it nor far below
  local by_itself = {}
  for _, kib in ipairs { 1, 4, 5, 8192 } do
    local again = held({ slice_kib = kib }, 40).plan.again
    if again > 0 then by_itself[#by_itself + 1] = kib end
  end
  check.yes(#by_itself > 0 and by_itself[1] > 1 and by_itself[#by_itself] < 8192, quern.json.encode(by_itself))
end

local function activations_may_be_kept_as_bf16()
  local before, exact, first = quern.threads(), held({ recompute = false }, 400), nil
  for _, workers in ipairs { 1, 2, 3, 7 } do
    quern.threads(workers)
    local narrow = held({ activations = "bf16", recompute = false }, 400)
    check.yes(narrow.plan.narrow >= 6, narrow.plan.narrow)
    check.yes(tostring(narrow.plan):find("kept as bf16", 1, true), tostring(narrow.plan))
    check.yes(narrow.plan.arena_bytes < 0.75 * exact.plan.arena_bytes, narrow.plan.arena_bytes)
    check.equal(("%a"):format(narrow.loss), ("%a"):format(exact.loss))    -- forward is what it was
    first = first or bytes(narrow.grads)
    check.yes(bytes(narrow.grads) == first, workers .. " workers give other bits")
    for i, g in ipairs(narrow.grads) do
      local off = distance(g, exact.grads[i])
      check.yes(off < 6e-3, ("parameter %d: %g"):format(i, off))
    end
    check.yes(first ~= bytes(exact.grads), "nothing was rounded")
  end
  quern.threads(before)
  check.fails(function() quern.capture(function() end, { activations = "f16" }) end, "f16")
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
  -- one that no op makes
  local function three(b) return quern.tensor(3.0):expand { b.x.shape[1] }, b.x end
  local constant = quern.capture(three, { grad = false })
  for _, n in ipairs { 20, 3 } do
    local batch = xt(n)
    local ones, x = constant(batch)
    check.equal({ ones:sum():item(), ones.shape }, { 3.0 * n, { n } })
    check.equal(x:bytes(), batch.x:bytes())
  end
  local filled = quern.capture(function(b) return quern.tensor(quern.no_grad(function()
    local list = {}
    for i = 1, b.x.shape[1] do list[i] = 2.5 end
    return list
  end)) end, { grad = false })
  for _, n in ipairs { 20, 3 } do check.equal(filled(xt(n)):sum():item(), 2.5 * n) end
  local e = check.fails(function() quern.capture(function() return 3 end, { grad = false })(xt(9)) end, "tensors")
  check.equal(e.status, "argument")
end

return {
  { "plans can be read", plans_can_be_read },
  { "slices are shared out evenly", slices_are_shared_out_evenly },
  { "packed weights are those of the step", packed_weights_are_those_of_the_step },
  { "fused runs have the bits of single ops", fused_runs_have_the_bits_of_single_ops },
  { "long runs do not overwrite what they still need", long_runs_do_not_overwrite_what_they_still_need },
  { "cheap ops run again with the same bits in less memory", cheap_ops_run_again_with_the_same_bits_in_less_memory },
  { "activations may be kept as bf16", activations_may_be_kept_as_bf16 },
  { "forward passes return what eager ones do", forward_passes_return_what_eager_ones_do },
  { "best items are those of all scores", best_items_are_those_of_all_scores },
  { "results of forward passes are new each time", results_of_forward_passes_are_new_each_time },
}
