--- The command line: exit codes, texts, runs from start to report.
-- SPDX-License-Identifier: MIT

local check = require "check"
local core = require "quern.core"
local quern = require "quern"
local cli = require "quern.cli"
local sys = require "quern.sys"

-- Runs a command line in this process; returns exit code, standard output, standard error.
local function run(words)
  local out, err = {}, {}
  local real_print, real_stderr = print, io.stderr
  print = function(...)                                  -- luacheck: ignore 121
    local parts = table.pack(...)
    for i = 1, parts.n do parts[i] = tostring(parts[i]) end
    out[#out + 1] = table.concat(parts, "\t")
  end
  io.stderr = { write = function(_, ...)                 -- luacheck: ignore 122
    for i = 1, select("#", ...) do err[#err + 1] = tostring((select(i, ...))) end
    return io.stderr
  end }
  local ok, code = pcall(cli.main, words)
  print, io.stderr = real_print, real_stderr             -- luacheck: ignore 121 122
  if not ok then error(code, 0) end
  return code, table.concat(out, "\n"), table.concat(err)
end

local function contains(text, ...)
  for _, part in ipairs { ... } do check.yes(text:find(part, 1, true), part .. " is missing in\n" .. text) end
end

local function recipe(body)
  local folder = check.folder()
  check.write(folder .. "/r.lua", 'local quern = require "quern"\n' .. body)
  return folder .. "/r.lua", folder .. "/runs"
end

local GOOD = [[
return quern.recipe { name = "good", doc = "adds", params = { a = { "int", 1, "a number", min = 0 } },
  sizes = { smoke = { a = 2 }, small = {} }, paper = { sum = 4.0 },
  main = function(self, cfg) print("hello"); self:report("ours", { sum = cfg.a + 1.0 }) end }
]]

local function failing(code)
  return ('return quern.recipe { name = "bad", main = function()\n%s\nend }\n'):format(code)
end

return {
  { "version, help and a bare command", function()
    local code, out = run { "version" }
    check.equal(code, 0)
    contains(out, "quern " .. sys.version())
    code, out = run { "help" }
    check.equal(code, 0)
    contains(out, "run", "doctor", "Exit codes", "7 interrupted")
    check.equal((run { "prompt", "--nothing" }), 1)
    code, out = run { "help", "run" }
    check.equal(code, 0)
    contains(out, "--set", "--resume")
  end },

  { "wrong usage is exit code 1 with the nearest command", function()
    local code, _, err = run { "rnu" }
    check.equal(code, 1)
    contains(err, '"rnu"', '"run"')
    code, _, err = run { "run", "x.lua", "--sed", "1" }
    check.equal(code, 1)
    contains(err, "--sed")
    check.equal((run { "run" }), 1)
    check.equal((run { "data" }), 1)
  end },

  { "an error of a command names no line of Quern's own files", function()
    local p <close> = io.popen(("'%s' ops softmx 2>&1"):format(core.program()), "r")
    local text = p:read "a"
    contains(text, "did you mean 'softmax'?")
    check.equal(text:find(".lua:", 1, true), nil)
  end },

  { "warn() speaks once it is switched on, as in Lua's own program", function()
    local file = check.folder() .. "/warns.lua"
    check.write(file, 'warn "silent" warn "@on" warn("in ", "parts") warn "@off" warn "silent"')
    local p <close> = io.popen(("'%s' lua '%s' 2>&1"):format(core.program(), file), "r")
    check.equal(p:read "a", "Lua warning: in parts\n")
  end },

  { "a recipe runs, reports beside the paper and leaves its folder", function()
    local path, out_folder = recipe(GOOD)
    local code, out = run { "run", path, "--out", out_folder, "--size", "smoke", "--seed", "4" }
    check.equal(code, 0)
    contains(out, "good (smoke), seed 4", "hello", "ours", "3.0", "4.0", "-25.0 %", "run folder")
    local name = sys.list(out_folder)[1]
    local folder = out_folder .. "/" .. name
    for _, f in ipairs { "recipe.lua", "settings.json", "lock.json", "state.json", "report.txt", "log.txt" } do
      check.yes(sys.exists(folder .. "/" .. f), f .. " is missing")
    end
    local lock = quern.json.decode(check.read(folder .. "/lock.json"))
    check.equal(lock.quern, sys.version())
    check.yes(lock.isa and lock.threads and lock.ops and lock.plugins)
  end },

  { "--help prints the recipe's settings", function()
    local code, out = run { "run", (recipe(GOOD)), "--help" }
    check.equal(code, 0)
    contains(out, "good: adds", "a=1", "a number", "smoke")
  end },

  { "unknown settings, sizes and values are usage errors with a suggestion", function()
    local path, out = recipe(GOOD)
    local code, _, err = run { "run", path, "--out", out, "--set", "b=1" }
    check.equal(code, 1)
    contains(err, '"b"', '"a"')
    code, _, err = run { "run", path, "--out", out, "--size", "smok" }
    check.equal(code, 1)
    contains(err, '"smoke"')
    code, _, err = run { "run", path, "--out", out, "--set", "a=-1" }
    check.equal(code, 1)
    contains(err, "at least 0")
    check.equal(sys.exists(out), false)
  end },

  { "--check finite names the op, step, shapes and line of the first NaN or infinity, forward or backward", function()
    local train = [[
local line = quern.nn.Linear(1, 1)
quern.fit(line, quern.data.tensors({ x = quern.ones { 4, 1 } }, { batch = 2 }), { optim = { name = "sgd", lr = 1 },
  progress = false, loss = function(model, batch)
  local y = model(batch.x)
  return quern.%s(y - y):mean() end })]]
    local cases = { log = { "-inf in output y", "x lies in 0 .. 0" },
                    sqrt = { "inf in the gradient of x", "the gradient of y lies in 0.5 .. 0.5" } }
    for op, said in pairs(cases) do
      local path, out = recipe(failing(train:format(op)))
      local code, _, err = run { "run", path, "--out", out, "--check", "finite" }
      check.equal(code, 4)
      contains(err, op .. " made the first value that is not finite: " .. said[1], said[2], "f32[2,1], step 1",
               "r.lua:7")
    end
    quern.check_finite(false)
  end },

  { "errors of a recipe are exit code 2 with its line and no traceback", function()
    local path, out = recipe(failing "local t = nil\nreturn t.x")
    local code, _, err = run { "run", path, "--out", out }
    check.equal(code, 2)
    contains(err, "r.lua:4", "nil value")
    check.equal(err:find("stack traceback", 1, true), nil)
    path, out = recipe(failing "quern.matmul(quern.zeros({2, 3}), quern.zeros({2, 3}))")
    code, _, err = run { "run", path, "--out", out }
    check.equal(code, 2)
    contains(err, "op: matmul", "\n  > quern.matmul(quern.zeros({2, 3}), quern.zeros({2, 3}))\n", "a: f32[2,3]")
    check.yes(err:match("^%S+/r%.lua:3: a %[2,3%] and b %[2,3%] cannot be multiplied"), err)
    path, out = recipe(failing "os.time()")
    code, _, err = run { "run", path, "--out", out }
    check.equal(code, 2)
    contains(err, "os.time is closed", "r.lua:3", "hint:")
    path = recipe("return {{}")
    code, _, err = run { "run", path }
    check.equal(code, 2)
    contains(err, "r.lua:")
  end },

  { "--profile prints time by op, and its trace holds the same calls inside the run's time", function()
    local path, out = recipe(failing "for _ = 1, 50 do quern.matmul(quern.ones { 64, 64 }, quern.ones { 64, 64 }) end")
    local began = sys.clock()
    local code, text = run { "run", path, "--out", out, "--id", "p", "--profile" }
    local wall = sys.clock() - began
    quern.profile.stop()
    check.equal(code, 0)
    contains(text, "share", "GFLOP/s")
    check.yes(text:match("\nmatmul%s+50%s"), text)
    local trace = quern.json.decode(check.read(out .. "/p/trace.json"))
    local calls, sum = 0, 0.0
    for _, e in ipairs(trace.traceEvents) do
      if e.name == "matmul" and e.ph == "X" then calls, sum = calls + 1, sum + e.dur * 1e-6 end
    end
    check.equal(calls, 50)
    check.yes(sum > 0 and sum <= wall, sum)
  end },

  { "an error inside a plugin shows the recipe's line first, then the plugin's", function()
    local path, out = recipe(failing("local hstu = quern.plugin 'hstu'\n"
      .. "hstu.model { items = 5, dim = 8, norm = 'what' }"))
    local _, _, err = run { "run", path, "--out", out }
    check.yes(err:match("^%S+/r%.lua:4: hstu%.model: [^\n]*norm[^\n]*\"what\"\n"), err)
    check.yes(err:match("\n  within %S+/hstu/[%w_]+%.lua:%d+\n"), err)
  end },

  { "numeric, input and missing-file errors have their own codes", function()
    local path, out = recipe(failing(
      "quern.fit(quern.nn.Linear(1, 1), quern.data.tensors{x = quern.ones({4, 1})}, {progress = false, "
      .. "loss = function(m, b) return quern.sum(m(b.x)) * (0/0) end})"))
    local code, _, err = run { "run", path, "--out", out }
    check.equal(code, 4, err)
    path, out = recipe(failing "quern.data.sequences{file = '/nowhere/x.txt'}")
    check.equal((run { "run", path, "--out", out }), 6)
    check.equal((run { "run", "/nowhere/r.lua" }), 6)
    check.equal((run { "lua", "/nowhere/r.lua" }), 6)
    check.equal((run { "plugin", "load", "/nowhere/p.so" }) ~= 0, true)
  end },

  { "an interrupted training is exit code 7 and resumes to the same end", function()
    local body = [[
local nn = quern.nn
return quern.recipe { name = "train", params = { epochs = 4 }, main = function(self, cfg)
  local model = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.2), nn.Linear(4, 1))
  local x = quern.normal { shape = { 32, 2 } }
  local data = quern.data.tensors({ x = x, y = quern.sum(x, 2, true) }, { batch = 8 })
  local r = quern.fit(model, data, { epochs = cfg.epochs, progress = false,
    loss = function(m, b) return quern.mse(m(b.x), b.y) end,
    evaluate = function(m) return { loss = quern.mse(m(x), quern.sum(x, 2, true)):item() } end, select = "loss" })
  self:report("ours", { loss = r.best.value })
end }
]]
    local path, out = recipe(body)
    local whole = out .. "-whole"
    check.equal((run { "run", path, "--out", whole }), 0)
    local real, looks = sys.interrupted, 0
    sys.interrupted = function() looks = looks + 1; return looks == 6 end
    local code, _, err = run { "run", path, "--out", out }
    sys.interrupted = real
    check.equal(code, 7)
    contains(err, "interrupted", "--resume")
    check.equal((run { "run", path, "--out", out, "--resume" }), 0)
    local a, b = whole .. "/" .. sys.list(whole)[1], out .. "/" .. sys.list(out)[1]
    check.equal(#sys.list(out), 1)
    for _, f in ipairs { "metrics.jsonl", "report.txt", "checkpoints/fit-1/last.json" } do
      check.equal(check.read(b .. "/" .. f), check.read(a .. "/" .. f), f)
    end
    check.equal(sys.sha256(b .. "/checkpoints/fit-1/last.safetensors"),
                sys.sha256(a .. "/checkpoints/fit-1/last.safetensors"))
    check.equal((run { "run", path, "--out", out, "--resume" }), 2)     -- nothing is unfinished now
  end },

  { "ops are listed and shown from the registry", function()
    local code, out = run { "ops" }
    check.equal(code, 0)
    contains(out, "matmul", "softmax")
    code, out = run { "ops", "softmax" }
    check.equal(code, 0)
    contains(out, "softmax(x:")
    local wrong, _, err = run { "ops", "sofmax" }
    check.equal(wrong, 2)
    contains(err, "softmax")
  end },

  { "datasets are listed with terms; stats counts a file", function()
    local code, out = run { "data", "list" }
    check.equal(code, 0)
    contains(out, "ml-100k", "GroupLens", "dirichlet")
    local file = check.folder() .. "/x.txt"
    check.write(file, "1 2 3\n2 3 4 5\n")
    code, out = run { "data", "stats", file, "--format", "sequences" }
    check.equal(code, 0)
    contains(out, "users", "2", "events", "7")
    local wrong, _, err = run { "data", "get", "ml100k" }
    check.equal(wrong, 2)
    contains(err, '"ml-100k"')
  end },

  { "doctor looks at everything", function()
    local code, out = run { "doctor" }
    check.equal(code, 0)
    contains(out, "compiler", "cpu", "kernels", "blas", "memory", "plugins", "data")
  end },

  { "the hello recipe runs", function()
    local here = arg[0]:match("^(.*)/tests/lua/[^/]*$") or "."
    local code, out = run { "run", here .. "/recipes/00_hello.lua", "--out", check.folder(), "--size", "smoke" }
    check.equal(code, 0)
    contains(out, "loss")
  end },
}
