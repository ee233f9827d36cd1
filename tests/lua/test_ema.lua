--- Averaged parameters: the formula, putting back, checkpoints, masks. SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local nn = quern.nn

local function model_of(values)
  local m = nn.Linear(2, 1, { bias = false })
  return m:load_state { weight = quern.tensor { values } }
end

return {
  { "avg = decay avg + (1 - decay) w, from the first w", function()
    local m = model_of { 1, 10 }
    local ema = quern.ema(m, { decay = 0.75 })
    m:load_state { weight = quern.tensor { { 5, 10 } } }
    ema:update(m)
    check.near(ema.average.weight, { { 2, 10 } })
    ema:update(m)
    check.near(ema.average.weight, { { 2.75, 10 } })
    check.near(ema:with(m, function() return m.weight:totable() end), { { 2.75, 10 } })
    check.near(m.weight, { { 5, 10 } })
    check.fails(function() ema:with(m, function() error "inside" end) end, "inside")
    check.near(m.weight, { { 5, 10 } })
    check.fails(function() quern.ema(m, { decay = 1 }) end, "decay")
  end },

  { "what a mask leaves out is 0 in the average, also when it came later", function()
    local m = model_of { 4, 4 }
    local ema = quern.ema(m, { decay = 0.5 })
    m:set_mask("weight", quern.tensor({ { 1, 0 } }, "bool"))
    ema:update(m)
    check.near(ema.average.weight, { { 4, 0 } })
  end },

  { "an interrupted training goes on with the same averages", function()
    local function train(folder, resume, stop)
      quern.seed(1)
      local m = nn.Sequential { nn.Linear(3, 4), nn.Linear(4, 1) }
      local rows = { x = quern.normal { shape = { 20, 3 } }, y = quern.normal { shape = { 20, 1 } } }
      local data = quern.data.tensors(rows, { batch = 5, seed = 2 })
      local ema = quern.ema(m, { decay = 0.9 })
      local function after_step(_, fit) if fit.step == stop then error("stopped here", 0) end end
      quern.fit(m, data, { loss = function(x, b) return quern.mse(x(b.x), b.y) end, epochs = 3, folder = folder,
        seed = 1, resume = resume, progress = false, checkpoint_steps = 2,
        hooks = { ema, { after_step = after_step } } })
      return ema
    end
    local whole, folder = train(check.folder(), false), check.folder()
    check.fails(function() train(folder, false, 7) end, "stopped here")
    local again = train(folder, true)
    for name, t in pairs(whole.average) do check.yes(again.average[name]:bytes() == t:bytes(), name) end
  end },
}
