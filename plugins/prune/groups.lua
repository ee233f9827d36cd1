--- Which parameters are pruned together: groups, found by the roles of parameters.
--
--   dense      weight.linear, weight.conv     what is pruned when nothing else is said
--   embedding  embedding                      a group of its own: other scale, other density
--
-- Norms, biases, positions and relative biases have other roles and are never pruned. A plugin
-- or recipe may define further groups: groups.define("heads", function(p) return p.name:find "^head" end).
-- SPDX-License-Identifier: MIT

local util = require "quern.util"

local groups = {}

local function by_roles(...)
  local roles = {}
  for _, r in ipairs { ... } do roles[r] = true end
  return function(p) return roles[p.role] == true end
end

local known = { dense = by_roles("weight.linear", "weight.conv"), embedding = by_roles("embedding") }

--- Defines a group by a test of parameters.
---@param name string
---@param test fun(p: quern.Parameter): boolean
function groups.define(name, test)
  if type(name) ~= "string" or type(test) ~= "function" then
    util.fail("argument", "prune: a group is a name and a function that tests a parameter")
  end
  known[name] = test
end

--- Density by group, from what a caller gives: density = 0.1 is { dense = 0.1 }.
---@param o {density: number?, groups: table<string, number>?}
---@return table<string, number>
function groups.densities(o)
  if (o.density ~= nil) == (o.groups ~= nil) then
    util.fail("argument", "prune: give either density or groups", nil,
              "density = 0.1 keeps a tenth of the dense matrices; groups = { dense = 0.1, embedding = 0.5 }")
  end
  local out = o.groups or { dense = o.density }
  for name, d in util.sorted(out) do
    if not known[name] then
      util.fail("not_found", ("prune: there is no group %q"):format(tostring(name)), nil,
                util.suggest(tostring(name), util.keys(known)))
    end
    if type(d) ~= "number" or not (d > 0 and d <= 1) then
      util.fail("argument", ("prune: the density of %s must be in (0, 1], not %s"):format(name, tostring(d)), nil,
                "density is the share that is kept: 0.1 keeps a tenth")
    end
  end
  return out
end

--- The parameters of some groups in the model's order, each with its `group`.
---@param model quern.Module
---@param names string[]? default: { "dense" }
---@param only (fun(p: quern.Parameter): boolean)? leaves out those for which it is false
---@return quern.Parameter[]
function groups.of(model, names, only)
  if type(model) ~= "table" or not model.is_module then
    util.fail("argument", ("prune: a model is needed, not a %s"):format(type(model)), nil, "a module of quern.nn")
  end
  names = names or { "dense" }
  local out = {}
  for _, p in ipairs(model:parameters()) do
    for _, name in ipairs(names) do
      if known[name](p) and (not only or only(p)) then
        p.group = name
        out[#out + 1] = p
        break
      end
    end
  end
  if #out == 0 then
    util.fail("argument", ("prune: %s has no weights to prune"):format(model.class_name),
              "looked for group " .. table.concat(names, ", "),
              "prunable are parameters with role weight.linear, weight.conv or embedding")
  end
  return out
end

return groups
