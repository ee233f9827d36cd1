--- Shell completion and the manual page, made from the command definitions.
--
-- Completion for bash and zsh comes from argparse; the page is written here, in man's
-- macros, by walking the same parser, so that a new option is in all three at once.
-- SPDX-License-Identifier: MIT

local sys = require "quern.sys"
local errors = require "quern.cli.errors"

local environment = {
  { "QUERN_THREADS", "Worker threads; the results do not depend on it." },
  { "QUERN_BLAS", "Path of the BLAS library for large products, or none." },
  { "QUERN_ISA", "Instruction level: plain, avx2, avx512." },
  { "QUERN_HUGE_PAGES", "on (the default) or off: buffers of 4 MiB and more ask the system for huge pages." },
  { "QUERN_DATA", "Folder in which datasets are looked for first." },
  { "QUERN_CACHE", "Folder for downloaded and prepared data; else XDG_CACHE_HOME/quern or ~/.cache/quern." },
  { "QUERN_PLUGIN_PATH", "Folders of plugins, separated by colons, before the installed ones." },
  { "QUERN_HISTORY", "History file of the prompt; empty: none. Else XDG_STATE_HOME/quern/history or "
    .. "~/.local/state/quern/history." },
  { "QUERN_TRACE", "1: errors show a Lua traceback." },
}

-- ---- Man's macros -----------------------------------------------------------------------------

local function roff(text)
  text = text:gsub("\\", "\\e"):gsub("%-", "\\-")
  return (("\n" .. text):gsub("\n([.'])", "\n\\&%1"):sub(2))
end

local function bold(text) return "\\fB" .. roff(text) .. "\\fR" end

local function argument_name(element)
  local name = element._argname
  if type(name) == "table" then name = table.concat(name, " ") end
  return name
end

local function label(option)
  local names = {}
  for i, alias in ipairs(option._aliases) do names[i] = bold(alias) end
  local text, argument = table.concat(names, ", "), argument_name(option)
  if argument and option._maxargs > 0 then
    text = text .. " " .. (option._minargs == 0 and "[\\fI%s\\fR]" or "\\fI%s\\fR"):format(roff(argument))
  end
  return text
end

local function describe(element)
  local text = roff(element._description or "")
  if element._default ~= nil and type(element._default) == "string" then
    text = text .. (" Default: %s."):format(roff(element._default))
  end
  return text
end

-- Hidden commands are for Quern itself.
local function drop_hidden(parser)
  local shown = {}
  for _, c in ipairs(parser._commands) do
    if not c._hidden then
      shown[#shown + 1] = c
      drop_hidden(c)
    end
  end
  parser._commands = shown
end

local function add_elements(out, command)
  for _, a in ipairs(command._arguments) do
    out[#out + 1] = (".TP\n\\fI%s\\fR\n%s"):format(roff(a._name), describe(a))
  end
  for _, o in ipairs(command._options) do
    if not o._hidden and (o._name ~= "--help" or not command._parent) then
      out[#out + 1] = (".TP\n%s\n%s"):format(label(o), describe(o))
    end
  end
end

local function add_command(out, command, path)
  local words = path .. " " .. command._name
  local usage = command:get_usage():gsub("^Usage: ", ""):gsub("%s+", " ")
  out[#out + 1] = (".SS %s\n%s\n.PP\n%s"):format(roff(words), bold(usage), roff(command._description or ""))
  add_elements(out, command)
  for _, sub in ipairs(command._commands) do add_command(out, sub, words) end
end

local function rows(out, list)
  for _, row in ipairs(list) do out[#out + 1] = (".TP\n%s\n%s"):format(bold(row[1]), roff(row[2])) end
end

-- The exit codes, read from the text that --help ends with.
local function exit_codes()
  local list = {}
  for code, meaning in errors.codes:gsub("%s+", " "):gmatch("(%d+) ([^%d]+)") do
    list[#list + 1] = { code, (meaning:gsub("[,.%s]+$", "")) }
  end
  return list
end

local function manual(parser)
  local out = { ('.TH QUERN 1 "" "quern %s" "User Commands"'):format(sys.version()),
    ".SH NAME\nquern \\- " .. roff((parser._description:gsub("%.$", ""))),
    ".SH SYNOPSIS\n.B quern\n[\\fIcommand\\fR] [\\fIoption\\fR ...]",
    ".SH DESCRIPTION\n" .. roff("Quern runs machine-learning experiments on CPUs: recipes in Lua compose plugins, "
      .. "and every run leaves a folder from which it can be resumed, reported and compared. "
      .. "Without a command the prompt is opened.") }
  add_elements(out, parser)
  out[#out + 1] = ".SH COMMANDS"
  for _, command in ipairs(parser._commands) do add_command(out, command, "quern") end
  out[#out + 1] = ".SH EXIT STATUS"
  rows(out, exit_codes())
  out[#out + 1] = ".SH ENVIRONMENT"
  rows(out, environment)
  out[#out + 1] = ".SH FILES"
  rows(out, { { "runs/", "Run folders: recipe, settings, lock, metrics, checkpoints, report." } })
  return table.concat(out, "\n")
end

---@param args {completion: string?, man: boolean?}
---@param parser table
---@return integer exit code
return function(args, parser)
  drop_hidden(parser)
  if args.man then print(manual(parser)) else print((parser["get_" .. args.completion .. "_complete"](parser))) end
  return 0
end
