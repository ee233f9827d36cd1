--- What the benchmarks in Lua share: limits of the machine, cases with floors, peers in turns, one form of output.
--
--   package.path = arg[0]:gsub("[^/]*$", "lib/?.lua;") .. package.path
--   local b = require "bench".open("attn")
--   b:case { name = "...", flops =, bytes =, ours = function() ... end,
--            peer = { case = "module.function", args = {...}, backends = { "eager", "compile" } } }
--   b:close()
--
-- Options of every benchmark: --json (a line of JSON for each row), --rounds N (3), --only TEXT (rows whose names
-- contain it), --peers LIST (eager,compile,jax,onnx; or none), --profile (our time by op), --eager (steps are not
-- captured), --brief (for make bench, which runs all: 2 rounds, and no torch.compile, whose compiling takes longer than
-- all else together).
-- A floor is the larger of FLOPs at the multiply-add rate and bytes at the copy rate, both measured just before the
-- case (the best of the run so far). Each round runs us, then each peer; a ratio is peer / ours of one round. A round's
-- time is the median of its calls; the best round is what a row shows, for the machine may be shared.
-- QUERN_PEER names a Python that has the peers; what is not there is skipped by name.
-- SPDX-License-Identifier: MIT

local quern = require "quern"

local bench = {}
bench.__index = bench

local here = (arg and arg[0] or "tests/bench/x"):match("^(.*)/[^/]*$") or "."
local now = quern._io.clock

local function median(list)
  local sorted = { table.unpack(list) }
  table.sort(sorted)
  return sorted[(#sorted + 1) // 2]
end
bench.median = median

-- ---- Start ------------------------------------------------------------------------------

local function options()
  local o, i = {}, 1
  while arg[i] do
    local a = arg[i]
    if a == "--json" or a == "--profile" or a == "--eager" or a == "--brief" then
      o[a:sub(3)] = true
    elseif a == "--rounds" or a == "--only" or a == "--peers" then
      i = i + 1
      o[a:sub(3)] = arg[i]
    else
      error(a .. " is no option; known: --json --profile --eager --brief --rounds N --only TEXT --peers LIST", 0)
    end
    i = i + 1
  end
  o.rounds = tonumber(o.rounds) or o.brief and 2 or 3
  if o.brief then o.peers = o.peers or "eager,jax,onnx" end
  return o
end

--- FMA peak (GF/s) and copy and in-place rates (GB/s), the best of this run so far, by build/bench/bench_machine.
function bench:measure()
  local program = (os.getenv("QUERN_BENCH") or "build/bench") .. "/bench_machine"
  local pipe = io.popen(("QUERN_THREADS=%d %s --limits 2>/dev/null"):format(quern.threads(), program))
  local text = pipe and pipe:read("a") or ""
  if pipe then pipe:close() end
  if text == "" then error(program .. " does not run; build it with: make benches", 0) end
  local now_ = quern.json.decode(text)
  for _, what in ipairs(self.limits and { "peak_1t", "peak", "copy_1t", "copy", "update", "l2" } or {}) do
    now_[what] = math.max(now_[what], self.limits[what])   -- on a busy machine a thread may have had no core
  end
  self.limits = now_
  return now_
end

function bench:say(text, ...)
  if not self.json then print(select("#", ...) > 0 and text:format(...) or text) end
end

function bench:record(row)
  row.bench = self.name
  if self.json then print(quern.json.encode(row)) io.stdout:flush() end
end

--- Measures and prints the limits; starts the peers' interpreter unless there are none to be.
---@param name string
---@param peers boolean? false: this benchmark has no peers
function bench.open(name, peers)
  local self = setmetatable(options(), bench)
  if peers == false then self.peers = "none" end
  self.name = name
  local l = self:measure()
  self:say("%s, %s: FMA peak %.1f GF/s on 1 thread, %.1f on %d; copy %.1f GB/s, %.1f; in place %.1f", l.machine,
           l.isa, l.peak_1t, l.peak, l.threads, l.copy_1t, l.copy, l.update)
  l.bench = nil
  self:record(l)
  self:start_peer()
  return self
end

-- ---- Peers: one Python for the whole benchmark, commands in, answers out -----------------

local allocators = { "libjemalloc.so.2", "libtcmalloc_minimal.so.4" }

local function preload()
  local pipe = io.popen("/sbin/ldconfig -p 2>/dev/null")
  local list = pipe and pipe:read("a") or ""
  if pipe then pipe:close() end
  for _, name in ipairs(allocators) do
    local path = list:match(name:gsub("%p", "%%%0") .. "[^\n]*=> ([^\n]+)")
    if path then return path end
  end
end

function bench:start_peer()
  local python = os.getenv("QUERN_PEER")
  if self.peers == "none" then return end
  if not python or python == "" then
    self:say("peers: skipped (QUERN_PEER names no Python; tests/bench/setup_peers.sh makes one)")
    return
  end
  local fifo, library, threads = os.tmpname(), preload(), quern.threads()
  os.remove(fifo)
  if not os.execute("mkfifo " .. fifo) then return end
  local command = ("OMP_NUM_THREADS=%d MKL_NUM_THREADS=%d MALLOC_CONF=dirty_decay_ms:-1,muzzy_decay_ms:-1,thp:always "
    .. "TORCHINDUCTOR_CPP_WRAPPER=0 %s %s %s/peers/serve.py %d > %s"):format(threads, threads,
    library and "LD_PRELOAD=" .. library or "", python, here, threads, fifo)
  self.ask_pipe = io.popen(command, "w")
  self.answer_pipe = io.open(fifo, "r")
  os.remove(fifo)
  local hello = self:ask { hello = true }
  if not hello then self.ask_pipe = nil return end
  self.backends_there = hello.backends
  self:say("peers: %s; %d threads, allocator %s", hello.settings, threads, library or "of the system")
  for _, missing in ipairs(hello.missing) do self:say("peers: %s", missing) end
  self:record { peers = hello.settings, allocator = library, missing = hello.missing }
end

--- One command to the peers; nil when they are not there.
function bench:ask(command)
  if not self.ask_pipe then return nil end
  self.ask_pipe:write(quern.json.encode(command), "\n")
  self.ask_pipe:flush()
  local line = self.answer_pipe:read("l")
  return line and quern.json.decode(line)
end

function bench:wanted(backend)
  local list = self.peers and "," .. self.peers .. ","
  return (not list or list:find("," .. backend .. ",", 1, true)) and self.backends_there[backend]
end

-- ---- Cases ------------------------------------------------------------------------------

--- Page faults of this process so far.
local function faults()
  local file = io.open("/proc/self/stat")
  local text = file and file:read("a") or ""
  if file then file:close() end
  local minor, major = text:match("%) %a %S+ %S+ %S+ %S+ %S+ %S+ (%d+) %S+ (%d+)")
  return minor and tonumber(minor) + tonumber(major) or nil
end

-- Faults of one steady call: the second of two, so that reading the count is not counted.
local function faults_of(fn)
  local least = math.huge
  for _ = 1, 2 do
    local before = faults()
    if not before then return nil end
    fn()
    least = math.min(least, faults() - before)
  end
  return least
end

--- Median ms of calls of fn for about `seconds`, at least `least`.
function bench.time(fn, seconds, least)
  local times, start = {}, now()
  repeat
    local began = now()
    fn()
    times[#times + 1] = (now() - began) * 1e3
  until #times >= (least or 3) and now() - start > seconds
  return median(times)
end

function bench:floor_ms(case)
  local l = self.limits
  local threads = case.threads or l.threads
  local peak = threads == 1 and l.peak_1t or l.peak
  local copy = threads == 1 and l.copy_1t or math.max(l.copy, case.in_place and l.update or 0)
  local arithmetic = (case.flops or 0) / peak / 1e6
  local memory = (case.bytes or 0) / copy / 1e6 + (case.l2_bytes or 0) / (l.l2 * threads / l.threads) / 1e6
  return case.add and arithmetic + memory or math.max(arithmetic, memory)
end

function bench:skipped(name) return self.only and not name:find(self.only, 1, true) end

local names = { eager = "PyTorch", compile = "torch.compile", jax = "JAX", onnx = "ONNX Runtime" }

--- One line of the table.
---@param case {name: string, ours: function, flops: number?, bytes: number?, l2_bytes: number?, add: boolean?,
---  in_place: boolean?, peer: table?, items: number?, unit: string?, seconds: number?, peer_calls: integer?,
---  note: string?}
---  l2_bytes: read from the second cache; add: the floor is arithmetic plus memory; items: of a call, for a rate in
---  `unit` a second
function bench:case(case)
  if self:skipped(case.name) then return end
  self:measure()
  quern.memory_reset_peak()
  case.ours()
  case.faults = faults_of(case.ours)
  if self.profile then
    quern.profile("start")
    bench.time(case.ours, 0.5)
    quern.profile("stop")
    self:say(case.name .. "\n" .. quern.profile("table"))
  end
  local asked = {}
  for _, backend in ipairs(case.peer and self.ask_pipe and case.peer.backends or {}) do
    if self:wanted(backend) then asked[#asked + 1] = backend end
  end
  local mine, theirs, ratios, failed = {}, {}, {}, {}
  local seconds = case.seconds or 0.4
  for round = 1, self.rounds do
    mine[round] = bench.time(case.ours, seconds)
    for _, backend in ipairs(asked) do
      if not failed[backend] then
        local answer = self:ask { case = case.peer.case, args = case.peer.args, backend = backend,
                                  seconds = seconds, least = case.peer_calls or 1 }
        if answer and answer.ms then
          theirs[backend] = theirs[backend] or {}
          ratios[backend] = ratios[backend] or {}
          theirs[backend][round], ratios[backend][round] = answer.ms, answer.ms / mine[round]
        else
          failed[backend] = answer and answer.error or "the peer ended"
        end
      end
    end
  end
  self:ask { forget = true }
  self:print_case(case, mine, asked, theirs, ratios, failed)
  collectgarbage()
end

function bench:print_case(case, mine, asked, theirs, ratios, failed)
  local ms, floor = math.min(table.unpack(mine)), self:floor_ms(case)
  local row = { case = case.name, ms = ms, rounds = mine, floor_ms = floor, of_floor = floor / ms, peers = {},
                ratios = {}, peak = self.limits.peak, note = case.note }
  local line = ("%-44s %9.3f ms  %.2fx floor"):format(case.name, ms, ms / floor)
  if case.items then
    row.rate, row.unit = case.items / ms * 1e3, case.unit
    line = line .. ("  %.0f %s/s"):format(row.rate, case.unit)
  end
  for _, backend in ipairs(asked) do
    if theirs[backend] then
      local name = names[backend]
      row.peers[name], row.ratios[name] = math.min(table.unpack(theirs[backend])), ratios[backend]
      local list = {}
      for i, r in ipairs(ratios[backend]) do list[i] = ("%.2f"):format(r) end
      line = line .. ("  %s %.1f ms x%s"):format(name, row.peers[name], table.concat(list, " "))
    elseif failed[backend] then
      line = line .. ("  %s: %s"):format(names[backend], failed[backend])
    end
  end
  row.memory_mib, row.faults = quern.memory().peak / 2^20, case.faults
  line = line .. ("  peak %.0f MiB"):format(row.memory_mib)
  if case.faults and case.faults > 0 then line = line .. (", %d page faults a call"):format(case.faults) end
  if not next(row.peers) then row.peers, row.ratios = nil, nil end
  if case.note then line = line .. "  (" .. case.note .. ")" end
  self:say(line)
  self:record(row)
end

local function percentile(list, p)
  table.sort(list)
  return list[math.max(1, math.ceil(p * #list))]
end

--- Latency of single calls: p50 and p99 of ours and of each peer, in turns.
---@param case {name: string, ours: function, peer: table?, calls: integer}
function bench:latency(case)
  if self:skipped(case.name) then return end
  self:measure()
  for _ = 1, 5 do case.ours() end
  local times, theirs = {}, {}
  for _ = 1, self.rounds do
    for _ = 1, case.calls // self.rounds do
      local began = now()
      case.ours()
      times[#times + 1] = (now() - began) * 1e3
    end
    for _, backend in ipairs(case.peer and self.ask_pipe and case.peer.backends or {}) do
      local answer = self:wanted(backend) and self:ask {
        case = case.peer.case, args = case.peer.args, backend = backend, seconds = 0,
        least = case.calls // self.rounds, all = true }
      if answer and answer.all then
        theirs[backend] = theirs[backend] or {}
        table.move(answer.all, 1, #answer.all, #theirs[backend] + 1, theirs[backend])
      end
    end
  end
  self:ask { forget = true }
  local p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
  local line = ("%-44s p50 %7.3f ms, p99 %7.3f"):format(case.name, p50, p99)
  local row = { case = case.name .. ", p50", ms = p50, p99 = p99, peers = {}, ratios = {} }
  for backend, list in pairs(theirs) do
    local other = percentile(list, 0.5)
    row.peers[names[backend]], row.ratios[names[backend]] = other, { other / p50 }
    line = line .. ("  %s %.3f, %.3f x%.2f"):format(names[backend], other, percentile(list, 0.99), other / p50)
  end
  if not next(row.peers) then row.peers, row.ratios = nil, nil end
  self:say(line)
  self:record(row)
end

function bench:close()
  local file = io.open("/proc/self/status")
  local kib = file and file:read("a"):match("VmHWM:%s*(%d+)")
  if file then file:close() end
  if kib then
    self:say("peak memory of the program: %d MiB", kib // 1024)
    self:record { program_mib = kib // 1024 }
  end
  if self.ask_pipe then
    self.ask_pipe:close()
    self.answer_pipe:close()
  end
end

return bench
