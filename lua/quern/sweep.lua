--- Sweep: a set of wanted runs of one recipe, and the table of what they gave.
--
-- A wanted run is (code, settings, seed). One that the folder of runs holds, by whatever
-- name, is not run again; one that was broken off is continued; so a sweep may be killed
-- at any time and said again, and sweeps of several machines merge by copying folders.
-- Each run is a process of its own (`quern run --id NAME-KEY`), so none takes others along.
-- Draws of --random depend on their number alone: a longer sweep begins with the shorter.
-- SPDX-License-Identifier: MIT

local util = require "quern.util"
local params = require "quern.params"
local det = require "quern.det"
local store = require "quern.store"
local runs = require "quern.runs"
local sys = require "quern.sys"
local Progress = require "quern.progress"

local sweep = {}

-- ---- What is wanted -------------------------------------------------------------------------

-- "train.lr=1e-3,3e-4" or "train.lr=1e-4..1e-2:log" -> axis
local function read_axis(leaves, text)
  local path, values = text:match("^([^=]+)=(.+)$")
  if not path then
    util.fail("usage", ("--grid %s: this is not NAME=VALUES"):format(text), nil,
              "for example --grid train.lr=1e-3,3e-4")
  end
  local leaf = params.find(leaves, path)
  local low, high, log = values:match("^(.-)%.%.(.-)(:?l?o?g?)$")
  if low and (log == "" or log == ":log") then
    low, high = params.parse(leaf, low), params.parse(leaf, high)
    if type(low) ~= "number" or low > high or log ~= "" and low <= 0 then
      util.fail("usage", ("--grid %s: this is not a range of numbers"):format(text), nil,
                "LOW..HIGH, and above 0 for :log")
    end
    return { path = path, leaf = leaf, low = low, high = high, log = log ~= "" }
  end
  local axis = { path = path, leaf = leaf }
  for value in values:gmatch("[^,]+") do axis[#axis + 1] = params.text(params.parse(leaf, value)) end
  return axis
end

local function draw(axis, random)
  if #axis > 0 then return axis[random:range(1, #axis)] end
  local low, high, whole = axis.low, axis.high, axis.leaf.type == "int"
  if whole then high = high + 1 end                      -- each integer has its own unit
  local share = random:float()
  local v = low + share * (high - low)
  if axis.log then v = math.exp(math.log(low) + share * (math.log(high) - math.log(low))) end
  if whole then return params.text(math.min(math.floor(v), axis.high)) end
  return ("%.4g"):format(v)
end

local function all_of(axes)
  local list = { {} }
  for _, axis in ipairs(axes) do
    if #axis == 0 then
      util.fail("usage", ("--grid %s: a range needs --random"):format(axis.path), nil, "or name the values: 1e-3,3e-4")
    end
    local longer = {}
    for _, sets in ipairs(list) do
      for _, value in ipairs(axis) do
        local more = table.move(sets, 1, #sets, 1, {})
        more[#more + 1] = axis.path .. "=" .. value
        longer[#longer + 1] = more
      end
    end
    list = longer
  end
  return list
end

local function drawn(axes, n)
  local list, seen, tries = {}, {}, 0
  while #list < n and tries < 100 * n do
    tries = tries + 1
    local random, sets = det.random(0x7377656570, tries), {}
    for i, axis in ipairs(axes) do sets[i] = axis.path .. "=" .. draw(axis, random) end
    local name = table.concat(sets, " ")
    if not seen[name] then list[#list + 1] = sets end
    seen[name] = true
  end
  return list
end

--- The settings that a sweep wants: { { "train.lr=0.001", ... }, ... }.
---@param leaves table of the recipe
---@param grid string[]
---@param n_random integer?
---@return string[][]
function sweep.points(leaves, grid, n_random)
  local axes = {}
  for i, text in ipairs(grid) do axes[i] = read_axis(leaves, text) end
  return n_random and drawn(axes, n_random) or all_of(axes)
end

---@class quern.Wanted
---@field sets string[] that this point adds
---@field all string[] with those common to the sweep
---@field label string
---@field seed integer
---@field key string
---@field id string

--- The wanted runs of points and seeds.
---@param r quern.Recipe
---@param points string[][]
---@param o {size: string?, sets: string[]?, seeds: integer}
---@return quern.Wanted[]
function sweep.wanted(r, points, o)
  local out, code, seen = {}, runs.code(r.text, r.modules), {}
  for _, sets in ipairs(points) do
    local all = table.move(o.sets or {}, 1, #(o.sets or {}), 1, {})
    table.move(sets, 1, #sets, #all + 1, all)
    local cfg = r:resolve(o.size, all)
    for seed = 1, o.seeds do
      local key = store.key(code, cfg, seed)
      if not seen[key] then
        out[#out + 1] = { sets = sets, all = all, label = #sets > 0 and table.concat(sets, " ") or "the defaults",
                          seed = seed, key = key, id = ("%s-%s"):format(r.name, key:sub(1, 12)) }
      end
      seen[key] = true
    end
  end
  return out
end

--- For each wanted run the one in the store: one that is done before others.
---@param list quern.StoredRun[]
---@return table<string, quern.StoredRun> by key
function sweep.by_key(list)
  local out = {}
  for _, s in ipairs(list) do
    local before = out[s.key]
    if not before or before.status ~= "done" and (s.status == "done" or s.status == "running") then out[s.key] = s end
  end
  return out
end

-- A NaN comes again with the same bits, so it is a result.
local function is_settled(s, retry)
  return s ~= nil and (s.status == "done" or s.status == "failed" and s.cause == "numeric" and not retry)
end

-- ---- Doing it ----------------------------------------------------------------------------------

---@class quern.SweepOptions
---@field recipe string path
---@field out string
---@field size string?
---@field jobs integer
---@field threads integer?
---@field retry boolean?
---@field say fun(text: string)

local function command(o, w, s)
  local words = { sys.program(), "run", o.recipe, "--out", o.out, "--id", s and s.id or w.id }
  if not s then
    table.move({ "--seed", tostring(w.seed) }, 1, 2, #words + 1, words)
    if o.size then table.move({ "--size", o.size }, 1, 2, #words + 1, words) end
    for _, set in ipairs(w.all) do table.move({ "--set", set }, 1, 2, #words + 1, words) end
  end
  table.move({ "--threads", tostring(o.threads) }, 1, 2, #words + 1, words)
  return words
end

local function ended(o, job, how, number)
  o.done = o.done + 1
  local word = how == "exit" and number == 0 and "done" or how == "signal" and "killed by signal " .. number
    or "ended with exit code " .. number
  o.bar:clear()
  o.say(("%d/%d  %s, seed %d: %s  (%s)"):format(o.done, o.total, job.label, job.seed, word,
                                                util.duration(sys.clock() - job.began)))
  if word ~= "done" then o.say("  see " .. job.log) end
end

-- Waits until a child ends; on Ctrl-C all get SIGTERM, and the last to end ends the sweep.
local function wait_one(o, jobs)
  local process = require "quern.process"
  repeat
    local id, how, number = process.wait(0.1)
    if sys.interrupted() and not o.stopping then
      o.stopping = true
      for child in pairs(jobs) do process.kill(child, "term") end
    end
    o.bar:update(o.done, 0)
    if id and jobs[id] then
      ended(o, jobs[id], how, number)
      jobs[id] = nil
      return
    end
  until not next(jobs)
end

local function start(o, jobs, w, s)
  local folder = o.out .. "/.sweep"
  sys.mkdir(folder)
  local log = ("%s/%s.log"):format(folder, s and s.id or w.id)
  sys.write_file(log, "")
  local id = require("quern.process").start(command(o, w, s), { output = log })
  jobs[id] = { label = w.label, seed = w.seed, log = log, began = sys.clock() }
end

local function count(t)
  local n = 0
  for _ in pairs(t) do n = n + 1 end
  return n
end

-- Waits for runs of other processes; were there any?
local function wait_for_others(o, wanted)
  local first = true
  while not sys.interrupted() do
    local here, running = sweep.by_key(store.list(o.out)), 0
    for _, w in ipairs(wanted) do
      if here[w.key] and here[w.key].status == "running" then running = running + 1 end
    end
    if running == 0 then return not first end
    if first then o.say(("waiting for %d runs of other processes"):format(running)) end
    first = false
    require("quern.process").wait(0.5)
  end
  return false
end

-- One pass over what is missing; the number of runs started.
local function pass(o, wanted)
  local here, jobs, started = sweep.by_key(store.list(o.out)), {}, 0
  for _, w in ipairs(wanted) do
    local s = here[w.key]
    if not is_settled(s, o.retry) and not (s and s.status == "running") and not o.stopping and not o.tried[w.key] then
      while count(jobs) >= o.jobs do wait_one(o, jobs) end
      if o.stopping then break end
      o.tried[w.key] = true
      start(o, jobs, w, s)
      started = started + 1
    end
  end
  while next(jobs) do wait_one(o, jobs) end
  return started
end

--- Runs what is missing.
---@param wanted quern.Wanted[]
---@param o quern.SweepOptions
function sweep.run(wanted, o)
  local here = sweep.by_key(store.list(o.out))
  o.done, o.total, o.tried, o.stopping = 0, 0, {}, false
  for _, w in ipairs(wanted) do if not is_settled(here[w.key], o.retry) then o.total = o.total + 1 end end
  o.threads = o.threads or math.max(1, sys.machine().cores // o.jobs)
  o.say(("%d runs wanted, %d to do, %d at a time with %d threads each"):format(#wanted, o.total, o.jobs, o.threads))
  o.bar = Progress { label = "sweep", total = o.total, memory = false, after = 2, every = 60 }
  sys.interrupted()
  repeat
    local started = pass(o, wanted)
    local waited = not o.stopping and wait_for_others(o, wanted)
  until started == 0 and not waited or o.stopping or sys.interrupted()
  o.bar:clear()
  if o.stopping or sys.interrupted() then
    util.fail("interrupted", "the sweep was interrupted", "the runs under way have written checkpoints",
              "say the same command again: it goes on with what is missing")
  end
end

return sweep
