--- Killed at random instants and resumed, a run ends with the bytes of an unbroken one.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local sys = require "quern.sys"
local det = require "quern.det"
local tiny = require "train_recipe"
local process = require "quern.process"
local checkpoint = require "quern.checkpoint"

local KILLS = math.tointeger(os.getenv("QUERN_KILLS") or 20)
local ENDS = { "metrics.jsonl", "report.json", "checkpoints/fit-1/losses.txt", "checkpoints/fit-1/last.safetensors",
               "checkpoints/fit-1/best.safetensors" }
local SECOND = { "checkpoints/fit-2/losses.txt", "checkpoints/fit-2/last.safetensors",
                 "checkpoints/fit-2/best.safetensors" }
local THREADS = { 1, 2, 3, 7 }

local function whole_run(path, out)
  local id = tiny.start({ "run", path, "--out", out, "--id", "whole", "--set", "epochs=4" }, out .. ".log")
  local began = sys.clock()
  local how, number = tiny.wait(id)
  check.equal({ how, number }, { "exit", 0 }, check.read(out .. ".log"))
  return sys.clock() - began
end

-- Starts or continues the run; kills it after some seconds. Did it come to its end before?
local function killed_after(path, out, seconds, threads)
  local id = tiny.start({ "run", path, "--out", out, "--id", "broken", "--threads", tostring(threads),
                          "--set", "epochs=4" }, out .. ".log")
  local child, how, number = process.wait(seconds)
  if not child then
    process.kill(id, "kill")
    how, number = tiny.wait(id)
  end
  if how == "exit" and number ~= 0 then error("a resumed run failed:\n" .. check.read(out .. ".log"), 0) end
  return how == "exit"
end

local function compare(out, names)
  for _, name in ipairs(names or ENDS) do
    check.equal(check.read(out .. "/broken/" .. name) == check.read(out .. "/whole/" .. name), true,
                name .. " of the broken run differs")
  end
end

local function trained(path)
  local folder = check.folder()
  local out = folder .. "/runs"
  tiny.wait(tiny.start({ "run", path, "--out", out, "--id", "r" }, folder .. "/log"))
  return out, out .. "/r/checkpoints/fit-1"
end

local function spoil(path, at)
  local text = check.read(path)
  at = at < 0 and #text + at or at
  check.write(path, text:sub(1, at - 1) .. string.char(text:byte(at) ~ 0x40) .. text:sub(at + 1))
end

return {
  { "killed at random instants, also under other thread counts, a run ends as an unbroken one", function()
    local path, folder = tiny.write "crash"
    local out, random = folder .. "/runs", det.random(os.time())
    local seconds, began = whole_run(path, out), sys.clock()
    local kills, runs = 0, 0
    local function ended()
      compare(out)
      compare(out, SECOND)
    end
    while kills < KILLS and sys.clock() - began < 2.5 * KILLS do
      if killed_after(path, out, random:float() * 0.6 * seconds, THREADS[1 + kills % #THREADS]) then
        ended()
        runs = runs + 1
        sys.remove_all(out .. "/broken")
      else
        kills = kills + 1
      end
    end
    while not killed_after(path, out, 60, 2) do kills = kills + 1 end
    ended()
    print(("crash: %d kills (1, 2, 3 and 7 threads in turn), %d runs ended with the bytes of an unbroken one"):format(
      kills, runs + 1))
    check.equal(kills >= KILLS, true, "too few kills: " .. kills)
  end },

  { "a damaged newest checkpoint falls back to the one before, with a line that says so", function()
    local path = tiny.write()
    local _, fits = trained(path)
    local function newest()
      local said = {}
      local _, state, name = checkpoint.newest(fits, function(text) said[#said + 1] = text end)
      return name, state.step, table.concat(said)
    end
    local name, step, said = newest()
    check.equal({ name, said }, { "last", "" })
    spoil(fits .. "/last.safetensors", -5)               -- a bit of a tensor
    local before, text
    name, before, text = newest()
    check.equal(name, "previous")
    check.yes(before <= step and text:find("last.safetensors is damaged", 1, true) and text:find("SHA-256", 1, true)
              and text:find("continuing from", 1, true), text)
    sys.remove(fits .. "/last.safetensors")
    check.equal((newest()), "previous")
    spoil(fits .. "/previous.safetensors", -5)
    check.fails(newest, "no checkpoint can be read", "previous.safetensors is damaged")
  end },

  { "a kill between writing a checkpoint and giving it its name loses nothing", function()
    local path = tiny.write()
    local _, fits = trained(path)
    local last, json = check.read(fits .. "/last.safetensors"), check.read(fits .. "/last.json")
    local function settled(from)
      check.equal(select(3, checkpoint.newest(fits, error)), from)
      check.equal(check.read(fits .. "/last.safetensors") == last, true)
      check.equal(check.read(fits .. "/last.json"), json)
      check.equal(sys.exists(fits .. "/next.safetensors"), false)
    end
    os.rename(fits .. "/last.safetensors", fits .. "/next.safetensors")        -- both moves were to come
    os.rename(fits .. "/previous.safetensors", fits .. "/last.safetensors")
    os.remove(fits .. "/last.json")
    settled "next"
    os.rename(fits .. "/last.safetensors", fits .. "/next.safetensors")        -- one of them
    settled "next"
    os.rename(fits .. "/last.json", fits .. "/next.json")                      -- the JSON's
    settled "last"
  end },

  { "a cut, an emptied and a changed state are noticed", function()
    local path = tiny.write()
    local _, fits = trained(path)
    local file = fits .. "/last.safetensors"
    local good = check.read(file)
    check.write(file, good:sub(1, #good - 100))
    check.fails(function() checkpoint.read(file) end, "last.safetensors")
    check.write(file, "")
    check.fails(function() checkpoint.read(file) end, "last.safetensors")
    local changed, n = good:gsub('step\\":48', 'step\\":47', 1)
    check.equal(n, 1)
    check.write(file, changed)
    check.fails(function() checkpoint.read(file) end, "is damaged", "SHA-256")
    check.write(file, good)
    check.equal(select(2, checkpoint.read(file)).step, 48)
  end },

  { "resuming from a damaged newest checkpoint still ends as an unbroken run", function()
    local path, folder = tiny.write()
    local out = folder .. "/runs"
    whole_run(path, out)
    if killed_after(path, out, 0.5, 1) then
      compare(out)
    end
    local last = out .. "/broken/checkpoints/fit-1/last.safetensors"
    if sys.exists(last) then spoil(last, -5) end
    check.write(out .. "/broken/state.json", '{"status":"running"}')
    check.yes(killed_after(path, out, 60, 2))
    compare(out)
  end },

  { "a run that another process works on is not touched", function()
    local path, folder = tiny.write()
    local out = folder .. "/runs"
    local id = tiny.start({ "run", path, "--out", out, "--id", "r", "--set", "epochs=100000", "--set", "steps=1000" },
                          folder .. "/log")
    local state
    for _ = 1, 500 do
      state = sys.try_read(out .. "/r/state.json")
      if state then break end
      process.wait(0.02)
    end
    local other = tiny.start({ "run", path, "--out", out, "--id", "r" }, folder .. "/other")
    local how, number = tiny.wait(other)
    check.equal({ how, number }, { "exit", 2 })
    check.yes(check.read(folder .. "/other"):find("being worked on", 1, true))
    process.kill(id, "kill")
    tiny.wait(id)
    check.equal(require("quern.runs").status(quern.json.decode(state)), "killed")
  end },
}
