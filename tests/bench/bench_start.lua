--- How long a person waits: start to the prompt's first answer, start of a run, cost of progress.
-- Benchmark, never a test: quern lua tests/bench/bench_start.lua
-- SPDX-License-Identifier: MIT

local core = require "quern.core"
local sys = require "quern.sys"
local Progress = require "quern.progress"

local STARTS = 25

-- Wall time of each start, and processor time of all by the shell's `times`.
local function starts(command)
  local script = ("for i in $(seq %d); do date +%%s%%N; %s; done; date +%%s%%N; times"):format(STARTS, command)
  local pipe <close> = io.popen(("bash -c %q"):format(script):gsub("\n", " "):gsub("%$", "\\$"), "r")
  local at, list, used = nil, {}, 0.0
  for line in pipe:lines() do
    local now, minutes, seconds, m2, s2 = math.tointeger(line), line:match("^(%d+)m([%d.]+)s (%d+)m([%d.]+)s")
    if now and at then list[#list + 1] = (now - at) * 1e-6 end
    at = now or at
    if minutes then used = 60 * (minutes + m2) + seconds + s2 end    -- the last line: of the children
  end
  table.sort(list)
  return list[(#list + 1) // 2], list[1], list[#list], used / STARTS * 1e3
end

local function milliseconds(words, input)
  return starts(("'%s' %s %s >/dev/null 2>&1"):format(sys.program(), words, "< " .. (input or "/dev/null")))
end

local folder = os.tmpname()
os.remove(folder)
sys.mkdir(folder)
local function file(name, text)
  local f <close> = assert(io.open(folder .. "/" .. name, "w"))
  f:write(text)
  return folder .. "/" .. name
end

local function show(what, ...)
  print(("%-50s %6.1f ms (%.1f to %.1f), %5.1f ms of processor time"):format(what, ...))
end

show("a shell's loop that starts `true`", starts("/bin/true"))
show("quern, to the prompt's end of input", milliseconds(""))
show("quern, a tensor printed at the prompt", milliseconds("", file("line", "quern.softmax(quern.tensor{1, 2})\n")))
local empty = file("empty.lua", 'return require("quern").recipe { name = "empty", main = function() end }')
show("quern run of a recipe that does nothing, whole", milliseconds(("run '%s' --out '%s/runs'"):format(empty, folder)))
show("quern run --help of the same", milliseconds(("run '%s' --help"):format(empty)))

local written = 0
local bar = Progress { label = "hstu 3/20", unit = "tok", terminal = true, width = 80, total = 1e9,
                       write = function(text) written = written + #text end }
local began = core.clock()
for i = 1, 1000000 do bar:update(i, 128, 1.0) end
local each = (core.clock() - began) / 1e6
began = core.clock()
for _ = 1, 2000 do bar:draw(core.clock()) end
local draw = (core.clock() - began) / 2000
print(("progress: %.2f us a step, %.1f us a draw, 10 draws a second: %.3f %% of steps of 1 ms"):format(each * 1e6,
  draw * 1e6, 100 * (each / 1e-3 + 10 * draw)))
sys.remove_all(folder)
