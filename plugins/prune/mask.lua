--- Mask: which weights of a model are kept, as an object.
--
--   local mask = prune.mask("snip", model, data, { density = 0.1, loss = loss })
--   mask:bind(model)                       -- zeroed now, and zero after every step of any optimizer
--   print(mask, mask:density(), mask:effective())
--   mask:save "snip.mask";  local again = prune.Mask.load "snip.mask"
--   print((mask & again):iou(mask))
--
-- A mask is a list of bool tensors by parameter name, in the model's order. bind puts them into
-- the model (Module:set_mask), from where every optimizer takes them. As a hook of fit it also
-- travels in checkpoints: hooks = { mask }. Files hold bits, shapes and a SHA-256 of both.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"
local util = require "quern.util"
local sealed = require "quern.sealed"

local file = sealed.kind { format = "quern.mask", version = 1, name = "mask", writer = "mask:save(path)" }

---@class prune.Mask
---@field names string[] in the model's order
---@field kept table<string, userdata> bool tensors, true where a weight is kept
---@field model quern.Module? that it was made for or bound to
local Mask = class "Mask"

local function total(t) return quern.sum(t:cast("i64")):item() end

local function shape_text(t) return ("[%s]"):format(table.concat(t.shape, ",")) end

--- From bool tensors by parameter name.
---@param kept table<string, userdata>
---@param names string[]? their order; default: by name
---@param model quern.Module? that they belong to
function Mask:init(kept, names, model)
  self.names, self.kept, self.model = names or util.keys(kept), {}, model
  if #self.names == 0 then
    util.fail("argument", "a mask of no parameters", nil, "give it bool tensors by parameter name")
  end
  for _, name in ipairs(self.names) do
    local t = kept[name]
    if not quern.is_tensor(t) then
      util.fail("argument", ("mask: %s is a %s, not a tensor"):format(name, type(t)))
    end
    self.kept[name] = t.dtype == "bool" and t or quern.ne(t, 0)
  end
end

--- Keeps every weight of the given parameters (entries of Module:parameters).
---@param params quern.Parameter[]
---@param model quern.Module?
---@return prune.Mask
function Mask.full(params, model)
  local kept, names = {}, {}
  for i, p in ipairs(params) do
    names[i], kept[p.name] = p.name, quern.full(p.tensor.shape, 1, "bool")
  end
  return Mask(kept, names, model)
end

-- ---- Counting ------------------------------------------------------------------------------

--- Kept weights and all weights, of one parameter or of all.
---@param name string?
---@return integer kept, integer all
function Mask:count(name)
  if name then return total(self.kept[name]), self.kept[name]:numel() end
  local kept, all = 0, 0
  for _, n in ipairs(self.names) do
    local k, a = self:count(n)
    kept, all = kept + k, all + a
  end
  return kept, all
end

--- The kept share of all weights.
---@return number
function Mask:density()
  local kept, all = self:count()
  return all > 0 and kept / all or 0.0
end

--- The kept share of each parameter's weights.
---@return table<string, number>
function Mask:densities()
  local out = {}
  for _, name in ipairs(self.names) do
    local kept, all = self:count(name)
    out[name] = all > 0 and kept / all or 0.0
  end
  return out
end

--- Parameters of which nothing is left.
---@return string[]
function Mask:collapsed()
  local out = {}
  for _, name in ipairs(self.names) do
    local kept, all = self:count(name)
    if kept == 0 and all > 0 then out[#out + 1] = name end
  end
  return out
end

--- The kept share that lies on a path from the input to the output (prune.flow).
---@param model quern.Module? default: the one it belongs to
---@return number
function Mask:effective(model)
  local kept, all = self:live(model):count()
  return all > 0 and kept / all or 0.0
end

--- The mask of those weights that are kept and lie on a path from the input to the output.
---@param model quern.Module?
---@return prune.Mask
function Mask:live(model)
  model = model or self.model or util.fail("argument", "mask: of which model?", nil, "mask:effective(model)")
  return require("prune.flow").live(model, self)
end

-- ---- Algebra ---------------------------------------------------------------------------------

local function check_alike(a, b)
  for _, pair in ipairs { { a, b }, { b, a } } do
    for _, name in ipairs(pair[1].names) do
      local x, y = pair[1].kept[name], pair[2].kept[name]
      if not y or not util.same(x.shape, y.shape) then
        util.fail("shape", ("masks of different models: %s is %s in one and %s in the other"):format(name,
                  shape_text(x), y and shape_text(y) or "missing"))
      end
    end
  end
end

local function combine(a, b, op)
  check_alike(a, b)
  local kept = {}
  for _, name in ipairs(a.names) do kept[name] = op(a.kept[name], b.kept[name]) end
  return Mask(kept, a.names, a.model)
end

--- Kept in both.
function Mask:__band(other) return combine(self, other, quern.logical_and) end
--- Kept in one or both.
function Mask:__bor(other) return combine(self, other, quern.logical_or) end
--- Kept in one, not in both.
function Mask:__bxor(other) return combine(self, other, quern.ne) end

--- Kept where this mask does not keep.
function Mask:__bnot()
  local kept = {}
  for _, name in ipairs(self.names) do kept[name] = quern.logical_not(self.kept[name]) end
  return Mask(kept, self.names, self.model)
end

--- Intersection over union, 1 for equal masks.
---@param other prune.Mask
---@return number
function Mask:iou(other)
  local either = (self | other):count()
  return either > 0 and (self & other):count() / either or 1.0
end

--- Is everything that this mask keeps kept by the other?
---@param other prune.Mask
---@return boolean
function Mask:within(other) return (self & ~other):count() == 0 end

function Mask:__eq(other)
  return #self.names == #other.names and pcall(check_alike, self, other) and (self ~ other):count() == 0
end

-- ---- Models --------------------------------------------------------------------------------------

local function params_of(self, model)
  local params = {}
  for _, p in ipairs(model:parameters()) do params[p.name] = p end
  for _, name in ipairs(self.names) do
    local p, kept = params[name], self.kept[name]
    if not p then
      util.fail("not_found", ("the mask has %s, the model has not"):format(name), nil,
                util.suggest(name, util.keys(params)))
    end
    if not util.same(p.tensor.shape, kept.shape) then
      util.fail("shape", ("the mask of %s is %s, the parameter %s"):format(name, shape_text(kept),
                shape_text(p.tensor)), nil, "the mask belongs to another model")
    end
  end
  return params
end

--- Zeroes what is not kept and holds it at zero: optimizers made from now on take the masks from
--- the model; one that is there already is told by the second argument.
---@param model quern.Module
---@param optimizer quern.Optimizer?
---@return prune.Mask self
function Mask:bind(model, optimizer)
  params_of(self, model)
  for _, name in ipairs(self.names) do
    model:set_mask(name, self.kept[name])
    if optimizer then optimizer:set_mask(name, self.kept[name]) end
  end
  self.model = model
  return self
end

--- Frees the parameters again; their zeros stay until they are trained.
---@param model quern.Module? default: the one it is bound to
---@param optimizer quern.Optimizer?
function Mask:unbind(model, optimizer)
  model = model or self.model
  for _, name in ipairs(self.names) do
    model:set_mask(name, nil)
    if optimizer then optimizer:set_mask(name, nil) end
  end
end

--- Zeroes what is not kept, once.
---@param model quern.Module
function Mask:apply(model)
  local params = params_of(self, model)
  quern.no_grad(function()
    for _, name in ipairs(self.names) do
      local t = params[name].tensor
      t:copy_(quern.masked_fill(t, quern.logical_not(self.kept[name]), 0))
    end
  end)
end

-- ---- Files and checkpoints --------------------------------------------------------------------------

--- Bits by parameter name, and the shapes; what checkpoints hold when the mask is a hook of fit.
---@return table<string, userdata> bits
---@return table values
function Mask:state()
  local bits, shapes = {}, {}
  for i, name in ipairs(self.names) do
    bits[name], shapes[i] = quern.pack_bits(self.kept[name]), self.kept[name].shape
  end
  return bits, { names = self.names, shapes = shapes }
end

local function unpack_state(bits, values)
  local kept = {}
  for i, name in ipairs(values.names) do
    if not bits[name] then util.fail("format", ("the mask's state lacks %s"):format(name)) end
    kept[name] = quern.unpack_bits(bits[name], values.shapes[i])
  end
  return kept
end

--- Takes over a state and, if bound, masks the model anew.
function Mask:load_state(bits, values)
  self.kept, self.names = unpack_state(bits, values), values.names
  if self.model then self:bind(self.model) end
end

--- Writes bits, shapes and their SHA-256: N/8 bytes for N weights.
---@param path string
function Mask:save(path) file:save(path, self:state()) end

--- Reads a mask; a damaged or truncated file is refused.
---@param path string
---@param model quern.Module? to check it against
---@return prune.Mask
function Mask.load(path, model)
  local bits, values = file:load(path)
  local mask = Mask(unpack_state(bits, values), values.names, model)
  if model then params_of(mask, model) end
  return mask
end

-- ---- Text ---------------------------------------------------------------------------------------------

--- One line per parameter: shape, kept, density.
function Mask:__tostring()
  local rows = { { "parameter", "shape", "kept", "density" } }
  for _, name in ipairs(self.names) do
    local kept, all = self:count(name)
    rows[#rows + 1] = { name, shape_text(self.kept[name]), util.thousands(kept),
                        ("%.4f"):format(all > 0 and kept / all or 0) }
  end
  local kept, all = self:count()
  rows[#rows + 1] = { "all", util.thousands(all), util.thousands(kept), ("%.4f"):format(self:density()) }
  return util.table(rows, { right = { [3] = true, [4] = true } })
end

return Mask
