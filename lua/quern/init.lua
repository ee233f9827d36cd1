--- quern: tensors, gradients, and every op of the core and of the plugins.
--
--   local quern = require "quern"
--   local x = quern.tensor{{1, 2}, {3, 4}}:requires_grad_(true)
--   (x * x):sum():backward();  print(x.grad)
--
-- Ops are quern.NAME(...) and, when their first argument is a tensor, t:NAME(...);
-- quern.help "NAME" shows one. Parts with files of their own (nn, optim, data, fit,
-- metrics, recipe, ...) are loaded when they are first used.
-- SPDX-License-Identifier: MIT

local core = require "quern.core"

local quern = {}

do                               -- our own files are not the recipe's line in errors
  local here = debug.getinfo(1, "S").source:match("^@(.*/)[^/]*$")
  if here then core.own_files(here) end
end

require "quern.error"
require "quern.tensor"

--- What the core offers beside tensors: files, data, system.
quern._io = core

-- ---- Tensors -------------------------------------------------------------------------

for _, name in ipairs { "tensor", "zeros", "ones", "empty", "arange", "eye", "from_string", "is_tensor" } do
  quern[name] = core[name]
end

-- quern.f64{1, 2} and so on: tensors of a type.
for _, dtype in ipairs { "f32", "f64", "bf16", "i64", "i32", "u8", "bool" } do
  quern[dtype] = function(values) return core.tensor(values, dtype) end
end

--- A jagged tensor: of values and offsets (a tensor, a table, or a jagged tensor to take
--- them from), of tables of different lengths, or of tensors, one for each sequence.
---@param values userdata|table
---@param offsets userdata|table|string? with tables: the element type
function quern.jagged(values, offsets)
  if type(values) ~= "table" or not core.is_tensor(values[1]) then return core.jagged(values, offsets) end
  local at = { 0 }
  for i, t in ipairs(values) do at[i + 1] = at[i] + #t end
  return core.jagged(core.op("concat")(values), at)
end

-- ---- Gradients -----------------------------------------------------------------------

quern.grad, quern.grad_enabled = core.grad, core.grad_enabled

local guard_meta = { __close = function(guard) core.grad_enable(guard.before) end }

local function guard() return setmetatable({ before = core.grad_enable(false) }, guard_meta) end

--- Runs fn without recording gradients and returns its results; without fn, a guard:
--- `local g <close> = quern.no_grad()`.
---@param fn function?
function quern.no_grad(fn, ...)
  if fn == nil then return guard() end
  local g <close> = guard()      -- luacheck: ignore 211
  return fn(...)
end

--- Runs fn and frees all tensors that were made inside, but not those it returns (also
--- inside tables) and those on which t:keep() was called.
---@param fn function
function quern.scope(fn, ...)
  local scope <close> = core.scope_open()
  return core.scope_keep(scope, fn(...))
end

-- ---- The runtime ---------------------------------------------------------------------

for _, name in ipairs { "seed", "step", "threads", "memory", "memory_reset_peak", "memory_limit", "memory_trim",
                        "check_finite", "interrupted", "system", "version", "save", "load", "npy", "json",
                        "op_info" } do
  quern[name] = core[name]
end

quern.profile = setmetatable({ start = core.profile.start, stop = core.profile.stop, rows = core.profile.rows,
                               trace = core.profile.trace }, {
  --- profile("start", true), profile("stop"), profile("table"), profile("trace", path)
  __call = function(profile, action, value)
    if action == "start" then return profile.start { trace = value == true } end
    if action == "table" then return profile.table() end
    return profile[action](value)
  end })

--- Time by op as text.
---@param most integer? rows
---@return string
function quern.profile.table(most)
  local util = require "quern.util"
  local out, total = { { "op", "calls", "time", "share", "each", "GB/s", "GFLOP/s" } }, 0
  local rows = core.profile.rows()
  for _, r in ipairs(rows) do total = total + r.seconds end
  for i = 1, math.min(most or 30, #rows) do
    local r = rows[i]
    local seconds = math.max(r.seconds, 1e-12)
    local function rate(n) return n > 0 and ("%.1f"):format(n / seconds * 1e-9) or "-" end
    out[#out + 1] = { r.name .. (r.backward and " (backward)" or ""), ("%d"):format(r.calls),
      ("%.1f ms"):format(r.seconds * 1e3), ("%.1f %%"):format(100 * r.seconds / math.max(total, 1e-12)),
      ("%.2f us"):format(r.seconds / r.calls * 1e6), rate(r.bytes), rate(r.flops) }
  end
  return util.table(out, { right = { [2] = true, [3] = true, [4] = true, [5] = true, [6] = true, [7] = true } })
end

-- ---- Ops -----------------------------------------------------------------------------

--- All ops, sorted: { name, plugin, schema, summary, hash }.
---@return table[]
function quern.ops()
  local out = {}
  for i, name in ipairs(core.ops()) do
    local info = core.op_info(name)
    out[i] = { name = info.name, call = name, plugin = info.plugin.name, schema = info.schema,
               summary = info.summary, hash = info.hash }
  end
  return out
end

--- The function of an op, "name" or "plugin.name".
---@param name string
---@return function
function quern.op(name)
  local fn = core.op(name)
  if not fn then core.op_info(name) end                -- raises, naming the nearest
  return fn
end

local parts = { nn = 1, optim = 1, data = 1, fit = 1, metrics = 1, recipe = 1, schedule = 1, progress = 1, help = 1,
                gradcheck = 1, plugin = 1, runs = 1, checkpoint = 1, det = 1, util = 1, error = 1, class = 1, lock = 1,
                params = 1, report = 1, capture = 1, ema = 1, thing = 1, inference = 1 }
local things = { object = 1, hook = 1, dataset = 1, metric = 1, codec = 1, scorer = 1 }

return setmetatable(quern, {
  __index = function(_, name)
    local value
    if parts[name] then value = require("quern." .. name)
    elseif things[name] then value = require("quern.thing")[name]
    elseif type(name) == "string" then value = core.op(name) end
    rawset(quern, name, value)
    return value
  end,
})
