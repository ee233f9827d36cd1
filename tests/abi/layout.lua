-- The public declarations, read verbatim by ffi.cdef, have the recorded layout. Run by LuaJIT.
-- SPDX-License-Identifier: MIT
local ffi = require "ffi"

for _, name in ipairs { "abi_decls.h", "quern_decls.h" } do
  local file = assert(io.open("core/include/quern/" .. name))
  ffi.cdef(file:read "*a")
  file:close()
end

local checked = 0
for line in io.lines "tests/abi/layout.txt" do
  local struct, field, offset = line:match "^([%w_]+)%.([%w_]+) (%d+)"
  if struct then
    local found = ffi.offsetof(struct, field)
    assert(found == tonumber(offset), line .. ": LuaJIT finds " .. tostring(found))
  else
    local name, size = line:match "^([%w_]+) (%d+)$"
    assert(ffi.sizeof(name) == tonumber(size), line .. ": LuaJIT finds " .. ffi.sizeof(name))
  end
  checked = checked + 1
end
assert(checked > 100, "the recorded layout is nearly empty")
