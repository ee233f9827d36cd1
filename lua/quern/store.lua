--- Store: the runs of a folder, found, filtered and described through an index.
--
-- The index is index.sqlite beside the run folders. It holds nothing that the folders do
-- not: each opening compares a fingerprint (sizes and times of a run's small files) and
-- reads again what differs, so a folder may be copied in, changed or deleted at will. A
-- damaged or deleted index is built anew; where none can be written one in memory serves.
--
-- A filter is a list of words that must all hold: a part of the run's name, or a field,
-- a comparison and a value: status=done, seed=3, train.lr<=1e-3, NDCG@10>0.1. Fields are
-- name, status, seed, size, settings by path, and metrics (LABEL/METRIC or METRIC).
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local sys = require "quern.sys"
local runs = require "quern.runs"

local store = {}

local VERSION = 1
local FILES = { "settings.json", "state.json", "report.json", "lock.json", "metrics.jsonl" }
local REMOVED = ".removed-"      -- how a folder that is being deleted is called

-- ---- Reading a folder ---------------------------------------------------------------------

local function read_json(path)
  local text = sys.try_read(path)
  local ok, value = pcall(quern.json.decode, text or "")
  return ok and value or nil
end

local function fingerprint(folder)
  local parts = {}
  for i, name in ipairs(FILES) do
    local s = sys.stat(folder .. "/" .. name)
    parts[i] = s and ("%d:%.7f"):format(s.size, s.mtime) or "-"
  end
  return table.concat(parts, " ")
end

--- Settings by path: { ["train.lr"] = 0.1 }.
---@param settings table nested
---@return table<string, any>
function store.flat(settings, prefix, out)
  out = out or {}
  for k, v in util.sorted(settings or {}) do
    local path = (prefix or "") .. k
    if type(v) == "table" then store.flat(v, path .. ".", out) else out[path] = v end
  end
  return out
end

--- What two runs share when they are the same experiment: code, settings and seed.
---@param code string
---@param settings table
---@param seed integer
---@return string hex
function store.key(code, settings, seed)
  return sys.sha256_of(quern.json.encode { code = code, settings = settings, seed = seed })
end

---@class quern.StoredRun
---@field id string name of the folder
---@field folder string
---@field name string the recipe's
---@field status string done, running, failed, interrupted, killed
---@field seed integer
---@field size string?
---@field key string see store.key
---@field settings table<string, any> by path
---@field reports table[] { label, metrics }
---@field began string "2026-01-31 12:00:00" or ""
---@field ended string
---@field message string?
---@field cause string?

--- A run as its folder tells; nil when the folder is no run.
---@param folder string
---@return quern.StoredRun?
function store.read(folder)
  local s = read_json(folder .. "/settings.json")
  if type(s) ~= "table" or type(s.name) ~= "string" then return nil end
  local state = read_json(folder .. "/state.json") or {}
  local code = s.code or sys.sha256_of(sys.try_read(folder .. "/recipe.lua") or "")
  local y, m, d, H, M, S = folder:match("%-(%d%d%d%d)(%d%d)(%d%d)%-(%d%d)(%d%d)(%d%d)[^/]*$")
  return { id = folder:match("[^/]+$"), folder = folder, name = s.name, seed = s.seed, size = s.size,
           status = runs.status(state), state = state, key = store.key(code, s.settings or {}, s.seed),
           settings = store.flat(s.settings), reports = read_json(folder .. "/report.json") or {},
           began = y and ("%s-%s-%s %s:%s:%s"):format(y, m, d, H, M, S) or "",
           ended = state.status ~= "running" and (state.at or ""):gsub("[TZ]", " "):gsub(" $", "") or "",
           message = state.message, cause = state.cause }
end

-- ---- The index ------------------------------------------------------------------------------

local TABLE = [[CREATE TABLE IF NOT EXISTS run (id TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, name TEXT, status TEXT,
  seed INTEGER, size TEXT, key TEXT, began TEXT, ended TEXT, settings TEXT, reports TEXT, record TEXT NOT NULL)]]

local function open_index(path)
  local db = require("quern.sqlite").open(path)
  if db:rows("PRAGMA user_version")[1].user_version ~= VERSION then
    db:run("DROP TABLE IF EXISTS run")
    db:run(("PRAGMA user_version = %d"):format(VERSION))
  end
  db:run(TABLE)
  db:rows("SELECT id, fingerprint FROM run LIMIT 1")
  return db
end

-- The index of a folder of runs: on disk, anew where it is damaged, else in memory.
local function index_of(parent)
  local path = parent .. "/index.sqlite"
  local ok, db = pcall(open_index, path)
  if ok then return db end
  if util.as_error(db).status ~= "io" then
    for _, tail in ipairs { "", "-journal", "-wal", "-shm" } do pcall(sys.remove, path .. tail) end
    ok, db = pcall(open_index, path)
    if ok then return db end
  end
  return open_index(":memory:")
end

local function refresh(db, parent)
  local known, here = {}, {}
  for _, row in ipairs(db:rows("SELECT id, fingerprint FROM run")) do known[row.id] = row.fingerprint end
  for _, id in ipairs(sys.list(parent)) do
    local folder = parent .. "/" .. id
    if id:sub(1, 1) ~= "." and sys.exists(folder .. "/settings.json") then
      local stamp = fingerprint(folder)
      local r = known[id] ~= stamp and store.read(folder)
      if r then
        db:run("INSERT OR REPLACE INTO run VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", id, stamp, r.name, r.status,
               r.seed, r.size, r.key, r.began, r.ended, quern.json.encode(r.settings), quern.json.encode(r.reports),
               quern.json.encode(r))
      end
      here[id] = known[id] ~= nil or r ~= nil
    end
  end
  for id in pairs(known) do if not here[id] then db:run("DELETE FROM run WHERE id = ?", id) end end
end

--- All runs of a folder, the oldest first.
---@param parent string
---@return quern.StoredRun[]
function store.list(parent)
  if not sys.exists(parent) then return {} end
  local db <close> = index_of(parent)                    -- its own locks keep other processes apart
  local ok, e = pcall(function()
    db:run("BEGIN IMMEDIATE")
    refresh(db, parent)
    db:run("COMMIT")
  end)
  local out = {}
  if not ok then                                         -- a folder that cannot be written
    if util.as_error(e).status ~= "io" then error(e, 0) end
    for _, id in ipairs(sys.list(parent)) do out[#out + 1] = store.read(parent .. "/" .. id) end
    return out
  end
  for _, row in ipairs(db:rows("SELECT id, record FROM run ORDER BY began, id")) do
    local r = quern.json.decode(row.record)
    r.folder, r.status = parent .. "/" .. row.id, runs.status(r.state)
    out[#out + 1] = r
  end
  return out
end

-- ---- Fields and filters -----------------------------------------------------------------------

--- The value of a field of a run; nil when it has none of the name.
---@param r quern.StoredRun
---@param name string
---@return any
function store.field(r, name)
  if name == "name" or name == "status" or name == "seed" or name == "size" or name == "id" then return r[name] end
  if r.settings[name] ~= nil then return r.settings[name] end
  for _, report in ipairs(r.reports) do
    if report.metrics[name] ~= nil then return report.metrics[name] end
    local label, metric = name:match("^(.-)/(.*)$")
    if label == report.label and report.metrics[metric] ~= nil then return report.metrics[metric] end
  end
end

local compare = {
  ["="] = function(a, b) return a == b end, ["!="] = function(a, b) return a ~= b end,
  ["<"] = function(a, b) return a < b end, ["<="] = function(a, b) return a <= b end,
  [">"] = function(a, b) return a > b end, [">="] = function(a, b) return a >= b end }

local function holds(r, word)
  local name, op, text = word:match("^([^<>=!]+)([<>!]?=?)(.*)$")
  if not name or op == "" or not compare[op] then return r.id:find(word, 1, true) ~= nil end
  local value, wanted = store.field(r, name), tonumber(text)
  if value == nil then return op == "!=" end
  if type(value) == "number" and wanted then return compare[op](value, wanted) end
  return compare[op](tostring(value), text)
end

--- The runs for which all words hold.
---@param list quern.StoredRun[]
---@param words string[]
---@return quern.StoredRun[]
function store.filter(list, words)
  local out = {}
  for _, r in ipairs(list) do
    local all = true
    for _, word in ipairs(words) do all = all and holds(r, word) end
    if all then out[#out + 1] = r end
  end
  return out
end

--- One run: a folder, a name or the unique beginning or part of one, or "last".
---@param parent string
---@param which string
---@return quern.StoredRun
function store.find(parent, which)
  which = which:gsub("/+$", "")
  if sys.exists(which .. "/settings.json") then return store.read(which) end
  local list, found, ids = store.list(parent), {}, {}
  if which == "last" and #list > 0 then return list[#list] end
  for i, r in ipairs(list) do
    ids[i] = r.id
    if r.id == which then return r end
    if r.id:find(which, 1, true) then found[#found + 1] = r end
  end
  if #found == 1 then return found[1] end
  if #found == 0 then
    util.fail("not_found", ("there is no run %q in %s"):format(which, parent), nil,
              #ids > 0 and util.suggest(which, ids) or "run a recipe first, or say --out DIR")
  end
  util.fail("argument", ("%q is part of the names of %d runs"):format(which, #found),
            found[1].id .. ", " .. found[2].id .. (#found > 2 and ", ..." or ""), "type more of the name")
end

--- Deletes a run's folder. A kill in between leaves nothing that looks like a run.
---@param r quern.StoredRun
function store.remove(r)
  runs.refuse_running(r.folder)
  local parent, name = sys.folder(r.folder), r.folder:match("[^/]+$")
  local aside = ("%s/%s%s"):format(parent, REMOVED, name)
  sys.remove_all(aside)
  sys.move(r.folder, aside)
  for _, left in ipairs(sys.list(parent)) do
    if left:sub(1, #REMOVED) == REMOVED then sys.remove_all(parent .. "/" .. left) end
  end
end

--- The lines of a run's metrics.jsonl, decoded; a torn last one is left out.
---@param r quern.StoredRun
---@return table[]
function store.metrics(r)
  local out = {}
  for line in (sys.try_read(r.folder .. "/metrics.jsonl") or ""):gmatch("([^\n]*)\n") do
    out[#out + 1] = quern.json.decode(line)
  end
  return out
end

--- Names of settings in which the runs differ, sorted.
---@param list quern.StoredRun[]
---@return string[]
function store.varying(list)
  local first, varies = {}, {}
  for i, r in ipairs(list) do
    for path, v in pairs(r.settings) do
      if i == 1 then first[path] = v elseif first[path] ~= v then varies[path] = true end
    end
    for path in pairs(first) do if r.settings[path] == nil then varies[path] = true end end
  end
  return util.keys(varies)
end

--- Trainings of a run that keep the loss of each step: name -> path.
---@param folder string
---@return table<string, string>
function store.losses(folder)
  local out = {}
  for _, name in ipairs(sys.list(folder .. "/checkpoints")) do
    local path = ("%s/checkpoints/%s/losses.txt"):format(folder, name)
    if sys.exists(path) then out[name] = path end
  end
  return out
end

return store
