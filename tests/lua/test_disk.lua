--- Disks that fail, fill up and lose power: the newest committed checkpoint always loads, and the
-- run resumed from what is left ends with the bytes of an unbroken one.
--
-- QUERN_TEARS and QUERN_FAULTS say how many are tried (make crash: many).
-- SPDX-License-Identifier: MIT

local check = require "check"
local Disk = require "disk"
local tiny = require "train_recipe"
local checkpoint = require "quern.checkpoint"
local det = require "quern.det"
local digest = require "quern.digest"
local faults = require "quern.faults"
local recipe = require "quern.recipe"
local runs = require "quern.runs"
local sys = require "quern.sys"
local util = require "quern.util"

local TEARS = math.tointeger(os.getenv("QUERN_TEARS") or 300)
local FAULTS = math.tointeger(os.getenv("QUERN_FAULTS") or 24)
local RESUMED = 12               -- of so many tears one is resumed to the end
local ENDS = { "metrics.jsonl", "report.json" }
for _, fit in ipairs { "fit-1", "fit-2" } do
  for _, file in ipairs { "losses.txt", "last.safetensors", "best.safetensors" } do
    ENDS[#ENDS + 1] = ("checkpoints/%s/%s"):format(fit, file)
  end
end

-- Syncs that are recorded, but do not wait for this machine's disk.
local function layer(more)
  more.quick = true
  faults.set(more)
end

local function run(path, out)
  local folder = out .. "/r"
  local r = recipe.run(recipe.load(path), { out = out, id = "r", resume = sys.exists(folder .. "/settings.json")
    and folder or nil })
  r:finish("done")
end

local function run_under(path, out, how)
  layer(how)
  local ok, e = pcall(run, path, out)
  local calls = faults.calls()
  layer {}
  runs.current = nil
  return ok, e, calls
end

local function ends_of(folder)
  local out = {}
  for _, name in ipairs(ENDS) do out[name] = sys.try_read(folder .. "/" .. name) end
  return out
end

local function compare(out, whole, how)
  local ends = ends_of(out .. "/r")
  for _, name in ipairs(ENDS) do check.equal(ends[name] == whole[name], true, name .. " differs " .. how) end
end

-- What advance has said is safe, as text and state have it: fit's folder -> { step, digest by step }.
local function watched(fn)
  local advance, known = checkpoint.advance, {}
  checkpoint.advance = function(folder, tensors, state)
    local k = known[folder] or { digests = {} }
    known[folder] = k
    k.digests[state.step] = digest(tensors, "")
    advance(folder, tensors, state)
    k.step = state.step
    faults.mark(("%s %d"):format(folder, state.step))
  end
  local ok, e = pcall(fn)
  checkpoint.advance = advance
  if not ok then error(e, 0) end
  return known
end

-- The newest checkpoint is at least the committed one, and is that of the run at its step.
local function check_newest(folder, k, committed, how)
  local tensors, state = checkpoint.newest(folder, function() end)
  if not tensors then
    check.equal(committed, nil, "no checkpoint where one was committed, " .. how)
    return
  end
  committed = committed or 0
  check.yes(state.step >= committed, ("step %d was committed, %d is there, %s"):format(committed, state.step, how))
  check.equal(digest(tensors, ""), k.digests[state.step], "another checkpoint at step " .. state.step .. " " .. how)
end

local whole                      -- the ends of an unbroken run, and the record of its calls
local function unbroken()
  if whole then return whole end
  local path, folder = tiny.write("crash")
  layer {}
  faults.record(true)
  local known = watched(function() run(path, folder) end)
  whole = { path = path, folder = folder, ends = ends_of(folder .. "/r"), known = known, events = faults.events() }
  faults.record(false)
  for name, text in pairs(whole.ends) do check.yes(#text > 0, name) end
  return whole
end

local function with_layer(fn)
  return function()
    local ok, e = pcall(fn)
    faults.record(false)
    faults.set(nil)
    runs.current = nil
    if not ok then error(e, 0) end
  end
end

local function lay_out(files, from, to)
  sys.remove_all(to)
  for path, text in pairs(files) do
    if path:sub(1, #from + 1) == from .. "/" and not path:match("/%.[^/]*%.tmp$") then
      local at = to .. path:sub(#from + 1)
      sys.mkdir(sys.folder(at))
      check.write(at, text)
    end
  end
end

-- ---- Tears ---------------------------------------------------------------------------------------

-- The disk of one crash: each training's newest is right; some are resumed to the end.
local function tear(w, disk, committed, random, resumed)
  local out = check.temporary("torn")
  lay_out(disk:crash(random), w.folder, out)
  local how = ("after a crash at event %d"):format(disk.at)
  for folder, k in pairs(w.known) do
    check_newest(out .. folder:sub(#w.folder + 1), k, committed[folder], how)
  end
  if not resumed then return end
  local ok, e = run_under(w.path, out, {})
  if not ok then error(("the run cannot be resumed %s:\n%s"):format(how, tostring(e)), 0) end
  compare(out, w.ends, how)
end

local function tear_everywhere()
  local w, random = unbroken(), det.random(os.time())
  local disk, committed, tears, resumes = Disk(), {}, 0, 0
  for at, e in ipairs(w.events) do
    disk:does(e)
    disk.at = at
    if e.call == "mark" then
      local folder, step = e.path:match("^(.*) (%d+)$")
      committed[folder] = math.tointeger(step)
    end
    while tears < TEARS * at // #w.events do
      tears = tears + 1
      local resumed = tears % RESUMED == 0
      resumes = resumes + (resumed and 1 or 0)
      tear(w, disk, committed, random, resumed)
    end
  end
  print(("disk: %d events, %d tears, %d of them resumed to the end: nothing that was committed is lost"):format(
    #w.events, tears, resumes))
  check.equal(tears, TEARS)
end

-- ---- Faults --------------------------------------------------------------------------------------

local KINDS = { "open", "write", "sync", "close", "rename", "unlink" }
local CODES = { "EIO", "ENOSPC", "EROFS", "EACCES" }
local SAYS = { EIO = "the disk reports a fault", ENOSPC = "free some space", EROFS = "choose a place",
               EACCES = "choose a place" }

-- A run under a fault; then the newest is right, and the resumed run ends as the unbroken one.
local function under(w, how, text)
  local out = check.folder()
  local ok, e
  local known = watched(function() ok, e = run_under(w.path, out, how) end)
  if not ok then
    check.equal(util.as_error(e).status, "io", ("%s: %s"):format(text, tostring(e)))
    check.yes(tostring(e):find(out, 1, true), "the path is not named: " .. tostring(e))
    if how.error and how.error ~= "delay" then check.yes(tostring(e):find(SAYS[how.error], 1, true), tostring(e)) end
  end
  for folder, k in pairs(known) do check_newest(folder, k, k.step, "after " .. text) end
  local good, why = run_under(w.path, out, {})
  if not good then error(("cannot be resumed after %s:\n%s"):format(text, tostring(why)), 0) end
  compare(out, w.ends, "after " .. text)
  sys.remove_all(out)
  return ok
end

local function fault_everywhere()
  local w, random = unbroken(), det.random(os.time(), 1)
  local counts, failed = {}, 0
  for _, e in ipairs(w.events) do counts[e.call] = (counts[e.call] or 0) + 1 end
  for i = 1, FAULTS do
    local kind = KINDS[(i - 1) % #KINDS + 1]
    local how = { only = kind, at = random:range(1, counts[kind] or 1), onward = random:range(0, 1) == 1,
                  error = CODES[random:range(1, #CODES)] }
    local text = ("%s of %s %d%s"):format(how.error, kind, how.at, how.onward and " and all later ones" or "")
    if not under(w, how, text) then failed = failed + 1 end
  end
  print(("disk: %d faults, %d of them ended the run: each resumed to the bytes of an unbroken one"):format(FAULTS,
    failed))
  check.yes(failed > 0)
end

return {
  { "after a loss of power at any instant the newest committed checkpoint loads, and the run goes on to equal bytes",
    with_layer(tear_everywhere) },

  { "whatever call on a file fails, the run says which path and why, and resumes to equal bytes",
    with_layer(fault_everywhere) },

  { "short and late writes change nothing", with_layer(function()
    local w = unbroken()
    check.yes(under(w, { shorten = 100 }, "short writes"))
    check.yes(under(w, { only = "write", at = 20, error = "delay" }, "a late write"))
    check.yes(under(w, { only = "sync", at = 5, onward = true, error = "delay" }, "late syncs"))
  end) },

  { "a disk that fills up at any byte ends the run in words; with room again it goes on", with_layer(function()
    local w, random, bytes = unbroken(), det.random(os.time(), 2), 0
    for _, e in ipairs(w.events) do bytes = bytes + (e.call == "write" and e.size or 0) end
    for _ = 1, math.max(3, FAULTS // 8) do
      local room = random:range(0, bytes - 1)
      check.equal(under(w, { room = room, error = "ENOSPC" }, ("a disk full after %d bytes"):format(room)), false)
    end
  end) },

  { "a folder that cannot be written is refused at once, by name", with_layer(function()
    local w, out = unbroken(), check.folder()
    for _, code in ipairs { "EROFS", "EACCES" } do
      local ok, e = run_under(w.path, out .. "/" .. code, { only = "open", at = 1, onward = true, error = code })
      check.equal(ok, false)
      for _, part in ipairs { out, "choose a place you are allowed to use" } do
        check.yes(tostring(e):find(part, 1, true), tostring(e))
      end
    end
  end) },
}
