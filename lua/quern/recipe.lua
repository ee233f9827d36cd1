--- Recipe: an experiment as one Lua file, its settings, and the paper's numbers.
--
--   return quern.recipe {
--     name = "hstu", doc = "HSTU on MovieLens",
--     params = { train = { lr = { "num", 1e-3, "learning rate", min = 0 } } },
--     sizes = { smoke = { train = { epochs = 1 } }, small = {}, full = { ["train.epochs"] = 100 } },
--     paper = { ["HR@10"] = 0.3097 },
--     main = function(self, cfg) ... self:report("hstu", metrics) end }
--
-- `quern run` loads it into a sealed environment (see quern.det), resolves the settings
-- (defaults, then the size, then --set), makes the run's folder, and calls main.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"
local util = require "quern.util"
local det = require "quern.det"
local params = require "quern.params"
local runs = require "quern.runs"
local sys = require "quern.sys"

local recipe = {}

---@class quern.Recipe
---@field name string
---@field doc string?
---@field cfg table the resolved settings, while it runs
---@field folder string of the run, while it runs
---@field seed integer of the run
local Recipe = class("Recipe")
recipe.Recipe = Recipe

local fields = { name = 1, doc = 1, params = 1, sizes = 1, paper = 1, strict = 1, main = 1, size = 1, seed = 1 }
local classes = { bitwise = 2, same_threads = 1, none = 0 }
local strictness = { bitwise = 2, threads = 1, off = 0 }

-- ---- Declaring ----------------------------------------------------------------------------

function Recipe:init(declared)
  util.options(declared, fields, "quern.recipe")
  if type(declared.name) ~= "string" or not declared.name:match("^[%w][%w._+-]*$") then
    util.fail("argument", "quern.recipe: a recipe needs a name of letters, digits and . _ + -")
  end
  for k, v in pairs(declared) do self[k] = v end
  self.strict = self.strict or "bitwise"
  if not strictness[self.strict] then
    util.fail("argument", ("quern.recipe: unknown strictness %q"):format(tostring(self.strict)), nil,
              util.suggest(tostring(self.strict), util.keys(strictness)))
  end
  self.leaves = params.read(self.params)
  self.sizes = self.sizes or {}
  for size, overlay in util.sorted(self.sizes) do
    local ok, e = pcall(params.overlay, {}, self.leaves, overlay)
    if not ok then
      e = util.as_error(e)
      util.fail("argument", ("quern.recipe: size %s: %s"):format(tostring(size), e.what), e.detail, e.hint)
    end
  end
end

--- The settings of a size with changes from the command line.
---@param size string? nil: the recipe's own choice, else "small" where there is one
---@param sets string[]? "a.b=1"
---@return table cfg nested
---@return table<string, any> flat by path
---@return string? size
function Recipe:resolve(size, sets)
  size = size or self.size or (self.sizes.small and "small") or nil
  if size and not self.sizes[size] then
    util.fail("argument", ("%s has no size %q"):format(self.name, size), nil,
              util.suggest(size, util.keys(self.sizes)))
  end
  local cfg, flat = params.resolve(self.leaves, { size and self.sizes[size] or {} }, sets)
  return cfg, flat, size
end

--- The page that `quern run RECIPE --help` prints.
---@return string
function Recipe:help()
  local parts = { self.name .. (self.doc and (": " .. self.doc) or "") }
  if #self.leaves > 0 then
    parts[#parts + 1] = "\nSettings (--set name=value):\n" .. params.help(self.leaves)
  end
  local shown = {}
  for _, size in ipairs { "smoke", "small", "full" } do shown[size] = self.sizes[size] end
  local order = {}
  for _, size in ipairs { "smoke", "small", "full" } do if shown[size] then order[#order + 1] = size end end
  for _, size in ipairs(util.keys(self.sizes)) do if not shown[size] then order[#order + 1] = size end end
  for at, size in ipairs(order) do
    local _, flat = params.resolve(self.leaves, { self.sizes[size] })
    local changed = params.changed(self.leaves, flat)
    local text = #changed > 0 and table.concat(changed, " ") or "the defaults"
    if size == (self.size or "small") then text = text .. "  (taken without --size)" end
    parts[#parts + 1] = (at == 1 and "\nSizes (--size):\n" or "") .. ("  %-6s  %s"):format(size, text)
  end
  return table.concat(parts, "\n")
end

-- ---- While it runs --------------------------------------------------------------------------

--- Reports results under a label; the run's report shows them beside the paper's.
---@param label string
---@param metrics table<string, number>
---@param note string?
function Recipe:report(label, metrics, note)
  if type(label) ~= "string" or type(metrics) ~= "table" then
    util.fail("argument", "report: a label and a table of metrics are needed")
  end
  self.run:report(label, metrics, note)
end

--- Keeps a chart (of quern.chart, or a plugin's plot): the run's report shows it, and
--- `quern report --svg` or `--png` writes it to a file.
---@param title string
---@param svg string an <svg> text
function Recipe:figure(title, svg)
  if type(title) ~= "string" or title == "" then util.fail("argument", "figure: a title is needed") end
  if type(svg) ~= "string" or not svg:match("^<svg") then
    util.fail("argument", "figure: the chart must be an <svg> text")
  end
  self.run:figure(title, svg)
end

--- Prints a line and keeps it in the log.
---@param ... any
function Recipe:log(...)
  local parts = {}
  for i = 1, select("#", ...) do parts[i] = tostring((select(i, ...))) end
  local text = table.concat(parts, " ")
  print(text)
  self.run:log(text)
end

--- Adds a record of plain values to metrics.jsonl.
---@param record table
function Recipe:metric(record) self.run:metric(record) end

--- Saves named tensors into the run's folder.
---@param name string file name without ending
---@param tensors table<string, userdata>
---@param meta table?
function Recipe:save(name, tensors, meta)
  if not tostring(name):match("^[%w][%w._-]*$") then
    util.fail("argument", ("save: %q cannot name a file"):format(tostring(name)))
  end
  quern.save(self.folder .. "/" .. name .. ".safetensors", tensors, meta)
end

-- ---- Loading ----------------------------------------------------------------------------------

--- Loads a recipe's file into a sealed environment.
---@param path string
---@param home string? folder beside which its plugins lie; default: the recipe's
---@return quern.Recipe
function recipe.load(path, home)
  local text = sys.read_file(path)
  local random, modules, r = det.random(0), {}, nil
  local env = det.environment { folder = sys.folder(path), random = random, seen = function(name, module)
    modules[name] = module
    if r and r.run then r.run:module(name, module) end
  end }
  require("quern.plugin").recipe_folder = home or sys.folder(path)
  local chunk, message = load(text, "@" .. path, "t", env)
  if not chunk then
    local where, what = message:match("^(.-:%d+): (.*)$")
    util.fail("lua", what or message, where and "at " .. where)
  end
  r = chunk(path)
  if type(r) ~= "table" or getmetatable(r) ~= Recipe then
    util.fail("argument", path .. " is not a recipe", ("it returned a %s"):format(type(r)),
              "it must end with: return quern.recipe { name = ..., main = function(self, cfg) ... end }")
  end
  if type(r.main) ~= "function" then
    util.fail("argument", ("recipe %s has no main"):format(r.name), nil, "function r:main(cfg) ... end")
  end
  r.path, r.text, r.random, r.modules = path, text, random, util.copy(modules)
  return r
end

local function refuse_loose_ops(self)
  local wanted = strictness[self.strict]
  for _, op in ipairs(wanted > 0 and sys.ops() or {}) do
    if classes[op.determinism] < wanted then
      util.fail("unsupported", ("op %s is of determinism class %s"):format(op.full_name, op.determinism),
        ("the recipe asks for strict = %q"):format(self.strict), 'strict = "off" allows it')
    end
  end
end

---@class quern.RecipeRun
---@field size string?
---@field sets string[]? "train.lr=0.1"
---@field settings table? instead of size and sets: as settings.json holds them
---@field seed integer?
---@field out string? folder of the runs
---@field id string? name of the run's folder; one that is there is continued
---@field resume boolean|string|nil the newest unfinished run, or the one named
---@field witness table? is told of each loss and metric: loss(name, step, bits), metric(line)
---@field record_ops boolean? keep hashes of what each op gives, see quern.oplog
---@field planner table? planner:fit(fit) stands for the loop of each training (quern plan)
---@field started fun(recipe: table, run: table, size: string?)?

-- Settings, flat settings, size, seed and folder of the run to continue.
local function continued(self, o, cfg, flat, size)
  local which = type(o.resume) == "string" and o.resume or o.id
  local folder, found = runs.find(o.out or "runs", self.name, which)
  runs.refuse_running(folder)
  if not o.size and not (o.sets and #o.sets > 0) then
    cfg, flat = params.resolve(self.leaves, { found.settings or {} })
    size = found.size
  elseif not util.same(cfg, found.settings) then
    util.fail("argument", "the settings differ from those of the run to resume", "in " .. folder,
              "resume without --set and --size, or start a new run")
  end
  if o.seed and o.seed ~= found.seed then
    util.fail("argument", ("the run to resume has seed %d"):format(found.seed), "in " .. folder)
  end
  return cfg, flat, size, found.seed, folder
end

--- Runs a loaded recipe. Errors pass through, after the run's folder has noted them.
---@param self quern.Recipe
---@param o quern.RecipeRun
---@return quern.Run run
function recipe.run(self, o)
  local seed, out, folder = o.seed or self.seed or 1, o.out or "runs", nil
  local cfg, flat, size = self:resolve(o.size, o.sets)
  if o.settings then cfg, flat = params.resolve(self.leaves, { o.settings }) end
  if o.resume or o.id and sys.exists(("%s/%s/settings.json"):format(out, o.id)) then
    cfg, flat, size, seed, folder = continued(self, o, cfg, flat, size)
  end
  local run = runs.Run { name = self.name, parent = out, text = self.text, modules = self.modules, path = self.path,
                         settings = cfg, seed = seed, size = size, folder = folder, id = o.id }
  run.witness, run.planner, run.record_ops = o.witness, o.planner, o.record_ops
  self.random.state = run.random.state
  run.random = self.random
  self.run, self.folder, self.cfg, self.seed, self.flat = run, run.folder, cfg, seed, flat
  if o.started then o.started(self, run, size) end
  refuse_loose_ops(self)
  quern.seed(seed)
  self:main(cfg)
  refuse_loose_ops(self)
  if #run.reports > 0 then
    run.text = run:report_text(self.paper)
    sys.write_file(run.folder .. "/report.txt", run.text)
  end
  return run
end

return setmetatable(recipe, { __call = function(_, declared) return Recipe(declared) end })
