--- Captured steps as training runs them: fit, the optimizer's part, what is noted of them.
-- SPDX-License-Identifier: MIT

local check = require "check"
local captures = require "captures"
local quern = require "quern"
local sys = require "quern.sys"
local nn = quern.nn
local tensors_of = captures.tensors_of
local distance = captures.distance
local bytes = captures.bytes
local jagged = captures.jagged
local mlp = captures.mlp
local tagger = captures.tagger
local lengths_a = captures.lengths_a
local lengths_b = captures.lengths_b
local plugin_model = captures.plugin_model
local finish = captures.finish

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
    check.yes(off < 1e-6, ("parameter %d: %g"):format(k, off))
  end
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

-- Five steps with an optimizer; fused: straight from the lanes. All bytes of parameters and state.
local function optimized(settings, fused, clip, masked, sparse, table_type)
  local step, parameters, batch = tagger(sparse, table_type)
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

-- ---- Moments in bf16 ------------------------------------------------------------------------

-- A decay of a thousandth a step is below half a unit of bf16: rounded to nearest a moment would stand still.
local function rounding_at_random_is_right_on_average()
  local n = 4096
  local v = quern.ones({ n }, "bf16")
  for step = 1, 700 do
    quern.round_bf16_(v, v:cast("f32") * 0.999, { step = step, salt = 6 })
  end
  local mean = v:cast("f32"):mean():item()
  check.near(mean, 0.999 ^ 700, 0.01)
  local x = quern.tensor { 1, -1, 0.5, 0, math.huge, -math.huge, 0 / 0, 1 + 2 ^ -7 }
  local same = quern.round_bf16_(quern.zeros({ 8 }, "bf16"), x, { step = 3 }):cast("f32")
  check.equal(same:narrow(1, 1, 6):totable(), x:narrow(1, 1, 6):totable())
  check.yes(same:totable()[7] ~= same:totable()[7])
  check.equal(same:totable()[8], 1 + 2 ^ -7)
  check.fails(function() quern.round_bf16_(x, x) end, "y must be bf16 and x f32")
  local between = quern.round_bf16_(quern.zeros({ n }, "bf16"), quern.full({ n }, 1 + 2 ^ -9), { step = 1 })
  local up = between:cast("f32"):gt(1):cast("f32"):mean():item()
  check.near(up, 0.25, 0.03)
end

-- What train(fused) ends with: fused into the step the bits of separate steps, for any number of workers.
local function same_bits_fused(what, counts, train)
  local before, separate = quern.threads(), train(false)
  for _, workers in ipairs(counts) do
    quern.threads(workers)
    check.yes(train(true) == separate, ("%s: other bits with %d workers"):format(what, workers))
  end
  quern.threads(before)
end

local function bf16_moments_are_fused_with_the_bits_of_separate_steps()
  for _, settings in ipairs { { name = "sgd", lr = 0.1, momentum = 0.9 }, { name = "adam", lr = 0.01 },
                              { name = "adamw", lr = 0.01, weight_decay = 0.1 }, { name = "adam_rows", lr = 0.01 } } do
    settings.moments = "bf16"
    for _, clip in ipairs { false, 0.05 } do
      for _, sparse in ipairs { false, true } do
        same_bits_fused(("%s, clip %s, rows %s"):format(settings.name, clip, sparse), { 1, 3, 7 }, function(fused)
          return optimized(settings, fused, clip or nil, false, sparse)
        end)
      end
    end
  end
end

-- A table stored as bf16, with a master and without.
local function bf16_tables_are_fused_with_the_bits_of_separate_steps()
  for _, name in ipairs { "sgd", "adamw", "adam_rows", "adagrad_rows" } do
    for _, master in ipairs { true, false } do
      for _, sparse in ipairs { false, true } do
        local settings = { name = name, lr = 0.01, master = master }
        same_bits_fused(("%s, master %s, rows %s"):format(name, master, sparse), { 1, 2, 3, 7 }, function(fused)
          return optimized(settings, fused, nil, false, sparse, "bf16")
        end)
      end
    end
  end
end

-- The setting of fit: a table of half the bytes, trained captured, that goes on with equal bits.
local function bf16_tables_are_a_setting_of_fit()
  local ids = quern.randint({ 64, 3 }, 0, 20)
  local y = quern.cast(ids, "f32"):mean(2) * 0.1
  local function trained(options)
    quern.seed(9)
    local model = nn.Sequential { nn.Embedding(20, 8), nn.Flatten(), nn.Linear(24, 1) }
    options.loss = function(m, batch) return quern.mse(m(batch.ids):reshape { -1 }, batch.y) end
    options.progress, options.seed, options.name = false, 3, "t"
    options.optim = options.optim or { name = "adamw", lr = 0.01 }
    quern.fit(model, quern.data.tensors({ ids = ids, y = y }, { batch = 16, seed = 3 }), options)
    return model
  end
  local model = trained { epochs = 4, storage = { tables = "bf16" } }
  check.equal({ model[1].weight.dtype, model[3].weight.dtype }, { "bf16", "f32" })
  local folder, real, looks = check.folder(), sys.interrupted, 0
  sys.interrupted = function()
    looks = looks + 1
    return looks == 7                -- in the second epoch of four steps
  end
  local ok = pcall(trained, { epochs = 4, storage = { tables = "bf16" }, folder = folder })
  sys.interrupted = real
  check.yes(not ok, "was not interrupted")
  check.equal(quern.load(folder .. "/last.safetensors")["optim/1.weight:master"].dtype, "f32")
  local execution = quern.json.decode(check.read(folder .. "/last.json")).execution
  check.equal({ execution.captured, execution.storage }, { true, { tables = "bf16" } })
  local resumed = trained { epochs = 4, storage = { tables = "bf16" }, folder = folder, resume = true }
  check.yes(bytes(tensors_of(resumed)) == bytes(tensors_of(model)), "a resumed training has other bits")
  check.fails(function() trained { epochs = 1, storage = { tables = "bf16" },
                                   optim = quern.optim.AdamW { quern.ones(2) } } end, "tables")
end

-- Interrupted in the second of three epochs and resumed: equal bits; and the choice stands in the checkpoint.
local function bf16_storage_resumes_with_equal_bits()
  local storage = { moments = "bf16", activations = "bf16" }
  local whole = fitted { epochs = 3, storage = storage }
  check.yes(bytes(whole) ~= bytes(fitted { epochs = 3 }), "the setting changes nothing")
  local folder, real, looks = check.folder(), sys.interrupted, 0
  sys.interrupted = function()
    looks = looks + 1
    return looks == 7
  end
  local ok = pcall(fitted, { epochs = 3, storage = storage, folder = folder })
  sys.interrupted = real
  check.yes(not ok, "was not interrupted")
  check.equal(quern.json.decode(check.read(folder .. "/last.json")).execution.storage, storage)
  local kept = quern.load(folder .. "/last.safetensors")
  check.equal(kept["optim/1.weight:m"].dtype, "bf16")
  check.yes(bytes(fitted { epochs = 3, storage = storage, folder = folder, resume = true }) == bytes(whole))
  check.fails(function() fitted { epochs = 1, storage = { moments = "f16" } } end, "f16")
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

-- A pool of negatives: how many rows it touches is drawn, and with that what the loss saves for its backward.
local function saved_sizes_that_are_drawn_do_not_couple()
  local hstu = plugin_model()
  quern.seed(5)
  local model = hstu.model { items = 60, dim = 8, blocks = 1, max_len = 16 }
  local loss = hstu.softmax { negatives = { n = 12, sampler = "shared" } }
  for i = 1, 12 do
    quern.step(i)
    local lengths = {}
    for b = 1, 9 do lengths[b] = 3 + b * 7 % 6 end
    local function items(m) return quern.randint({ m }, 1, 61) end
    local times = jagged(lengths, items)
    local step = quern.capture(function(b) return finish(loss(model, b)) end)
    step:run { items = jagged(lengths, items), targets = jagged(lengths, items), times = times, next_times = times,
               n_sequences = 9, longest = 8 }
    check.equal(step:describe().segments, 2, "draw " .. i)    -- the slices; the table's own backward
  end
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
  check.yes(state.execution.why:find("item()", 1, true) and state.execution.why:find("capture_train.lua:", 1, true),
            state.execution.why)
end

local function fit_notes_how_it_captured()
  local folder = check.folder()
  fitted { epochs = 1, folder = folder, slice_kib = 16 }
  local state = quern.json.decode(check.read(folder .. "/last.json"))
  check.equal(state.execution, { captured = true, slice_kib = 16, lanes = 8 })
end

return {
  { "training ends at the same parameters", training_ends_at_the_same_parameters },
  { "fit trains captured, and resumes with equal bits", fit_trains_captured },
  { "fused updates have the bits of separate ones", fused_updates_have_the_bits_of_separate_ones },
  { "rounding at random is right on average", rounding_at_random_is_right_on_average },
  { "bf16 moments are fused with the bits of separate steps", bf16_moments_are_fused_with_the_bits_of_separate_steps },
  { "bf16 tables are fused with the bits of separate steps", bf16_tables_are_fused_with_the_bits_of_separate_steps },
  { "bf16 tables are a setting of fit", bf16_tables_are_a_setting_of_fit },
  { "bf16 storage resumes with equal bits", bf16_storage_resumes_with_equal_bits },
  { "trained bits do not depend on workers", trained_bits_do_not_depend_on_workers },
  { "what a loss saves for itself may be of a size that was drawn", saved_sizes_that_are_drawn_do_not_couple },
  { "denormal state is flushed", denormal_state_is_flushed },
  { "what keeps changing is trained eagerly", what_keeps_changing_is_trained_eagerly },
  { "fit goes on eagerly, and says why", fit_goes_on_eagerly_and_says_why },
  { "fit notes how it captured", fit_notes_how_it_captured },
}
