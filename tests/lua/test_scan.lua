--- Plugins are read without running them, tried out in a helper, and remembered by their content.
-- SPDX-License-Identifier: MIT

local check = require "check"
local core = require "quern.core"
local quern = require "quern"
local scan = require "quern.scan"
local sys = require "quern.sys"

local build = core.program():match("^(.*)/[^/]*$")

local function broken(name)
  local file = build .. "/bad_plugins/" .. name .. ".so"
  if not sys.exists(file) then check.skip("bad_plugins are not built") end
  return file
end

-- A cache of its own for the length of fn.
local function with_cache(fn)
  local folder, real = check.folder(), scan.folder
  scan.folder = function() return folder end
  local ok, e = pcall(fn, folder)
  scan.folder = real
  if not ok then error(e, 0) end
end

return {
  { "a library's versions, needs and ops are read without running it", function()
    local hstu = core.plugin_read(build .. "/plugins/hstu")
    check.equal({ hstu.id, hstu.abi, hstu.least, hstu.needs[1] }, { "org.quern.hstu", "1.0", 0, "qn.math/1" })
    check.equal(#hstu.ops, quern.plugin.manifest(build .. "/plugins/hstu").ops)
    for _, op in ipairs(hstu.ops) do check.yes(op.schema and op.summary, "an op without texts") end
    -- its constructor would crash the process; reading does not run it
    check.equal(core.plugin_read(broken "dies").id, "bad.dies")
  end },

  { "what the file says is refused before any of it runs", function()
    check.fails(function() core.plugin_load(broken "schema") end, "expected ',' or ']'", "bad.schema")
    check.fails(function() core.plugin_read(broken "versions") end, "needs plugin ABI 1.1 or later")
    check.fails(function() core.plugin_read(core.program()) end, "qn_plugin_entry")
    local path = check.folder() .. "/x.so"
    local head = "\127ELF\2\1\1" .. ("\0"):rep(9) .. "\3\0\62\0"
    for _, text in ipairs { "", "\127ELF", head .. ("\255"):rep(60), ("\0"):rep(64) } do
      check.write(path, text)
      check.fails(function() core.plugin_read(path) end, "no plugin library")
    end
    check.write(path, "\127ELF\1" .. ("\0"):rep(60))
    check.equal(select("#", core.plugin_read(path)), 2, "another machine's: nil and why")
  end },

  { "no cut or flipped byte of a library's tables does more than be refused", function()
    local whole, path = check.read(broken "crash"), check.folder() .. "/cut.so"
    for i = 0, 63 do
      check.write(path, whole:sub(1, #whole * i // 64))
      pcall(core.plugin_read, path)
      local at = i % 2 == 0 and i + 1 or #whole - 24 * i
      check.write(path, whole:sub(1, at - 1) .. string.char((whole:byte(at) + 1 + 37 * i) % 256) .. whole:sub(at + 1))
      pcall(core.plugin_read, path)
    end
  end },

  { "a library that crashes or hangs while it is loaded is a verdict, and this process lives", function()
    with_cache(function()
      local v = scan.verdict(broken "dies")
      check.equal(v.ok, false)
      check.yes(v.what:find("crashes while it is loaded: signal 11", 1, true), v.what)
      check.fails(function() quern.plugin(broken "dies") end, "crashes while it is loaded")
      check.fails(function() quern.plugin(broken "flush") end, "floating-point control register")
    end)
  end },

  { "a library that a busy machine did not load in time is tried again", function()
    with_cache(function(folder)
      local seconds = scan.seconds
      scan.seconds = 0
      local v = scan.verdict(broken "gradient")
      scan.seconds = seconds
      check.yes(v.what:find("does not finish loading within 0 seconds", 1, true), v.what)
      check.equal(#core.list(folder), 0)
      check.equal(scan.verdict(broken "gradient").ok, true)
    end)
  end },

  { "a verdict is asked for once, and holds for the content of a file", function()
    with_cache(function(folder)
      local file = check.folder() .. "/twice.so"
      check.write(file, check.read(broken "gradient"))
      local v, cached = scan.verdict(file)
      check.equal({ v.ok, v.id, cached }, { true, "bad.gradient", false })
      check.equal(select(2, scan.verdict(file)), true)
      check.equal(#core.list(folder), 1)
      check.write(file, check.read(broken "dtype"))
      v, cached = scan.verdict(file)
      check.equal({ v.id, cached }, { "bad.dtype", false })
      check.write(folder .. "/" .. core.list(folder)[1], "{ torn")
      check.write(folder .. "/" .. core.list(folder)[2], "{ torn")
      check.equal(select(2, scan.verdict(file)), false, "a torn verdict is none")
    end)
  end },

  { "a helper that cannot be started is an error, and nothing is loaded here", function()
    with_cache(function()
      local real = core.program
      core.program = function() return "/nowhere/quern" end
      local ok, e = pcall(quern.plugin, broken "needs")
      core.program = real
      check.equal(ok, false)
      check.yes(tostring(e):find("could not be started", 1, true), tostring(e))
      for _, p in ipairs(core.plugins()) do check.yes(p.id ~= "bad.needs", "it was loaded all the same") end
    end)
  end },
}
