--- quern, or quern prompt: the prompt on a terminal; from a pipe the lines without prompts.
--
-- The history is a file of plain lines: QUERN_HISTORY, else quern/history in XDG_STATE_HOME
-- or ~/.local/state. From a pipe the exit code is 2 when a line failed.
-- SPDX-License-Identifier: MIT

local core = require "quern.core"
local sys = require "quern.sys"
local prompt = require "quern.prompt"

local MOST_LINES = 1000

local function history_file()
  local given = os.getenv("QUERN_HISTORY")
  if given then return given ~= "" and given or nil end
  local state, home = os.getenv("XDG_STATE_HOME"), os.getenv("HOME")
  if state and state ~= "" then return state .. "/quern/history" end
  return home and home ~= "" and home .. "/.local/state/quern/history" or nil
end

-- Gives the editor the lines of the file, which is cut when it has grown long.
local function load_history(editor, path)
  local lines = {}
  for line in (path and sys.try_read(path) or ""):gmatch("[^\n]+") do lines[#lines + 1] = line end
  local first = math.max(1, #lines - MOST_LINES + 1)
  for i = first, #lines do editor:add(lines[i]) end
  if #lines > 2 * MOST_LINES then
    pcall(sys.write_file, path, table.concat(lines, "\n", first) .. "\n")
  end
end

-- A history that cannot be written must not disturb the session.
local function keep(editor, path, line)
  if line:match("^%s*$") then return end
  editor:add(line)
  if path then pcall(function()
    sys.mkdir(sys.folder(path))
    sys.append(path, line .. "\n", false)
  end) end
end

local function on_terminal()
  local session = prompt.session { write = function(text) io.stdout:write(text) end, times = true }
  local editor <close> = core.edit_open(require("quern.prompt_complete").of(session.env))
  local path = history_file()
  load_history(editor, path)
  print(("quern %s, %d threads. :help for help, Ctrl-D to leave"):format(sys.version(), core.threads()))
  local more = false
  while not session.ended do
    local line, why = editor:read(more and "...... " or "quern> ")
    if not line and why == "end" then break end
    if line then
      keep(editor, path, line)
      more = session:feed(line)
    else
      session:drop()
      print("")
      more = false
    end
  end
  if not session.ended then print("") end
  return 0
end

local function from_pipe()
  local session = prompt.session { write = function(text) io.stdout:write(text) end, complain = function(text)
    io.stdout:flush()
    io.stderr:write(text)
  end }
  for line in io.lines() do
    session:feed(line)
    if session.ended then break end
  end
  session:drop(true)
  return session.failed == 0 and 0 or 2
end

---@return integer exit code
return function()
  if sys.is_terminal(0) and sys.is_terminal(1) then return on_terminal() end
  return from_pipe()
end
