--- Checkpoints: one safetensors file that holds all of a training's state.
--
-- Names: "model/NAME" parameters and buffers, "optim/NAME:SLOT" moments and masks. The
-- file's metadata carries the rest as JSON (position, schedule, seed, metrics), so that
-- one rename makes the whole checkpoint; the same JSON stands beside it for readers.
-- Beside the JSON stands a SHA-256 of it and of all tensors, verified on reading.
--
-- A folder keeps the last two and the best. A new one is written whole as next; then last
-- becomes previous, and next becomes last. Whatever instant a kill picks, the newest that
-- was written whole is found, in the order next, last, previous.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local sys = require "quern.sys"
local digest = require "quern.digest"

local checkpoint = {}

local VERSION = 2
local NAMES = { "next", "last", "previous" }     -- the newest first

---@param path string of the .safetensors file
---@param tensors table<string, userdata>
---@param state table plain values
function checkpoint.write(path, tensors, state)
  state.format, state.version = "quern.checkpoint", VERSION
  local text = quern.json.encode(state)
  quern.save(path, tensors, { quern = text, sha256 = digest(tensors, text) })
  sys.write_file(path:gsub("%.safetensors$", "") .. ".json", text .. "\n")
end

local function move(folder, from, to)
  for _, kind in ipairs { ".safetensors", ".json" } do
    if sys.exists(folder .. from .. kind) then sys.move(folder .. from .. kind, folder .. to .. kind) end
  end
end

--- Writes last, and keeps what was last as previous.
---@param folder string
---@param tensors table<string, userdata>
---@param state table plain values
function checkpoint.advance(folder, tensors, state)
  checkpoint.write(folder .. "/next.safetensors", tensors, state)
  move(folder, "/last", "/previous")
  move(folder, "/next", "/last")
end

local function damaged(path, detail)
  util.fail("format", path .. " is damaged", detail, "a disk fault or a foreign hand; the file cannot be used")
end

--- All tensors and the state of a checkpoint; nil when there is no such file.
---@param path string
---@return table<string, userdata>? tensors
---@return table? state
function checkpoint.read(path)
  if not sys.exists(path) then return nil end
  local tensors, meta = quern.load(path)
  local text = meta and meta.quern
  if not text then
    util.fail("format", path .. " is not a checkpoint of Quern", "its metadata has no entry \"quern\"")
  end
  if meta.sha256 and digest(tensors, text) ~= meta.sha256 then
    damaged(path, "its contents do not have the SHA-256 that it states")
  end
  local state = quern.json.decode(text)
  local version = state.format == "quern.checkpoint" and math.tointeger(state.version)
  if not version or version < 1 or version > VERSION then
    util.fail("version", ("%s is a checkpoint of version %s"):format(path, tostring(state.version)),
              ("this Quern reads versions 1 to %d"):format(VERSION), "use the Quern that wrote it, or train anew")
  end
  if version > 1 and not meta.sha256 then damaged(path, "its metadata lack the SHA-256") end
  return tensors, state
end

--- The newest checkpoint of a folder that can be read; nil when there is none at all.
---@param folder string
---@param warn fun(text: string) is told of each that cannot
---@return table<string, userdata>? tensors
---@return table? state
---@return string? name of it: next, last or previous
function checkpoint.newest(folder, warn)
  local first
  for _, name in ipairs(NAMES) do
    local path = ("%s/%s.safetensors"):format(folder, name)
    local ok, tensors, state = pcall(checkpoint.read, path)
    if ok and tensors then
      if first then warn(("%s; continuing from %s, after step %d"):format(first, path, state.step)) end
      return tensors, state, name
    end
    if not ok then
      local e = util.as_error(tensors)
      if e.status == "nomem" or e.status == "version" then error(tensors, 0) end
      first = first or e.what .. (e.detail and e.detail ~= "" and (" (%s)"):format(e.detail) or "")
    end
  end
  if first then
    util.fail("format", "no checkpoint can be read in " .. folder, first,
              "remove that folder to train from the beginning: equal settings give equal bits")
  end
end

--- The tensors whose names begin with a prefix, without it.
---@param tensors table<string, userdata>
---@param prefix string
---@return table<string, userdata>
function checkpoint.part(tensors, prefix)
  local out = {}
  for name, t in pairs(tensors) do
    if name:sub(1, #prefix) == prefix then out[name:sub(#prefix + 1)] = t end
  end
  return out
end

--- Adds tensors under a prefix.
function checkpoint.join(into, prefix, tensors)
  for name, t in pairs(tensors) do into[prefix .. name] = t end
  return into
end

return checkpoint
