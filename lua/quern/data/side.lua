--- Files beside the interactions: attributes of items, events held out for the test.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local sys = require "quern.sys"
local store = require "quern.data.store"
local core = require "quern.core"

local side = {}

-- ---- Attributes --------------------------------------------------------------------------------

--- Attributes of a dataset's items, for models with attributes = ...: lists[v] holds those of item v (0: none).
--- The file is one JSON object, item's name in the data -> list of numbers from 1.
---@param data quern.Sequences
---@param path string? default: the file known for data.set
---@return {lists: userdata, n: integer, names: integer} lists jagged i64 of n_items + 1 lists; n the largest number;
---  names how many items have any
function side.attributes(data, path)
  path = path or store.companion(data.set or util.fail("argument", "data.attributes: give the path of the file"),
                                 "attributes")
  local lists, most, named = { {} }, 0, 0
  for v = 1, data.n_items do lists[v + 1] = {} end
  for name, list in util.sorted(quern.json.decode(sys.read_file(path))) do
    local v = data:item_id(name)
    if type(list) ~= "table" then
      util.fail("format", ("%s: the attributes of %s are no list"):format(path, name))
    end
    for i, a in ipairs(list) do
      if v then lists[v + 1][i] = util.integer(a, ("%s: attribute %d of item %s"):format(path, i, name), 1) end
      most = math.max(most, a)
    end
    if v then named = named + 1 end
  end
  if named == 0 then
    util.fail("format", ("%s names none of the %d items"):format(path, data.n_items), nil,
              "it should belong to the same dataset")
  end
  return { lists = quern.jagged(lists, "i64"), n = most, names = named }
end

-- ---- Held-out events -------------------------------------------------------------------------------

local function lines(text) return text:gsub("\r\n", "\n"):gmatch("([^\n]+)") end

--- Interactions of a table with behaviours, and behind each user's events the one that is held out.
--- Its time is the last time of all and one second, and says nothing.
---@param path string TAB file with columns user, item, behaviour, time
---@param held_out string TAB file with columns user, item; one row per user
---@param behaviour integer what the held-out events are
---@return userdata interactions
---@return string sha256 of both texts
function side.with_held_out(path, held_out, behaviour)
  local text, tail = sys.read_file(path), sys.read_file(held_out)
  local last = 0
  for line in lines(text) do
    local time = math.tointeger(tonumber(line:match("([^\t]*)$")))
    if time and time > last then last = time end
  end
  local rows, first = { (text:gsub("\n*$", "")) }, true
  for line in lines(tail) do
    local user, item = line:match("^([^\t]+)\t([^\t]+)$")
    if not user then util.fail("format", ("%s: %q is no line of user and item"):format(held_out, line)) end
    if not first then rows[#rows + 1] = ("%s\t%s\t%d\t%d"):format(user, item, behaviour, last + 1) end
    first = false
  end
  local joined = table.concat(rows, "\n") .. "\n"
  local x = core.parse_interactions(joined, path, { format = "tsv",
    columns = { user = "user", item = "item", behaviour = "behaviour", time = "time" } })
  return x, core.sha256(joined)
end

return side
