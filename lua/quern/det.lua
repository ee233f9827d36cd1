--- Determinism: the sealed environment that recipes run in, and its random numbers.
--
-- A recipe sees no clock, no files, no environment variables and no unseeded random
-- numbers; pairs walks keys in a fixed order. What it computes depends on its text,
-- its settings, its data and the seed alone.
--
-- The generator is SplitMix64 (Steele et al. 2014): state += gamma; output = mix(state).
-- Its whole state is one integer, which checkpoints carry along.
-- SPDX-License-Identifier: MIT

local util = require "quern.util"

local det = {}

local GAMMA = 0x9E3779B97F4A7C15

local function mix(z)
  z = (z ~ (z >> 30)) * 0xBF58476D1CE4E5B9
  z = (z ~ (z >> 27)) * 0x94D049BB133111EB
  return z ~ (z >> 31)
end

-- ---- A generator ------------------------------------------------------------------

---@class quern.Random
local Random = {}
Random.__index = Random

--- A generator that depends on the given integers alone.
---@param ... integer
---@return quern.Random
function det.random(...)
  local state = 0
  for i = 1, select("#", ...) do
    state = mix(state + GAMMA) ~ (math.tointeger((select(i, ...))) or 0)
  end
  return setmetatable({ state = mix(state + GAMMA) }, Random)
end

--- The next 64 bits.
---@return integer
function Random:next()
  self.state = self.state + GAMMA
  return mix(self.state)
end

--- A float in [0, 1), of 53 bits.
---@return number
function Random:float()
  return (self:next() >> 11) * 0x1p-53
end

--- An integer in low..high, without bias.
---@param low integer
---@param high integer
---@return integer
function Random:range(low, high)
  local n = high - low + 1
  if n == 0 then return self:next() end                  -- the whole range of integers
  if n > 0 then
    local limit = (math.maxinteger // n) * n
    local r
    repeat r = self:next() >> 1 until r < limit
    return low + r % n
  end
  local r                                                -- more than half of all integers
  repeat r = self:next() until not math.ult(n - 1, r)
  return low + r
end

--- Shuffles a list in place (Fisher-Yates).
---@generic T
---@param list T[]
---@return T[]
function Random:shuffle(list)
  for i = #list, 2, -1 do
    local j = self:range(1, i)
    list[i], list[j] = list[j], list[i]
  end
  return list
end

-- ---- The sealed environment -----------------------------------------------------------

local closed = {
  os = "what a recipe computes must not depend on clocks or the system",
  io = "recipes write through self:report, self:log and self:save only",
  debug = "it reaches outside the recipe",
}

local function closed_table(name, why)
  return setmetatable({}, {
    __index = function(_, key)
      util.fail("argument", ("%s.%s is closed to recipes"):format(name, tostring(key)), why,
                "put such code into a module of your own and run it with `quern lua FILE`")
    end,
    __newindex = function() util.fail("argument", name .. " is closed to recipes", why) end,
  })
end

local function sealed_math(random)
  local m = {}
  for k, v in pairs(math) do m[k] = v end
  m.random = function(low, high)
    if low == nil then return random:float() end
    if high == nil then low, high = 1, low end
    local a, b = math.tointeger(low), math.tointeger(high)
    if not a or not b or (a > b and not (low == 0 and high == 0)) then
      util.fail("argument", ("math.random: %s..%s is not a range of integers"):format(low, high))
    end
    if high == 0 and low == 1 then return random:next() end
    return random:range(a, b)
  end
  m.randomseed = function()
    util.fail("argument", "math.randomseed is closed to recipes",
              "the run's seed decides all random numbers", "run with --seed")
  end
  return m
end

local function sorted_pairs(t)
  local meta = getmetatable(t)
  if type(t) ~= "table" or (type(meta) == "table" and meta.__pairs) then return pairs(t) end
  return util.sorted(t)
end

local plain = { "assert", "error", "getmetatable", "ipairs", "next", "pcall", "print", "rawequal",
  "rawget", "rawlen", "rawset", "select", "setmetatable", "tonumber", "tostring", "type",
  "xpcall", "warn", "_VERSION", "string", "table", "utf8", "coroutine" }

--- Finds a module beside the recipe, or among those that a run's folder keeps, and loads
-- it in the same environment.
local function beside(env, options, name)
  local file_name = name:gsub("%.", "/") .. ".lua"
  local path = options.folder .. "/" .. file_name
  local file = io.open(path, "r")
  if not file then file = io.open(options.folder .. "/modules/" .. file_name, "r") end
  if not file then
    util.fail("not_found", ("require %q: there is no such module for recipes"):format(name),
              "looked for " .. path,
              "recipes may require quern, its modules, and Lua files in their own folder")
  end
  local text = file:read("a")
  file:close()
  local chunk, message = load(text, "@" .. path, "t", env)
  if not chunk then util.fail("lua", message) end
  if options.seen then options.seen(file_name, text) end
  return chunk, path
end

--- The environment of a recipe.
---@param options {folder: string, random: quern.Random, print: function?, seen: fun(file: string, text: string)?}
---  seen: is told of each file beside the recipe that it takes
---@return table env
function det.environment(options)
  local env = {}
  for _, name in ipairs(plain) do env[name] = _G[name] end
  for _, name in ipairs { "string", "table", "utf8", "coroutine" } do
    local copy = {}
    for k, v in pairs(_G[name]) do copy[k] = v end
    env[name] = copy
  end
  env.string.dump = nil
  env._G = env
  env.print = options.print or print
  env.pairs = sorted_pairs
  env.math = sealed_math(options.random)
  for name, why in pairs(closed) do env[name] = closed_table(name, why) end
  env.collectgarbage = function(what) return collectgarbage(what == "step" and "step" or "collect") end
  env.load = function(chunk, name, _, e) return load(chunk, name, "t", e or env) end
  local loaded = {}
  env.require = function(name)
    if name == "quern" or name:match("^quern%.") then return require(name) end
    if loaded[name] == nil then
      local chunk, path = beside(env, options, name)
      local value = chunk(name, path)
      loaded[name] = value == nil and true or value
    end
    return loaded[name]
  end
  env.dofile = function(name) return beside(env, options, (name:gsub("%.lua$", "")))() end
  return env
end

return det
