--- Checkpoints: one safetensors file that holds all of a training's state.
--
-- Names: "model/NAME" parameters and buffers, "optim/NAME:SLOT" moments and masks. The
-- file's metadata carries the rest as JSON (position, schedule, seed, metrics), so that
-- one rename makes the whole checkpoint; the same JSON stands beside it for readers.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local sys = require "quern.sys"

local checkpoint = {}

local VERSION = 1

---@param path string of the .safetensors file
---@param tensors table<string, userdata>
---@param state table plain values
function checkpoint.write(path, tensors, state)
  state.format, state.version = "quern.checkpoint", VERSION
  local text = quern.json.encode(state)
  quern.save(path, tensors, { quern = text })
  sys.write_file(path:gsub("%.safetensors$", "") .. ".json", text .. "\n")
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
  local state = quern.json.decode(text)
  if state.format ~= "quern.checkpoint" or state.version ~= VERSION then
    util.fail("version", ("%s is a checkpoint of version %s"):format(path, tostring(state.version)),
              ("this Quern reads version %d"):format(VERSION), "use the Quern that wrote it, or train anew")
  end
  return tensors, state
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
