-- What sealed files promise: what was written comes back, and nothing else is taken for it.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local check = require "check"
local sealed = require "quern.sealed"

local function kind(more)
  local k = { format = "acme.codebook", version = 2, name = "codebook", writer = "codebook:save(path)" }
  for name, v in pairs(more or {}) do k[name] = v end
  return sealed.kind(k)
end

return {
  { "tensors and values come back", function()
    local path = check.temporary "codes.safetensors"
    kind():save(path, { codes = quern.i64 { 3, 1, 2 } }, { dim = 64 })
    local tensors, values = kind():load(path)
    check.equal(tensors.codes:totable(), { 3, 1, 2 })
    check.equal(values.dim, 64)
  end },

  { "another kind, another version and a changed byte are refused, each by its name", function()
    local path = check.temporary "codes.safetensors"
    kind():save(path, { codes = quern.i64 { 3, 1, 2 } }, { dim = 64 })
    check.fails(function() kind { format = "acme.map", name = "map" }:load(path) end, "is not a map", "codebook:save")
    check.fails(function() kind { version = 3 }:load(path) end, "codebook of version 2", "reads version 3")
    local bytes = check.read(path)
    check.write(path, bytes:sub(1, -2) .. string.char(bytes:byte(-1) ~ 1))
    check.fails(function() kind():load(path) end, "is damaged", "SHA-256", "codebook:save")
  end },

  { "a file without values is refused", function()
    local path = check.temporary "plain.safetensors"
    quern.save(path, { x = quern.zeros { 2 } })
    check.fails(function() kind():load(path) end, "is not a codebook")
  end },
}
