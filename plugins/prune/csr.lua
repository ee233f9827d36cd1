--- Csr: a matrix without its zeros, by rows, as the sparse ops take it.
--
--   local w = prune.csr(weight)            -- [O,I]; what is 0 is left out
--   local y = w:linear(x, bias, "silu")    -- act(x W' + b); of users and a table of items: their scores
--   local e = w:rows(ids)                  -- rows of a table
--
-- Column indices take two bytes while there are at most 65536 columns, else four.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"
local util = require "quern.util"

---@class prune.Csr
---@field values userdata [P]
---@field starts userdata i64[O+1]
---@field cols userdata? i32[P], or
---@field cols16 userdata? u8[P,2]
local Csr = class "Csr"

---@param weight userdata [O,I]
function Csr:init(weight)
  if weight:dim() ~= 2 then
    util.fail("shape", ("prune.csr: a matrix is needed, not a tensor of %d dimensions"):format(weight:dim()))
  end
  self.outputs, self.inputs = weight.shape[1], weight.shape[2]
  quern.no_grad(function()
    local cols
    self.values, self.starts, cols = quern.csr_make(weight:detach())
    if self.inputs <= 65536 then
      self.cols16 = quern.stack({ quern.remainder(cols, 256), quern.floor_divide(cols, 256) }, 2):cast "u8"
    else
      self.cols = cols
    end
  end)
end

--- act(x W' + b), W [O,I].
---@param x userdata [...,I]
---@param bias userdata? [O]
---@param act string? "none" (default), "relu", "silu"
---@return userdata y [...,O]
function Csr:linear(x, bias, act)
  return quern.csr_linear(x, self.values, self.starts, self.cols, self.cols16, bias,
                          { outputs = self.outputs, act = act or "none" })
end

--- Rows by id, as dense vectors.
---@param ids userdata i64[...]
---@return userdata [...,I]
function Csr:rows(ids)
  return quern.csr_embedding(ids, self.values, self.starts, self.cols, self.cols16, { dim = self.inputs })
end

--- Memory that it takes.
---@return integer
function Csr:bytes()
  local n = self.values:numel() * (self.values.dtype == "f64" and 8 or 4) + 8 * (self.outputs + 1)
  return n + self.values:numel() * (self.cols and 4 or 2)
end

return Csr
