--- The options of the commands about past runs and sets of runs.
-- SPDX-License-Identifier: MIT

local commands = { names = { "runs", "show", "diff", "rm", "export", "replay", "sweep" } }

local function folder_option(c)
  c:option("--out", "Where run folders are."):argname("DIR"):default("runs")
end

local function add_sweep(parser)
  local c = parser:command("sweep", "Run a recipe for many settings and seeds; what is done is not done again.")
  c:argument("recipe", "Lua file that returns quern.recipe{...}.")
  c:option("--grid", "Values of a setting: train.lr=1e-3,3e-4; with --random also a range, 1e-4..1e-2[:log].")
    :argname("NAME=VALUES"):count("*")
  c:option("--random", "Draw so many settings instead of taking all."):argname("N"):convert(math.tointeger)
  c:option("--halving", "Raise a setting in steps and keep the better part each time: train.epochs=2,4,8.")
    :argname("NAME=VALUES")
  c:option("--keep", "Part that --halving keeps."):argname("SHARE"):default("0.5"):convert(tonumber)
  c:option("--by", "Metric that decides which is best; the smaller is better for losses and errors."):argname("METRIC")
  c:option("--seeds", "Runs for each setting, of seeds 1 to N."):argname("N"):default("1"):convert(math.tointeger)
  c:option("--set", "Change a setting for all: --set train.epochs=5."):argname("NAME=VALUE"):count("*")
  c:option("--size", "A named size of the recipe."):argname("SIZE")
  c:option("--jobs", "Runs at the same time."):argname("N"):default("1"):convert(math.tointeger)
  c:option("--threads", "Worker threads of each run; default: the processors, shared out."):argname("N")
    :convert(math.tointeger)
  c:flag("--retry", "Also run again what failed for a NaN or infinity.")
  c:flag("--table", "Run nothing: show the table of what is there.")
  folder_option(c)
end

---@param parser table
function commands.add(parser)
  local runs = parser:command("runs", "List runs; words filter them: status=done train.lr<1e-3 NDCG@10>0.1.")
  runs:argument("filter", "Part of a name, or FIELD=VALUE, also != < <= > >=."):args("*")
  folder_option(runs)
  local show = parser:command("show", "Show a run: settings, what it ran on, results, files.")
  show:argument("run", "Folder, or a part of the name, or last.")
  folder_option(show)
  local diff = parser:command("diff", "Compare two runs: code, data, settings, then numbers.")
  diff:argument("a", "A run.")
  diff:argument("b", "Another.")
  folder_option(diff)
  local rm = parser:command("rm", "Delete runs.")
  rm:argument("runs", "Folders, or parts of names."):args("+")
  rm:flag("-y --yes", "Do not ask.")
  folder_option(rm)
  local export = parser:command("export", "Write runs as a table.")
  export:argument("filter", "As for runs."):args("*")
  export:flag("--csv", "As CSV, which is also the default.")
  export:flag("--curves", "A line for each line of metrics.jsonl instead of each result.")
  export:option("-o --output", "File; default: standard output."):argname("FILE")
  folder_option(export)
  local replay = parser:command("replay", "Run a run again from its lock and compare every loss and metric to the bit.")
  replay:argument("run", "Folder, or a part of the name, or last.")
  replay:option("--threads", "Worker threads; the bits do not depend on it."):argname("N"):convert(math.tointeger)
  replay:flag("--force", "Go on although what it ran on differs.")
  replay:flag("--keep", "Keep the new run's folder.")
  folder_option(replay)
  add_sweep(parser)
end

return commands
