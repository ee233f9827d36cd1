--- Module: what all layers and models are made of.
--
-- A module holds parameters (trained tensors), buffers (untrained state) and other
-- modules. Assigning a module, nn.parameter or nn.buffer to a field registers it;
-- walks follow the order of first assignment, so that names and orders are the same
-- in every run. A name is the path of fields: "blocks.1.uvqk.weight".
--
-- Every parameter has a role, by which pruners, sweeps and optimizers pick it:
--   weight.linear  weight.conv  embedding  norm  bias  position
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"
local util = require "quern.util"

local roles = { ["weight.linear"] = true, ["weight.conv"] = true, embedding = true, norm = true,
                bias = true, position = true }

---@class quern.Module
---@field training boolean
local Module = class("Module")

-- ---- What is in a module ----------------------------------------------------------

local function is_module(v)
  return type(v) == "table" and v.is_module == true and rawget(v, "_order") ~= nil
end

local marker = {}                -- metatable of what nn.parameter and nn.buffer return

--- Marks a tensor as a trained parameter when it is assigned to a module's field.
---@param tensor userdata floating tensor
---@param role string one of the roles above
---@param options {sparse: boolean?}? sparse: gradients by rows
local function parameter(tensor, role, options)
  if not roles[role] then
    util.fail("argument", ("unknown role %q of a parameter"):format(tostring(role)), nil,
              util.suggest(tostring(role), util.keys(roles)))
  end
  return setmetatable({ tensor = tensor, role = role, sparse = options and options.sparse }, marker)
end

--- Marks a tensor as untrained state, saved with the module.
---@param tensor userdata
local function buffer(tensor)
  return setmetatable({ tensor = tensor, buffer = true }, marker)
end

Module.is_module = true

function Module.allocate()
  return { _order = {}, _kind = {}, training = true }
end

local function register(self, key, kind)
  if not self._kind[key] then self._order[#self._order + 1] = key end
  self._kind[key] = kind
end

local function set(self, key, value)
  if getmetatable(value) == marker then
    if value.buffer then
      register(self, key, { what = "buffer" })
    else
      register(self, key, { what = "parameter", role = value.role, sparse = value.sparse })
      value.tensor:requires_grad_(true)
    end
    rawset(self, key, value.tensor)
    return
  end
  if is_module(value) then register(self, key, { what = "module" }) end
  rawset(self, key, value)
end
Module.__newindex = set

--- Replaces the tensor behind a registered name ("blocks.1.out.weight"); its role stays.
---@param name string
---@param tensor userdata
function Module:replace(name, tensor)
  local owner, field = self:find(name)
  local kind = owner and owner._kind[field]
  if not kind or kind.what == "module" then
    util.fail("not_found", ("%s has no parameter or buffer %q"):format(self.class_name, name), nil,
              util.suggest(name, util.keys(self:state())))
  end
  if kind.what == "parameter" then tensor:requires_grad_(true) end
  rawset(owner, field, tensor)
end

local function apply_mask(t, mask)
  quern.no_grad(function() t:copy_(quern.masked_fill(t, quern.logical_not(mask), 0)) end)
end

--- Masks a parameter, or frees it again (nil): where the mask is false the value becomes 0, and any
--- optimizer made of this module's parameters keeps it so.
---@param name string
---@param mask userdata? bool tensor of the parameter's shape
function Module:set_mask(name, mask)
  local owner, field = self:find(name)
  local kind = owner and owner._kind[field]
  if not kind or kind.what ~= "parameter" then
    util.fail("not_found", ("%s has no parameter %q to mask"):format(self.class_name, name), nil,
              util.suggest(name, util.keys(self:state())))
  end
  local t = owner[field]
  if mask and (mask.dtype ~= "bool" or not util.same(mask.shape, t.shape)) then
    util.fail("shape", ("%s: its mask is %s[%s]"):format(name, mask.dtype, table.concat(mask.shape, ",")),
              ("the parameter is %s[%s]"):format(t.dtype, table.concat(t.shape, ",")),
              "a mask is a bool tensor of the parameter's shape")
  end
  kind.mask = mask
  if mask then apply_mask(t, mask) end
end

--- The module that holds a name, and the field there; nil if there is none.
---@param name string
---@return table? owner
---@return string|integer|nil field
function Module:find(name)
  local owner, rest = self, name
  while true do
    local head, tail = rest:match("^([^.]+)%.(.+)$")
    if not head then
      local field = owner._kind[rest] and rest or math.tointeger(tonumber(rest))
      if owner._kind[field] then return owner, field end
      return nil
    end
    local key = owner._kind[head] and head or math.tointeger(tonumber(head))
    owner = key and owner._kind[key] and owner[key] or nil
    if not is_module(owner) then return nil end
    rest = tail
  end
end

--- The submodule at a path ("blocks.1"), or nil.
---@param path string
function Module:submodule(path)
  local owner, field = self:find(path)
  local m = owner and owner[field]
  return is_module(m) and m or nil
end

-- ---- Walks --------------------------------------------------------------------------

local function walk(self, prefix, seen, visit)
  if seen[self] then return end
  seen[self] = true
  for _, key in ipairs(self._order) do
    local value, kind = rawget(self, key), self._kind[key]
    if value ~= nil then
      local name = prefix .. tostring(key)
      visit(name, value, kind, self, key)
      if is_module(value) then walk(value, name .. ".", seen, visit) end
    end
  end
end

-- An entry's mask is the module's, also when that changes later.
local Entry = {}
function Entry.__index(entry, key)
  if key == "mask" then return rawget(entry, "kind").mask end
end

---@class quern.Parameter
---@field name string
---@field tensor userdata
---@field role string
---@field sparse boolean
---@field mask userdata? bool tensor of the parameter's shape: where it is false, the value is and stays 0

--- All parameters in order; a tensor that stands in two places is listed once.
---@return quern.Parameter[]
function Module:parameters()
  local list, seen = {}, {}
  walk(self, "", {}, function(name, value, kind, owner)
    if kind.what == "parameter" and not seen[value] then
      seen[value] = true
      list[#list + 1] = setmetatable({ name = name, tensor = value, role = kind.role, sparse = kind.sparse or false,
                                       kind = kind, module = owner }, Entry)
    end
  end)
  return list
end

--- Iterates over name, tensor, role of all parameters in order.
function Module:named_parameters()
  local list, i = self:parameters(), 0
  return function()
    i = i + 1
    local p = list[i]
    if p then return p.name, p.tensor, p.role end
  end
end

--- Iterates over name, tensor of all buffers in order.
function Module:named_buffers()
  local list, i = {}, 0
  walk(self, "", {}, function(name, value, kind)
    if kind.what == "buffer" then list[#list + 1] = { name, value } end
  end)
  return function()
    i = i + 1
    if list[i] then return list[i][1], list[i][2] end
  end
end

--- Iterates over path, module: this module ("") first, then all below it in order.
function Module:named_modules()
  local list, i = { { "", self } }, 0
  walk(self, "", {}, function(name, value, kind)
    if kind.what == "module" then list[#list + 1] = { name, value } end
  end)
  return function()
    i = i + 1
    if list[i] then return list[i][1], list[i][2] end
  end
end

--- Number of trained values, all or of one role.
---@param role string?
---@return integer
function Module:count(role)
  local n = 0
  for _, p in ipairs(self:parameters()) do
    if not role or p.role == role then n = n + p.tensor:numel() end
  end
  return n
end

-- ---- State ---------------------------------------------------------------------------

--- All parameters and buffers by name. The tensors are the module's own, not copies.
---@return table<string, userdata>
function Module:state()
  local state = {}
  walk(self, "", {}, function(name, value, kind)
    if kind.what ~= "module" then state[name] = value end
  end)
  return state
end

local function shape_text(t)
  local dims = {}
  for i, d in ipairs(t.shape) do dims[i] = tostring(d) end
  return ("%s[%s]"):format(t.dtype, table.concat(dims, ","))
end

local function check_state(self, own, given, strict)
  local missing, unexpected, wrong = {}, {}, {}
  for name, t in util.sorted(own) do
    local g = given[name]
    if not g then missing[#missing + 1] = name
    elseif shape_text(g):match("%[.*") ~= shape_text(t):match("%[.*") then
      wrong[#wrong + 1] = ("%s is %s in the model and %s in the state"):format(name, shape_text(t), shape_text(g))
    end
  end
  for name in util.sorted(given) do
    if not own[name] then unexpected[#unexpected + 1] = name end
  end
  if not strict then missing, unexpected = {}, {} end
  if #missing + #unexpected + #wrong == 0 then return end
  local detail = {}
  if #missing > 0 then detail[#detail + 1] = "missing: " .. table.concat(missing, ", ") end
  if #unexpected > 0 then detail[#detail + 1] = "unexpected: " .. table.concat(unexpected, ", ") end
  for _, w in ipairs(wrong) do detail[#detail + 1] = w end
  util.fail(#wrong > 0 and "shape" or "not_found",
            ("the state does not fit this %s"):format(self.class_name), table.concat(detail, "\n"),
            #wrong > 0 and "make the model with the settings it was saved with"
            or "strict = false loads what fits and leaves the rest")
end

--- Copies values into the parameters and buffers; all is checked before any is written. What a mask
--- leaves out becomes 0 again.
---@param given table<string, userdata>
---@param options {strict: boolean?}? strict (default true): names must agree both ways
---@return quern.Module self
function Module:load_state(given, options)
  local own = self:state()
  check_state(self, own, given, not options or options.strict ~= false)
  quern.no_grad(function()
    for name, t in util.sorted(own) do
      if given[name] then t:copy_(given[name]) end
    end
  end)
  for _, p in ipairs(self:parameters()) do
    if p.mask then apply_mask(p.tensor, p.mask) end
  end
  return self
end

--- Makes all floating parameters and buffers of another type ("f32", "f64", and "bf16" for storage).
---@param dtype string
---@param role string? only parameters of this role: "embedding" for tables
---@return quern.Module self
function Module:to(dtype, role)
  local made = {}
  walk(self, "", {}, function(_, value, kind, owner, key)
    local floating = kind.what ~= "module" and (value.dtype == "f32" or value.dtype == "f64" or value.dtype == "bf16")
    if floating and value.dtype ~= dtype and (not role or kind.role == role) then
      if not made[value] then
        made[value] = value:detach():cast(dtype)
        if kind.what == "parameter" then made[value]:requires_grad_(true) end
      end
      rawset(owner, key, made[value])
    end
  end)
  return self
end

--- Clears the gradients of all parameters.
function Module:zero_grad()
  for _, p in ipairs(self:parameters()) do p.tensor:zero_grad() end
end

--- Lets the parameters be trained, or holds them still.
---@param on boolean?
function Module:requires_grad_(on)
  for _, p in ipairs(self:parameters()) do p.tensor:requires_grad_(on ~= false) end
  return self
end

-- ---- Modes, calls, text ---------------------------------------------------------------

--- Training mode: dropout drops, batch norm uses the batch.
---@param on boolean?
function Module:train(on)
  for _, m in self:named_modules() do rawset(m, "training", on ~= false) end
  return self
end

--- Evaluation mode.
function Module:eval() return self:train(false) end

--- Calls fn(module, path) for this module and all below it.
---@param fn fun(module: table, path: string)
function Module:apply(fn)
  for path, m in self:named_modules() do fn(m, path) end
  return self
end

function Module:forward()
  util.fail("unsupported", self.class_name .. " has no forward")
end

function Module:__call(...) return self:forward(...) end

--- What stands in the parentheses of the printed form; layers override it.
function Module:describe() return "" end

local function print_module(self, name, indent, lines)
  local label = name ~= "" and name .. ": " or ""
  local children = {}
  for _, key in ipairs(self._order) do
    if self._kind[key].what == "module" and rawget(self, key) then children[#children + 1] = key end
  end
  lines[#lines + 1] = indent .. label .. self.class_name .. "(" .. self:describe() .. ")"
  for _, key in ipairs(children) do print_module(self[key], tostring(key), indent .. "  ", lines) end
end

function Module:__tostring()
  local lines = {}
  print_module(self, "", "", lines)
  lines[#lines + 1] = ("%s parameters"):format(util.thousands(self:count()))
  return table.concat(lines, "\n")
end

--- A new class of modules: nn.class "Block", then Block:init and Block:forward.
---@param name string
---@return table
function Module.extend(parent, name) return class(name, parent) end

return { Module = Module, parameter = parameter, buffer = buffer, is_module = is_module,
         class = function(name) return class(name, Module) end }
