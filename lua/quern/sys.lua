--- The system behind the front: clock, terminal, folders, crash-safe files, interrupts.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"

local sys = {}
local core = require "quern.core"

--- Seconds of the monotonic clock.
---@return number
function sys.clock() return core.clock() end

--- Bytes of live tensors.
---@return integer
function sys.memory() return quern.memory().live end

---@param fd integer 1 or 2
---@return boolean
function sys.is_terminal(fd) return core.isatty(fd) end

--- Columns of the terminal, 80 if unknown.
---@return integer
function sys.width() return core.width() or 80 end

--- Has the user asked to stop (Ctrl-C, SIGTERM)?
---@return boolean
function sys.interrupted() return core.interrupted() end

function sys.exists(path) return core.exists(path) end
function sys.mkdir(path) return core.mkdir(path) end
function sys.remove(path) return core.remove(path) end
--- Removes a folder with all that is in it.
function sys.remove_all(path) return core.remove_all(path) end
--- Renames a file or folder, durably.
function sys.move(from, to) return core.move(from, to) end
--- Cuts a log of lines to its first `size` bytes; makes it when there is none.
function sys.cut(path, size) return core.cut(path, size) end
--- size, mtime (seconds) and folder; nil when there is none.
---@return table?
function sys.stat(path) return core.stat(path) end

--- Sorted names in a folder; an absent one is empty.
---@return string[]
function sys.list(path)
  if not core.exists(path) then return {} end
  return core.list(path)
end

--- Writes a whole file that appears at once or not at all.
function sys.write_file(path, text) return core.write_file(path, text) end

--- Appends lines to a log, synced unless `sync` is false.
function sys.append(path, text, sync) return core.append(path, text, sync ~= false) end

-- When a process began, in ticks since the machine did; nil when there is none.
local function began(pid)
  local text = sys.try_read(("/proc/%d/stat"):format(pid))
  local n = 0
  for word in (text and text:match("%)(.*)$") or ""):gmatch("%S+") do
    n = n + 1
    if n == 20 then return word end
  end
end

local function boot() return (sys.try_read("/proc/sys/kernel/random/boot_id") or "?"):gsub("%s", "") end

--- A name of this process that no other one has, also after a restart of the machine.
---@return string
function sys.process()
  local pid = core.pid()
  return ("%s:%d:%s"):format(boot(), pid, began(pid) or "?")
end

--- Does a process of this machine, named by sys.process, still run?
---@param process string?
---@return boolean
function sys.running(process)
  local machine, pid, start = (process or ""):match("^(.*):(%d+):(%d+)$")
  return machine ~= nil and machine == boot() and began(math.tointeger(pid)) == start
end

--- The path from the root.
---@param path string
---@return string
function sys.absolute(path) return path:sub(1, 1) == "/" and path or core.cwd() .. "/" .. path end

--- The program that runs, for starting it again.
---@return string
function sys.program() return core.program() end

--- Where on the PATH a program is; nil when it is not.
---@param name string
---@return string?
function sys.find_program(name)
  for folder in (os.getenv("PATH") or ""):gmatch("[^:]+") do
    if core.exists(folder .. "/" .. name) then return folder .. "/" .. name end
  end
end

--- Runs a program to its end, when no other child runs; its words go to `output`.
---@param words string[] its path first
---@param output string?
---@return string how "exit" or "signal"
---@return integer number
function sys.call(words, output)
  local process = require "quern.process"
  local id = process.start(words, { output = output or "/dev/null" })
  while true do
    local child, how, number = process.wait()
    if child == id or not child then return how or "exit", number or -1 end
  end
end

--- What the machine and the runtime are: cpu, cores, isa, blas, blas_core, threads, ...
---@return table
function sys.machine() return core.system() end

--- All ops with what is known of them, by name.
---@return table[]
function sys.ops()
  local list = {}
  for i, name in ipairs(core.ops()) do
    list[i] = core.op_info(name)
    list[i].full_name = name
  end
  return list
end

--- All loaded plugins, the core first.
---@return table[]
function sys.plugins() return core.plugins() end

---@return string
function sys.version() return core.version() end

---@return string hex digest of a file
function sys.sha256(path) return core.sha256_file(path) end
---@return string hex digest of a text
function sys.sha256_of(text) return core.sha256(text) end

--- The text of a file; an error if it cannot be read.
---@return string
function sys.read_file(path)
  local file, message = io.open(path, "rb")
  local text = file and file:read("a")
  if file then file:close() end
  if not text then
    util.fail("io", ("cannot read %s"):format(path), message, "does the file exist, and may you read it?")
  end
  return text
end

--- The text of a file, or nil when there is none.
function sys.try_read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read("a")
  file:close()
  return text
end

--- "a/b" of "a/b/c", "." of "c".
function sys.folder(path) return path:match("^(.*)/[^/]*$") or "." end

return sys
