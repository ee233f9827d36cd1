--- Evaluations run captured forward passes: the same figures as eagerly, whatever the number of workers.
-- SPDX-License-Identifier: MIT

local check = require "check"
local execution = require "quern.execution"
local quern = require "quern"
local nn = quern.nn

local function plugin(name)
  local ok, p = pcall(quern.plugin, name)
  if not ok then check.skip(("the plugin %s is not built"):format(name)) end
  return p
end

local function eagerly(fn, ...)
  execution.eager = true
  local results = table.pack(pcall(fn, ...))
  execution.eager = false
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

-- Events of 70 users, of which each next item follows from the last by a rule.
local function interactions()
  local random, lines = quern.det.random(5), {}
  for u = 1, 70 do
    local item, list = random:range(1, 40), {}
    for i = 1, random:range(4, 30) do
      item = (item * 7 + random:range(0, 3)) % 40 + 1
      list[i] = item
    end
    lines[u] = u .. " " .. table.concat(list, " ")
  end
  local path = check.temporary "sequences.txt"
  check.write(path, table.concat(lines, "\n") .. "\n")
  return quern.data.sequences { file = path, format = "sequences", cache = "", max_len = 16, protocol = "standard" }
end

local function ranks_are_those_of_eager_passes()
  local hstu, before = plugin "hstu", quern.threads()
  local data = interactions()
  for _, make in ipairs { hstu.model, hstu.sasrec } do
    quern.seed(3)
    local model = make { items = data.n_items, dim = 8, blocks = 2, max_len = 16, rab = "pos" }
    local ranks = eagerly(hstu.ranks, model, data, "test", { batch = 16 })
    for _, workers in ipairs { 1, 2, 3, 7 } do
      quern.threads(workers)
      check.equal(hstu.ranks(model, data, "test", { batch = 16 }), ranks, workers .. " workers")
    end
    local _, pass = quern.inference(model, "users", function(m, batch) return m:users(batch) end)
    check.yes(pass.captured and pass.captured.count == 1, tostring(pass.why))
  end
  quern.threads(before)
end

local function accuracy_is_that_of_eager_passes()
  quern.seed(4)
  local model = nn.Sequential { nn.Conv2d(3, 4, 3, { padding = 1 }), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
                                nn.Linear(4 * 36, 5) }
  quern.step(1)
  model(quern.normal { 32, 3, 6, 6 })             -- running statistics other than the first
  local batches = {}
  for i, n in ipairs { 24, 24, 7 } do
    batches[i] = { x = quern.normal { n, 3, 6, 6 }, y = quern.randint({ n }, 0, 5), n = n }
  end
  local set = {}
  function set.batches()
    local i = 0
    return function()
      i = i + 1
      return batches[i]
    end
  end
  local vision = plugin "vision"
  local want = eagerly(vision.evaluate, model, set, "test")
  check.equal(vision.evaluate(model, set, "test"), want)
  local _, pass = quern.inference(model, "logits", function(m, x) return m(x) end)
  check.equal(pass.captured:describe().segments, 1)      -- statistics that are given couple nothing
  check.equal(want.n, 55)
end

-- What is trained in between, and what a model becomes, is seen; what cannot be captured runs eagerly.
local function passes_follow_their_model()
  quern.seed(5)
  local model = nn.Sequential { nn.Linear(4, 3), nn.Dropout(0.5) }
  model:eval()
  local x = quern.normal { 20, 4 }
  local function forward(m, b) return m(b) end
  local pass = quern.inference(model, "all", forward)
  check.equal(pass(x):bytes(), quern.no_grad(model.forward, model, x):bytes())
  quern.no_grad(function() model[1].weight:mul_(2) end)
  check.equal(pass(x):bytes(), quern.no_grad(model.forward, model, x):bytes())
  check.equal(quern.inference(model, "all", forward), pass)
  local odd, state = quern.inference(model, "odd", function(m, b) return m(b) * b:sum():item() end)
  local want = quern.no_grad(function() return model(x) * x:sum():item() end)
  check.equal(odd(x):bytes(), want:bytes())
  check.yes(not state.captured and tostring(state.why):find("item()", 1, true), tostring(state.why))
  check.equal(odd(x):bytes(), want:bytes())
  local broken = quern.inference(model, "broken", function(m, b) return m(b:narrow(2, 1, 3)) end)
  check.fails(function() broken(x) end, "linear")
end

local function last_rows_of_sequences()
  plugin "hstu"
  local x = quern.jagged(quern.normal { 7, 3 }, quern.tensor({ 0, 2, 6, 7 }, "i64"))
  local last = quern.sequence_last(x)
  check.equal(last:bytes(), quern.index_select(x:values(), quern.tensor({ 1, 5, 6 }, "i64"), 1):bytes())
  local w = quern.normal({ 7, 3 }):requires_grad_(true)
  local y = quern.sequence_last(quern.jagged(w, x:offsets()))
  y:backward(quern.ones { 3, 3 })
  check.equal(w.grad:sum(2):totable(), { 0, 3, 0, 0, 0, 3, 3 })
  local empty = quern.jagged(quern.ones { 2, 3 }, quern.tensor({ 0, 2, 2 }, "i64"))
  check.fails(function() quern.sequence_last(empty) end, "sequence 2 is empty")
end

return {
  { "ranks are those of eager passes", ranks_are_those_of_eager_passes },
  { "accuracy is that of eager passes", accuracy_is_that_of_eager_passes },
  { "passes follow their model", passes_follow_their_model },
  { "last rows of sequences", last_rows_of_sequences },
}
