--- Every message has its text in golden/errors.txt, or a test that quotes it; its three parts print.
--
-- golden/errors.txt holds the cases and what they say, one after the other. The messages
-- themselves are found in the sources, so that one without a case is found too.
-- SPDX-License-Identifier: MIT

local check = require "check"
local messages = require "error_messages"
local core = require "quern.core"
local quern = require "quern"
local errors = require "quern.cli.errors"
local sys = require "quern.sys"
local util = require "quern.util"

local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local GOLDEN = here .. "/../golden/errors.txt"
local QUOTED = 12                -- characters of a message in a test that count as quoting it

-- ---- What cases may use ----------------------------------------------------------------------------

local folder

local function file(text)
  folder = folder or check.folder()
  local path = folder .. "/x"
  check.write(path, text)
  return path
end

local function dir()
  folder = folder or check.folder()
  return folder
end

-- A tar archive of one empty file.
local function tar(name)
  local head = name .. ("\0"):rep(100 - #name) .. "0000644\0" .. ("0000000\0"):rep(2) .. ("0"):rep(11) .. "\0"
    .. ("0"):rep(11) .. "\0" .. (" "):rep(8) .. "0" .. ("\0"):rep(100) .. "ustar\00000"
  head = head .. ("\0"):rep(512 - #head)
  local sum = 0
  for i = 1, 512 do sum = sum + head:byte(i) end
  return head:sub(1, 148) .. ("%06o\0 "):format(sum) .. head:sub(157)
end

local function recipe(text, options)
  local o = options or {}
  folder = folder or check.folder()
  check.write(folder .. "/r.lua", "local quern = require 'quern'\n" .. text)
  o.out = folder .. "/runs"
  local recipes = require "quern.recipe"
  local ok, e = pcall(function() return recipes.run(recipes.load(folder .. "/r.lua"), o) end)
  quern.runs.current = nil
  if not ok then error(e, 0) end
end

-- A command line, with what it prints on standard error as its error.
local function command(words)
  local program, line = sys.program(), {}
  for i, w in ipairs(words) do line[i] = "'" .. w .. "'" end
  local pipe <close> = io.popen(("'%s' %s 2>&1 >/dev/null </dev/null"):format(program, table.concat(line, " ")), "r")
  local text = pipe:read("a")
  error(setmetatable({}, { __tostring = function() return (text:gsub("\n$", "")) end }), 0)
end

local function environment()
  local env = setmetatable({}, { __index = _G })
  env.quern, env.nn, env.core, env.sys, env.process = quern, quern.nn, core, sys, require "quern.process"
  env.file, env.tar, env.recipe, env.command = file, tar, recipe, command
  env.check, env.dir = check, dir
  function env.z(...) return quern.zeros { ... } end
  function env.t(values) return quern.tensor(values) end
  function env.ids(values) return quern.tensor(values, "i64") end
  function env.line(m, b) return quern.mse(m(b.x), b.x) end
  function env.rows() return quern.data.tensors({ x = quern.zeros { 4, 1 } }, { batch = 2 }) end
  function env.leaves() return require("quern.params").read { lr = { "num", 0.1, "rate", min = 0 } } end
  function env.stream()
    return quern.data.sequences { set = "dirichlet", dirichlet = { n_items = 20, n_categories = 4, n_records = 30,
      length = 8 } }
  end
  return env
end

-- ---- The cases -----------------------------------------------------------------------------------

local function read_cases()
  local cases, at = {}, nil
  for line in (check.read(GOLDEN)):gmatch("([^\n]*)\n") do
    if line:sub(1, 2) == "> " then
      at = { code = line:sub(3), expected = {} }
      cases[#cases + 1] = at
    elseif at and (line == "" or line:sub(1, 1) == "#") then
      at = nil
      cases[#cases + 1] = { text = line }
    elseif at then at.expected[#at.expected + 1] = line
    else cases[#cases + 1] = { text = line } end
  end
  return cases
end

-- What differs between machines gets a name.
local function plainly(text)
  local names = { { folder or "\0", "FOLDER" }, { debug.getregistry()["quern.program_folder"], "BUILD" },
                  { os.getenv("HOME") or "\0", "HOME" },
                  { debug.getinfo(util.where, "S").source:match("^@(.*)quern/util%.lua$"), "" } }
  for _, pair in ipairs(names) do text = text:gsub(pair[1]:gsub("%p", "%%%0"), pair[2]) end
  text = text:gsub("known: [^\n]*hstu[^\n]*", "known: PLUGINS"):gsub("beauty, [^\n]*", "DATA SETS")
  text = text:gsub("there are calibration[^\n]*", "there are METRICS")
  text = text:gsub("^%S*test_errors%.lua:%d+:[^\n]*", function(line) return "quern:" .. line:match(":%d+:(.*)$") end)
  return (text:gsub("\n  > [^\n]*", "", text:find("^quern:") and 1 or 0):gsub("%-nan", "nan"):gsub("\n+$", ""))
end

local function said_by(case, env)
  local chunk, message = load(case.code, "@case", "t", env)
  if not chunk then return "!! " .. message end
  core.seed(1)
  local ok, e = xpcall(chunk, function(e)
    local mt = getmetatable(e)
    if type(e) == "table" and not e.what and mt then return e end
    return errors.handler(e)
  end)
  if ok then return "!! no error" end
  if type(e) == "table" and e.what then
    e.traceback = nil
    return plainly(errors.text(e))
  end
  return plainly(tostring(e))
end

local said                       -- all texts, once they have been made
local function run_cases()
  if said then return said end
  said = {}
  local env, out, wrong = environment(), {}, {}
  for _, case in ipairs(read_cases()) do
    if case.text then out[#out + 1] = case.text
    else
      local text = said_by(case, env)
      said[#said + 1] = text
      out[#out + 1] = "> " .. case.code
      out[#out + 1] = text
      if text:sub(1, 2) == "!!" or text ~= table.concat(case.expected, "\n") then
        wrong[#wrong + 1] = ("%s\n%s"):format(case.code, text)
      end
    end
  end
  if os.getenv("QUERN_GOLDEN") == "write" then check.write(GOLDEN, table.concat(out, "\n") .. "\n") end
  said.wrong = wrong
  return said
end

-- ---- Quoted by other tests -------------------------------------------------------------------------

local function test_texts()
  local out = {}
  for _, part in ipairs { here, here .. "/../c" } do
    for _, name in ipairs(sys.list(part)) do
      if name:match("^test_.*%.[cl]") and name ~= "test_errors.lua" then
        out[#out + 1] = check.read(part .. "/" .. name)
      end
    end
  end
  return table.concat(out, "\n")
end

local function quoted(message, tests)
  for _, part in ipairs(message.parts) do
    for i = 1, #part - QUOTED + 1 do
      if tests:find(part:sub(i, i + QUOTED - 1), 1, true) then return true end
    end
  end
  return false
end

-- Messages that no case can bring about, with the reason, from golden/errors_beyond.txt.
local function read_beyond()
  local out, why = {}, nil
  for line in check.read(here .. "/../golden/errors_beyond.txt"):gmatch("[^\n]+") do
    if line:sub(1, 1) == "#" then why = line:sub(3) else out[line] = why end
  end
  return out
end

return {
  { "each case says what golden/errors.txt says", function()
    local texts = run_cases()
    check.yes(#texts > 300, #texts)
    if #texts.wrong > 0 then
      error(("%d of %d texts differ; after a look, QUERN_GOLDEN=write makes them anew:\n\n%s"):format(#texts.wrong,
        #texts, table.concat(texts.wrong, "\n\n")), 0)
    end
  end },

  { "no message of the sources is without a case or a test that quotes it", function()
    run_cases()
    local tests, missing, used = test_texts(), {}, {}
    local list = messages.of { here .. "/../../core", here .. "/../../lua" }
    check.yes(#list > 400, #list)
    local beyond = read_beyond()
    for _, message in ipairs(list) do
      local known = quoted(message, tests)
      for _, text in ipairs(known and {} or said) do known = known or messages.holds(message, text) end
      local why = beyond[message.text]
      if why then used[message.text] = true end
      if not known and not why then
        missing[#missing + 1] = ("%s:%d: %s"):format(message.path:match("[^/]+/[^/]+$"), message.line,
          message.text)
      end
    end
    for text in pairs(beyond) do if not used[text] then missing[#missing + 1] = "no longer a message: " .. text end end
    if #missing > 0 then
      error(("%d messages have no case in golden/errors.txt (add a line `> code` there), and no test quotes them:\n%s")
        :format(#missing, table.concat(missing, "\n")), 0)
    end
  end },
}
