--- Merged domains: several datasets as one, with one space of ids.
--
-- Items of the second dataset follow those of the first, and so on. Users are
--   separate   of a domain each (where their names mean nothing across domains), or
--   shared     one per name: their events of all domains in order of time (then of the domains)
-- The result is data for quern.data.sequences{ merged = ... }, and `domains` tells the ids of each.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local core = require "quern.core"

local merge = {}

-- Users as lists of { item, time, behind }, by name or one after the other.
local function shared_users(parts)
  local users, order = {}, {}
  for p, part in ipairs(parts) do
    local arrays = part.core:arrays()
    local offsets, items, times = arrays.offsets:totable(), arrays.items:totable(),
      arrays.times and arrays.times:totable()
    if not times then
      util.fail("argument", "data.merge: shared users need times, " .. part.name .. " has none", nil,
                'users = "separate" keeps each user in one domain')
    end
    for u = 1, #offsets - 1 do
      local name = part.core:user_name(u)
      local events = users[name]
      if not events then
        events = {}
        users[name], order[#order + 1] = events, name
      end
      for i = offsets[u] + 1, offsets[u + 1] do
        events[#events + 1] = { items[i] + part.first - 1, times[i], p * 2 ^ 40 + i }
      end
    end
  end
  local out = {}
  for i, name in ipairs(order) do
    table.sort(users[name], function(a, b)
      if a[2] ~= b[2] then return a[2] < b[2] end
      return a[3] < b[3]
    end)
    out[i] = users[name]
  end
  return out
end

local function from_users(users, n_items)
  local offsets, items, times = { 0 }, {}, {}
  for u, events in ipairs(users) do
    for _, e in ipairs(events) do items[#items + 1], times[#times + 1] = e[1], e[2] end
    offsets[u + 1] = #items
  end
  return core.interactions_from(n_items, quern.i64(offsets), quern.i32(items), quern.i64(times))
end

-- One after the other; times are kept when all have them.
local function separate(parts, n_items)
  local offsets, items, times, at = { quern.i64 { 0 } }, {}, {}, 0
  for p, part in ipairs(parts) do
    local a = part.core:arrays()
    local n = a.offsets.shape[1]
    offsets[p + 1] = quern.narrow(a.offsets, 1, 2, n - 1) + at
    items[p] = a.items + (part.first - 1)
    times[p] = a.times
    at = at + a.items.shape[1]
  end
  local all_times = #times == #parts and quern.concat(times) or nil
  return core.interactions_from(n_items, quern.concat(offsets), quern.concat(items), all_times)
end

--- Joins opened interactions.
---@param parts {name: string, core: userdata, sha256: string}[]
---@param users string "separate" or "shared"
---@return userdata interactions
---@return {name: string, first: integer, last: integer}[] domains the ids of each
---@return string sha256 of the parts' hashes together
function merge.join(parts, users)
  if #parts < 2 then util.fail("argument", "data.merge: at least two datasets are needed") end
  util.choose(users, { "separate", "shared" }, "data.merge: users")
  local n, domains, hashes = 0, {}, { users }
  for i, part in ipairs(parts) do
    part.first = n + 1
    n = n + part.core:n_items()
    domains[i] = { name = part.name, first = part.first, last = n }
    hashes[#hashes + 1] = part.sha256
  end
  local joined = users == "shared" and from_users(shared_users(parts), n) or separate(parts, n)
  return joined, domains, core.sha256(table.concat(hashes, " "))
end

return merge
