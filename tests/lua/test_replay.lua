--- Replay: the same bits are confirmed; what differs is named, conditions first.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local sys = require "quern.sys"
local store = require "quern.store"
local replay = require "quern.replay"
local recipe = require "quern.recipe"
local lock = require "quern.lock"
local runs = require "quern.runs"
local Losses = require "quern.losses"
local tiny = require "train_recipe"

local function trained(status)
  local path, folder = tiny.write()
  local run = recipe.run(recipe.load(path), { out = folder .. "/runs", id = "r", sets = { "epochs=2" } })
  lock.write(run)
  run:finish(status or "done")
  return store.find(folder .. "/runs", "r")
end

local function again(r, o)
  o = o or {}
  o.say = o.say or function() end
  return replay.run(r, o)
end

local function change(path, from, to)
  local text, n = check.read(path):gsub(from, to, 1)
  check.equal(n, 1, from)
  check.write(path, text)
end

return {
  { "losses are kept to the bit and read back", function()
    for _, v in ipairs { 0.0, -0.0, 1.5, 1 / 3, 1e-310, math.huge, -2.0 ^ 60 } do
      check.equal(("%a"):format(Losses.value(Losses.bits(v))), ("%a"):format(v))
    end
    local path = check.folder() .. "/losses.txt"
    local l = Losses(path, 0)
    for i = 1, 5 do l:add(Losses.bits(i / 7)) end
    l:write(true)
    check.write(path, check.read(path) .. "0123")         -- torn by a kill
    l = Losses(path, 3)
    l:add(Losses.bits(9.0))
    l:write(true)
    local list = Losses.read(path)
    check.equal({ #list, Losses.value(list[3]), Losses.value(list[4]) }, { 4, 3 / 7, 9.0 })
    Losses(path, 6):write(true)
    check.equal(Losses.value(Losses.read(path)[5]), nil)
  end },

  { "an equal run is confirmed: losses, metrics, tensors; also with another number of threads", function()
    local r = trained()
    local before = quern.threads()
    for _, n in ipairs { 1, 3 } do
      quern.threads(n)
      local result = again(r)
      check.equal({ result.losses, result.lines, result.whole }, { 24, 2, true })
      check.yes(result.tensors >= 16)
    end
    quern.threads(before)
    check.equal(sys.exists(r.folder .. "/replay"), false)
  end },

  { "one bit of one recorded loss is found, and its step named", function()
    local r = trained()
    local path = r.folder .. "/checkpoints/fit-1/losses.txt"
    local list = Losses.read(path)
    local last = list[17]:sub(16)
    list[17] = list[17]:sub(1, 15) .. ("%x"):format(tonumber(last, 16) ~ 1)
    check.write(path, table.concat(list, "\n") .. "\n")
    local e = check.fails(function() again(r) end, "the replay differs: fit-1, step 17 is the first", list[17])
    check.equal(e.status, "numeric")
  end },

  { "with recorded ops the first op that differs is named, forward or backward", function()
    local path, folder = tiny.write()
    local run = recipe.run(recipe.load(path), { out = folder .. "/runs", id = "o", sets = { "epochs=2" },
                                                record_ops = true })
    require("quern.core").witness(false)
    run:finish "done"
    lock.write(run)
    local function once_more()
      local ok, e = pcall(replay.run, store.read(run.folder), { say = function() end })
      require("quern.core").witness(false)
      runs.current = nil
      return ok, tostring(e)
    end
    check.yes((once_more()))
    local file = run.folder .. "/checkpoints/fit-1/ops.txt"
    local lines = require("quern.oplog").read(file)
    check.equal(#lines, 24)
    for step, op in pairs { [5] = "dropout", [9] = "linear'" } do
      local changed = table.move(lines, 1, #lines, 1, {})
      changed[step] = changed[step]:gsub(op:gsub("%p", "%%%0") .. ":%x", op .. ":?", 1):gsub("%?", "f", 1)
      if changed[step] == lines[step] then changed[step] = changed[step]:gsub(op .. ":f", op .. ":0", 1) end
      check.write(file, table.concat(changed, "\n") .. "\n")
      local ok, text = once_more()
      check.equal(ok, false)
      for _, part in ipairs { ("fit-1, step %d is the first"):format(step), "the first op that differs is call",
                              op:find("'") and "linear (backward)" or "dropout" } do
        check.yes(text:find(part, 1, true), text)
      end
    end
  end },

  { "a changed metric line, report and weight are found", function()
    local r = trained()
    local good = check.read(r.folder .. "/metrics.jsonl")
    change(r.folder .. "/metrics.jsonl", '"epoch":2', '"epoch":3')
    check.fails(function() again(r) end, "line 2 of metrics.jsonl is the first", '"epoch":3')
    check.write(r.folder .. "/metrics.jsonl", good)
    local report = check.read(r.folder .. "/report.json")
    change(r.folder .. "/report.json", "ours", "hers")
    check.fails(function() again(r) end, "report.json")
    check.write(r.folder .. "/report.json", report)
    local checkpoint = require "quern.checkpoint"
    local best = r.folder .. "/checkpoints/fit-1/best.safetensors"
    local tensors, state = checkpoint.read(best)
    quern.no_grad(function() tensors["model/1.weight"] = tensors["model/1.weight"] * 1.0000002 end)
    checkpoint.write(best, tensors, state)
    check.fails(function() again(r) end, "best.safetensors: model/1.weight differs")
  end },

  { "grave differences of the conditions are refused by name; force goes on", function()
    local r = trained()
    local text = check.read(r.folder .. "/lock.json")
    change(r.folder .. "/lock.json", '"blas_core": "[^"]*"', '"blas_core": "Prescott"')
    local e = check.fails(function() again(r) end, "conditions", "BLAS core: Prescott ->")
    check.equal(e.status, "version")
    local said = {}
    check.equal(again(r, { force = true, say = function(t) said[#said + 1] = t end }).losses, 24)
    check.yes(table.concat(said):find("BLAS core", 1, true))
    check.write(r.folder .. "/lock.json", text)
    change(r.folder .. "/lock.json", '"add": "%x+"', '"add": "0123"')
    check.fails(function() again(r) end, "schema of op add: 0123 ->")
    check.write(r.folder .. "/lock.json", text)
    change(r.folder .. "/lock.json", '"build": "[^"]*"', '"build": "tcc 0.1"')
    said = {}
    again(r, { say = function(t) said[#said + 1] = t end })
    check.yes(table.concat(said):find("note: build of Quern: tcc 0.1", 1, true))
  end },

  { "a run that was broken off is replayed as far as its record goes", function()
    local r = trained("interrupted")
    local path = r.folder .. "/checkpoints/fit-1/losses.txt"
    check.write(path, check.read(path):sub(1, 17 * 15))
    change(r.folder .. "/metrics.jsonl", "\n[^\n]*\n$", "\n")
    local result = again(r)
    check.equal({ result.losses, result.lines, result.whole }, { 15, 1, false })
  end },

  { "files beside the recipe are kept and used again", function()
    local folder = check.folder()
    check.write(folder .. "/part.lua", "return { value = 3.5 }")
    check.write(folder .. "/main.lua", [[
      local part = require "part"
      return require("quern").recipe { name = "parts", main = function(self)
        self:report("r", { v = part.value })
      end }]])
    local run = recipe.run(recipe.load(folder .. "/main.lua"), { out = folder .. "/runs", id = "r" })
    lock.write(run)
    run:finish("done")
    sys.remove(folder .. "/part.lua")
    check.equal(again(store.find(folder .. "/runs", "r")).whole, true)
  end },
}
