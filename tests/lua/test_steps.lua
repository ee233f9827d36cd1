--- The models of the step benchmarks, at sizes that run in no time: their parameters after 20 steps have the same bits
-- for 1, 2, 3 and 7 workers, captured where they are measured so, and eagerly. SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local sys = require "quern.sys"

local STEPS, WORKERS = 20, { 1, 2, 3, 7 }

local function benches()
  local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$")
  return here .. "/../bench"
end

local function bits_of(model)
  local list = {}
  for name, t in quern.util.sorted(model:state()) do list[#list + 1] = name .. t:bytes() end
  return sys.sha256_of(table.concat(list))
end

-- The cases as the benchmarks define them, small; the benchmarks' own library is forgotten afterwards.
local function small_cases()
  local path = package.path
  package.path = benches() .. "/lib/?.lua;" .. path
  local models = dofile(benches() .. "/lib/models.lua")
  package.loaded.models, models.small = models, true
  local ok, list = pcall(models.all, benches() .. "/steps")
  package.path, package.loaded.models = path, nil
  if not ok then error(list, 0) end
  return list, models
end

local function trained(case, models, eager)
  models.eager = eager
  local made = case.make()
  for _ = 1, STEPS do made.step() end
  return bits_of(made.model), made.how()
end

local function plugins_there()
  if not pcall(quern.plugin, "hstu") then check.skip("the plugin hstu is not built") end
end

local function bits_do_not_depend_on_workers()
  plugins_there()
  local before = quern.threads()
  local list, models = small_cases()
  check.yes(#list >= 11, #list .. " cases")
  for _, case in ipairs(list) do
    for _, eager in ipairs { false, true } do
      local first, way
      for _, workers in ipairs(eager and { 1, 7 } or WORKERS) do
        quern.threads(workers)
        local bits, how = trained(case, models, eager)
        first, way = first or bits, way or how
        check.yes(bits == first, ("%s (%s): %d workers give other bits"):format(case.name, how, workers))
      end
      check.equal(way, eager and "eager" or "captured", case.name)
    end
  end
  quern.threads(before)
end

return {
  { "each model of the benchmarks has the same bits for any number of workers", bits_do_not_depend_on_workers },
}
