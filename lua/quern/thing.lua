--- Things beside ops, from the core and from plugins: objects, hooks, data sets, metrics, file
--- formats, scorers of weights.
--
--   local lion = quern.object("lion", { lr = 1e-4 });  lion:step(w, w.grad)
--   quern.fit(model, data, { hooks = { quern.hook("average", { decay = 0.99 }) } })
--   local d = quern.dataset("dirichlet", { n_records = 100 });  d:read{0, 1}   -- jagged
--   local m = quern.metric("calibration");  m:add(p, y);  m:result().ECE
--   quern.codec("npy"):write("x.npy", { array = x });  quern.codec("npy"):read("x.npy").array
--   quern.scorer("taylor"):score(w, { grad = g })
--
-- A name two plugins share is written "plugin.name". The contract is in quern/abi_decls.h,
-- "Things beside ops". All have state() and load_state(tensors, values), as a fit hook has.
-- SPDX-License-Identifier: MIT

local core = require "quern.core"
local class = require "quern.class"
local things = require "quern.things"
local util = require "quern.util"

local thing = {}

-- ---- What all have --------------------------------------------------------------------------

---@class quern.Thing
---@field kind string
---@field name string
---@field plugin string id of the plugin that has it
local Thing = class("Thing")

function Thing:init(name, settings)
  self.core = things.new(self.kind_name, name, settings)
  self.kind, self.name, self.plugin = self.core:type()
end

--- State: the thing's own named tensors, and the values beside them.
---@return table<string, userdata> tensors
---@return {kind: string, name: string, plugin: string, text: string} values
function Thing:state()
  local tensors, text = self.core:state()
  return tensors, { kind = self.kind, name = self.name, plugin = self.plugin, text = text }
end

--- Takes over a state; a refused one leaves the thing as it was.
---@param tensors table<string, userdata>
---@param values table
function Thing:load_state(tensors, values)
  if values.name ~= self.name or values.kind ~= self.kind then
    util.fail("state", ("the state is of the %s %s, this is the %s %s"):format(tostring(values.kind),
      tostring(values.name), self.kind, self.name))
  end
  self.core:load_state(tensors, values.text or "")
end

--- Numbers it tells about itself, by name.
---@return table<string, number>
function Thing:describe() return self.core:describe() end

--- Gives back what it holds now instead of when it is collected.
function Thing:close() self.core:close() end

-- ---- Kinds ------------------------------------------------------------------------------------

local kinds = {}

---@class quern.Object: quern.Thing
local Object = class("Object", Thing)
kinds.object = Object
--- One step; arguments and results are those of its schema.
function Object:step(...) return self.core:call(...) end

---@class quern.Hook: quern.Thing
local Hook = class("Hook", Thing)
kinds.hook = Hook

-- A parameter as C sees it; one that is not contiguous is given as a copy and written back.
local function parameters_of(list, with_grad)
  local out, back = {}, {}
  for i, p in ipairs(list) do
    local value, grad = p.tensor, with_grad and p.tensor.grad or nil
    out[i] = { name = p.name, role = p.role, value = value, grad = grad, mask = p.mask }
    for _, key in ipairs { "value", "grad" } do
      local t = out[i][key]
      if t and not t:is_contiguous() then
        out[i][key] = t:detach():contiguous()
        back[#back + 1] = { t, out[i][key] }
      end
    end
  end
  return out, back
end

local gradients_at = { after_backward = true }

local function tell(self, event, fit, loss)
  if not self.core:wants(event) then return end
  local list, back = parameters_of(fit.model:parameters(), gradients_at[event])
  self.core:event(event, fit.epoch or 0, fit.step or 0, loss, list)
  for _, pair in ipairs(back) do pair[1]:copy_(pair[2]) end
end

function Hook:before_epoch(fit) tell(self, "before_epoch", fit, fit.value) end
function Hook:before_step(fit) tell(self, "before_step", fit, fit.value) end
function Hook:after_backward(fit) tell(self, "after_backward", fit, fit.value) end
function Hook:after_step(fit, loss) tell(self, "after_step", fit, loss) end
function Hook:after_epoch(fit) tell(self, "after_epoch", fit, fit.value) end
function Hook:checkpoint(fit) tell(self, "checkpoint", fit, fit.value) end
function Hook:finish(fit) tell(self, "finish", fit, fit.value) end

---@class quern.Dataset: quern.Thing
local Dataset = class("Dataset", Thing)
kinds.dataset = Dataset

--- How many records there are.
---@return integer
function Dataset:count() return self.core:count() end

--- Records by number, from 0: a table of tensors by the names of its schema's outputs; X with
--- X_offsets is one jagged tensor X.
---@param records integer[]|userdata
---@return table<string, userdata>
function Dataset:read(records, ...)
  if type(records) == "table" then records = core.tensor(records, "i64") end
  local found = table.pack(self.core:call(records, ...))
  local names, out = self:fields(), {}
  for i, name in ipairs(names) do out[name] = found[i] end
  for _, name in ipairs(names) do
    local offsets = out[name .. "_offsets"]
    if offsets then
      out[name] = core.jagged(out[name], offsets)
      out[name .. "_offsets"] = nil
    end
  end
  return out
end

-- Names of the outputs of its method.
function Dataset:fields()
  if not self.names then
    self.names = {}
    for _, t in ipairs(things.types "dataset") do
      if t.name == self.name and t.plugin_id == self.plugin then
        for name in t.method:match("%->(.*)$"):gsub("%b[]", ""):gmatch("([%a_][%w_]*)%s*:") do
          self.names[#self.names + 1] = name
        end
      end
    end
  end
  return self.names
end

---@class quern.Metric: quern.Thing
local Metric = class("Metric", Thing)
kinds.metric = Metric
--- Takes a batch; arguments are those of its schema.
function Metric:add(...) self.core:call(...) end
--- Numbers by name of all that was added.
---@return table<string, number>
function Metric:result() return self.core:result() end

---@class quern.Codec: quern.Thing
local Codec = class("Codec", Thing)
kinds.codec = Codec
function Codec:init(name, settings)
  Thing.init(self, name, settings)
  self.asked, self.settings = name, settings
end
-- One thing for each file.
local function fresh(self) return things.new("codec", self.asked, self.settings) end
--- Tensors of a file by name, and its metadata as text.
---@param path string
---@return table<string, userdata> tensors
---@return string text
function Codec:read(path) return fresh(self):read(path) end
--- Writes a file, whole or not at all.
---@param path string
---@param tensors table<string, userdata>
---@param text string? metadata, as JSON
function Codec:write(path, tensors, text) fresh(self):write(path, tensors, text or "") end

---@class quern.Scorer: quern.Thing
---@field needs_grad boolean
---@field needs_mask boolean
local Scorer = class("Scorer", Thing)
kinds.scorer = Scorer
function Scorer:init(name, settings)
  Thing.init(self, name, settings)
  self.needs_grad, self.needs_mask = self.core:reads()
end

--- Scores of weights: of one tensor, or of a list { { name, role, value, grad, mask }, ... } at once.
---@param what userdata|table[]
---@param more {grad: userdata?, mask: userdata?, name: string?, role: string?}?
---@return userdata|userdata[] f32 tensors of the weights' shapes
function Scorer:score(what, more)
  local single = type(what) == "userdata"
  more = more or {}
  local list = single and { { value = what, grad = more.grad, mask = more.mask, name = more.name, role = more.role } }
    or what
  local dense = {}
  for i, p in ipairs(list) do
    dense[i] = { name = p.name, role = p.role }
    for _, key in ipairs { "value", "grad", "mask" } do
      dense[i][key] = p[key] and p[key]:detach():contiguous()
    end
    if dense[i].mask and dense[i].mask.dtype ~= "bool" then dense[i].mask = core.op("ne")(dense[i].mask, 0) end
    if self.needs_grad and not dense[i].grad then
      util.fail("state", ("scorer %s: %s has no gradient"):format(self.name, p.name or "the weight"), nil,
                "run backward first, or give grad =")
    end
  end
  local scores = self.core:score(dense)
  return single and scores[1] or scores
end

-- ---- Making -------------------------------------------------------------------------------------

for kind, made in pairs(kinds) do
  made.kind_name = kind
  thing[kind] = function(name, settings)
    if type(name) ~= "string" then
      util.fail("argument", ("quern.%s: the name of one is needed"):format(kind), nil,
        "there are " .. table.concat(thing.names(kind), ", "))
    end
    return made(name, settings)
  end
end

--- Names of what there is of a kind, as they can be asked for.
---@param kind string
---@return string[]
function thing.names(kind)
  local out, seen = {}, {}
  local list = things.types(kind)
  for _, t in ipairs(list) do seen[t.name] = (seen[t.name] or 0) + 1 end
  for i, t in ipairs(list) do out[i] = seen[t.name] > 1 and t.plugin .. "." .. t.name or t.name end
  return out
end

--- All there is, or all of a kind: tables with kind, name, plugin, settings, summary, doc, cite.
---@param kind string?
---@return table[]
function thing.list(kind) return things.types(kind) end

--- What a plugin offers, by kind and name: { object = { lion = function(settings) ... } }.
---@param id string of the plugin
---@return table<string, table<string, function>>
function thing.of(id)
  local out = {}
  for _, t in ipairs(things.types()) do
    if t.plugin_id == id then
      out[t.kind] = out[t.kind] or {}
      out[t.kind][t.name] = function(settings) return thing[t.kind](id .. "." .. t.name, settings) end
    end
  end
  return out
end

--- Reads a file by the codec that knows its first bytes or its suffix.
---@param path string
---@return table<string, userdata> tensors
---@return string text
function thing.read(path)
  local name = things.sniff(path)
  if not name then
    util.fail("format", ("no codec knows the file %s"):format(path),
      "there are " .. table.concat(thing.names("codec"), ", "), "load the plugin that has one for it")
  end
  return thing.codec(name):read(path)
end

return thing
