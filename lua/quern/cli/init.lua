--- The command `quern`: commands, options, and what happens when one fails.
-- SPDX-License-Identifier: MIT

local argparse = require "argparse"
local sys = require "quern.sys"
local util = require "quern.util"
local errors = require "quern.cli.errors"
local store_commands = require "quern.cli.store_commands"

local cli = {}

local commands = {}
cli.commands = commands
for _, name in ipairs { "run", "plan", "ops", "api", "plugin", "data", "doctor", "report", "prompt", "lua", "version",
                        "help" } do
  commands[#commands + 1] = name
end
for _, name in ipairs(store_commands.names) do commands[#commands + 1] = name end

-- ---- Options ---------------------------------------------------------------------------------

local function add_run(parser)
  local c = parser:command("run", "Run a recipe."):add_help(false)
  c:argument("recipe", "Lua file that returns quern.recipe{...}."):args("?")
  c:flag("-h --help", "Show the recipe's settings, or this text.")
  c:option("--set", "Change a setting: --set train.lr=0.001."):argname("NAME=VALUE"):count("*")
  c:option("--size", "A named size of the recipe: smoke, small, full."):argname("SIZE")
  c:option("--seed", "Seed of all random numbers."):argname("N"):convert(math.tointeger)
  c:option("--threads", "Worker threads; the results do not depend on it."):argname("N"):convert(math.tointeger)
  c:option("--out", "Where run folders go."):argname("DIR"):default("runs")
  c:option("--id", "Name of the run's folder; one that is there is continued, or left if done."):argname("NAME")
  c:option("--resume", "Continue the newest unfinished run, or the one named."):argname("RUN"):args("?")
  c:option("--check", "Stop at the first op that makes a NaN or an infinity, forward or backward.")
    :argname("finite"):choices { "finite" }
  c:flag("--eager", "Run trainings op by op over the whole batch instead of captured.")
  c:flag("--no-fuse", "Captured steps run element-wise ops one by one.")
  c:option("--slice-kib", "Memory of a captured step that may grow with a slice of the batch."):argname("N"):convert(
    math.tointeger)
  c:flag("--record-ops", "Keep hashes of what each op gives in each step: a replay then names the op that differs.")
  c:flag("--profile", "Show time by op at the end; the trace goes to trace.json in the run's folder.")
  return c
end

local function add_plan(parser)
  local c = parser:command("plan", "Show what a run will need: parameters, arithmetic, memory, disk, time.")
  c:argument("recipe", "Lua file that returns quern.recipe{...}.")
  c:option("--set", "Change a setting: --set train.lr=0.001."):argname("NAME=VALUE"):count("*")
  c:option("--size", "A named size of the recipe: smoke, small, full."):argname("SIZE")
  c:option("--seed", "Seed of all random numbers."):argname("N"):convert(math.tointeger)
  c:option("--threads", "Worker threads."):argname("N"):convert(math.tointeger)
  c:flag("--json", "Print it as JSON.")
end

local function add_plugin(parser)
  local c = parser:command("plugin", "List, show, write, check or load plugins."):require_command(true)
    :command_target("action")
  c:command("list", "Plugins on the search path.")
  c:command("info", "A plugin's manifest and ops."):argument("name", "Name, folder or .so file.")
  local check = c:command("check", "Test a plugin against the contract; exit code: how many checks failed.")
  check:argument("name", "Name, folder or .so file; core: the core's own ops.")
  check:option("--only", "Only these checks, as a,b."):argname("CHECKS"):count("*")
  check:option("--seed", "Seed of the random inputs (1)."):argname("N"):convert(math.tointeger)
  check:option("--jobs", "Checks at once (the number of threads)."):argname("N"):convert(math.tointeger)
  check:option("--timeout", "Seconds that one check may take (120)."):argname("S"):convert(tonumber)
  check:flag("--quick", "Fewer repetitions: seconds instead of a minute.")
  check:option("--fuzz", "Seconds that random call sequences go on, at least."):argname("S"):convert(tonumber)
  check:flag("--json", "Print the results as JSON.")
  local new = c:command("new", "Write a new plugin that builds, loads and passes the conformance kit.")
  new:argument("name", "Name of the plugin.")
  new:option("--op", "Schema of its first op: \"twice(x: f[...]) -> y: f[...]\"."):argname("SCHEMA"):count(1)
  new:option("--dir", "Folder (NAME); nothing in it is overwritten."):argname("DIR")
  new:option("--id", "Its id (example.NAME)."):argname("ID")
  new:option("--summary", "One line on what the op does."):argname("TEXT")
  new:option("--paper", "Title of the paper it follows."):argname("TITLE")
  new:option("--year", "The paper's year."):argname("YEAR"):convert(math.tointeger)
  new:option("--equation", "The op's equations in it: 7-9."):argname("N")
  c:command("read", "What a library says of itself; nothing of it runs."):argument("name", "Name, folder or .so file.")
  local helper = c:command("scan-one", "Load a library in this helper process."):hidden(true)
  helper:argument("path")
  helper:option("--frame")
  local one = c:command("check-one", "Run one check in this process."):hidden(true)
  one:argument("path")
  one:argument("check")
  one:option("--seed"):convert(math.tointeger)
  one:option("--frame")
  one:flag("--quick")
  one:option("--seconds"):convert(tonumber)
  c:command("load", "Load a plugin and say what it brings."):argument("name", "Name, folder or .so file.")
  return c
end

local function add_data(parser)
  local c = parser:command("data", "List, get, import, pack, verify or describe datasets."):require_command(true)
    :command_target("action")
  c:command("list", "Known datasets and where they are.")
  local get = c:command("get", "Make a dataset available: find it, or download it.")
  get:argument("set", "Name of the dataset.")
  get:flag("--offline", "Look, but do not download.")
  local import = c:command("import", "Take a file, or a folder of files, that is already on disk.")
  import:argument("set", "Name of the dataset.")
  import:argument("file", "The file or folder, as published.")
  local pack = c:command("pack", "Pack pictures in class folders into CIFAR's or MNIST's binary files.")
  pack:argument("source", "Folder, or tar of one, with train/CLASS/FILE and test/CLASS/FILE.")
  pack:argument("folder", "Where the packed files go.")
  c:command("verify", "Compare files with their checksums."):argument("set", "Name of the dataset."):args("?")
  local stats = c:command("stats", "Count users, items, events; or images by class.")
  stats:argument("set", "Name of a dataset, a file, or a folder of images.")
  stats:option("--format", "Format of a file; default: look at it."):argname("FORMAT")
  return c
end

local function add_report(parser)
  local c = parser:command("report", "Make one offline page about runs: results, curves, settings, environment.")
  c:argument("run", "Run folder, or the beginning of its name under --out, or last; name=X status=done: all such.")
    :args("+")
  c:option("-o --output", "The page."):argname("FILE"):default("report.html")
  c:option("--svg", "Also write each chart as SVG into this folder."):argname("DIR")
  c:option("--png", "Also write each chart as PNG into this folder (needs rsvg-convert)."):argname("DIR")
  c:option("--out", "Where run folders are."):argname("DIR"):default("runs")
end

local function add_help(parser)
  local c = parser:command("help", "Show help on a command or an op.")
  c:argument("topic", "Command or op."):args("?")
  c:option("--completion", "Print completions for a shell: bash or zsh."):argname("SHELL"):choices { "bash", "zsh" }
  c:flag("--man", "Print the manual page.")
  c._is_help_command = true      -- shells complete it by commands
end

local function make_parser()
  local parser = argparse("quern", "Grind whatever grain is poured in: recipes, plugins, data.")
    :epilog(errors.codes):command_target("command"):require_command(false)
  parser:flag("--version", "Show the version."):target("version")
  add_run(parser)
  add_plan(parser)
  local ops = parser:command("ops", "List ops, or show one.")
  ops:argument("name", "Name of an op."):args("?")
  local api = parser:command("api", "Everything that can be called, as data.")
  api:flag("--json", "Print it as JSON.")
  api:option("--write", "Write docs/ops, lua/meta and tests/golden/help below a folder."):argname("DIR")
  api:option("--plugins", "The plugins of this folder instead of all that can be found."):argname("DIR")
  add_plugin(parser)
  add_data(parser)
  parser:command("doctor", "Look at compiler, BLAS, CPU, threads, memory, plugins, data; say what to fix.")
  store_commands.add(parser)
  add_report(parser)
  parser:command("prompt", "Open the prompt, as `quern` alone does.")
  local lua = parser:command("lua", "Run a Lua file with quern at hand."):handle_options(false)
  lua:argument("file", "Lua file.")
  lua:argument("args", "Its arguments."):args("*")
  parser:command("version", "Show the version.")
  add_help(parser)
  return parser
end

-- ---- Simple commands ------------------------------------------------------------------------

local simple = {}

function simple.version()
  print("quern " .. sys.version())
  return 0
end

function simple.help(args, parser)
  if args.completion or args.man then return require("quern.cli.completion")(args, parser) end
  if not args.topic then
    print(parser:get_help())
    return 0
  end
  for _, name in ipairs(commands) do
    if name == args.topic then
      for _, c in ipairs(parser._commands) do
        if c._name == name then print(c:get_help()) end
      end
      return 0
    end
  end
  return require("quern.cli.ops")({ name = args.topic })
end

function simple.lua(args)
  arg = { [0] = args.file, table.unpack(args.args or {}) }   -- luacheck: ignore 111 121
  local chunk, message = load(sys.read_file(args.file):gsub("^#[^\n]*", ""), "@" .. args.file, "t")
  if not chunk then util.fail("lua", message) end
  local result = chunk(table.unpack(args.args or {}))
  return math.type(result) == "integer" and result or 0
end

-- ---- Running -----------------------------------------------------------------------------------

local function dispatch(parser, args)
  local name = args.command
  if args.version and not name then name = "version" end
  if not name then name = "prompt" end
  local fn = simple[name] or require("quern.cli." .. name)
  return fn(args, parser)
end

local function usage(parser, message)
  io.stderr:write(("quern: %s\n%s\n"):format(message, parser:get_usage()))
  return 1
end

-- argparse leaves the text of a wrong command to us, so that the nearest one can be named.
local function unknown_command(words)
  for _, w in ipairs(words) do
    if w:sub(1, 1) ~= "-" then
      for _, c in ipairs(commands) do if c == w then return nil end end
      local near = util.nearest(w, commands)
      return ("there is no command %q"):format(w) .. (near and (", did you mean %q?"):format(near) or "")
    end
  end
end

--- Runs a command line; returns the exit code. Never raises.
---@param words string[]
---@return integer
function cli.main(words)
  local parser = make_parser()
  local wrong = unknown_command(words)
  if wrong then return usage(parser, wrong) end
  local ok, args = parser:pparse(words)
  if not ok then return usage(parser, args) end
  local done, code = xpcall(dispatch, errors.handler, parser, args)
  if done then return code or 0 end
  io.stdout:flush()
  io.stderr:write(errors.text(code), "\n")
  return errors.code(code)
end

return cli
