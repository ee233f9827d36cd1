--- The binding's other parts: data, plugins' manifests, profiler, threads. SPDX-License-Identifier: MIT
local quern = require "quern"
local check = require "check"
local core = quern._io

local text = "1\t10\t5\t100\n1\t20\t3\t300\n1\t30\t4\t200\n1\t40\t4\t400\n" ..
  "2\t10\t1\t5\n2\t20\t1\t6\n2\t40\t1\t7\n2\t30\t1\t8\n"

return {
  { "interactions are read, split and batched", function()
    local x = core.parse_interactions(text, "mem.data", { format = "ml-100k" })
    check.equal(x:stats().rows, 8)
    check.equal(x:stats().users, 2)
    local s = x:split { protocol = "standard" }
    check.equal(s:rows("test"), 2)
    local b = s:batch("test", { 1, 2 })
    check.equal(b.n_sequences, 2)
    check.equal(b.items:offsets():totable(), { 0, 3, 6 })
    check.equal(b.times:totable()[1], { 100, 200, 300 })
    check.equal(#b.last_targets, 2)
    check.fails(function() s:batch("test", { 3 }) end, "1 to 2")
    check.fails(function() s:rows("tset") end, "train, valid, test")
    check.fails(function() x:split { max_length = 3 } end, "max_len")
  end },
  { "malformed rows name file and line", function()
    local bad = "1\t2\t3\t4\n1\tx\t3\t4\n"
    check.fails(function() core.parse_interactions(bad, "mem.data", { format = "ml-100k" }) end, "mem.data", "2")
  end },
  { "the loader's order is a function of seed and epoch, and it resumes", function()
    local x = core.dirichlet { n_items = 50, n_categories = 5, n_records = 40, length = 8, seed = 3 }
    local s = x:split { protocol = "whole" }
    local options = { phase = "train", batch = 8, seed = 4, shuffle = true }
    local function users(l)
      local out = {}
      for b in function() return l:next() end do out[#out + 1] = b.users:totable() end
      return out
    end
    local a = s:loader(options)
    local first, second = users(a), users(a)
    local b = s:loader(options)
    check.equal(users(b), first)
    check.yes(not pcall(check.equal, first, second), "epochs differ")
    b:seek { epoch = 1, index = 2 }
    check.equal(b:next().users:totable(), second[3])
    check.equal(b:tell().index, 3)
    b:close()
    check.fails(function() b:next() end, "closed")
  end },
  { "what a split needs outlives its handle", function()
    local s = core.parse_interactions(text, "mem.data", { format = "ml-100k" }):split()
    collectgarbage()
    collectgarbage()
    check.equal(s:rows("test"), 2)
  end },
  { "objects of other classes are refused", function()
    local x = core.parse_interactions(text, "mem.data", { format = "ml-100k" })
    check.fails(function() x.stats(quern.zeros(1)) end, "quern.interactions")
    check.fails(function() x.close(5); x.close(quern.zeros(1)); x.stats(5) end, "quern.interactions")
    check.fails(function() quern.zeros(1).sum(x) end)
  end },
  { "manifests are data: nothing in them runs", function()
    local parse = quern.plugin.parse
    local good = 'return { id = "a.b", name = \'x\', ops = 3, ["k"] = { 1, -2.5, true }, -- note\n t = [[long]], }'
    check.equal(parse(good, "p"), { id = "a.b", name = "x", ops = 3, k = { 1, -2.5, true }, t = "long" })
    for _, bad in ipairs { "return { x = f() }", "return { x = function() end }", "x = 1 return {}",
                           "return { x = 1 } os.exit()",
                           "return { x = ('a'):rep(9) }", "return { x = 1 + 1 }", "return 5", "while true do end",
                           "return {",
                           "return { a = 1, a = 2 }", "return { x = \"a }", "return {{{{{{{{{{}}}}}}}}}}" } do
      check.fails(function() parse(bad, "p.lua") end, "p.lua:1")
    end
  end },
  { "a manifest that is too large or lacks fields is refused", function()
    local folder = check.temporary("plug/big")
    core.mkdir(folder)
    core.write_file(folder .. "/plugin.lua", "return { x = \"" .. ("a"):rep(70000) .. "\" }")
    check.fails(function() quern.plugin.manifest(folder) end, "plugin.lua")
    core.write_file(folder .. "/plugin.lua", "return { id = \"a.b\", name = \"big\" }")
    check.fails(function() quern.plugin.manifest(folder) end, "version")
    check.fails(function() quern.plugin.find "no_such_plugin" end, "no_such_plugin", "looked in")
  end },
  { "a plugin without a library is its Lua module", function()
    local folder = check.temporary("plug/pure")
    core.mkdir(folder)
    core.write_file(folder .. "/plugin.lua", 'return { id = "test.pure", name = "pure", version = "1.0.0" }')
    core.write_file(folder .. "/pure.lua", "return { twice = function(t) return t + t end }")
    check.equal(quern.plugin(folder).twice(quern.ones(1)):item(), 2.0)
    check.yes(quern.plugin(folder) == quern.plugin(folder))
  end },
  { "the profiler counts calls", function()
    quern.profile.start { trace = true }
    local x = quern.ones(10) + 1
    x = x * 2 -- luacheck: ignore 311
    quern.profile.stop()
    local calls = {}
    for _, r in ipairs(quern.profile.rows()) do calls[r.name] = r.calls end
    check.equal({ calls.add, calls.mul }, { 1, 1 })
    check.yes(quern.profile("table"):find("add", 1, true))
    local path = check.temporary("trace.json")
    quern.profile("trace", path)
    check.equal(quern.json.decode(core.read_file(path)).traceEvents[1].name, "add")
  end },
  { "threads can be set, and the result does not depend on them", function()
    local before = quern.threads()
    local found
    for _, n in ipairs { 1, 3 } do
      check.equal(quern.threads(n), n)
      quern.seed(1)
      local y = quern.normal { shape = { 300, 200 } }
      local sum = quern.matmul(y, y:transpose(1, 2)):sum():item()
      found = found or sum
      check.equal(sum, found)
    end
    quern.threads(before)
    check.fails(function() quern.threads(0) end, "0 threads")
  end },
  { "the system is described", function()
    local s = quern.system()
    check.yes(s.cores >= 1 and s.isa ~= "" and s.version == quern.version())
    check.yes(core.clock() > 0 and core.nanoseconds() > 0 and core.interrupted() == false)
  end },
}
