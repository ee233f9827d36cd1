--- What the Lua tests share: checks with readable failures, and temporary folders.
-- SPDX-License-Identifier: MIT

local check = {}

local skipped = {}               -- what a skip raises

function check.show(v, depth)
  if type(v) == "string" then return ("%q"):format(v) end
  if type(v) ~= "table" or (depth or 0) > 3 then return tostring(v) end
  local parts, keys = {}, {}
  for k in pairs(v) do keys[#keys + 1] = k end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for _, k in ipairs(keys) do parts[#parts + 1] = tostring(k) .. "=" .. check.show(v[k], (depth or 0) + 1) end
  return "{" .. table.concat(parts, ", ") .. "}"
end

local function same(a, b)
  if a == b then return true end
  if type(a) ~= "table" or type(b) ~= "table" then return false end
  for k, v in pairs(a) do if not same(v, b[k]) then return false end end
  for k in pairs(b) do if a[k] == nil then return false end end
  return true
end

--- Values, or tables by content.
function check.equal(got, expected, note)
  if not same(got, expected) then
    error(("%sgot %s, expected %s"):format(note and note .. ": " or "", check.show(got), check.show(expected)), 2)
  end
end

function check.yes(value, note)
  if not value then error(note or "expected something true", 2) end
end

local function near(got, expected, tolerance, path, level)
  if type(expected) == "table" then
    check.equal(type(got), "table", path)
    check.equal(#got, #expected, path .. " length")
    for i = 1, #expected do near(got[i], expected[i], tolerance, path .. "[" .. i .. "]", level + 1) end
  elseif math.abs(got - expected) > tolerance * math.max(1, math.abs(expected)) or got ~= got then
    error(("%s: got %.10g, expected %.10g (tolerance %g)"):format(path, got, expected, tolerance), level)
  end
end

--- Numbers or lists of numbers, within a tolerance (relative above 1).
function check.near(got, expected, tolerance, note)
  if type(got) == "userdata" then got = got:totable() end
  near(got, expected, tolerance or 1e-6, note or "value", 3)
end

--- fn must fail with all these texts in its message (plain, not patterns). Returns the error.
function check.fails(fn, ...)
  local ok, e = pcall(fn)
  if ok then error("it should have failed", 2) end
  local text = tostring(e)
  for _, part in ipairs { ... } do
    if not text:find(part, 1, true) then error(("the error does not say %q:\n%s"):format(part, text), 2) end
  end
  return e
end

--- Ends a test as skipped, with the reason.
function check.skip(reason) error(setmetatable({ reason = reason }, skipped), 0) end

function check.skipped(e) return getmetatable(e) == skipped and e.reason or nil end

--- A fresh folder, removed at the end of the run.
local folders = {}
function check.folder()
  local name = os.tmpname()
  os.remove(name)
  os.execute("mkdir -p '" .. name .. "'")
  folders[#folders + 1] = name
  return name
end

function check.clean()
  for _, f in ipairs(folders) do os.execute("rm -rf '" .. f .. "'") end
  folders = {}
end

--- A path in a folder that is removed at the end of the run.
local temporary
function check.temporary(name)
  temporary = temporary or check.folder()
  return temporary .. "/" .. name
end

function check.write(path, text)
  local f <close> = assert(io.open(path, "wb"))
  f:write(text)
end

function check.read(path)
  local f <close> = assert(io.open(path, "rb"))
  return f:read("a")
end

--- The folder of real data, or a skip.
function check.data(file)
  local folder = os.getenv("QUERN_DATA") or ""
  local f = folder ~= "" and io.open(folder .. "/" .. file, "rb")
  if not f then check.skip(file .. " is not here (QUERN_DATA)") end
  f:close()
  return folder .. "/" .. file, folder
end

--- Runs fn with another environment seen by os.getenv: text by name, false for what is not set.
function check.with_env(env, fn)
  local real = os.getenv
  os.getenv = function(name)                             -- luacheck: ignore 122
    if env[name] ~= nil then return env[name] or nil end
    return real(name)
  end
  local ok, e = pcall(fn)
  os.getenv = real                                       -- luacheck: ignore 122
  if not ok then error(e, 0) end
end

return check
