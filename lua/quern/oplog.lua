--- Oplog: what each op gave in each step of a training, as hashes in a file beside its losses.
--
-- ops.txt has one line for each update: "linear:0123456789abcdef linear':..." in the order of
-- the calls, backward ones with a '. `quern run --record-ops` keeps it; a replay that differs
-- then names the first op whose hash does.
-- SPDX-License-Identifier: MIT

local class = require "quern.class"
local core = require "quern.core"
local sys = require "quern.sys"

---@class quern.Oplog
local Oplog = class("Oplog")

--- Continues the file at `path` after `step` updates; path nil: nothing is written.
---@param path string?
---@param step integer
function Oplog:init(path, step)
  self.path = path
  core.witness(true)
  if not path then return end
  local kept = {}
  for i, line in ipairs(Oplog.read(path)) do if i <= step then kept[i] = line .. "\n" end end
  for i = #kept + 1, step do kept[i] = "\n" end           -- steps of a run that did not record
  sys.write_file(path, table.concat(kept))
end

--- A step begins: what evaluations and hooks have called does not count.
function Oplog:begin() core.witness_reset() end

--- A step has ended.
---@return string line
function Oplog:take()
  local line = table.concat(core.witness_seen(), " ")
  if self.path then sys.append(self.path, line .. "\n", false) end
  return line
end

--- The lines of a file, one a step.
---@param path string
---@return string[]
function Oplog.read(path)
  local out = {}
  for line in (sys.try_read(path) or ""):gmatch("([^\n]*)\n") do out[#out + 1] = line end
  return out
end

--- The first call in which two lines differ, as text; nil when none does.
---@param recorded string
---@param now string
---@return string?
function Oplog.first_difference(recorded, now)
  local theirs, n = recorded:gmatch("%S+"), 0
  local function named(word)
    local name, back = word:match("^(.-)('?):%x+$")
    return (name or word) .. (back == "'" and " (backward)" or "")
  end
  for word in now:gmatch("%S+") do
    local other = theirs()
    n = n + 1
    if other ~= word then
      local text = ("call %d, %s"):format(n, named(word))
      if other and named(other) ~= named(word) then text = text .. ", was " .. named(other) end
      return text .. (not other and ", is new" or "")
    end
  end
  local other = theirs()
  return other and ("call %d, %s, is missing"):format(n + 1, named(other)) or nil
end

return Oplog
