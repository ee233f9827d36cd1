--- A disk without power: what may stand on it after a crash, from a record of quern.faults.
--
-- Known to be safe is only what was synced: a file's bytes by a sync of the file, its name by a
-- sync of its folder. Of everything else each piece may have reached the disk or not, in any
-- order: of a file's unsynced bytes each 512-byte sector by itself (what never arrived is zero,
-- or as it was), its length anywhere between the old and the new; of a folder's unsynced changes
-- (new names, renames, removals) each by itself.
-- SPDX-License-Identifier: MIT

local class = require "quern.class"
local util = require "quern.util"

local SECTOR = 512

local Disk = class("Disk")

function Disk:init()
  self.names, self.visible = {}, {}            -- path -> file: safe on the disk, and as programs see it
  self.pending = {}                            -- folder -> changes of names since its sync
  self.open = {}                               -- fd -> file, or { folder = path }
end

local function folder_of(path) return path:match("^(.*)/[^/]*$") or "." end

local function change(self, path, c)
  local folder = folder_of(path)
  self.pending[folder] = self.pending[folder] or {}
  table.insert(self.pending[folder], c)
  c.apply(self.visible)
end

local function link(path, file) return { apply = function(names) names[path] = file end } end
local function unlink(path) return { apply = function(names) names[path] = nil end } end

local function rename(from, to, file)
  return { apply = function(names) names[from], names[to] = nil, file end }
end

local does = {}

function does.open(self, e)
  if e.size == 1 then
    self.open[e.fd] = { folder = e.path }
    return
  end
  local file = self.visible[e.path]
  if not file then
    file = { safe = "", now = "" }
    change(self, e.path, link(e.path, file))
  end
  self.open[e.fd] = file
end

function does.write(self, e)
  local file = self.open[e.fd]
  file.now = file.now .. e.data
end

function does.truncate(self, e)
  local file = self.open[e.fd]
  file.now = file.now:sub(1, e.size)
end

function does.sync(self, e)
  local file = self.open[e.fd]
  if not file.folder then
    file.safe = file.now
    return
  end
  for _, c in ipairs(self.pending[file.folder] or {}) do c.apply(self.names) end
  self.pending[file.folder] = {}
end

function does.close(self, e) self.open[e.fd] = nil end
function does.rename(self, e) change(self, e.path, rename(e.path, e.to, self.visible[e.path])) end
function does.unlink(self, e) change(self, e.path, unlink(e.path)) end
function does.mark() end

--- Carries out an event of the record.
function Disk:does(e) does[e.call](self, e) end

-- A file's bytes after the crash.
local function torn(file, random)
  local a, b = file.safe, file.now
  if a == b then return b end
  local low, high = math.min(#a, #b), math.max(#a, #b)
  local size = ({ #a, #b, math.min(high, low + SECTOR * random:range(0, (high - low) // SECTOR)) })[random:range(1, 3)]
  local out = {}
  for at = 1, size, SECTOR do
    local last = math.min(at + SECTOR - 1, size)
    local sector = (random:range(0, 1) == 0 and a or b):sub(at, last)
    out[#out + 1] = sector .. ("\0"):rep(last - at + 1 - #sector)
  end
  return table.concat(out)
end

--- The files of one of the disks that a crash now could leave.
---@param random quern.Random
---@return table<string, string> bytes by path
function Disk:crash(random)
  local names, files = {}, {}
  for path, file in pairs(self.names) do names[path] = file end
  for _, list in util.sorted(self.pending) do
    for _, c in ipairs(list) do
      if random:range(0, 1) == 1 then c.apply(names) end
    end
  end
  for path, file in util.sorted(names) do files[path] = torn(file, random) end
  return files
end

return Disk
