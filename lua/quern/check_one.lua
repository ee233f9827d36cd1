--- One check of the conformance kit in this process: check_one.lua PATH CHECK SEED.
-- Exit code 0: passed; 1: findings, which are printed; another: it could not run.
-- SPDX-License-Identifier: MIT

local core = require "quern.core"

local path, name, seed = ...
local passed, text = core.check_here(path, name, math.tointeger(tonumber(seed)) or 1)
io.stdout:write(text)
return passed and 0 or 1
