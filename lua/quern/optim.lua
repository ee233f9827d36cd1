--- Optimizers: SGD, Adam, AdamW, and for big tables lazy row-wise Adam and Adagrad.
--
--   local opt = quern.optim.AdamW(model:parameters(), { lr = 1e-3, weight_decay = 0.01 })
--   loss:backward(); opt:step(); opt:zero_grad()
--
-- Parameters come from Module:parameters, as plain tensors, or in groups that override
-- options: { { params = {...}, lr = 1e-4 }, { params = {...} } }. Each update is one pass
-- over memory by an op of the core. Dense parameters get the exact update; a parameter
-- whose gradient comes by rows needs an optimizer that takes rows (AdamRows,
-- AdagradRows), or it is spread out first (allowed for tables of moderate size).
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"
local util = require "quern.util"

local optim = {}

-- ---- What all share --------------------------------------------------------------------

---@class quern.Optimizer
---@field lr number the base rate; schedules scale it
---@field t integer updates made so far
---@field masks table<string, userdata> of plain tensors by name; those of a module's parameters are the module's
local Optimizer = class("Optimizer")

local function is_tensor(v) return type(v) == "userdata" end

local function entry(p, i)
  if is_tensor(p) then return { name = "param" .. i, tensor = p, role = "weight.linear", sparse = false } end
  if type(p) == "table" and is_tensor(p.tensor) then return p end
  util.fail("argument", ("optim: parameter %d is a %s, not a tensor or an entry of Module:parameters")
            :format(i, type(p)))
end

local function make_groups(given, defaults, who)
  if type(given) == "table" and given.is_module then given = given:parameters() end
  if type(given) ~= "table" or #given == 0 then
    util.fail("argument", who .. ": no parameters to train", nil, "give it model:parameters()")
  end
  local grouped = type(given[1]) == "table" and given[1].params ~= nil
  local groups, seen, n = {}, {}, 0
  for gi, g in ipairs(grouped and given or { { params = given } }) do
    local options = {}
    for k, v in pairs(g) do if k ~= "params" then options[k] = v end end
    util.options(options, defaults, ("%s, group %d"):format(who, gi))
    local group = setmetatable(options, { __index = defaults })
    group.params = {}
    local params = g.params.is_module and g.params:parameters() or g.params
    for _, p in ipairs(params) do
      n = n + 1
      local e = entry(p, n)
      if seen[e.tensor] then
        util.fail("argument", ("%s: parameter %s is given twice"):format(who, e.name))
      end
      if seen[e.name] then
        util.fail("argument", ("%s: two parameters are called %s"):format(who, e.name))
      end
      seen[e.tensor], seen[e.name] = true, true
      group.params[#group.params + 1] = e
    end
    groups[gi] = group
  end
  return groups
end

local function positive(v, who, name, zero)
  if type(v) ~= "number" or v ~= v or v < 0 or (v == 0 and not zero) then
    util.fail("argument", ("%s: %s must be a %s number, not %s"):format(who, name,
              zero and "non-negative" or "positive", tostring(v)))
  end
end

local function check_numbers(group, who)
  for _, name in ipairs { "lr", "eps", "momentum", "weight_decay", "dampening", "initial" } do
    if group[name] ~= nil then positive(group[name], who, name, name ~= "eps") end
  end
  if group.moments then util.choose(group.moments, { "f32", "bf16" }, who .. ": moments") end
  if type(group.master) ~= "boolean" then
    util.fail("argument", ("%s: master must be true or false, not %s"):format(who, tostring(group.master)))
  end
  if group.betas then
    for i = 1, 2 do
      local b = group.betas[i]
      if type(b) ~= "number" or b < 0 or b >= 1 then
        util.fail("argument", ("%s: betas must be two numbers in [0, 1)"):format(who))
      end
    end
  end
end

function Optimizer:start(given, options, defaults)
  local who = "optim." .. self.class_name
  util.options(options, defaults, who)
  local merged = {}
  for k, v in pairs(defaults) do merged[k] = v end
  for k, v in pairs(options or {}) do merged[k] = v end
  self.groups = make_groups(given, merged, who)
  for _, g in ipairs(self.groups) do check_numbers(g, who) end
  self.lr = merged.lr
  self.scale = 1.0                 -- of all rates, set by a schedule
  self.gain = 1.0                  -- of all gradients, 1/n when n batches were added up
  self.t = 0
  self.slots = {}                  -- name -> { slot = tensor }
  self.masks = {}
end

--- A state tensor of a parameter, made on first use.
function Optimizer:slot(p, name, make)
  local s = self.slots[p.name]
  if not s then s = {}; self.slots[p.name] = s end
  if not s[name] then s[name] = make() end
  return s[name]
end

-- bf16 is storage: what is kept beside a parameter of bf16 is of f32.
local function working_type(t) return t.dtype == "f64" and "f64" or "f32" end

-- Moments are of the type that is worked in, or bf16 beside f32 (moments = "bf16").
local function zeros_like(t, group)
  local dtype = working_type(t)
  if group.moments == "bf16" and dtype == "f32" then dtype = "bf16" end
  return function() return quern.zeros(t.shape, dtype) end
end

-- A number that tells parameters apart where they and their moments are rounded at random; a multiple of 4.
local function salt_of(p)
  local hash = 2166136261
  for i = 1, #p.name do hash = ((hash ~ p.name:byte(i)) * 16777619) & 0x7fffffff end
  return hash & ~3
end

--- The f32 master of a parameter that is stored as bf16; nil for others, and with master = false.
---@return userdata?
function Optimizer:master_of(p, group)
  if p.tensor.dtype ~= "bf16" or not group.master then return nil end
  return self:slot(p, "master", function() return p.tensor:detach():cast("f32") end)
end

-- Runs fn with the parameter and its moments in f32, or f64. What is stored as bf16 is rounded afterwards:
-- a parameter with a master to the nearest, all else stochastically, so that small changes are not lost.
function Optimizer:widened(p, group, moments, fn)
  local wide = {}
  for k, m in ipairs(moments) do wide[k] = m.dtype == "bf16" and m:cast("f32") or m end
  local w, master, narrow = p.tensor, self:master_of(p, group), p.tensor.dtype == "bf16"
  if master then w = quern.follow_bf16_(master, w) elseif narrow then w = w:cast("f32") end
  fn(w, wide[1], wide[2])
  local function put_back(to, from, salt)
    quern.round_bf16_(to, from, { step = math.max(self.t, 1), salt = salt_of(p) + salt })
  end
  for k, m in ipairs(moments) do
    if wide[k] ~= m then put_back(m, wide[k], k - 1) end
  end
  if master then p.tensor:copy_(master) elseif narrow then put_back(p.tensor, w, 2) end
end

--- Iterates over parameter entry, group.
function Optimizer:each()
  local gi, pi = 1, 0
  return function()
    while self.groups[gi] do
      pi = pi + 1
      local p = self.groups[gi].params[pi]
      if p then return p, self.groups[gi] end
      gi, pi = gi + 1, 0
    end
  end
end

function Optimizer:zero_grad()
  for p in self:each() do p.tensor:zero_grad() end
end

-- The gradient of a parameter as a dense tensor, or nil; one that came by rows is spread out.
local function dense_grad(p)
  local g = p.tensor.grad
  if g then return g end
  local ids, rows = p.tensor:grad_rows()
  if not ids then return nil end
  return quern.embedding_grad(rows, ids, { rows = p.tensor.shape[1] })
end

--- The mask of a parameter as it is now: kept values stay, others stay zero.
---@return userdata? bool tensor
function Optimizer:mask_of(p)
  if p.kind then return p.kind.mask end
  return self.masks[p.name]
end

local function put_mask(self, p, mask)
  if p.kind then p.kind.mask = mask else self.masks[p.name] = mask end
end

-- A gradient without what the mask leaves out: pruned values do not move, so they do not count.
local function kept_grad(self, p)
  local g, mask, ids = p.tensor.grad, self:mask_of(p), nil
  if not g then ids, g = p.tensor:grad_rows() end
  if not g or not mask then return g end
  if ids then mask = quern.index_select(mask, ids, 1) end
  return quern.masked_fill(g, quern.logical_not(mask), 0)
end

-- f64 scalar tensor: the sum of squares of all gradients, rows as they are; nil without any.
local function norm_sq_of(self)
  local lists, sum = {}, nil
  for p in self:each() do
    local g = kept_grad(self, p)
    if g then
      lists[g.dtype] = lists[g.dtype] or {}
      table.insert(lists[g.dtype], g)
    end
  end
  for _, list in util.sorted(lists) do
    local part = quern.grad_norm_sq(list)
    sum = sum and sum + part or part
  end
  return sum
end

--- The Euclidean norm of all gradients together.
---@return number
function Optimizer:grad_norm()
  local sum = quern.no_grad(function() return norm_sq_of(self) end)
  return sum and math.sqrt(sum:item()) * self.gain or 0.0
end

--- Scales all gradients in the next step so that their common norm is at most `limit`.
---@param limit number
---@return number norm before clipping
function Optimizer:clip(limit)
  positive(limit, "optim." .. self.class_name, "the clipping norm")
  local sum = quern.no_grad(function() return norm_sq_of(self) end)
  if not sum then return 0.0 end
  self.norm_sq, self.max_norm = sum, limit
  return math.sqrt(sum:item()) * self.gain
end

--- Makes all state tensors now, so that a scope around the first step does not own them.
function Optimizer:prepare()
  for p, group in self:each() do self:make_slots(p, group) end
end

function Optimizer:make_slots() end

--- One update of all parameters that have a gradient.
function Optimizer:step()
  self.t = self.t + 1
  quern.no_grad(function()
    for p, group in self:each() do self:update(p, group) end
  end)
  self.norm_sq, self.max_norm = nil, nil
end

--- The whole update straight from the sums that a captured step holds (Capture:run), in one
--- pass: the same bits as clip, step and zero_grad. Where it cannot be, the gradients are
--- in the parameters afterwards.
---@param captured quern.Capture
---@param limit number? of the gradients' norm
---@return boolean done
---@return number? norm before clipping; if it is not finite nothing was updated
function Optimizer:fuse(captured, limit)
  if limit then positive(limit, "optim." .. self.class_name, "the clipping norm") end
  local list = {}
  self.t = self.t + 1
  for p, group in self:each() do
    local update = self.fused and self:fused(p, group)
    if not update then list = nil break end
    update.w, update.max_norm, update.norm_sq = p.tensor, limit, nil
    list[#list + 1] = update
  end
  local done, norm = false, nil
  if list then done, norm = captured:update(list) else captured:deliver() end
  if not done then self.t = self.t - 1 end
  return done, limit and norm and norm * self.gain
end

-- What every step op takes.
function Optimizer:arguments(p, group, more)
  more.lr, more.scale, more.weight_decay = group.lr * self.scale, self.gain, group.weight_decay
  more.norm_sq, more.max_norm = self.norm_sq, self.max_norm
  more.mask = self:mask_of(p)
  if more.kind then more.step = more.step or self.t end
  if more.kind then more.salt, more.master = salt_of(p), self:master_of(p, group) end
  return more
end

--- Sets or removes (nil) a parameter's mask: values where it is 0 are zero and stay zero.
---@param name string
---@param mask userdata? of the parameter's shape
function Optimizer:set_mask(name, mask)
  for p in self:each() do
    if p.name == name then
      put_mask(self, p, mask and (mask.dtype == "bool" and mask or quern.ne(mask, 0)))
      if mask then quern.no_grad(function() self:apply_mask(p) end) end
      return
    end
  end
  local names = {}
  for p in self:each() do names[#names + 1] = p.name end
  util.fail("not_found", ("optim: there is no parameter %q to mask"):format(name), nil,
            util.suggest(name, names))
end

-- Zeroes what the mask leaves out; the dense steps then leave it as it is.
function Optimizer:apply_mask(p)
  local mask = self:mask_of(p)
  if mask then p.tensor:copy_(quern.masked_fill(p.tensor, quern.logical_not(mask), 0)) end
end

-- ---- State --------------------------------------------------------------------------------

--- State as named tensors, and the plain values beside them; masks as bits (pack_bits).
---@return table<string, userdata> tensors "parameter:slot"
---@return table values
function Optimizer:state()
  local tensors = {}
  for name, slots in pairs(self.slots) do
    for slot, t in pairs(slots) do tensors[name .. ":" .. slot] = t end
  end
  for p in self:each() do
    local mask = self:mask_of(p)
    if mask then tensors[p.name .. ":mask"] = quern.pack_bits(mask) end
  end
  return tensors, { kind = self.class_name, t = self.t, scale = self.scale }
end

--- Takes over a state saved by the same kind of optimizer over the same parameters.
---@param tensors table<string, userdata>
---@param values table
function Optimizer:load_state(tensors, values)
  if values.kind ~= self.class_name then
    util.fail("state", ("optim: the state is of %s, this is %s"):format(tostring(values.kind), self.class_name))
  end
  local params = {}
  for p in self:each() do params[p.name] = p end
  self.slots, self.masks = {}, {}
  for key, t in util.sorted(tensors) do
    local name, slot = key:match("^(.*):([%w_]+)$")
    local p = name and params[name]
    if not p then
      util.fail("not_found", ("optim: the state has %q, which is not trained here"):format(key), nil,
                util.suggest(name or key, util.keys(params)))
    end
    if slot == "mask" then
      put_mask(self, p, quern.unpack_bits(t, p.tensor.shape))
    else
      if t.shape[1] ~= p.tensor.shape[1] then
        util.fail("shape", ("optim: state %s has %s rows, the parameter %s"):format(key,
                  tostring(t.shape[1]), tostring(p.tensor.shape[1])))
      end
      self.slots[name] = self.slots[name] or {}
      self.slots[name][slot] = t
    end
  end
  self.t, self.scale = values.t, values.scale
end

-- ---- The kinds -------------------------------------------------------------------------------

---@class quern.SGD: quern.Optimizer
local SGD = class("SGD", Optimizer)
optim.SGD = SGD

--- m = momentum m + g, g with weight_decay w added; w -= lr m (nesterov: lr (g + momentum m)).
---@param params table
---@param options {lr: number?, momentum: number?, nesterov: boolean?, weight_decay: number?, moments: string?,
---  master: boolean?}? moments, master: see Adam
function SGD:init(params, options)
  self:start(params, options, { lr = 0.01, momentum = 0.0, nesterov = false, weight_decay = 0.0,
                                moments = "f32", master = true })
end

function SGD:make_slots(p, g)
  self:master_of(p, g)
  if g.momentum > 0 then self:slot(p, "m", zeros_like(p.tensor, g)) end
end

function SGD:fused(p, g)
  return self:arguments(p, g, { kind = "sgd", momentum = g.momentum, nesterov = g.nesterov,
                                m = g.momentum > 0 and self:slot(p, "m", zeros_like(p.tensor, g)) or nil })
end

function SGD:update(p, g)
  local grad = dense_grad(p)
  if not grad then return end
  local m = g.momentum > 0 and self:slot(p, "m", zeros_like(p.tensor, g)) or nil
  self:widened(p, g, { m }, function(w, wide)
    quern.sgd_step_(w, grad, wide, self:arguments(p, g, { momentum = g.momentum, nesterov = g.nesterov }))
  end)
end

---@class quern.Adam: quern.Optimizer
local Adam = class("Adam", Optimizer)
optim.Adam = Adam
local adam_defaults = { lr = 1e-3, betas = { 0.9, 0.999 }, eps = 1e-8, weight_decay = 0.0,
                        moments = "f32", master = true }

--- Adam (Kingma & Ba 2015); weight_decay is added to the gradient. moments = "bf16" stores m and v so, half the
--- memory of f32, rounded stochastically; arithmetic stays f32. A parameter that is bf16 itself has a master in f32,
--- which is what is trained, and is rounded to the nearest after each step; master = false saves the master's memory,
--- and the parameter is rounded stochastically.
---@param params table
---@param options {lr: number?, betas: number[]?, eps: number?, weight_decay: number?, moments: string?,
---  master: boolean?}?
function Adam:init(params, options) self:start(params, options, adam_defaults) end

Adam.decoupled = false

function Adam:make_slots(p, g)
  self:master_of(p, g)
  self:slot(p, "m", zeros_like(p.tensor, g))
  self:slot(p, "v", zeros_like(p.tensor, g))
end

function Adam:adam_arguments(p, g, more)
  more.step, more.beta1, more.beta2, more.eps = self.t, g.betas[1], g.betas[2], g.eps
  more.decoupled = self.decoupled
  return self:arguments(p, g, more)
end

function Adam:fused(p, g)
  return self:adam_arguments(p, g, { kind = "adam", m = self:slot(p, "m", zeros_like(p.tensor, g)),
                                     v = self:slot(p, "v", zeros_like(p.tensor, g)) })
end

function Adam:update(p, g)
  local grad = dense_grad(p)
  if not grad then return end
  local m, v = self:slot(p, "m", zeros_like(p.tensor, g)), self:slot(p, "v", zeros_like(p.tensor, g))
  self:widened(p, g, { m, v }, function(w, wide_m, wide_v)
    quern.adam_step_(w, grad, wide_m, wide_v, self:adam_arguments(p, g, {}))
  end)
end

---@class quern.AdamW: quern.Adam
local AdamW = class("AdamW", Adam)
optim.AdamW = AdamW
AdamW.decoupled = true

--- Adam with decoupled weight decay (Loshchilov & Hutter 2019): w -= lr weight_decay w.
---@param params table
---@param options {lr: number?, betas: number[]?, eps: number?, weight_decay: number?, moments: string?}?
function AdamW:init(params, options)
  self:start(params, options, adam_defaults)
end

---@class quern.AdamRows: quern.AdamW
local AdamRows = class("AdamRows", AdamW)
optim.AdamRows = AdamRows

--- AdamW whose parameters with gradients by rows are updated lazily: only the rows that
--- occur in a batch move, and a row's moments stand still while it does not occur. Other
--- parameters get the exact update.
function AdamRows:init(params, options) self:start(params, options, adam_defaults) end

function AdamRows:fused(p, g)
  local update = AdamW.fused(self, p, g)
  update.kind = "adam_rows"
  return update
end

function AdamRows:update(p, g)
  local ids, rows = p.tensor:grad_rows()
  if not ids then return AdamW.update(self, p, g) end
  local m, v = self:slot(p, "m", zeros_like(p.tensor, g)), self:slot(p, "v", zeros_like(p.tensor, g))
  local arguments = self:adam_arguments(p, g, {})
  arguments.mask = nil
  self:widened(p, g, { m, v }, function(w, wide_m, wide_v)
    quern.adam_rows_(w, wide_m, wide_v, rows, ids, arguments)
  end)
  self:apply_mask(p)
end

---@class quern.AdagradRows: quern.Optimizer
local AdagradRows = class("AdagradRows", Optimizer)
optim.AdagradRows = AdagradRows

--- Row-wise Adagrad: one accumulator per row, h += mean(g^2); w -= lr g / (sqrt(h) + eps).
--- State is 1/D of the table's size. Parameters without rows (vectors, dense gradients)
--- are taken as rows too.
---@param params table
---@param options {lr: number?, eps: number?, initial: number?, weight_decay: number?, master: boolean?}?
---  master: see Adam
function AdagradRows:init(params, options)
  self:start(params, options, { lr = 0.01, eps = 1e-8, initial = 0.0, weight_decay = 0.0, master = true })
end

function AdagradRows:make_slots(p, g)
  self:master_of(p, g)
  self:slot(p, "h", function() return quern.full({ p.tensor.shape[1] or 1 }, g.initial, working_type(p.tensor)) end)
end

function AdagradRows:fused(p, g)
  self:make_slots(p, g)
  return self:arguments(p, g, { kind = "adagrad_rows", eps = g.eps, v = self.slots[p.name].h })
end

function AdagradRows:update(p, g)
  local ids, rows = p.tensor:grad_rows()
  rows = rows or p.tensor.grad
  if not rows then return end
  self:make_slots(p, g)
  local arguments = self:arguments(p, g, { eps = g.eps })
  arguments.mask = nil
  self:widened(p, g, {}, function(w) quern.adagrad_rows_(w, self.slots[p.name].h, rows, ids, arguments) end)
  self:apply_mask(p)
end

-- ---- By name ---------------------------------------------------------------------------------

local names = { sgd = SGD, adam = Adam, adamw = AdamW, adam_rows = AdamRows, adagrad_rows = AdagradRows }

--- An optimizer from settings: { name = "adamw", lr = 1e-3, ... }.
---@param params table
---@param settings table
---@return quern.Optimizer
function optim.make(params, settings)
  local options = {}
  for k, v in pairs(settings) do if k ~= "name" then options[k] = v end end
  local name = settings.name or "adamw"
  local kind = names[name]
  if not kind then
    util.fail("argument", ("there is no optimizer %q"):format(tostring(name)), nil,
              util.suggest(tostring(name), util.keys(names)))
  end
  return kind(params, options)
end

optim.Optimizer = Optimizer

return optim
