--- Data: sequences of interactions as jagged batches, and plain tensors by rows.
--
--   local data = quern.data.sequences { set = "ml-100k", max_len = 200 }
--   for batch in data:loader("train", { batch = 32, seed = 1 }):epoch() do ... end
--
-- Reading, splitting and batching are the core's; here are names, defaults and lookup.
-- A batch has items, targets, times, next_times, ... (jagged), users, last_targets, and on
-- first use offsets and weights (1 for each supervised position).
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"
local util = require "quern.util"
local det = require "quern.det"
local store = require "quern.data.store"
local runs = require "quern.runs"
local side = require "quern.data.side"
local merge = require "quern.data.merge"
local Mapped = require "quern.data.mapped"
local Progress = require "quern.progress"

local core = require "quern.core"

local data = { store = store, registry = require "quern.data.registry" }
local Images                     -- loaded when it is first used

-- ---- Batches --------------------------------------------------------------------------------

local Batch = {}

function Batch:__index(key)
  if key == "offsets" then
    self.offsets = self.items:offsets()
    return rawget(self, "offsets")
  elseif key == "weights" then
    self.weights = quern.full({ self.n_tokens }, 1.0)
    return rawget(self, "weights")
  end
end

local function wrap(batch) return batch and setmetatable(batch, Batch) end

-- ---- Loaders ---------------------------------------------------------------------------------

---@class quern.Loader
local Loader = class("Loader")

function Loader:init(inner, unit) self.core, self.unit = inner, unit end
--- The next batch; nil once at the end of each epoch.
function Loader:next() return wrap(self.core:next()) end
--- Batches per epoch.
---@return integer
function Loader:batches() return self.core:batches() end
--- The position: seed, epoch and index of the batch that comes next, from 0.
function Loader:tell() return self.core:tell() end
function Loader:seek(state) self.core:seek(state) end
--- Iterates over the rest of the epoch.
function Loader:epoch() return function() return self:next() end end

-- ---- Sequences ----------------------------------------------------------------------------------

---@class quern.Sequences
---@field n_items integer size of the catalogue; ids are 1 .. n_items
---@field n_users integer
---@field has_times boolean
---@field stats table
---@field behaviours string[]? names of the behaviours 0, 1, ... of events
---@field target_behaviour string? which of them is held out
---@field domains {name: string, first: integer, last: integer}[]? of merged sets: the ids of each
local Sequences = class("Sequences")

local sequence_options = { set = 1, file = 1, format = 1, columns = 1, items = 1, max_len = 1, split = 1,
  protocol = 1, min_events = 1, cache = 1, users = 1, dirichlet = 1, check = 1, merge = 1, merge_users = 1 }

-- interactions, their name, SHA-256 of the source, a notice or ""
local function open_file(path, o, format, columns)
  local x = Progress.during(path:match("[^/]*$"), core.dataset, path,
                            { format = format, columns = columns, ids = o.items, cache = o.cache })
  return x, path, x:sha256(), x:notice()
end

-- The stream follows from its settings, so their hash stands for the data.
local function open_stream(o)
  local x = core.dirichlet(o.dirichlet or {})
  return x, "dirichlet", core.sha256(quern.json.encode(x:settings())), ""
end

local function index_of(list, word)
  for i, w in ipairs(list) do
    if w == word then return i end
  end
end

local open_set

-- Several sets as one; `domains` tells whose items are whose.
local function open_merged(o)
  local parts = {}
  for i, set in ipairs(o.merge) do
    local x, _, sha256 = open_set { set = set, items = o.items, cache = o.cache }
    parts[i] = { name = set, core = x, sha256 = sha256 }
  end
  local x, domains, sha256 = merge.join(parts, o.merge_users or "separate")
  return x, table.concat(o.merge, "+"), sha256, "", domains
end

function open_set(o)
  if o.merge then return open_merged(o) end
  if o.file then return open_file(o.file, o, o.format, o.columns) end
  local entry = store.entry(o.set or util.fail("argument", "data.sequences: give set = or file =", nil,
    "sets: " .. table.concat(util.keys(data.registry), ", ")))
  if entry.image then
    util.fail("argument", ("data.sequences: %s is a set of images"):format(o.set), nil, "data.images{...} reads it")
  end
  if entry.generated then return open_stream(o) end
  local path, form = store.locate(o.set)
  if entry.held_out then
    local behaviour = index_of(entry.behaviours, entry.target_behaviour) - 1
    local x, sha256 = side.with_held_out(path, store.companion(o.set, "held_out"), behaviour)
    return x, path, sha256, ""
  end
  return open_file(path, o, o.format or form.format, o.columns or form.columns)
end

-- A set's own figures, compared with what was read.
local function check_stats(set, stats)
  local wanted = data.registry[set] and data.registry[set].stats or {}
  for key, n in util.sorted(wanted) do
    if stats[key] ~= n then
      util.fail("format", ("%s has %s %s, and should have %d"):format(set, tostring(stats[key]), key, n), nil,
        "`quern data verify " .. set .. "` looks at the file")
    end
  end
end

function Sequences:init(options)
  local o = util.options(options, sequence_options, "data.sequences")
  if o.split and o.split ~= "leave-one-out" then
    util.fail("argument", ("data.sequences: there is no split %q"):format(tostring(o.split)), nil,
              "leave-one-out is the one there is")
  end
  local notice
  self.core, self.file, self.sha256, notice, self.domains = open_set(o)
  self.set = o.set
  local entry = o.set and data.registry[o.set] or {}
  self.behaviours, self.target_behaviour = entry.behaviours, entry.target_behaviour
  self.stats = self.core:stats()
  if o.set and not o.file and o.check ~= false then check_stats(o.set, self.stats) end
  local generated = entry.generated
  self.split = core.split(self.core, { protocol = o.protocol or (generated and "whole" or "standard"),
    max_len = o.max_len or 0, min_events = o.min_events or 0,
    user_begin = o.users and o.users[1] - 1 or 0, user_end = o.users and o.users[2] or 0 })
  self.n_items, self.n_users = self.stats.items, self.stats.users
  self.has_times = self.stats.has_times
  self.max_len, self.protocol = o.max_len, o.protocol or (generated and "whole" or "standard")
  self.dropped = self.split:dropped()
  if notice and notice ~= "" then io.stderr:write("quern: ", notice, "\n") end
  if runs.current then runs.current:uses_data(o.set or self.file, self.sha256) end
end

--- Sequences of a phase: "train", "valid", "test".
---@param phase string
---@return integer
function Sequences:rows(phase) return self.split:rows(phase) end
--- Input events of a phase after truncation.
---@return integer
function Sequences:tokens(phase) return self.split:tokens(phase) end
---@return integer
function Sequences:longest(phase) return self.split:longest(phase) end

--- Batches in the loader's order.
---@param phase string
---@param options {batch: integer, seed: integer?, shuffle: boolean?, bucket: boolean?, drop_last: boolean?,
---  prefetch: integer?}
---@return quern.Loader
function Sequences:loader(phase, options)
  local o = util.options(options, { batch = 1, seed = 1, shuffle = 1, bucket = 1, drop_last = 1, prefetch = 1 },
                         "loader")
  local shuffle = o.shuffle
  if shuffle == nil then shuffle = phase == "train" end
  return Loader(self.split:loader { phase = phase, batch = util.integer(o.batch or 128, "loader: batch", 1),
    seed = o.seed or runs.current and runs.current.seed or 0, shuffle = shuffle,
    bucket = shuffle and o.bucket ~= false, drop_last = o.drop_last == true, prefetch = o.prefetch or 2 }, "tok")
end

--- Iterates over all sequences of a phase once, in order of users.
---@param phase string
---@param batch integer? default 128
function Sequences:batches(phase, batch)
  local loader = self:loader(phase, { batch = batch or 128, shuffle = false })
  return Progress.over(loader:epoch(), ("%s %s"):format(self.set or self.file:match("[^/]*$"), phase), loader:batches(),
                       "tok", function(b) return b.n_tokens end)
end

--- The batch of given rows (from 1) of a phase.
---@param phase string
---@param rows integer[]
function Sequences:batch(phase, rows) return wrap(self.split:batch(phase, rows)) end

--- The id that the file gives to a dense item, and back.
function Sequences:item_name(id) return self.core:item_name(id) end
function Sequences:item_id(name) return self.core:item_id(tostring(name)) end
--- The same of users, whose ids are 1 .. n_users.
function Sequences:user_name(id) return self.core:user_name(id) end
function Sequences:user_id(name) return self.core:user_id(tostring(name)) end

function Sequences:__tostring()
  local s = self.stats
  return ("%s: %s users, %s items, %s events; train %s, valid %s, test %s sequences"):format(self.set or self.file,
    util.thousands(s.users), util.thousands(s.items), util.thousands(s.rows), util.thousands(self:rows("train")),
    util.thousands(self:rows("valid")), util.thousands(self:rows("test")))
end

---@class quern.SequencesOptions
---@field set string? a known dataset
---@field file string? or a file of interactions
---@field format string? of the file; default: look at it
---@field columns table? { user =, item =, rating =, time =, behaviour = } names in table formats
---@field items string? "auto", "keep", "dense": what becomes of item ids
---@field max_len integer? most recent events kept; default all
---@field split string? "leave-one-out"
---@field protocol string? "standard" (with validation item), "meta" (without), "whole"
---@field min_events integer? users with fewer are dropped; default 3
---@field users integer[]? { first, last } of the users taken
---@field dirichlet table? settings of the generator, with set = "dirichlet"
---@field merge string[]? known datasets as one, their items one after the other
---@field merge_users string? "separate" (default): each in its domain; "shared": one per name, events by time

--- Opens a dataset of user sequences.
---@param options quern.SequencesOptions
---@return quern.Sequences
function data.sequences(options) return Sequences(options) end

--- A dataset whose batches go through a function first.
---@param source table data with loader and batches
---@param fn fun(batch: table, phase: string): table
---@return quern.Mapped
function data.map(source, fn) return Mapped(source, fn) end

data.attributes = side.attributes

-- ---- Tensors by rows ---------------------------------------------------------------------------

---@class quern.TensorLoader
local TensorLoader = class("TensorLoader")

--- Batches of rows of equally long tensors: { x = [N,...], y = [N] } gives { x =, y =, n = }.
---@param tensors table<string, userdata>
---@param options {batch: integer, shuffle: boolean?, seed: integer?, drop_last: boolean?}
function TensorLoader:init(tensors, options)
  local o = util.options(options, { batch = 1, shuffle = 1, seed = 1, drop_last = 1 }, "data.tensors")
  self.tensors, self.unit = tensors, "rows"
  for name, t in util.sorted(tensors) do
    self.rows = self.rows or t.shape[1]
    if t.shape[1] ~= self.rows then
      util.fail("shape", ("data.tensors: %s has %d rows, the others %d"):format(name, t.shape[1], self.rows))
    end
  end
  if not self.rows then util.fail("argument", "data.tensors: no tensors") end
  self.batch = util.integer(o.batch or 32, "data.tensors: batch", 1)
  self.shuffle, self.drop_last = o.shuffle ~= false, o.drop_last == true
  self.seed = o.seed or runs.current and runs.current.seed or 0
  self.at_epoch, self.at = 0, 0
end

function TensorLoader:batches()
  if self.drop_last then return self.rows // self.batch end
  return (self.rows + self.batch - 1) // self.batch
end

-- Rows (from 0) of an epoch: a function of (seed, epoch).
local function order_of(self)
  if self.order_epoch ~= self.at_epoch then
    self.order, self.order_epoch = {}, self.at_epoch
    for i = 1, self.rows do self.order[i] = i - 1 end
    if self.shuffle then det.random(self.seed, self.at_epoch):shuffle(self.order) end
  end
  return self.order
end

function TensorLoader:next()
  if self.at >= self:batches() then
    self.at, self.at_epoch = 0, self.at_epoch + 1
    return nil
  end
  local first = self.at * self.batch
  local last = math.min(first + self.batch, self.rows)
  local ids = quern.tensor(table.move(order_of(self), first + 1, last, 1, {}), "i64")
  local out = { n = last - first, index = self.at, epoch = self.at_epoch }
  for name, t in util.sorted(self.tensors) do out[name] = quern.index_select(t, ids, 1) end
  self.at = self.at + 1
  return out
end

function TensorLoader:tell() return { seed = self.seed, epoch = self.at_epoch, index = self.at } end

function TensorLoader:seek(state)
  self.seed, self.at_epoch, self.at = state.seed, state.epoch, state.index
  self.order_epoch = nil
end

function TensorLoader:epoch() return function() return self:next() end end

data.tensors = TensorLoader

--- Opens a set of images with classes (images.lua).
---@param options quern.ImagesOptions
---@return quern.Images
function data.images(options)
  Images = Images or require "quern.data.images"
  return Images(options)
end

--- Packs pictures in class folders, or a tar of such, into an official binary layout (image_files.lua).
---@param source string
---@param folder string
---@return table set
---@return string format
function data.pack(source, folder) return require("quern.data.image_files").pack(source, folder) end

--- Is a dataset at hand?
---@param name string
---@return boolean
function data.have(name)
  local entry = store.entry(name)
  return entry.generated == true or store.find(name) ~= nil
end

--- What the terms of a dataset ask to be cited.
---@param name string
---@return string
function data.cite(name) return store.entry(name).cite end

return data
