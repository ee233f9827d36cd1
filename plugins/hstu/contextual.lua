--- What is known of a user as tokens before the history, as in the authors' product code:
--
--   feature_1 ... feature_C item_1 item_2 ...
-- A feature's values are rows of the token table behind items and actions. Its token stands at the time of
-- the sequence's first event and predicts nothing.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local sys = require "quern.sys"
local util = require "quern.util"

local contextual = {}

-- ---- Tokens -----------------------------------------------------------------------------------

---@class hstu.Feature
---@field name string
---@field of integer[] its value for each of the data's users, 0 .. n-1
---@field n integer how many values there are

-- The users' tokens, i64 [n_users * C], how many rows of the table they take, and C; first: the first row's id.
local function tokens_of(features, n_users, first, who)
  local C, rows, ids = type(features) == "table" and #features or 0, 0, {}
  if C == 0 then
    util.fail("argument", who .. ": no features", nil, 'give { { name = "gender", of = { 0, 1, ... }, n = 2 } }')
  end
  for c, feature in ipairs(features) do
    local f = util.options(feature, { name = 1, of = 1, n = 1 }, who .. ": feature " .. c)
    local name = ("%s: feature %s"):format(who, f.name or c)
    util.integer(f.n, name .. ": n", 1)
    if type(f.of) ~= "table" or #f.of ~= n_users then
      util.fail("shape", name .. " does not have one value per user",
                ("%s values, %d users"):format(type(f.of) == "table" and #f.of or "no", n_users),
                "of lists the values of users 1 .. data.n_users; hstu.user_features reads them from a file")
    end
    for u = 1, n_users do
      local value = f.of[u]
      if math.type(value) ~= "integer" or value < 0 or value >= f.n then
        util.fail("argument", ("%s has a value out of range"):format(name),
                  ("user %d: %s, not in 0 .. %d"):format(u, tostring(value), f.n - 1),
                  "number the values from 0 and give n, how many there are")
      end
      ids[(u - 1) * C + c] = first + rows + value
    end
    rows = rows + f.n
  end
  return quern.i64(ids), rows, C
end

-- For C tokens before each sequence: the new offsets; where each token comes from in (new ones, old ones); and
-- the first old token of each new one's sequence.
local function places(offsets, C)
  local B, starts, from, heads = #offsets - 1, { 0 }, {}, {}
  for b = 1, B do
    for c = 1, C do
      local i = (b - 1) * C + c
      heads[i], from[#from + 1] = offsets[b], i - 1
    end
    for t = offsets[b], offsets[b + 1] - 1 do from[#from + 1] = B * C + t end
    starts[b + 1] = #from
  end
  return starts, quern.i64(from), quern.i64(heads)
end

local function prefix(batch, ids, C)
  if batch.event_items then
    util.fail("unsupported", "hstu.context_tokens: a ranker takes no tokens before the history", nil,
              "hstu.rated stands alone; models that predict the next item take hstu.context_tokens")
  end
  local old = batch.tokens or batch.items
  local starts, from, heads = places(old:offsets():totable(), C)
  local function put(new, values) return quern.index_select(quern.concat { new, values }, from, 1) end
  local function first(values) return quern.index_select(values:values(), heads, 1) end
  local function jagged(new, values) return quern.jagged(put(new, values:values()), starts) end
  local function all(value, dtype) return quern.full({ heads.shape[1] }, value, dtype) end

  local own = quern.index_select(ids:reshape({ ids.shape[1] // C, C }), batch.users - 1, 1)
  local weights = batch.loss_weights or quern.full({ old.shape[1] }, 1.0)
  if not batch.tokens then                                             -- side information goes with the items
    if batch.behaviours then batch.behaviours = jagged(all(-1, batch.behaviours.dtype), batch.behaviours) end
    if batch.ratings then batch.ratings = jagged(all(0, batch.ratings.dtype), batch.ratings) end
  end
  batch.tokens = jagged(own:reshape({ heads.shape[1] }), old)
  batch.loss_weights = put(all(0.0, weights.dtype), weights)
  batch.targets = jagged(first(batch.targets), batch.targets)
  if batch.times then
    local begin = first(batch.times)
    batch.times, batch.next_times = jagged(begin, batch.times), jagged(begin, batch.next_times)
  end
  batch.n_tokens, batch.longest = batch.n_tokens + heads.shape[1], batch.longest + C
  return batch
end

--- Data whose sequences begin with one token per feature of their user. The model needs actions = data.actions,
--- which counts the features' values too, and room for #features more tokens. Goes after hstu.tokens and
--- hstu.stochastic_length.
---@param data quern.Sequences
---@param features hstu.Feature[]
---@return quern.Mapped data with actions
function contextual.tokens(data, features)
  local actions = data.actions or 0
  local ids, rows, C = tokens_of(features, data.n_users, data.n_items + actions + 1, "hstu.context_tokens")
  local out = quern.data.map(data, function(batch) return prefix(batch, ids, C) end)
  out.actions = actions + rows
  return out
end

-- ---- Attributes of users --------------------------------------------------------------------------

-- Fields of a line between tabs; a header's without their types ("age:token").
local function fields_of(line)
  local fields = {}
  for field in (line:gsub("\r$", "") .. "\t"):gmatch("([^\t]*)\t") do fields[#fields + 1] = field end
  return fields
end

local function column(header, name, path)
  for i, field in ipairs(header) do
    if field:match("^[^:]*") == name then return i end
  end
  util.fail("not_found", ("%s has no column %s"):format(path, name), "columns: " .. table.concat(header, ", "),
            "the first line names the columns, with tabs between them")
end

-- Words of users 1 .. n as numbers from 0, in order of the words; users without any have the last.
local function numbered(name, words, n)
  local values, names, missing = {}, {}, false
  for u = 1, n do
    if words[u] then values[words[u]] = 0 else missing = true end
  end
  for word in util.sorted(values) do
    values[word], names[#names + 1] = #names, word
  end
  local of = {}
  for u = 1, n do of[u] = words[u] and values[words[u]] or #names end
  return { name = name, of = of, n = #names + (missing and 1 or 0) }, names
end

--- Features for hstu.context_tokens from a table of users: a line of column names, then a line per user, with
--- tabs between the fields; column user_id has the data's names of users. Each word of a column is a value;
--- users of the data that the file does not name share one more.
---@param path string as ml-100k.user (columns age, gender, occupation, zip_code)
---@param data quern.Sequences
---@param names string[] the columns wanted
---@return hstu.Feature[] features
---@return table<string, string[]> words by column: words[value + 1] is what a value stands for
function contextual.features(path, data, names)
  local lines = sys.read_file(path):gmatch("([^\n]+)")
  local header = fields_of(lines() or "")
  local user, columns, of_users, known = column(header, "user_id", path), {}, {}, 0
  for i, name in ipairs(names) do columns[i], of_users[i] = column(header, name, path), {} end
  for line in lines do
    local fields = fields_of(line)
    if #fields ~= #header then
      util.fail("format", ("%s: %q has not all columns"):format(path, line),
                ("%d fields, %d columns"):format(#fields, #header), "a line has one field per column, between tabs")
    end
    local u = data:user_id(fields[user])
    if u then
      known = known + 1
      for i, at in ipairs(columns) do of_users[i][u] = fields[at] end
    end
  end
  if known == 0 then
    util.fail("format", ("%s names none of the %d users"):format(path, data.n_users), nil,
              "it should belong to the same dataset")
  end
  local features, words = {}, {}
  for i, name in ipairs(names) do features[i], words[name] = numbered(name, of_users[i], data.n_users) end
  return features, words
end

return contextual
