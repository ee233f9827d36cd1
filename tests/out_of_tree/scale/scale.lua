-- The module that a recipe gets from quern.plugin "scale". SPDX-License-Identifier: MIT
local quern = require "quern"
local nn = require "quern.nn"

local LeakyScale = nn.class "LeakyScale"
function LeakyScale:init(a, b) self.a, self.b = a, b end
function LeakyScale:forward(x) return quern.leaky_scale(x, { a = self.a, b = self.b }) end

return { LeakyScale = LeakyScale }
