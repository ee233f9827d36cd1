--- The store of datasets: finding files, fetching and checking them.
--
-- Looked for, in this order: below each folder of $QUERN_DATA (separated by ':'), then
-- below $QUERN_CACHE/data, else ~/.cache/quern/data. Nothing is ever downloaded unless
-- asked: that is what `quern data get` is for. Checksums that nobody published are
-- recorded in sha256.json beside the file when it first comes in, and hold from then on.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local sys = require "quern.sys"
local registry = require "quern.data.registry"
local Progress = require "quern.progress"

local store = {}

-- ---- Places ---------------------------------------------------------------------------------

--- The user's own folder of datasets.
---@return string
function store.cache_folder()
  local cache = os.getenv("QUERN_CACHE")
  if cache and cache ~= "" then return cache .. "/data" end
  local xdg, home = os.getenv("XDG_CACHE_HOME"), os.getenv("HOME")
  if xdg and xdg ~= "" then return xdg .. "/quern/data" end
  if home and home ~= "" then return home .. "/.cache/quern/data" end
  util.fail("io", "there is no place for datasets", "neither QUERN_CACHE nor HOME is set", "set QUERN_CACHE=folder")
end

local function folders()
  local list = {}
  for folder in (os.getenv("QUERN_DATA") or ""):gmatch("[^:]+") do list[#list + 1] = folder end
  list[#list + 1] = store.cache_folder()
  return list
end

--- The entry of a dataset, or an error that names the nearest.
---@param name string
---@return table
function store.entry(name)
  return registry[name] or util.fail("not_found", ("there is no dataset %q"):format(tostring(name)), nil,
    util.suggest(tostring(name), util.keys(registry)))
end

local function file_name(f) return (f.member or f.local_):match("[^/]+$") end

-- A part of a set of several files, as it is or unpacked.
local function part_path(folder, part)
  for _, name in ipairs { part.name, (part.name:gsub("%.gz$", "")) } do
    if sys.exists(folder .. "/" .. name) then return folder .. "/" .. name, name end
  end
end

-- Is a form there, with all its parts?
local function complete(path, f)
  for _, part in ipairs(f.parts or {}) do
    if not part_path(path, part) then return false end
  end
  return sys.exists(path)
end

local function recorded(folder, name)
  local text = sys.try_read(folder .. "/sha256.json")
  return text and quern.json.decode(text)[name] or nil
end

local function record(folder, name, digest)
  local path = folder .. "/sha256.json"
  local text = sys.try_read(path)
  local all = text and quern.json.decode(text) or {}
  all[name] = digest
  sys.write_file(path, quern.json.encode(all, { pretty = true }) .. "\n")
end

--- Where a dataset lies: path and the form it has there; nil when it is nowhere.
---@param name string
---@return string? path
---@return table? form entry of files
function store.find(name)
  local entry = store.entry(name)
  for _, folder in ipairs(folders()) do
    for _, f in ipairs(entry.files) do
      local candidates = { folder .. "/" .. name .. "/" .. file_name(f) }
      if not f.member then table.insert(candidates, 1, folder .. "/" .. f.local_) end
      for _, path in ipairs(candidates) do
        if complete(path, f) then return path, f end
      end
    end
  end
  for _, f in ipairs(entry.files) do
    if f.system and complete(f.system, f) then return f.system, f end
  end
end

--- The path of a dataset, or an error that says how to get it.
---@param name string
---@return string path
---@return table form
function store.locate(name)
  local path, form = store.find(name)
  if path then return path, form end
  util.fail("not_found", ("cannot find dataset %s"):format(name), "looked in " .. table.concat(folders(), ", "),
    ("`quern data get %s` downloads it, `quern data import %s FILE` takes a file you have"):format(name, name))
end

--- The path of a file that goes with a dataset ("attributes", "held_out"), or an error that says what to fetch.
---@param name string
---@param what string field of the registry's entry: { local_ =, url =, sha256 =, bytes = }
---@return string path
function store.companion(name, what)
  local f = store.entry(name)[what]
  if not f then util.fail("not_found", ("dataset %s has no file of %s"):format(name, what)) end
  for _, folder in ipairs(folders()) do
    for _, path in ipairs { folder .. "/" .. f.local_, folder .. "/" .. name .. "/" .. file_name(f) } do
      if sys.exists(path) then
        local digest = f.sha256 and sys.sha256(path)
        if digest == f.sha256 then return path end
        util.fail("format", ("%s is not the file of %s that it should be"):format(path, what),
                  ("SHA-256 %s\nexpected %s"):format(digest, f.sha256))
      end
    end
  end
  util.fail("not_found", ("cannot find the %s of dataset %s"):format(what, name),
    "looked for " .. f.local_ .. " below " .. table.concat(folders(), ", "), f.url and "it is at " .. f.url or f.hint)
end

-- ---- Checking -----------------------------------------------------------------------------------

local function mismatch(name, path, digest, known, source)
  util.fail("format", ("%s is not the file that %s should be"):format(path, name),
    ("SHA-256 %s\nexpected %s (%s)"):format(digest, known, source),
    "get it again: remove the file, then `quern data get " .. name .. "`")
end

-- Of several files: the hash of their hashes.
local function check_parts(name, folder, form)
  local lines, weakest = {}, "published"
  for i, part in ipairs(form.parts) do
    local path, called = part_path(folder, part)
    local digest = sys.sha256(path)
    local known, source = part.sha256, "published"
    if not known or called ~= part.name then known, source = recorded(folder, called), "recorded" end
    if not known then source = "unknown" end
    if known and known ~= digest then mismatch(name, path, digest, known, source) end
    if source == "unknown" or weakest == "published" then weakest = source end
    lines[i] = digest .. " " .. called .. "\n"
  end
  return sys.sha256_of(table.concat(lines)), weakest
end

--- Compares a file, or the files of a folder, with the checksums known for them.
---@param name string
---@param path string
---@param form table
---@return string digest
---@return string source "published", "recorded", "unknown"
function store.check(name, path, form)
  if form.parts then return check_parts(name, path, form) end
  local digest = sys.sha256(path)
  local folder = sys.folder(path)
  local known, source
  if form.sha256 and not form.member then
    known, source = form.sha256, "published"
  else
    known = recorded(folder, file_name(form))
    if known then source = "recorded" end
  end
  source = source or "unknown"
  if known and known ~= digest then mismatch(name, path, digest, known, source) end
  return digest, source
end

-- ---- Getting -----------------------------------------------------------------------------------

local function quoted(s) return "'" .. s:gsub("'", "'\\''") .. "'" end

-- One member of a zip archive, by the system's unzip.
local function extract(archive, member, path)
  local part = path .. ".part"
  local ok = os.execute(("unzip -p %s %s > %s 2>/dev/null"):format(quoted(archive), quoted(member), quoted(part)))
  local text = ok and sys.try_read(part)
  os.remove(part)
  if not text or text == "" then
    local have = os.execute("command -v unzip > /dev/null 2>&1")
    util.fail(have and "format" or "io", ("cannot take %s out of %s"):format(member, archive),
      have and "it is not a zip archive with that file" or "the program unzip is not installed",
      have and "get the archive again" or "apt-get install unzip")
  end
  sys.write_file(path, text)
end

local function take_in(name, form, from, is_archive)
  local folder = store.cache_folder() .. "/" .. name
  sys.mkdir(folder)
  local path = folder .. "/" .. file_name(form)
  if is_archive then extract(from, form.member, path)
  elseif from ~= path then sys.write_file(path, sys.read_file(from)) end
  local ok, digest, source = pcall(store.check, name, path, form)
  if not ok then
    sys.remove(path)
    error(digest, 0)
  end
  if source == "unknown" then record(folder, file_name(form), digest) end
  return path, digest, source
end

local function fetch(name, url, target, known, say)
  say(("%s from %s"):format(known.expect_bytes and util.bytes(known.expect_bytes) or "size unknown", url))
  local bar
  known.progress = function(done, total)
    bar = bar or Progress { label = name, total = total and total > 0 and total or nil, unit = "B" }
    bar:update(done, done - (bar.done or 0))
    return sys.interrupted()
  end
  require("quern.core").fetch(url, target, known)
  if bar then bar:finish() end
  return target
end

local function download(name, form, say)
  local folder = store.cache_folder() .. "/" .. name
  sys.mkdir(folder)
  return fetch(name, form.url, folder .. "/" .. form.url:match("[^/]+$"),
    { sha256 = not form.member and form.sha256 or nil, expect_bytes = not form.member and form.bytes or nil }, say)
end

-- All files of a form, those that are there already left alone.
local function download_parts(name, form, say)
  local folder = ("%s/%s/%s"):format(store.cache_folder(), name, file_name(form))
  sys.mkdir(folder)
  for _, part in ipairs(form.parts) do
    local target = folder .. "/" .. part.name
    if not sys.exists(target) then
      fetch(part.name, form.base .. part.name, target, { sha256 = part.sha256 }, say)
      if not part.sha256 then record(folder, part.name, sys.sha256(target)) end
    end
  end
  return folder, check_parts(name, folder, form)
end

--- Makes a dataset available: what is there is checked, else it is downloaded.
---@param name string
---@param options {offline: boolean?, say: fun(text: string)?}?
---@return string path
---@return string digest
---@return string source of the checksum
function store.get(name, options)
  local say = options and options.say or print
  local path, form = store.find(name)
  if path then return path, store.check(name, path, form) end
  local entry = store.entry(name)
  if options and options.offline then return store.locate(name) end
  say("terms: " .. entry.terms)
  local last
  for _, f in ipairs(entry.files) do
    if f.url or f.base then
      local ok, result, digest_of, source = pcall(f.base and download_parts or download, name, f, say)
      if ok and f.base then return result, digest_of, source end
      if ok then return take_in(name, f, result, f.member ~= nil) end
      last = util.as_error(result)
      if last.status == "cancelled" then error(result, 0) end
      say("no luck: " .. last.what)
    end
  end
  util.fail("io", ("cannot download %s"):format(name), last and last.detail or "it has no address to download from",
    ("if you have the file or folder: quern data import %s PATH"):format(name))
end

-- A folder with all files of one of the forms is copied, file by file.
local function import_folder(name, entry, from)
  for _, f in ipairs(entry.files) do
    if f.in_place and complete(from, f) then
      util.fail("unsupported", name .. " is used where it lies, not copied", nil,
        ("put the folder, or a link to it, at $QUERN_DATA/%s"):format(f.local_))
    end
    if f.parts and complete(from, f) then
      local folder = ("%s/%s/%s"):format(store.cache_folder(), name, file_name(f))
      local digest, source = check_parts(name, from, f)
      for _, part in ipairs(f.parts) do
        local path, called = part_path(from, part)
        sys.mkdir(sys.folder(folder .. "/" .. called))
        sys.write_file(folder .. "/" .. called, sys.read_file(path))
        if source ~= "published" then record(folder, called, sys.sha256(path)) end
      end
      return folder, digest, source
    end
  end
  util.fail("format", ("%s does not hold the files of %s"):format(from, name), nil,
    entry.files[1].parts and "expected are " .. entry.files[1].parts[1].name .. " and its like"
    or "this set is one file")
end

--- Takes a file, or a folder of files, that is on disk already.
---@param name string
---@param file string
---@return string path
---@return string digest
---@return string source
function store.import(name, file)
  local entry = store.entry(name)
  if #entry.files == 0 then util.fail("usage", name .. " is generated; there is nothing to import") end
  if not sys.exists(file) then util.fail("io", ("cannot read %s"):format(file), "there is no such file") end
  if sys.stat(file).folder then return import_folder(name, entry, (file:gsub("(.)/+$", "%1"))) end
  local base, digest = file:match("[^/]+$"), sys.sha256(file)
  local form
  for _, f in ipairs(entry.files) do
    if f.sha256 == digest then form = form or f end
  end
  for _, f in ipairs(entry.files) do
    if not f.parts and (f.member and f.url:match("[^/]+$") or file_name(f)) == base then form = form or f end
  end
  if not form then
    local names = {}
    for i, f in ipairs(entry.files) do names[i] = f.member and f.url:match("[^/]+$") or file_name(f) end
    util.fail("format", ("%s is no known form of %s"):format(file, name), "its SHA-256 is " .. digest,
      "known forms: " .. table.concat(names, ", ") .. "; any other file works with data.file in a recipe")
  end
  return take_in(name, form, file, form.member ~= nil and base:match("%.zip$") ~= nil)
end

return store
