--- A context that counts paths: for prune.flow, which puts weights in absolute value and takes norms and
-- activations away. One token attends to itself with weight 1 + <q,k> / D; the gate multiplies.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"
local Context = require "hstu.context"

---@class hstu.Paths: hstu.Context
local Paths = class("Paths", Context)

function Paths:init() self.fused = false end

function Paths:attend(_, q, k, v)
  return v * (quern.sum(q * k, -1, true) / q.shape[3] + 1)
end

function Paths:rope(x) return x end

function Paths:gate(u, y, s)
  local z = s.gate and u * y or y
  return s.parts == 3 and quern.concat({ u, y, z }, 2) or z
end

return Paths
