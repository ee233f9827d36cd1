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

  { "an update without a draw is one look at the clock and nothing else", function()
    local looks, told = 0, 0
    local bar = Progress { terminal = true, width = 80, total = 1e7, write = function() told = told + 1 end,
      memory = function() told = told + 1 return 0 end, clock = function() looks = looks + 1 return 0 end }
    looks = 0
    for i = 1, 1000 do bar:update(i, 1, 1.0) end
    check.equal({ looks, told }, { 1000, 0 })
  end },

  { "what takes less than two seconds is never shown; more is, and cleared at its end", function()
    local now, written = 0.0, {}
    local real = Progress.init
    Progress.init = function(self, o)
      o.clock, o.memory, o.terminal, o.width = function() return now end, false, true, 60
      o.write = function(text) written[#written + 1] = text end
      real(self, o)
    end
    local function go(seconds)
      local n = 0
      local function next_one() n = n + 1 if n <= 10 then return n end end
      for _ in Progress.over(next_one, "ml-100k test", 10, "tok", function() return 500 end) do now = now + seconds end
    end
    go(0.15)
    local quiet = #written
    go(0.5)
    Progress.init = real
    check.equal(quiet, 0)
    check.equal(written[1], "\rml-100k test  [######--------]  40%  0:03 left  1.00k tok/s\27[K")
    check.equal(written[#written], "\r\27[K")
  end },

  { "long work in C tells how far it is", function()
    local core, heard = require "quern.core", {}
    core.tick(function(what, done, total) heard[#heard + 1] = { what, done, total } end)
    local path = check.temporary "long"
    check.write(path, ("x"):rep(20 << 20))
    core.sha256_file(path)
    core.tick(nil)
    core.sha256_file(path)
    check.equal(heard, { { "checking", 8 << 20, 20 << 20 }, { "checking", 16 << 20, 20 << 20 },
                         { "checking", 20 << 20, 20 << 20 } })
    check.equal(Progress.during("x", function(a) return a, 2 end, 1), 1)
    check.fails(function() Progress.during("x", error, "broken") end, "broken")
  end },
}
