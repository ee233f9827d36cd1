--- quern show: all about one run: settings, what it ran on, results, files.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local params = require "quern.params"
local store = require "quern.store"
local sys = require "quern.sys"

local function heading(text) print("\n" .. text) end

local function show_settings(r)
  heading "settings"
  local rows = {}
  for path, v in util.sorted(r.settings) do rows[#rows + 1] = { path, params.text(v) } end
  print(#rows > 0 and util.table(rows, { indent = "  " }) or "  none")
end

local function show_lock(r)
  local text = sys.try_read(r.folder .. "/lock.json")
  if not text then return end
  local lock = quern.json.decode(text)
  heading "ran on"
  local rows = { { "Quern", ("%s (%s)"):format(lock.quern, lock.build) }, { "processor", lock.cpu },
                 { "instruction level", lock.isa }, { "BLAS core", lock.blas_core },
                 { "threads", tostring(lock.threads) } }
  for name, p in util.sorted(lock.plugins) do
    if p.sha256 and p.sha256 ~= "" then
      rows[#rows + 1] = { "plugin " .. name, ("%s, %s"):format(p.version, p.sha256:sub(1, 12)) }
    end
  end
  for name, hash in util.sorted(lock.data or {}) do rows[#rows + 1] = { "data " .. name, hash:sub(1, 12) } end
  print(util.table(rows, { indent = "  " }))
end

local function show_metrics(r)
  local list = store.metrics(r)
  if #list == 0 then return end
  heading(("metrics.jsonl, %d lines, the last:"):format(#list))
  for i = math.max(1, #list - 2), #list do
    print(util.wrap(quern.json.encode(list[i]):gsub(",", ", "), 100, "  "))
  end
end

local function show_files(r)
  heading "files"
  local rows = {}
  local function add(folder, prefix)
    for _, name in ipairs(sys.list(folder)) do
      local path = folder .. "/" .. name
      local s = sys.stat(path)
      if s and s.folder then add(path, prefix .. name .. "/")
      elseif s then rows[#rows + 1] = { prefix .. name, util.bytes(s.size) } end
    end
  end
  add(r.folder, "")
  print(util.table(rows, { indent = "  ", right = { [2] = true } }))
end

---@param args table run, out
---@return integer exit code
return function(args)
  local r = store.find(args.out, args.run)
  print(("%s: %s, seed %d%s"):format(r.id, r.status, r.seed, r.size and ", size " .. r.size or ""))
  if r.message then print(util.wrap(r.message, 100, "  ")) end
  local rows = { { "folder", r.folder } }
  if r.began ~= "" then rows[#rows + 1] = { "began", r.began .. " UTC" } end
  if r.ended ~= "" then rows[#rows + 1] = { "ended", r.ended .. " UTC" } end
  print(util.table(rows, { indent = "  " }))
  show_settings(r)
  show_lock(r)
  local report = sys.try_read(r.folder .. "/report.txt")
  if report then
    heading "results"
    print((report:gsub("^[^\n]*\n\n", ""):gsub("\n+$", ""):gsub("([^\n]+)", "  %1")))
  end
  show_metrics(r)
  show_files(r)
  return 0
end
