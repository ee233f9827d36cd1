--- What the tests of recommendation models share: batches by hand, a loop of steps.
-- SPDX-License-Identifier: MIT

local quern = require "quern"

local help = {}

--- A batch of sequences; each row of ids (and times) is one event longer than its input. `more` holds further
--- fields as lists of lists with their types: { behaviours = { lists, "i64" } }.
function help.batch_of(rows, times, more)
  local b = { items = {}, targets = {}, times = times and {}, next_times = times and {}, last = {},
              n_sequences = #rows, n_tokens = 0, longest = 0 }
  for i, row in ipairs(rows) do
    local n = #row - 1
    b.items[i], b.targets[i] = table.move(row, 1, n, 1, {}), table.move(row, 2, n + 1, 1, {})
    if times then
      b.times[i], b.next_times[i] = table.move(times[i], 1, n, 1, {}), table.move(times[i], 2, n + 1, 1, {})
    end
    b.last[i], b.n_tokens, b.longest = row[n + 1], b.n_tokens + n, math.max(b.longest, n)
  end
  for _, key in ipairs { "items", "targets", "times", "next_times" } do
    if b[key] then b[key] = quern.jagged(b[key], "i64") end
  end
  for key, field in pairs(more or {}) do b[key] = quern.jagged(field[1], field[2]) end
  b.last_targets = quern.tensor(b.last, "i64")
  return b
end

--- n rows of length + 1 ids of 1..items, and rising times.
function help.random_rows(seed, n, length, items)
  local random, rows, times = quern.det.random(seed), {}, {}
  for i = 1, n do
    rows[i], times[i] = {}, {}
    local t = random:range(0, 1000)
    for j = 1, length + 1 do
      rows[i][j], times[i][j] = random:range(1, items), t
      t = t + random:range(0, 100000)
    end
  end
  return rows, times
end

--- Steps until goal() or `most`; returns the last loss and the steps taken.
function help.train(model, loss, batch, most, goal, lr)
  local optim = quern.optim.make(model:parameters(), { name = "adamw", lr = lr or 5e-3 })
  optim:prepare()
  model:train()
  local value
  for step = 1, most do
    quern.step(step)
    quern.scope(function()
      local l = loss(model, batch)
      value = l:item()
      l:backward()
      optim:step()
      optim:zero_grad()
    end)
    if goal and goal(value, step) then return value, step end
  end
  return value, most
end

--- Share of all positions whose target scores highest.
function help.hits(model, batch)
  model:eval()
  local x = model:encode(batch):values()
  local rank = quern.rank_targets(x, model:table(), batch.targets:values())
  local n, list = 0, rank:totable()
  for _, r in ipairs(list) do if r == 1 then n = n + 1 end end
  model:train()
  return n / #list
end

--- Rows from..to of a jagged tensor's values, as lists.
function help.rows_of(tensor, from, to)
  local list, out = tensor:values():totable(), {}
  for i = from, to do out[#out + 1] = list[i] end
  return out
end

--- Ten sequences that run through 1..10 and begin anew.
function help.cycle()
  local rows = {}
  for i = 1, 10 do
    rows[i] = {}
    for j = 1, 13 do rows[i][j] = (i + j) % 10 + 1 end
  end
  return help.batch_of(rows)
end

return help
