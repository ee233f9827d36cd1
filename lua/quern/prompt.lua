--- The prompt: Lua typed line by line, with results printed, times, help and commands.
--
--   local session = prompt.session { write = io.write, clock = sys.clock }
--   session:feed("x = quern.tensor{1, 2}")        -- true: more lines are wanted
--
-- A chunk is tried as an expression first, then as statements; while it is incomplete more
-- lines are read. `local` before the first name of a chunk is dropped, so that the variable
-- lives on. ?NAME is help, :NAME a command of the prompt or of `quern`, $WORDS of the shell.
-- The session neither reads nor draws: cli/prompt.lua does, for terminals and for pipes.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"
local core = require "quern.core"
local util = require "quern.util"
local sys = require "quern.sys"

local prompt = {}

local DEEPEST, MOST_FIELDS = 3, 40
local HOOK_EVERY = 10000         -- Lua instructions between looks for Ctrl-C

---@class quern.Session
local Session = class("Session")

---@param o {write: fun(text: string), complain: fun(text: string)?, clock: (fun(): number)?, times: boolean?}
---  complain: for errors, default write; times: show how long each chunk took
function Session:init(o)
  self.write, self.complain = o.write, o.complain or o.write
  self.clock, self.times = o.clock or sys.clock, o.times
  self.lines, self.failed, self.ended = {}, 0, false
  self.env = setmetatable({ quern = quern }, { __index = _G })
  self.env._G = self.env
  self.env.print = function(...)
    local parts = table.pack(...)
    for i = 1, parts.n do parts[i] = tostring(parts[i]) end
    self.write(table.concat(parts, "\t") .. "\n")
  end
end

--- A session of the prompt.
function prompt.session(o) return Session(o) end

-- ---- Showing values --------------------------------------------------------------------------

local function quoted(s) return (("%q"):format(s):gsub("\\\n", "\\n")) end

local show

local function key_text(k)
  if type(k) == "string" then return k:match("^[%a_][%w_]*$") and k .. " = " or "[" .. quoted(k) .. "] = " end
  return "[" .. tostring(k) .. "] = "
end

local function show_table(t, depth, seen)
  if seen[t] then return "{...}" end
  seen[t] = true
  local parts, n = {}, #t
  for i = 1, math.min(n, MOST_FIELDS) do parts[i] = show(t[i], depth + 1, seen) end
  local left = n - #parts
  for k, v in util.sorted(t) do
    if not (math.type(k) == "integer" and k >= 1 and k <= n) then
      if #parts < MOST_FIELDS then parts[#parts + 1] = key_text(k) .. show(v, depth + 1, seen) else left = left + 1 end
    end
  end
  if left > 0 then parts[#parts + 1] = ("... %d more"):format(left) end
  seen[t] = nil
  local flat = table.concat(parts, ", ")
  if #flat + 2 * depth <= 90 and not flat:find("\n") then return #parts == 0 and "{}" or "{ " .. flat .. " }" end
  local indent = ("  "):rep(depth + 1)
  return "{\n" .. indent .. table.concat(parts, ",\n" .. indent) .. "\n" .. ("  "):rep(depth) .. "}"
end

function show(v, depth, seen)
  if type(v) == "string" then return quoted(v) end
  if depth > 0 and core.is_tensor(v) then return (tostring(v):match("^[^\n]*")) end
  local meta = getmetatable(v)
  if type(v) ~= "table" or (type(meta) == "table" and meta.__tostring) then return tostring(v) end
  if depth >= DEEPEST then return "{...}" end
  return show_table(v, depth, seen)
end

--- A value as the prompt prints it.
---@param v any
---@return string
function prompt.show(v) return show(v, 0, {}) end

local function time_text(seconds)
  if seconds < 1e-3 then return ("%.0f us"):format(seconds * 1e6) end
  if seconds < 1 then return ("%.1f ms"):format(seconds * 1e3) end
  if seconds < 60 then return ("%.2f s"):format(seconds) end
  return util.duration(seconds)
end

-- ---- Running chunks --------------------------------------------------------------------------

local function incomplete(message)
  return message:match("near <eof>$") ~= nil or message:find("unfinished long", 1, true) ~= nil
end

local function kept_locals(text)
  local rest = text:match("^%s*local%s+(function%s+[%a_].*)$")
  if rest then return rest end
  local names, tail = text:match("^%s*local%s+([%a_][%w_%s,]*)(.*)$")
  if not names or tail:match("^<") then return text end
  if tail:sub(1, 1) == "=" then return names .. tail end
  return text
end

-- The chunk as a function; nil and a message, and whether more lines would help.
function Session:compile(text)
  local chunk = load("return " .. text, "=prompt", "t", self.env)
  if chunk then return chunk end
  local message
  chunk, message = load(kept_locals(text), "=prompt", "t", self.env)
  return chunk, message, not chunk and incomplete(message)
end

local function on_error(e) return require("quern.cli.errors").handler(e) end

-- Runs fn so that Ctrl-C ends it; passes on what pcall gives.
local function guarded(fn)
  core.signals(true)
  debug.sethook(function()
    if core.interrupted() then
      debug.sethook()
      util.fail("cancelled", "interrupted")
    end
  end, "", HOOK_EVERY)
  local results = table.pack(xpcall(fn, on_error))
  debug.sethook()
  core.signals(false)
  return results
end

-- The line that was just typed needs no place, nor does Ctrl-C.
function Session:fail(e)
  local shown = util.as_error(e)
  if shown.source == "prompt:1" or shown.status == "cancelled" then shown.source = nil end
  self.failed = self.failed + 1
  self.complain(require("quern.cli.errors").text(shown) .. "\n")
end

function Session:run(chunk)
  local began = self.clock()
  local results = guarded(chunk)
  local seconds = self.clock() - began
  if not results[1] then
    self:fail(results[2])
  else
    for i = 2, results.n do self.write(prompt.show(results[i]) .. "\n") end
    if results.n > 1 then self.env._ = results[2] end
  end
  if self.times then self.write(("[%s]\n"):format(time_text(seconds))) end
end

function Session:evaluate(text)
  local chunk, message, more = self:compile(text)
  if more then return true end
  if chunk then self:run(chunk) else self:fail(message) end
  return false
end

-- ---- Help -------------------------------------------------------------------------------------

--- The comment of three dashes above a Lua function, without the dashes; nil if there is none.
---@param fn function
---@return string? text
---@return string? where "file:line"
function prompt.comment(fn)
  local info = debug.getinfo(fn, "S")
  local path = info.source:match("^@(.*)$")
  local text = path and info.what ~= "C" and sys.try_read(path)
  if not text then return nil end
  local lines, found = {}, {}
  for line in text:gmatch("([^\n]*)\n") do lines[#lines + 1] = line end
  for i = info.linedefined - 1, 1, -1 do
    local words = (lines[i] or ""):match("^%s*%-%-%-?%s?(.*)$")
    if not words then break end
    table.insert(found, 1, words)
  end
  return #found > 0 and table.concat(found, "\n") or nil, ("%s:%d"):format(path, info.linedefined)
end

--- The fields of an options class that a comment names: { name, type and doc }.
---@param fn function
---@return string[][]
function prompt.options_of(fn)
  local text = prompt.comment(fn) or ""
  local wanted = text:match("@param%s+%S+%s+(quern%.%w+Options)")
  local source = debug.getinfo(fn, "S").source:match("^@(.*)$")
  local fields, inside = {}, false
  for line in (wanted and sys.try_read(source) or ""):gmatch("[^\n]+") do
    if line:match("^%-%-%-@class") then inside = line:match("@class%s+(%S+)") == wanted end
    local name, words = line:match("^%-%-%-@field%s+(%S+)%s+(.*)$")
    if inside and name then fields[#fields + 1] = { name, words } end
  end
  return fields
end

-- The function behind a callable table, such as quern.fit or a class.
local function callable(v)
  if type(v) == "function" then return v end
  local meta = type(v) == "table" and getmetatable(v)
  local init = type(v) == "table" and rawget(v, "init")
  if type(init) == "function" then return init end
  return type(meta) == "table" and type(meta.__call) == "function" and meta.__call or nil
end
prompt.callable = callable

local function help_of_function(name, fn)
  local parts, i = {}, 1
  while debug.getlocal(fn, i) do
    parts[i] = debug.getlocal(fn, i)
    i = i + 1
  end
  local text, where = prompt.comment(fn)
  local out = { ("%s(%s)"):format(name, table.concat(parts, ", ")) }
  if text then out[#out + 1] = "  " .. text:gsub("\n", "\n  ") end
  local fields = prompt.options_of(fn)
  if #fields > 0 then out[#out + 1] = "\noptions\n" .. util.table(fields, { indent = "  " }) end
  if where then out[#out + 1] = "\nin " .. where:gsub("^.*/lua/quern/", "quern/"):gsub("^.*/plugins/", "plugins/") end
  return table.concat(out, "\n")
end

function Session:help(name)
  local op = name:gsub("^quern%.", "")
  local info = pcall(core.op_info, op)
  if info then return quern.help(op, true) end
  local chunk = load("return " .. name, "=prompt", "t", self.env)
  local good, value = pcall(chunk or function() end)
  if not good or value == nil then return nil, ("there is no op and no value called %q"):format(name) end
  local fn = callable(value)
  if fn then return help_of_function(name, fn) end
  if type(value) == "table" and not getmetatable(value) then return table.concat(util.keys(value), "  ") end
  return prompt.show(value)
end

function Session:show_help(name)
  if name == "" then return self:command("help", {}) end
  local text, problem = self:help(name)
  if text then
    self.write(text .. "\n")
  else
    local names = core.ops()
    self:fail { what = problem, hint = util.suggest(name:gsub("^quern%.", ""), names) }
  end
end

-- ---- Commands -----------------------------------------------------------------------------------

prompt.text = [[
Lua, line by line: results are printed, the last one is kept in _.
  ?NAME        help on an op, a function or a value: ?softmax  ?quern.fit
  Tab          completes ops, fields, argument names and file names
  :runs        the runs here          :profile CODE  time by op of some code
  :memory      live and peak bytes    :help          this text
  :quit        or Ctrl-D: leave       $ COMMAND      run a command of the shell
  :NAME ...    any command of quern: :ops  :doctor  :run recipes/00_hello.lua --size smoke
Ctrl-C stops what runs, or gives the line up.]]

prompt.commands = { "help", "memory", "profile", "quit", "runs" }

local commands = {}

function commands.help(self, words)
  if words[1] then return self:show_help(words[1]) end
  self.write(prompt.text .. "\n")
end

function commands.quit(self) self.ended = true end

function commands.memory(self)
  local m = quern.memory()
  self.write(("live %s, peak %s\n"):format(util.bytes(m.live), util.bytes(m.peak)))
end

function commands.profile(self, _, rest)
  if rest == "" then
    return self:fail { what = ":profile needs code to run", hint = ":profile quern.ones({ 64, 64 }):sum()" }
  end
  local chunk, message = self:compile(rest)
  if not chunk then return self:fail(message) end
  quern.profile("start", false)
  self:run(chunk)
  local table_text = quern.profile("table")
  quern.profile("stop")
  self.write(table_text .. "\n")
end

--- Runs a command: one of the prompt's own, or one of the program's.
---@param name string
---@param words string[]
---@param rest string? the words as they were typed
function Session:command(name, words, rest)
  if name == "q" then name = "quit" end
  if commands[name] then return commands[name](self, words, rest or table.concat(words, " ")) end
  if name == "prompt" then return end
  io.stdout:flush()
  local real = print
  print = self.env.print                                  -- luacheck: ignore 121
  local code = require("quern.cli").main { name, table.unpack(words) }
  print = real                                            -- luacheck: ignore 121
  if code ~= 0 then self.failed = self.failed + 1 end
end

--- Takes a line; true when it begins something that wants more lines.
---@param line string
---@return boolean more
function Session:feed(line)
  if #self.lines == 0 then
    if line:match("^%s*$") then return false end
    local first, rest = line:match("^%s*([?:$])%s*(.-)%s*$")
    if first == "?" then self:show_help(rest) return false end
    if first == "$" then
      io.stdout:flush()
      os.execute(rest)
      return false
    end
    if first == ":" and rest:match("^%a") then
      local words = {}
      for w in rest:gmatch("%S+") do words[#words + 1] = w end
      self:command(table.remove(words, 1), words, rest:match("^%S+%s*(.*)$"))
      return false
    end
  end
  self.lines[#self.lines + 1] = line
  local more = self:evaluate(table.concat(self.lines, "\n"))
  if not more then self.lines = {} end
  return more
end

--- The input has ended: what is incomplete is an error. Without `cut`, the lines are just dropped.
---@param cut boolean?
function Session:drop(cut)
  if cut and #self.lines > 0 then
    local _, message = self:compile(table.concat(self.lines, "\n"))
    self:fail(message)
  end
  self.lines = {}
end

return prompt
