--- Sealed files: named tensors and plain values of one kind in a safetensors file, with a SHA-256 of both.
--
--   local kind = sealed.kind { format = "acme.codebook", version = 1, name = "codebook",
--                              writer = "codebook:save(path)" }
--   kind:save(path, { codes = codes }, { dim = 64 })
--   local tensors, values = kind:load(path)      -- refused if of another kind or version, or damaged
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"
local util = require "quern.util"
local digest = require "quern.digest"

local sealed = {}

---@class quern.SealedKind
---@field format string what the file states to be
---@field version integer the one that is written and read
---@field name string for messages
---@field writer string how such a file is made, for messages
local Kind = class "SealedKind"

function Kind:init(fields)
  for k, v in pairs(fields) do self[k] = v end
end

--- Writes a file, whole or not at all.
---@param path string
---@param tensors table<string, userdata>
---@param values table plain values; format and version are added
function Kind:save(path, tensors, values)
  values.format, values.version = self.format, self.version
  local text = quern.json.encode(values)
  quern.save(path, tensors, { quern = text, sha256 = digest(tensors, text) })
end

---@param path string
---@return table<string, userdata> tensors
---@return table values
function Kind:load(path)
  local tensors, meta = quern.load(path)
  local text = meta and meta.quern
  local ok, values = pcall(quern.json.decode, text or "null")
  if not ok or type(values) ~= "table" or values.format ~= self.format then
    util.fail("format", ("%s is not a %s"):format(path, self.name), nil, "such files are written by " .. self.writer)
  end
  if values.version ~= self.version then
    util.fail("version", ("%s is a %s of version %s"):format(path, self.name, tostring(values.version)),
              ("this Quern reads version %d"):format(self.version))
  end
  if digest(tensors, text) ~= meta.sha256 then
    util.fail("format", path .. " is damaged", "its contents do not have the SHA-256 that it states",
              "make it again by " .. self.writer)
  end
  return tensors, values
end

---@param fields table format, version, name, writer
---@return quern.SealedKind
function sealed.kind(fields) return Kind(fields) end

return sealed
