--- Things beside ops: the core's own, and those of a plugin built outside the tree.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local thing = quern.thing

local here = arg[0]:match("^(.*)/tests/lua/[^/]*$") or "."

local toolbox
local function load_toolbox()
  if toolbox then return toolbox end
  local folder = check.folder() .. "/toolbox"
  os.execute(("mkdir -p '%s' && cp '%s'/tests/out_of_tree/toolbox/* '%s'"):format(folder, here, folder))
  local compile = "${CC:-cc} -std=c11 -O1 -fPIC -fvisibility=hidden -shared -Wall -Wextra -Werror "
    .. "-I'%s/core/include' -o '%s/toolbox.so' '%s'/*.c -lm"
  if not os.execute(compile:format(here, folder, folder)) then check.skip("no C compiler") end
  toolbox = quern.plugin(folder)
  return toolbox
end

-- A state as it would be after a checkpoint: copies.
local function copied(state)
  local out = {}
  for name, t in pairs(state) do out[name] = t:clone() end
  return out
end

local function model_of(tensors)
  return { parameters = function() return tensors end }
end

return {
  { "what there is is listed by kind, with settings and texts", function()
    for _, kind in ipairs { "object", "hook", "dataset", "metric", "codec", "scorer" } do
      local list = thing.list(kind)
      check.yes(#list > 0, kind)
      for _, t in ipairs(list) do
        check.yes(t.summary ~= "" and t.settings:find(t.name .. "(", 1, true), t.name)
      end
    end
    check.equal(thing.names "object"[1], "lion")
  end },

  { "settings are checked by their schema", function()
    check.fails(function() quern.object("lion", { lr = -1 }) end, "lr", "-1")
    check.fails(function() quern.object("lion", { rate = 1 }) end, "rate", "lion(*, lr: num{0..} = 0.0001")
    check.fails(function() quern.object("lino") end, "there is no object named 'lino'", "did you mean 'lion'")
    check.fails(function() quern.scorer() end, "quern.scorer", "magnitude")
  end },

  { "lion takes the steps of its paper, and continues from its state with equal bits", function()
    local w, g = quern.f64 { 1, -2, 3 }, quern.f64 { 0.5, -0.25, 0 }
    local lion = quern.object("lion", { lr = 0.1, b1 = 0.9, b2 = 0.99, decay = 0.01 })
    check.yes(rawequal(lion:step(w, g), w), "the weights come back")
    -- u = sign(0.1 g); w = w (1 - 0.001) - 0.1 u; m = 0.01 g
    check.near(w, { 0.999 - 0.1, -1.998 + 0.1, 2.997 }, 1e-15)
    check.near((lion:state()).m, { 0.005, -0.0025, 0 }, 1e-15)
    local tensors, values = lion:state()
    local again = quern.object("lion", { lr = 0.1, decay = 0.01 })
    again:load_state(copied(tensors), values)
    local v = w:clone()
    for _ = 1, 3 do
      lion:step(w, g)
      again:step(v, g)
    end
    check.equal(w:totable(), v:totable())
  end },

  { "a refused state leaves the thing as it was", function()
    local lion = quern.object "lion"
    lion:step(quern.ones { 2 }, quern.ones { 2 })
    local before = (lion:state()).m:totable()
    local _, values = lion:state()
    check.fails(function() lion:load_state({ n = quern.ones { 2 } }, values) end, "not lion's")
    check.fails(function() lion:load_state({ m = quern.ones { 2 } }, { kind = "object", name = "adam" }) end, "adam")
    values.text = "{"
    check.fails(function() lion:load_state({ m = quern.ones { 2 } }, values) end, "JSON")
    check.equal((lion:state()).m:totable(), before)
  end },

  { "average follows the weights, inside fit and over a resume", function()
    local w = quern.f64 { 1, 2 }
    local hook = quern.hook("average", { decay = 0.5, warm = false })
    local fit = { model = model_of { { name = "w", role = "weight.linear", tensor = w } }, step = 1, epoch = 0 }
    hook:after_step(fit, 0.5)
    w:copy_(quern.f64 { 3, 6 })
    hook:before_step(fit)
    hook:after_step(fit, 0.25)
    check.equal((hook:state()).w:totable(), { 2, 4 })

    local function train(folder, steps, resume)
      quern.seed(3)
      local model = quern.nn.Linear(3, 1)
      local x = quern.normal { shape = { 8, 3 } }
      local average = quern.hook("average", { decay = 0.9 })
      quern.fit(model, quern.data.tensors { x = x, y = x:narrow(2, 1, 1) }, { loss = function(m, b)
        return quern.mse(m(b.x), b.y) end, optim = { name = "sgd", lr = 0.1 }, epochs = 3, batch = 4, max_steps = steps,
        hooks = { average }, folder = folder, resume = resume, progress = false, seed = 1 })
      return (average:state())
    end
    local whole = train(check.folder(), nil, false)
    local folder = check.folder()
    train(folder, 3, false)
    local rest = train(folder, nil, true)
    for name, t in pairs(whole) do check.equal(rest[name]:totable(), t:totable(), name) end
    check.yes(next(whole), "it kept something")
  end },

  { "the dirichlet stream is a data set of jagged records", function()
    local d = quern.dataset("dirichlet", { n_items = 50, n_categories = 5, n_records = 20, length = 7, seed = 4 })
    check.equal(d:count(), 20)
    local batch = d:read { 3, 0, 3 }
    check.equal(batch.items:offsets():totable(), { 0, 7, 14, 21 })
    local values = batch.items:values():totable()
    for i = 1, 7 do check.equal(values[i], values[14 + i]) end
    local direct = quern._io.dirichlet { n_items = 50, n_categories = 5, n_records = 20, length = 7, seed = 4 }
    check.equal(direct:arrays().items:narrow(1, 22, 7):totable(), table.move(values, 1, 7, 1, {}))
    check.fails(function() d:read { 20 } end, "record 20", "0 to 19")
    check.fails(function() d:read { 0.5 } end, "i64")
  end },

  { "calibration adds up batches as if they were one, and its state goes on", function()
    local m = quern.metric("calibration", { bins = 10 })
    m:add(quern.f64 { 0.15, 0.12, 0.95 }, quern.f64 { 0, 1, 1 })
    local tensors, values = m:state()
    local other = quern.metric("calibration", { bins = 10 })
    other:load_state(copied(tensors), values)
    for _, one in ipairs { m, other } do one:add(quern.f32 { 1.0 }, quern.f32 { 0 }) end
    local r = m:result()
    check.equal(r, other:result())
    check.near(r.ECE, ((1 - 0.27) + math.abs(1.95 - 1)) / 4, 1e-7)
    check.near(r.MCE, 0.475, 1e-7)
    check.near(r.n, 4)
    check.fails(function() m:add(quern.f64 { 1.5 }, quern.f64 { 1 }) end, "probability 1 is 1.5")
    check.fails(function() m:add(quern.f64 { 0.5 }, quern.f64 { 1, 0 }) end, "dim N")
  end },

  { "the npy codec reads what it wrote, and is found by a file's first bytes", function()
    local path = check.folder() .. "/x.bin"
    local x = quern.tensor { { 1.5, 2 }, { 3, 4 }, { 5, 6 } }
    quern.codec("npy"):write(path, { array = x:transpose(1, 2) })
    check.equal(quern.codec("npy"):read(path).array:totable(), { { 1.5, 3, 5 }, { 2, 4, 6 } })
    check.equal(quern.npy.load(path):totable(), { { 1.5, 3, 5 }, { 2, 4, 6 } })
    check.equal((thing.read(path)).array.shape, { 2, 3 })
    check.fails(function() quern.codec("npy"):write(path, { a = x, b = x }) end, "one tensor, not 2")
    check.equal(quern.codec("npy"):read(path).array.shape, { 2, 3 }, "the file before stays")
    check.write(path, "\147NUMPY\1\0\255\255")
    check.fails(function() quern.codec("npy"):read(path) end, path)
    check.write(path, "no format at all")
    check.fails(function() thing.read(path) end, "no codec knows the file", "npy")
  end },

  { "scorers score one weight or all at once", function()
    local w, g = quern.tensor { { -2, 0.5 } }, quern.tensor { { 1, -4 } }
    check.equal(quern.scorer("magnitude"):score(w):totable(), { { 2, 0.5 } })
    local taylor = quern.scorer "taylor"
    check.yes(taylor.needs_grad)
    local scores = taylor:score { { name = "a", value = w, grad = g },
                                  { name = "b", value = w:transpose(1, 2), grad = g:transpose(1, 2) } }
    check.equal(scores[1]:totable(), { { 2, 2 } })
    check.equal(scores[2]:totable(), { { 2 }, { 2 } })
    check.fails(function() taylor:score(w, { name = "fc.w" }) end, "fc.w has no gradient")
    check.fails(function() taylor:score(quern.i64 { 1 }, { grad = quern.i64 { 1 } }) end, "i64")
  end },

  { "things are refused inside a captured step", function()
    local lion = quern.object "lion"
    local w = quern.ones { 4 }
    local step = quern.capture(function(batch)
      lion:step(w, batch.x)
      return batch.x:sum()
    end)
    check.fails(function() step { x = quern.ones { 4 }, n = 4 } end, "lion", "captured")
  end },

  { "a plugin built elsewhere brings one of each kind", function()
    load_toolbox()
    local sampler = thing.of "example.toolbox".object.alias { first = 1 }
    quern.seed(5)
    local drawn = sampler:step(quern.f64 { 1, 0, 3 }, { n = 4000 }):totable()
    local n = { 0, 0, 0 }
    for _, i in ipairs(drawn) do n[i] = n[i] + 1 end
    check.equal(n[2], 0)
    check.near(n[1] / 4000, 0.25, 0.03)
    check.fails(function() quern.object("toolbox.alias"):step { n = 1 } end, "give counts once")

    local w = quern.tensor { -3.0, 0.5, 2.0 }
    local clamp = quern.hook("clamp", { limit = 1 })
    clamp:after_step({ model = model_of { { name = "w", role = "bias", tensor = w } }, step = 1, epoch = 0 }, 0)
    check.equal(w:totable(), { -1, 0.5, 1 })
    check.equal(clamp:describe(), { clamped = 2 })

    local points = quern.dataset("spirals", { n = 10 }):read { 0, 1, 9 }
    check.equal(points.x.shape, { 3, 2 })
    check.equal(points.label:totable(), { 0, 1, 1 })

    local rmse = quern.metric "rmse"
    rmse:add(quern.tensor { 1, 2 }, quern.tensor { 1.0, 4.0 })
    check.near(rmse:result().RMSE, math.sqrt(2), 1e-6)

    local path = check.folder() .. "/a.pgm"
    quern.codec("pgm"):write(path, { image = quern.u8 { { 0, 128 }, { 255, 7 } } })
    check.equal((thing.read(path)).image:totable(), { { 0, 128 }, { 255, 7 } })
    check.near(quern.scorer("fan"):score(quern.tensor { { 1, -2, 0, 3 } }):totable(), { { 2, 4, 0, 6 } })
  end },
}
