--- Whole recipes with 1, 2, 3 and 7 threads: one stream of losses, one metric file, one set of weights.
-- SPDX-License-Identifier: MIT

local check = require "check"
local sys = require "quern.sys"
local tiny = require "train_recipe"

local root = debug.getinfo(1, "S").source:match("^@(.*)/tests/lua/[^/]*$") or "."
local THREADS = { 1, 2, 3, 7 }

-- Settings that need no data from elsewhere and take a second or two.
local RECIPES = {
  { "10_hstu", { "--size", "smoke", "--set", "data.set=dirichlet", "--set", "data.max_len=24", "--set", "model.dim=16",
                 "--set", "train.epochs=1" } },
  { "20_", { "--size", "smoke" } },
}

local function find(prefix)
  for _, name in ipairs(sys.list(root .. "/recipes")) do
    if name:sub(1, #prefix) == prefix and name:match("%.lua$") then return root .. "/recipes/" .. name end
  end
end

-- SHA-256 of each file that the promise is about, by name.
local function bits_of(folder)
  local out = { metrics = sys.sha256(folder .. "/metrics.jsonl"), report = sys.sha256(folder .. "/report.json") }
  for _, fit in ipairs(sys.list(folder .. "/checkpoints")) do
    for _, file in ipairs { "losses.txt", "last.safetensors" } do
      local path = ("%s/checkpoints/%s/%s"):format(folder, fit, file)
      out[fit .. "/" .. file] = sys.exists(path) and sys.sha256(path) or "none"
    end
  end
  return out
end

local function same_for_all_threads(path, options)
  local out, first = check.folder(), nil
  for _, n in ipairs(THREADS) do
    local words = { "run", path, "--out", out, "--id", "t" .. n, "--threads", tostring(n), table.unpack(options) }
    local how, number = tiny.wait(tiny.start(words, out .. "/log"))
    local log = check.read(out .. "/log")
    if number == 6 and log:find("quern data get", 1, true) then check.skip("its data are not here") end
    check.equal({ how, number }, { "exit", 0 }, log)
    local bits = bits_of(out .. "/t" .. n)
    first = first or bits
    check.equal(bits, first, n .. " threads")
  end
  local steps = 0
  for name, hash in pairs(first) do
    if name:match("losses%.txt$") then
      steps = steps + 1
      print(("%s, %s: %s with %s threads"):format(path:match("[^/]+$"), name, hash:sub(1, 16),
        table.concat(THREADS, ", ")))
    end
  end
  check.yes(steps > 0, "no training kept its losses")
end

local tests = {}
for _, r in ipairs(RECIPES) do
  tests[#tests + 1] = { "recipe " .. r[1] .. " has the same bits for 1, 2, 3 and 7 threads", function()
    local path = find(r[1]) or check.skip("there is no recipe " .. r[1])
    same_for_all_threads(path, r[2])
  end }
end
return tests
