--- compile: a pruned model made fast. Each linear map is timed as it is, compacted (rows and columns
-- without a weight left out) and by rows without zeros (CSR); the fastest form takes its place.
--
--   local compiled = prune.compile(model, { tokens = 1024 })
--   print(compiled)                                     -- per matrix: density, times, choice, bytes
--   print(compiled:bench { run = function(m) m:encode(batch) end, dense = model_before })
--   compiled:restore()                                  -- the dense maps again
--
-- With tables = true, embeddings of which less than half is left are kept by rows too, for memory; the model
-- must go through them (hstu's models do).
--
-- The model is changed in place. Results equal the dense ones up to rounding: sums run over fewer terms in
-- another order. The kept values stay parameters, so a compiled model can be trained on its pattern.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local nn = require "quern.nn"
local class = require "quern.class"
local util = require "quern.util"
local Csr = require "prune.csr"

local function now() return quern._io.clock() end

-- Seconds of one call, the mean over a millisecond.
local function seconds(fn)
  local n, start = 0, now()
  repeat
    quern.scope(fn)
    n = n + 1
  until now() - start > 0.001
  return (now() - start) / n
end

-- Seconds of each of some functions, in turns: the best of all turns, since other work on the machine only adds.
local function in_turns(fns, turns)
  local best = {}
  for _ = 1, turns do
    for name, fn in util.sorted(fns) do best[name] = math.min(best[name] or math.huge, seconds(fn)) end
  end
  return best
end

local function bytes_of(...)
  local n = 0
  for i = 1, select("#", ...) do
    local t = select(i, ...)
    local width = t and ({ f32 = 4, f64 = 8, i64 = 8, i32 = 4, u8 = 1 })[t.dtype]
    n = n + (t and t:numel() * width or 0)
  end
  return n
end

-- ---- Forms of a linear map -------------------------------------------------------------------------

---@class prune.CsrLinear: quern.Module
local CsrLinear = nn.class "CsrLinear"

function CsrLinear:init(linear)
  local w = Csr(linear.weight)
  self.inputs, self.outputs, self.act = w.inputs, w.outputs, linear.act
  self.values, self.starts = nn.parameter(w.values, "weight.linear"), nn.buffer(w.starts)
  if w.cols then self.cols = nn.buffer(w.cols) else self.cols16 = nn.buffer(w.cols16) end
  if linear.bias then self.bias = nn.parameter(linear.bias:detach(), "bias") end
end

local inside = { none = true, relu = true, silu = true }

function CsrLinear:forward(x, residual)
  local y = quern.csr_linear(x, self.values, self.starts, self.cols, self.cols16, self.bias,
    { outputs = self.outputs, act = inside[self.act] and self.act or "none" })
  y = inside[self.act] and y or quern[self.act](y)
  return residual and y + residual or y
end

function CsrLinear:bytes() return bytes_of(self.values, self.starts, self.cols, self.cols16, self.bias) end

function CsrLinear:describe()
  return ("%d -> %d, %d kept"):format(self.inputs, self.outputs, self.values:numel())
end

---@class prune.CsrEmbedding: quern.Module
local CsrEmbedding = nn.class "CsrEmbedding"

function CsrEmbedding:init(embedding)
  local weight = embedding.weight:detach()
  self.rows, self.dim, self.table = weight.shape[1], weight.shape[2], Csr(weight)
  self.unit = Csr(quern.l2_normalize(weight, { eps = 1e-6 }))
end

---@param ids userdata
---@return userdata [...,D]
function CsrEmbedding:forward(ids) return self.table:rows(ids) end

--- Products of vectors with all rows, or with the rows brought to length 1.
---@param users userdata [N,D]
---@param unit boolean?
---@return userdata [N,V]
function CsrEmbedding:scores(users, unit) return (unit and self.unit or self.table):linear(users) end

function CsrEmbedding:bytes() return self.table:bytes() + self.unit.values:numel() * 4 end

function CsrEmbedding:describe() return ("%d x %d, %d kept"):format(self.rows, self.dim, self.table.values:numel()) end

---@class prune.CompactLinear: quern.Module
local CompactLinear = nn.class "CompactLinear"

-- Positions (from 0) along a dimension of a matrix that have a weight.
local function used(w, other)
  local counts, out = quern.sum(quern.ne(w, 0):cast "i64", other):totable(), {}
  for i, n in ipairs(counts) do
    if n > 0 then out[#out + 1] = i - 1 end
  end
  return out
end

function CompactLinear:init(linear)
  local w = linear.weight:detach()
  local rows, cols = used(w, 2), used(w, 1)
  self.inputs, self.outputs, self.act = linear.inputs, linear.outputs, linear.act
  self.rows, self.cols = nn.buffer(quern.tensor(rows, "i64")), nn.buffer(quern.tensor(cols, "i64"))
  w = quern.index_select(quern.index_select(w, self.rows, 1), self.cols, 2)
  self.weight = nn.parameter(w, "weight.linear")
  self.base = nn.parameter(linear.bias and linear.bias:detach() or quern.zeros({ self.outputs }, w.dtype), "bias")
end

function CompactLinear:forward(x, residual)
  local shape = x.shape
  local flat = x:reshape { -1, self.inputs }
  local y = quern.linear(quern.index_select(flat, self.cols, 2), self.weight)
  y = quern.index_add(quern.expand(self.base, { flat.shape[1], self.outputs }), self.rows, y, 2)
  shape[#shape] = self.outputs
  y = y:reshape(shape)
  if x.is_jagged then y = quern.jagged(y, x:offsets()) end
  y = self.act == "none" and y or quern[self.act](y)
  return residual and y + residual or y
end

function CompactLinear:bytes() return bytes_of(self.weight, self.rows, self.cols, self.base) end

function CompactLinear:describe()
  return ("%d -> %d, %d x %d left"):format(self.inputs, self.outputs, self.weight.shape[1], self.weight.shape[2])
end

-- Is there a row or a column to leave out, and something left?
local function can_compact(linear)
  local w = linear.weight:detach()
  local rows, cols = #used(w, 2), #used(w, 1)
  return rows > 0 and cols > 0 and (rows < linear.outputs or cols < linear.inputs)
end

-- ---- Choosing -------------------------------------------------------------------------------------------

---@class prune.Compiled
---@field parts table[] name, shape, density, format, seconds by format, before and after in bytes
local Compiled = class "PruneCompiled"

local formats = { auto = true, dense = true, compact = true, csr = true }

local function candidates(linear, format)
  local out = { dense = linear }
  if format ~= "dense" and format ~= "compact" then out.csr = CsrLinear(linear) end
  if (format == "auto" or format == "compact") and can_compact(linear) then out.compact = CompactLinear(linear) end
  return out
end

local function fastest(times)
  local best
  for name, t in util.sorted(times) do
    if not best or t < times[best] then best = name end
  end
  return best
end

local function consider(self, name, owner, key, linear, o)
  local w = linear.weight:detach()
  local kept = quern.sum(quern.ne(w, 0):cast "i64"):item()
  local part = { name = name, shape = w.shape, density = w:numel() > 0 and kept / w:numel() or 0,
                 owner = owner, key = key, linear = linear, before = bytes_of(w, linear.bias) }
  local x, made = quern.normal { shape = { self.tokens, linear.inputs } }:to(w.dtype), candidates(linear, o.format)
  local fns = {}
  for form, m in pairs(made) do fns[form] = function() return m(x) end end
  part.seconds = in_turns(fns, self.turns)
  part.format = o.format == "auto" and fastest(part.seconds) or made[o.format] and o.format or "dense"
  part.module = made[part.format]
  part.after = part.format == "dense" and part.before or part.module:bytes()
  self.parts[#self.parts + 1] = part
end

-- A table of which less than half is left, by rows.
local function consider_table(self, name, owner, key, embedding)
  local w = embedding.weight:detach()
  local density = quern.sum(quern.ne(w, 0):cast "i64"):item() / math.max(w:numel(), 1)
  if density >= 0.5 then return end
  local ids = quern.remainder(quern.arange(0, self.tokens, 1, "i64"), w.shape[1])
  local part = { name = name, shape = w.shape, density = density, owner = owner, key = key, linear = embedding,
                 before = bytes_of(w), format = "csr", module = CsrEmbedding(embedding) }
  local forms = { dense = embedding, csr = part.module }
  for form, m in pairs(forms) do forms[form] = function() return m(ids) end end
  part.seconds = in_turns(forms, self.turns)
  part.after = part.module:bytes()
  self.parts[#self.parts + 1] = part
end

local known = { format = 1, tokens = 1, turns = 1, only = 1, tables = 1 }

function Compiled:init(model, options)
  local o = util.options(options, known, "prune.compile")
  o = { format = o.format or "auto", only = o.only or function() return true end, tokens = o.tokens, turns = o.turns,
        tables = o.tables }
  if not formats[o.format] then
    util.fail("argument", ("prune.compile: unknown format %q"):format(tostring(o.format)), nil,
              util.suggest(tostring(o.format), util.keys(formats)))
  end
  self.model, self.parts = model, {}
  self.tokens = util.integer(o.tokens or 1024, "prune.compile: tokens", 1)
  self.turns = util.integer(o.turns or 12, "prune.compile: turns", 1)
  quern.no_grad(function()
    for path, owner in model:named_modules() do
      for _, key in ipairs(owner._order) do
        local m, name = rawget(owner, key), (path == "" and "" or path .. ".") .. key
        local kind = type(m) == "table" and m.class_name
        if kind == "Linear" and o.only(name, m) then consider(self, name, owner, key, m, o) end
        if kind == "Embedding" and o.tables and o.only(name, m) then consider_table(self, name, owner, key, m) end
      end
    end
  end)
  if #self.parts == 0 then
    util.fail("argument", ("prune.compile: %s has no linear maps"):format(model.class_name))
  end
  for _, p in ipairs(self.parts) do p.owner[p.key] = p.module end
end

--- Puts the dense maps back.
---@return quern.Module
function Compiled:restore()
  for _, p in ipairs(self.parts) do p.owner[p.key] = p.linear end
  return self.model
end

-- ---- Reporting ----------------------------------------------------------------------------------------------

local function micro(s) return s and ("%.1f"):format(s * 1e6) or "-" end

function Compiled:__tostring()
  local rows = { { "matrix", "shape", "density", "dense us", "compact us", "csr us", "taken", "times", "bytes" } }
  local dense, taken, before, after = 0, 0, 0, 0
  for _, p in ipairs(self.parts) do
    local t = p.seconds
    rows[#rows + 1] = { p.name, table.concat(p.shape, "x"), ("%.4f"):format(p.density), micro(t.dense),
      micro(t.compact), micro(t.csr), p.format, ("%.1f"):format(t.dense / t[p.format]),
      ("%s -> %s"):format(util.bytes(p.before), util.bytes(p.after)) }
    dense, taken = dense + t.dense, taken + t[p.format]
    before, after = before + p.before, after + p.after
  end
  rows[#rows + 1] = { "all", "", "", micro(dense), "", micro(taken), "", ("%.1f"):format(dense / taken),
                      ("%s -> %s"):format(util.bytes(before), util.bytes(after)) }
  return ("%d tokens, %d threads\n%s"):format(self.tokens, quern.threads(), util.table(rows,
    { right = { [3] = true, [4] = true, [5] = true, [6] = true, [8] = true } }))
end

-- Shares of the time by op, as text.
local function breakdown(run, model)
  quern.profile.start {}
  for _ = 1, 5 do quern.scope(run, model) end
  quern.profile.stop()
  local rows, total, parts = quern.profile.rows(), 0, {}
  for _, r in ipairs(rows) do total = total + r.seconds end
  for i = 1, math.min(5, #rows) do
    parts[i] = ("%s %.0f %%"):format(rows[i].name, 100 * rows[i].seconds / math.max(total, 1e-12))
  end
  return table.concat(parts, ", ")
end

--- Time of the whole model, dense and compiled in turns, with what it is spent on.
---@param options table run: fun(model) of one forward pass; dense: the model to compare with; default: this one with
---  its dense maps; rounds: 7
---@return string text
---@return table numbers dense, compiled (median seconds), ratio
function Compiled:bench(options)
  local o = util.options(options, { run = 1, dense = 1, rounds = 1 }, "prune: bench")
  local run = o.run or util.fail("argument", "prune: bench needs run = function(model) ... end")
  local was, a, b = self.model.training, {}, {}
  local function swapped(dense)
    if not o.dense then
      for _, p in ipairs(self.parts) do p.owner[p.key] = dense and p.linear or p.module end
    end
    return dense and o.dense or self.model
  end
  local ok, e = pcall(quern.no_grad, function()
    self.model:eval()
    if o.dense then o.dense:eval() end
    for i = 1, o.rounds or 7 do
      a[i] = seconds(function() run(swapped(true)) end)
      b[i] = seconds(function() run(swapped(false)) end)
    end
    self.spent = { dense = breakdown(run, swapped(true)), compiled = breakdown(run, swapped(false)) }
  end)
  swapped(false)
  self.model:train(was)
  if not ok then error(e, 0) end
  table.sort(a)
  table.sort(b)
  local dense, compiled = a[(#a + 1) // 2], b[(#b + 1) // 2]
  return ("forward: dense %.2f ms, compiled %.2f ms, %.2f times\n  dense:    %s\n  compiled: %s"):format(dense * 1e3,
    compiled * 1e3, dense / compiled, self.spent.dense, self.spent.compiled),
    { dense = dense, compiled = compiled, ratio = dense / compiled }
end

return Compiled
