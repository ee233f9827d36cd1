--- Mapped data: a dataset whose batches go through a function first.
--
--   local half = quern.data.map(data, function(batch, phase) ...; return batch end)
-- The loaders keep the order, the position and the resumption of the source's.
-- SPDX-License-Identifier: MIT

local class = require "quern.class"

-- ---- Loaders ---------------------------------------------------------------------------------

---@class quern.MappedLoader
local Loader = class "MappedLoader"

function Loader:init(source, fn, phase) self.source, self.fn, self.phase, self.unit = source, fn, phase, source.unit end

function Loader:next()
  local batch = self.source:next()
  if batch then return self.fn(batch, self.phase) end
end

function Loader:batches() return self.source:batches() end
function Loader:tell() return self.source:tell() end
function Loader:seek(state) self.source:seek(state) end
function Loader:epoch() return function() return self:next() end end

-- ---- Data ------------------------------------------------------------------------------------

---@class quern.Mapped
---@field source table the dataset behind it
local Mapped = class "Mapped"

-- What the function does not change is the source's.
local shared = { "n_items", "n_users", "has_times", "stats", "set", "file", "sha256", "max_len", "protocol", "dropped",
                 "behaviours", "target_behaviour", "domains", "core" }

---@param source table
---@param fn fun(batch: table, phase: string): table
function Mapped:init(source, fn)
  self.source, self.fn = source, fn
  for _, key in ipairs(shared) do self[key] = source[key] end
end

function Mapped:rows(phase) return self.source:rows(phase) end
function Mapped:tokens(phase) return self.source:tokens(phase) end
function Mapped:longest(phase) return self.source:longest(phase) end
function Mapped:item_name(id) return self.source:item_name(id) end
function Mapped:item_id(name) return self.source:item_id(name) end
function Mapped:user_name(id) return self.source:user_name(id) end
function Mapped:user_id(name) return self.source:user_id(name) end
function Mapped:batch(phase, rows) return self.fn(self.source:batch(phase, rows), phase) end

--- As the source's loader, with each batch mapped.
function Mapped:loader(phase, options) return Loader(self.source:loader(phase, options), self.fn, phase) end

--- All sequences of a phase once, in order of users.
function Mapped:batches(phase, batch)
  local next_batch = self.source:batches(phase, batch)
  return function()
    local b = next_batch()
    if b then return self.fn(b, phase) end
  end
end

function Mapped:__tostring() return tostring(self.source) end

return Mapped
