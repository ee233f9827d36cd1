--- The prompt: a scripted session against golden text, completion, help, a session from a pipe.
-- SPDX-License-Identifier: MIT

local check = require "check"
local golden = require "golden"
local core = require "quern.core"
local prompt = require "quern.prompt"
local complete = require "quern.prompt_complete"

local script = [[
x = quern.tensor{{1, 2}, {3, 4}}
x
local y = x * 2
y:sum()
1 + 1, "two", { a = 1, b = { 1, 2, 3 }, t = x }
_
for i = 1, 2 do
  print(i, x[i])
end
local function twice(v)
  return 2 * v
end
twice(21)
nil
?sqrt
?sofmax
?twice
x:matmul(quern.zeros{3, 2})
nope.x
= =
:profile
:help
:quit
print "not reached"
]]

-- What a session prints for lines, with prompts and lines before it; its clock says 1.5 ms for each chunk.
local function transcript(lines)
  local out, now, more = {}, 0.0, false
  local session = prompt.session { times = true, write = function(text) out[#out + 1] = text end, clock = function()
    now = now + 0.0015
    return now
  end }
  for line in lines:gmatch("([^\n]*)\n") do
    out[#out + 1] = (more and "...... " or "quern> ") .. line .. "\n"
    more = session:feed(line)
    if session.ended then break end
  end
  return table.concat(out), session
end

local function candidates(text, env)
  local session = prompt.session { write = function() end }
  for k, v in pairs(env or {}) do session.env[k] = v end
  local list, word = complete.candidates(session.env, text)
  return list, word
end

local function has(list, ...)
  local set = {}
  for _, name in ipairs(list) do set[name] = true end
  for _, name in ipairs { ... } do check.yes(set[name], name .. " is not among " .. check.show(list)) end
end

return {
  { "a session's text is the golden one", function()
    golden.compare("prompt.txt", (transcript(script)))
  end },

  { "locals of a line live on; attributed ones are left alone", function()
    local _, s = transcript "local a, b = 1, 2\nlocal function f() return a + b end\nc = f()\n"
    check.equal({ s.env.a, s.env.b, s.env.c }, { 1, 2, 3 })
    check.equal(s.failed, 0)
    check.equal(rawget(_G, "a"), nil)
    _, s = transcript "local d <const> = 1\n"
    check.equal(s.failed, 0)
  end },

  { "an incomplete chunk waits, and can be given up", function()
    local s = prompt.session { write = function() end }
    check.equal(s:feed "for i = 1, 3 do", true)
    check.equal(s:feed("text = [" .. "[ a"), true)
    s:drop()
    check.equal(s:feed "z = 5", false)
    check.equal(s.env.z, 5)
    check.equal(s:feed "f(", true)
    s:drop(true)
    check.equal(s.failed, 1)
  end },

  { "values print with tables by content, deep and endless ones cut", function()
    check.equal(prompt.show { 1, "a", x = true, ["a b"] = 2 }, '{ 1, "a", ["a b"] = 2, x = true }')
    check.equal(prompt.show { { { { 1 } } } }, "{ { { {...} } } }")
    local loop = {}
    loop.me = loop
    check.equal(prompt.show(loop), "{ me = {...} }")
    local long = {}
    for i = 1, 100 do long[i] = i end
    check.yes(prompt.show(long):find("... 60 more", 1, true))
  end },

  { "fields, methods, ops and parts of quern complete", function()
    local list, word = candidates "quern.softm"
    check.equal({ list, word }, { { "softmax" }, "softm" })
    has(candidates "quern.", "fit", "nn", "optim", "softmax", "tensor")
    has(candidates "x = quern.nn.Li", "Linear")
    local x = core.tensor { 1, 2 }
    has(candidates("x:", { x = x }), "sum", "item", "backward", "totable")
    has(candidates("x.sh", { x = x }), "shape")
    has(candidates("t.", { t = { inner = 1 } }), "inner")
    check.equal(candidates "nothere.x", {})
    has(candidates "pri", "print")
    has(candidates "whi", "while")
    has(candidates "?log_s", "log_softmax")
    has(candidates ":pro", "profile", "prompt")
  end },

  { "argument names complete in calls of ops and of documented functions", function()
    has(candidates "quern.softmax(x, { d", "dim = ")
    has(candidates "quern.sum { di", "dim = ")
    has(candidates("x:sum { di", { x = core.tensor { 1 } }), "dim = ")
    has(candidates "quern.fit(model, data, { epo", "epochs = ")
    check.equal((candidates "quern.softmax(x, { dim = 1 }); di"), {})
  end },

  { "file names complete inside quotes and after commands", function()
    local folder = check.folder()
    check.write(folder .. "/alpha.lua", "")
    os.execute("mkdir '" .. folder .. "/alps'")
    has(candidates('quern.load("' .. folder .. "/al"), folder .. "/alpha.lua", folder .. "/alps/")
    has(candidates(":run " .. folder .. "/alpha"), folder .. "/alpha.lua")
  end },

  { "Tab inserts what all candidates share and shows a choice in columns", function()
    local tab = complete.of(prompt.session({ write = function() end }).env)
    check.equal({ tab("quern.softm", 11) }, { "ax" })
    local insert, shown = tab("quern.soft", 10)
    check.equal({ insert, shown }, { "", "softmax   softplus" })
    check.equal({ tab("quern.zzz", 9) }, { "" })
    check.equal(complete.columns({ "a", "bb", "c", "d", "e" }, 8), "a   d\nbb  e\nc")
  end },

  { "Lua functions have help from their comments", function()
    local text = prompt.session({ write = function() end }):help "quern.fit"
    for _, part in ipairs { "quern.fit(model, data, options)", "Trains a model.", "epochs", "in quern/fit.lua:" } do
      check.yes(text:find(part, 1, true), part)
    end
  end },

  { "from a pipe only results come, errors on their own stream, and exit code 2 tells of them", function()
    local path = check.temporary "session.txt"
    local function pipe(lines)
      check.write(path, lines)
      local p = io.popen(("'%s' < '%s' 2>'%s.err'"):format(core.program(), path, path), "r")
      local text = p:read("a")
      local _, _, code = p:close()
      return text, code, check.read(path .. ".err")
    end
    check.equal({ pipe "1 + 1\nfor i = 1, 2 do\nprint(i)\nend\n" }, { "2\n1\n2\n", 0, "" })
    local text, code, err = pipe "nope()\n3\n"
    check.equal({ text, code }, { "3\n", 2 })
    check.yes(err:find("global 'nope'", 1, true), err)
    check.equal(select(2, pipe "x = {"), 2)
  end },

  { "a chunk that is interrupted ends and the session goes on", function()
    os.execute(("(sleep 0.3; kill -INT %d) >/dev/null 2>&1 &"):format(core.pid()))
    local text, s = transcript "local till = os.clock() + 5 while os.clock() < till do end\n7\n"
    check.yes(text:find("quern: interrupted\n", 1, true), text)
    check.yes(text:find("\n7\n", 1, true))
    check.equal(s.failed, 1)
  end },
}
