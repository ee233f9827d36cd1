--- Progress lines on terminals of 80 and 40 columns and in a pipe, with a clock of our own.
-- SPDX-License-Identifier: MIT

local check = require "check"
local Progress = require "quern.progress"

local function make(options)
  local now, written = 0.0, {}
  options.clock = function() return now end
  options.memory = function() return 312 * 1024 * 1024 end
  options.write = function(text) written[#written + 1] = text end
  options.label, options.unit = "hstu 3/20", "tok"
  local bar = Progress(options)
  return bar, written, function(seconds) now = now + seconds end
end

local function run(options, steps)
  local bar, written, pass = make(options)
  for i = 1, steps do
    pass(0.5)
    bar:update(i, 6000, 7.0 - i / 100)
  end
  return bar, written
end

return {
  { "a terminal of 80 columns gets a bar that fits", function()
    local _, written = run({ terminal = true, width = 80, total = 100 }, 45)
    check.equal(written[45],
      "\rhstu 3/20  [#######--------]  45%  loss 6.5500  0:28 left  12.0k tok/s  312 MiB\27[K")
    for _, line in ipairs(written) do check.yes(#line - #"\r\27[K" <= 80, line) end
  end },

  { "a terminal of 40 columns drops the least important parts", function()
    local _, written = run({ terminal = true, width = 40, total = 100 }, 45)
    check.equal(written[45], "\rhstu 3/20   45%  loss 6.5500  0:28 left\27[K")
  end },

  { "a pipe gets plain whole lines, each ten seconds", function()
    local bar, written = run({ terminal = false, total = 100 }, 45)
    check.equal(#written, 2)
    check.equal(written[1], "hstu 3/20   20%  loss 6.8000  0:40 left  12.0k tok/s  312 MiB\n")
    bar:finish("NDCG@10 0.0900")
    check.equal(written[3], "hstu 3/20   45%  loss 6.5500  0:28 left  12.0k tok/s  312 MiB  NDCG@10 0.0900\n")
  end },

  { "a terminal is drawn at most ten times a second", function()
    local bar, written, pass = make { terminal = true, width = 80, total = 1000 }
    for i = 1, 1000 do
      pass(0.001)
      bar:update(i, 1, 1.0)
    end
    check.yes(#written <= 10, #written .. " draws in one second")
  end },

  { "work of an earlier run does not count for rate and time left", function()
    local bar, written, pass = make { terminal = false, total = 100 }
    bar:start_at(50)
    pass(10)
    bar:update(60, 100, 1.0)
    check.equal(written[1], "hstu 3/20   60%  loss 1.0000  0:40 left  10 tok/s  312 MiB\n")
  end },

  { "an update without a draw costs less than a microsecond", function()
    local bar = make { terminal = true, width = 80, total = 1e7 }
    local began = os.clock()
    for i = 1, 200000 do bar:update(i, 1, 1.0) end
    local each = (os.clock() - began) / 200000
    check.yes(each < 1e-6, ("%.2f us"):format(each * 1e6))
  end },
}
