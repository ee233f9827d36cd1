--- quern plugin check: the conformance kit on a plugin, with texts for its author.
-- The exit code is the number of failed checks.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local check = require "quern.check"

local function indent(text) return (text:gsub("[^\n]+", "      %0")) end

local function print_text(path, seed, results, failed)
  print(("checking %s, seed %d"):format(path, seed))
  for _, r in ipairs(results) do
    print(("  %s %-12s %-8s %s"):format(r.level, r.check, r.result == "failed" and "FAILED" or r.result,
      r.result == "passed" and r.promise or ""))
    if r.text ~= "" and (r.result ~= "passed" or r.check == "speed") then print(indent(r.text)) end
  end
  local level = check.reached(results)
  print(("%d checks, %d failed%s"):format(#results, failed,
    level and ("; level %s (quern %s, %s)"):format(level, quern.version(), os.date("%Y-%m-%d")) or ""))
end

local function print_json(path, seed, results, failed)
  local list = {}
  for i, r in ipairs(results) do
    list[i] = { check = r.check, level = r.level, result = r.result, text = r.text, promise = r.promise }
  end
  print(quern.json.encode { plugin = path, seed = seed, quern = quern.version(), date = os.date("%Y-%m-%d"),
                            failed = failed, level = check.reached(results), checks = list })
end

--- Runs the checks and prints them.
---@param args {name: string, seed: integer?, only: string[]?, jobs: integer?, timeout: number?, json: boolean?,
---  quick: boolean?, fuzz: number?}
---@return integer exit code
return function(args)
  local path = args.name == "core" and "core" or quern.plugin.find(args.name)
  local seed, failed = args.seed or 1, 0
  local results = check.run(path, { seed = seed, only = args.only, jobs = args.jobs, timeout = args.timeout,
                                     quick = args.quick, fuzz = args.fuzz })
  for _, r in ipairs(results) do
    if r.result == "failed" then failed = failed + 1 end
  end
  (args.json and print_json or print_text)(path, seed, results, failed)
  return math.min(failed, 100)
end
