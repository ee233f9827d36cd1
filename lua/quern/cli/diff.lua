--- quern diff: two runs compared in the order in which causes are sought: code, data,
-- settings, what they ran on, and then the numbers, with the first step that differs.
--
-- Lines of code are compared by their longest common subsequence.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local params = require "quern.params"
local store = require "quern.store"
local lock = require "quern.lock"
local Losses = require "quern.losses"
local sys = require "quern.sys"

local MOST_LINES = 4000          -- of a file, for the table of common lengths

-- ---- Lines -------------------------------------------------------------------------------

local function lines_of(text)
  local out = {}
  for line in (text .. "\n"):gmatch("([^\n]*)\n") do out[#out + 1] = line end
  return out
end

-- common[i][j]: length of the longest common subsequence of a[i..] and b[j..].
local function common_lengths(a, b)
  local common = {}
  for i = #a + 1, 1, -1 do
    local row, below = {}, common[i + 1]
    for j = #b + 1, 1, -1 do
      if i > #a or j > #b then row[j] = 0
      elseif a[i] == b[j] then row[j] = below[j + 1] + 1
      else row[j] = math.max(below[j], row[j + 1]) end
    end
    common[i] = row
  end
  return common
end

local function print_lines(name, x, y)
  local a, b = lines_of(x), lines_of(y)
  if #a > MOST_LINES or #b > MOST_LINES then return print(("  %s differs"):format(name)) end
  local common, i, j = common_lengths(a, b), 1, 1
  print("  " .. name)
  while i <= #a or j <= #b do
    if i <= #a and j <= #b and a[i] == b[j] then i, j = i + 1, j + 1
    elseif j > #b or i <= #a and common[i + 1][j] >= common[i][j + 1] then
      print(("  - %4d  %s"):format(i, a[i]))
      i = i + 1
    else
      print(("  + %4d  %s"):format(j, b[j]))
      j = j + 1
    end
  end
end

-- ---- Parts -----------------------------------------------------------------------------------

local function heading(text, same) print(("%s%s"):format(text, same and ": the same" or "")) end

local function files_of(r)
  local out = { ["recipe.lua"] = sys.try_read(r.folder .. "/recipe.lua") }
  local function add(folder, prefix)
    for _, name in ipairs(sys.list(folder)) do
      local s = sys.stat(folder .. "/" .. name)
      if s.folder then add(folder .. "/" .. name, prefix .. name .. "/")
      else out[prefix .. name] = sys.try_read(folder .. "/" .. name) end
    end
  end
  add(r.folder .. "/modules", "modules/")
  return out
end

local function both(a, b)
  local seen = {}
  for k in pairs(a) do seen[k] = true end
  for k in pairs(b) do seen[k] = true end
  return util.keys(seen)
end

local function is_code(d) return d.what:find("^plugin") or d.what:find("Quern") or d.what:find("^schema") end

local function show_code(a, b, differences)
  local x, y, changed, rows = files_of(a), files_of(b), {}, {}
  for _, name in ipairs(both(x, y)) do if x[name] ~= y[name] then changed[#changed + 1] = name end end
  for _, d in ipairs(differences) do if is_code(d) then rows[#rows + 1] = "  " .. lock.text(d) end end
  heading("code", #changed + #rows == 0)
  for _, name in ipairs(changed) do print_lines(name, x[name] or "", y[name] or "") end
  for _, line in ipairs(rows) do print(line) end
end

local function show_table(title, names, x, y)
  local rows = {}
  for _, name in ipairs(names) do
    if x[name] ~= y[name] then
      rows[#rows + 1] = { name, x[name] == nil and "-" or params.text(x[name]),
                          y[name] == nil and "-" or params.text(y[name]) }
    end
  end
  heading(title, #rows == 0)
  if #rows > 0 then print(util.table(rows, { indent = "  " })) end
end

local function show_environment(differences, a, b)
  local rows = {}
  for _, d in ipairs(differences) do
    if not is_code(d) and not d.what:find("^data ") then rows[#rows + 1] = "  " .. lock.text(d) end
  end
  if a.threads ~= b.threads then rows[#rows + 1] = ("  threads: %s -> %s (no matter)"):format(a.threads, b.threads) end
  heading("ran on", #rows == 0)
  for _, line in ipairs(rows) do print(line) end
end

local function numbers_of(r)
  local out = {}
  for _, report in ipairs(r.reports) do
    for k, v in pairs(report.metrics) do out[("%s/%s"):format(report.label, k)] = v end
  end
  return out
end

local function show_numbers(a, b)
  local x, y = numbers_of(a), numbers_of(b)
  local rows = { { "", a.id, b.id, "difference" } }
  for _, name in ipairs(both(x, y)) do
    local p, q = x[name], y[name]
    local gap = type(p) == "number" and type(q) == "number" and (p == q and "0" or util.number(q - p)) or ""
    rows[#rows + 1] = { name, util.number(p == nil and "-" or p), util.number(q == nil and "-" or q), gap }
  end
  heading "numbers"
  print(util.table(rows, { indent = "  ", right = { [2] = true, [3] = true, [4] = true } }))
end

local function show_losses(a, b)
  local x, y = store.losses(a.folder), store.losses(b.folder)
  for _, name in ipairs(both(x, y)) do
    local p, q = Losses.read(x[name] or ""), Losses.read(y[name] or "")
    local at
    for i = 1, math.min(#p, #q) do
      if p[i] ~= q[i] then at = i break end
    end
    if at then
      print(("  %s: losses differ from step %d on: %.9g, %.9g"):format(name, at, Losses.value(p[at]) or 0 / 0,
        Losses.value(q[at]) or 0 / 0))
    else
      print(("  %s: losses of %d steps are equal to the bit%s"):format(name, math.min(#p, #q),
        #p ~= #q and (", then one goes on: %d and %d steps"):format(#p, #q) or ""))
    end
  end
end

local function lock_of(r) return quern.json.decode(sys.try_read(r.folder .. "/lock.json") or "{}") end

---@param args table a, b, out
---@return integer exit code
return function(args)
  local a, b = store.find(args.out, args.a), store.find(args.out, args.b)
  local x, y = lock_of(a), lock_of(b)
  local differences = lock.differences(x, y)
  print(("- %s (%s)\n+ %s (%s)"):format(a.id, a.status, b.id, b.status))
  show_code(a, b, differences)
  show_table("data", both(x.data or {}, y.data or {}), x.data or {}, y.data or {})
  local p, q = util.copy(a.settings), util.copy(b.settings)
  p["(seed)"], q["(seed)"], p["(recipe)"], q["(recipe)"] = a.seed, b.seed, a.name, b.name
  show_table("settings", both(p, q), p, q)
  show_environment(differences, x, y)
  show_numbers(a, b)
  show_losses(a, b)
  return 0
end
