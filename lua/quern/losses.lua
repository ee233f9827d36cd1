--- Losses: the loss of each step of a training, to the bit, in a file beside its checkpoints.
--
-- losses.txt has one line for each update: the 16 hexadecimal digits of the loss as a
-- 64-bit float, so step n stands at byte 17 (n - 1). Lines are gathered and written each
-- second, and synced before a checkpoint is, which therefore never knows of a step that
-- the file lacks. Who resumes cuts the file to the checkpoint's step and goes on.
-- SPDX-License-Identifier: MIT

local class = require "quern.class"
local sys = require "quern.sys"

---@class quern.Losses
local Losses = class("Losses")

local WIDTH = 17
local MOST, SECONDS = 1024, 1.0  -- lines and time between two writes
local UNKNOWN = ("-"):rep(16)    -- of steps that an older Quern made

--- The 64 bits of a number as hexadecimal digits.
---@param value number
---@return string
function Losses.bits(value) return ("%016x"):format((string.unpack("<i8", string.pack("<d", value)))) end

--- The number of 16 hexadecimal digits; nil for an unknown one.
---@param bits string?
---@return number?
function Losses.value(bits)
  if not bits or not bits:match("^%x+$") then return nil end
  local high, low = tonumber(bits:sub(1, 8), 16), tonumber(bits:sub(9), 16)
  return (string.unpack("<d", string.pack("<I4I4", low, high)))
end

--- Continues the file at `path` after `step` updates.
---@param path string
---@param step integer
function Losses:init(path, step)
  self.path, self.pending = path, {}
  self.next_write = sys.clock() + SECONDS
  sys.append(path, "")                                   -- drops a torn line
  local have = sys.stat(path).size // WIDTH
  sys.cut(path, math.min(have, step) * WIDTH)
  for _ = have + 1, step do self.pending[#self.pending + 1] = UNKNOWN end
end

--- One more step.
---@param bits string
function Losses:add(bits)
  self.pending[#self.pending + 1] = bits
  if #self.pending >= MOST or sys.clock() >= self.next_write then self:write(false) end
end

--- Writes what has been gathered.
---@param sync boolean
function Losses:write(sync)
  self.next_write = sys.clock() + SECONDS
  self.pending[#self.pending + 1] = ""
  local text = table.concat(self.pending, "\n")
  self.pending = {}
  if text ~= "" or sync then sys.append(self.path, text, sync) end
end

--- The bits of all steps in a file.
---@param path string
---@return string[]
function Losses.read(path)
  local out = {}
  for line in (sys.try_read(path) or ""):gmatch("([^\n]*)\n") do out[#out + 1] = line end
  return out
end

return Losses
