--- nn: layers with named, role-tagged parameters.
--
--   local Block = nn.class "Block"
--   function Block:init(dim) self.norm, self.out = nn.LayerNorm(dim), nn.Linear(dim, dim) end
--   function Block:forward(x) return self.out(self.norm(x), x) end
-- SPDX-License-Identifier: MIT

local base = require "quern.nn.module"

local nn = {
  Module = base.Module, class = base.class, parameter = base.parameter, buffer = base.buffer,
  is_module = base.is_module, init = require "quern.nn.inits",
}

for _, name in ipairs { "layers", "containers", "norms", "conv", "attention", "recurrent" } do
  for key, value in pairs(require("quern.nn." .. name)) do nn[key] = value end
end

return nn
