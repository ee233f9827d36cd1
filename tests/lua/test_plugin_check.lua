--- The conformance kit: each deliberately broken plugin fails its check and no other; good ones
-- pass; crashes, loops and output are results that the checker survives.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local kit = require "quern.check"
local core = require "quern.core"
local sys = require "quern.sys"

local build = core.program():match("^(.*)/[^/]*$")
local here = arg[0]:match("^(.*)/tests/lua/[^/]*$") or "."

-- A folder with a manifest, for what only a manifest can say.
local function in_folder(name, file)
  local manifest = here .. "/tests/bad_plugins/" .. name .. ".plugin.lua"
  if not sys.exists(manifest) then return file end
  local folder = check.folder() .. "/" .. name
  os.execute(("mkdir -p '%s' && cp '%s' '%s/%s.so' && cp '%s' '%s/plugin.lua' && echo '# %s' > '%s/README.md'"):format(
    folder, file, folder, name, manifest, folder, name, folder))
  return folder
end

local function broken(name)
  local file = build .. "/bad_plugins/" .. name .. ".so"
  if not sys.exists(file) then check.skip("bad_plugins are not built") end
  return in_folder(name, file)
end

local function failures(results)
  local names, texts = {}, {}
  for _, r in ipairs(results) do
    if r.result == "failed" then
      names[#names + 1] = r.check
      texts[r.check] = r.text
    end
  end
  return names, texts
end

-- A good plugin, built from the folder of an out-of-tree test with this tree's headers.
local function good_folder(name)
  local folder = check.folder() .. "/" .. name
  os.execute(("mkdir -p '%s' && cp '%s'/tests/out_of_tree/%s/* '%s'"):format(folder, here, name, folder))
  local compile = "${CC:-cc} -std=c11 -O2 -fPIC -fvisibility=hidden -shared -I'%s/core/include'"
    .. " -o '%s/%s.so' '%s'/*.c -lm"
  local built = os.execute(compile:format(here, folder, name, folder))
  if not built then check.skip("no C compiler") end
  return folder
end

local words = {                  -- what the author is told
  symbols = "bad_helper", load = "file open", versions = "needs plugin ABI 1.1", schema = "expected ',' or ']'",
  shape = "nothing to do", dtype = "f32 and f64 differ", strides = "contiguous copy", aliasing = "does not mark with !",
  gradient = "differences give", needs = "changes when fewer", determinism = "other bits with",
  bounds = "outside its buffers", numbers = "hides NaN", random = "stay the same for another seed",
  threads = "8 threads call it at once", memory = "passed over in silence", cancel = "parallel and gemm give",
  state = "goes on differently", fuzz = "after other calls", docs = "says it prints", speed = "10.0 were recorded",
}

local tests = {
  { "there is a broken plugin for each check", function()
    for _, c in ipairs(core.checks()) do
      check.yes(words[c.name], c.name .. " has no words")
      check.yes(sys.exists(here .. "/tests/bad_plugins/" .. c.name .. ".c"), c.name .. " has no broken plugin")
    end
  end },

  { "a good plugin passes all checks", function()
    local results = kit.run(good_folder "scale", { jobs = 2, quick = true, shared = true })
    check.equal((failures(results)), {})
    check.equal(#results, 21)
    check.equal(kit.reached(results), "L4")
  end },

  { "a good plugin of objects, hooks, data sets, metrics, formats and scorers passes all checks", function()
    local names, texts = failures(kit.run(good_folder "toolbox", { jobs = 2, quick = true, shared = true }))
    check.equal(names, {}, table.concat(texts, "\n"))
  end },

  { "the core and every plugin of ours pass all checks", function()
    local ours = { "core" }
    for _, name in ipairs(core.list(build .. "/plugins")) do
      local folder = build .. "/plugins/" .. name
      if core.plugin_file(folder) then ours[#ours + 1] = folder end          -- others have Lua alone
    end
    for _, path in ipairs(ours) do
      local names, texts = failures(kit.run(path, { jobs = 2, quick = true, shared = true, timeout = 300 }))
      for _, name in ipairs(names) do error(("%s fails %s:\n%s"):format(path, name, texts[name]), 0) end
    end
  end },

  { "a manifest that differs from the library fails schema", function()
    local folder = good_folder "scale"
    check.write(folder .. "/plugin.lua",
      'return { id = "example.scale", name = "scale", version = "9.9.9", abi = "1.0", library = "scale", ops = 2 }')
    local names, texts = failures(kit.run(folder, { only = { "schema" } }))
    check.equal(names, { "schema" })
    check.yes(texts.schema:find("version = 9.9.9", 1, true) and texts.schema:find("1.2.3", 1, true), texts.schema)
    check.yes(texts.schema:find("ops = 2", 1, true), texts.schema)
    os.remove(folder .. "/plugin.lua")
    names, texts = failures(kit.run(folder, { only = { "schema" } }))
    check.equal(names, { "schema" })
    check.yes(texts.schema:find("plugin.lua", 1, true), texts.schema)
  end },

  { "a crash is a result, with its signal and a command to see it alone", function()
    local names, texts = failures(kit.run(broken "crash", { only = { "load", "dtype" } }))
    check.equal(names, { "dtype" })
    check.yes(texts.dtype:find("signal 11", 1, true) and texts.dtype:find("plugin check-one", 1, true), texts.dtype)
  end },

  { "an endless loop is ended and reported", function()
    local began = core.clock()
    local names, texts = failures(kit.run(broken "endless", { only = { "load,shape" }, timeout = 8 }))
    check.equal(names, { "shape" })
    check.yes(texts.shape:find("8 seconds", 1, true), texts.shape)
    check.yes(core.clock() - began < 30, "it went on after its time")
  end },

  { "output of a plugin is reported, not taken for findings", function()
    local names, texts = failures(kit.run(broken "prints", { only = { "load", "dtype" } }))
    check.equal(names, { "load", "dtype" })
    check.yes(texts.dtype:find("standard output", 1, true) and texts.dtype:find("twice was here", 1, true), texts.dtype)
  end },

  { "flush-to-zero and threads at load are reported by name", function()
    local names, texts = failures(kit.run(broken "flush"))
    check.equal(names, { "load" })
    check.yes(texts.load:find("floating-point control register", 1, true), texts.load)
    names, texts = failures(kit.run(broken "thread", { only = { "symbols", "load", "versions" } }))
    check.equal(names, { "symbols", "load" })
    check.yes(texts.symbols:find("pthread_create", 1, true) and texts.load:find("starts a thread", 1, true))
    names, texts = failures(kit.run(broken "rounding", { only = { "load" } }))
    check.equal(names, { "load" })
    check.yes(texts.load:find("twice changes the floating-point control register", 1, true), texts.load)
  end },

  { "a child that cannot be started is an error, and no check runs here", function()
    local real = core.program
    core.program = function() return "/nowhere/quern" end
    local ok, e = pcall(kit.run, broken "shape", { only = { "shape" } })
    core.program = real
    check.equal(ok, false)
    check.yes(tostring(e):find("could not be started", 1, true), tostring(e))
  end },

  { "unknown checks are refused with the nearest name", function()
    check.fails(function() kit.run("core", { only = { "boundz" } }) end, '"boundz"', '"bounds"')
  end },

  { "the exit code counts failures; json carries them", function()
    local command = "%s plugin check %s --only shape,dtype,symbols --seed 3 --json"
    local pipe = assert(io.popen(command:format(core.program(), broken "dtype")))
    local text = pipe:read("a")
    local _, _, code = pipe:close()
    local r = quern.json.decode(text)
    check.equal(code, 1)
    check.equal({ r.failed, r.seed, #r.checks }, { 1, 3, 3 })
    check.equal(r.checks[3].result, "failed")
  end },
}

for _, c in ipairs(core.checks()) do
  tests[#tests + 1] = { "the broken plugin of " .. c.name .. " fails it and no other", function()
    local names, texts = failures(kit.run(broken(c.name), { jobs = 2, quick = true, shared = true }))
    check.equal(names, { c.name }, texts[names[2] or names[1]])
    check.yes(texts[c.name]:find(words[c.name], 1, true), texts[c.name])
  end }
end

return tests
