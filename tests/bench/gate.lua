--- make bench-gate: has anything become slower? Not part of the tests.
--   quern lua tests/bench/gate.lua BUILD/bench [--record] [--only TEXT]
-- Our side of each benchmark runs three times. A case's figure is floor / time, with the floor of the same run, so
-- it does not depend on the clock of the day. It fails when it is below 0.9 of the recorded figure in two of the
-- runs. Figures are kept for each kind of machine in tests/bench/recorded.json; --record (make bench-gate RECORD=1)
-- writes the least of the three: neighbours on the host slow a run down, nothing speeds it up.
-- SPDX-License-Identifier: MIT

local quern = require "quern"

local here = arg[0]:match("^(.*)/[^/]*$") or "."
local programs, record, only = arg[1], false, nil
for i = 2, #arg do
  if arg[i] == "--record" then record = true elseif arg[i] == "--only" then only = arg[i + 1] end
end

local RUNS, LEAST = 3, 0.9
local path = here .. "/recorded.json"
local build = programs:match("^(.*)/[^/]*$")

local commands = {
  gemm = programs .. "/bench_gemm --json",
  attn = ("QUERN_BENCH=%s %s/quern lua %s/bench_attn.lua --json --peers none --rounds 1"):format(programs, build, here),
  loss = ("QUERN_BENCH=%s %s/quern lua %s/bench_loss.lua --json --peers none --rounds 1"):format(programs, build, here),
  elem = ("QUERN_BENCH=%s %s/quern lua %s/bench_elem.lua --json --peers none --rounds 1"):format(programs, build, here),
  step = ("QUERN_BENCH=%s %s/quern lua %s/bench_step.lua --json --peers none --rounds 1"):format(programs, build, here),
}
local order = { "gemm", "attn", "loss", "elem", "step" }

-- Machine, and figures by "benchmark: case", of one run of a command.
local function run(name)
  local pipe, machine, figures = io.popen(commands[name]), nil, {}
  for line in pipe:lines() do
    local row = quern.json.decode(line)
    if row.machine then machine = ("%s, %s, %d threads"):format(row.machine, row.isa, row.threads) end
    if row.of_floor then figures[name .. ": " .. row.case] = row.of_floor end
  end
  if not pipe:close() or not machine then error("bench-gate: " .. commands[name] .. " failed", 0) end
  return machine, figures
end

local function load_recorded()
  local file = io.open(path)
  if not file then return {} end
  local text = file:read("a")
  file:close()
  return quern.json.decode(text)
end

local function sorted_keys(t)
  local keys = {}
  for k in pairs(t) do keys[#keys + 1] = k end
  table.sort(keys)
  return keys
end

local recorded, runs, machine = load_recorded(), {}, nil
for _, name in ipairs(order) do
  if not only or name == only then
    for _ = 1, RUNS do
      local here_machine, figures = run(name)
      machine = here_machine
      for case, value in pairs(figures) do
        runs[case] = runs[case] or {}
        table.insert(runs[case], value)
      end
    end
  end
end

local known, failed, checked = recorded[machine] or {}, 0, 0
for _, case in ipairs(sorted_keys(runs)) do
  local values = runs[case]
  table.sort(values)
  if record then
    known[case] = tonumber(("%.3f"):format(values[1]))
  elseif known[case] then
    checked = checked + 1
    local below = 0
    for _, v in ipairs(values) do if v < LEAST * known[case] then below = below + 1 end end
    if below >= 2 then
      failed = failed + 1
      print(("slower: %s is at %.3f of its floor (median), recorded %.3f"):format(case, values[2], known[case]))
    end
  end
end

if record then
  recorded[machine] = known
  quern._io.write_file(path, quern.json.encode(recorded, { pretty = true }) .. "\n")
  print("recorded " .. #sorted_keys(runs) .. " cases for " .. machine)
elseif checked == 0 then
  print("nothing is recorded for " .. tostring(machine) .. "; record it with: make bench-gate RECORD=1")
else
  print(("%d cases checked, %d slower than %.0f %% of the recorded figure"):format(checked, failed, 100 * LEAST))
  os.exit(failed == 0 and 0 or 1)
end
