--- Captured steps that are cut into segments: what couples samples runs on the whole batch.
-- SPDX-License-Identifier: MIT

local check = require "check"
local captures = require "captures"
local quern = require "quern"
local nn = quern.nn
local run = captures.run
local distance = captures.distance
local bytes = captures.bytes
local finish = captures.finish
local xt = captures.xt

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

-- Rows scaled once per step: slices add to one sum per lane, which their backward then takes.
local function gradients_of_what_runs_once_are_added_up()
  quern.seed(32)
  local w = quern.normal({ 3, 4 }):requires_grad_(true)
  local captured = captures.same_as_eager(function(b)
    return finish(quern.mse(quern.linear(b.x, quern.l2_normalize(w)), b.t))
  end, { w }, { xt(40), xt(5), xt(600) }, 4e-6, { slice_kib = 1 })
  check.yes(captured:describe().segments > 1, "the sum does not cross segments")
  check.yes(captured:plan().slices > 8, "a lane has one slice only")
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

-- ---- What outlives the step ----------------------------------------------------------------

local function net(layout)
  quern.seed(33)
  local o = { padding = 1, layout = layout }
  local act = layout == "nhwc" and "relu" or nil
  return nn.Sequential { nn.Conv2d(3, 4, 3, o), nn.BatchNorm2d(4, { layout = layout, act = act }),
                         nn.Conv2d(4, 5, 3, o), nn.BatchNorm2d(5, { layout = layout }) }
end

local function images(n, layout)
  local x = layout == "nhwc" and quern.normal { n, 6, 6, 3 } or quern.normal { n, 3, 6, 6 }
  return { x = x, y = quern.randint({ n }, 0, 5) }
end

local function classify(model, layout)
  return function(b)
    local y = model(b.x):relu()
    return finish(quern.cross_entropy(y:mean(layout == "nhwc" and { 2, 3 } or { 3, 4 }), b.y))
  end
end

-- Six steps; parameters and running statistics by name.
local function trained(layout, slices, eager)
  local model = net(layout)
  local step = classify(model, layout)
  local captured = not eager and quern.capture(step, { slices = slices, slice_kib = 4 })
  local optim = quern.optim.make(model:parameters(), { name = "sgd", lr = 0.05, momentum = 0.9 })
  for i = 1, 6 do
    quern.seed(50 + i)
    quern.step(i)
    local batch = images(10 + 3 * i, layout)
    if captured then
      captured:run(batch)
      check.yes(optim:fuse(captured))
    else
      step(batch)
      optim:step()
      optim:zero_grad()
    end
  end
  return model:state(), captured
end

-- Running statistics move once a step, by the statistics of the whole batch, whatever ran before to record and check.
local function batch_norm_nets_train_captured()
  local before = quern.threads()
  for _, layout in ipairs { "nchw", "nhwc" } do
    local eager = trained(layout, nil, true)
    for _, slices in ipairs { true, false } do
      local first
      for _, workers in ipairs { 1, 2, 3, 7 } do
        quern.threads(workers)
        local state, captured = trained(layout, slices)
        local all = {}
        for name, t in quern.util.sorted(state) do
          local off = (t - eager[name]):abs():max():item()
          check.yes(off < 2e-7, ("%s: %g"):format(name, off))
          check.yes(slices or t:detach():bytes() == eager[name]:detach():bytes(), name .. ": other bits")
          all[#all + 1] = t:detach()
        end
        first = first or bytes(all)
        check.yes(bytes(all) == first, workers .. " workers give other bits")
        local d = captured:describe()
        check.yes(slices and d.segments > 4 or not slices and d.segments == 2, "segments: " .. d.segments)
      end
    end
  end
  quern.threads(before)
end

local function buffers_stay_when_a_step_is_refused()
  local model = net()
  local was = bytes { model[2].running_mean, model[4].running_var }
  local captured = quern.capture(function(b)
    local loss = classify(model)(b)
    return loss:item() > 0 and loss or nil
  end)
  check.yes(not pcall(captured, images(12)))
  check.equal(bytes { model[2].running_mean, model[4].running_var }, was)
end

-- What a step counts in a tensor of its own goes on by one a step, and what reads it sees the same as eagerly.
local function counters_are_counted_once_a_step()
  local ends = {}
  for _, capture in ipairs { false, true } do
    quern.seed(9)
    local w, counter = quern.normal({ 4, 3 }):requires_grad_(true), quern.zeros { 3 }
    local function step(b)
      local early = counter * 0.1
      quern.no_grad(function() counter:add_(1) end)
      return finish((quern.mse(b.x:matmul(w) * (counter + early), b.t)))
    end
    local fn = capture and quern.capture(step, { slice_kib = 1 }) or step
    for i = 1, 4 do
      quern.seed(i)
      quern.step(i)
      w:zero_grad()
      ends[#ends + 1] = fn(xt(20)):item()
      ends[#ends + 1] = w.grad:clone()
    end
    check.equal(counter:totable(), { 4, 4, 4 })
  end
  for i = 1, 8, 2 do
    check.near(ends[i + 8], ends[i], 4e-6)
    check.yes(distance(ends[i + 9], ends[i + 1]) < 4e-6)
  end
end

-- ---- Which way is taken ---------------------------------------------------------------------

local function steps_of_many_segments_run_on_the_whole_batch()
  quern.seed(3)
  local layers = {}
  for _ = 1, 6 do
    layers[#layers + 1] = nn.Linear(4, 4)
    layers[#layers + 1] = nn.BatchNorm1d(4)
  end
  local model = nn.Sequential(layers)
  local captured = quern.capture(function(b) return finish(model(b.x):square():mean()) end)
  captured(xt(30))
  check.equal(captured:describe().segments, 2)
  check.yes(tostring(captured:plan()):find("too many segments", 1, true), tostring(captured:plan()))
end

return {
  { "batch-norm nets train captured", batch_norm_nets_train_captured },
  { "buffers stay when a step is refused", buffers_stay_when_a_step_is_refused },
  { "counters are counted once a step", counters_are_counted_once_a_step },
  { "steps of many segments run on the whole batch", steps_of_many_segments_run_on_the_whole_batch },
  { "bits of steps in segments do not depend on workers", segmented_bits_do_not_depend_on_workers },
  { "what couples samples runs between segments", what_couples_samples_runs_between_segments },
  { "gradients of what runs once are added up over slices", gradients_of_what_runs_once_are_added_up },
}
