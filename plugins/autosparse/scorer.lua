--- Scorer: a fitted network, its table, and the features it was taught with; usable wherever
--- prune takes a scorer.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"
local util = require "quern.util"
local sealed = require "quern.sealed"
local features = require "autosparse.features"
local lookup = require "autosparse.lookup"
local networks = require "autosparse.networks"

local file = sealed.kind { format = "quern.autosparse.scorer", version = 1, name = "scorer of autosparse",
                           writer = "scorer:save(path)" }
local FAR = 0.01                 -- share of weights beyond the range of teaching that is worth a word

---@class autosparse.Scorer
---@field name string
---@field kind string of the network: "mlp", "fc", "resnet18"
---@field features string "raw", "global", "layer"
---@field report table of the fit: r2, spearman, layers, n
---@field origin table? settings of the run that made its data
local Scorer = class "AutosparseScorer"

Scorer.needs = { data = true }

---@param fields table kind, hidden, features, net, axes, report, origin, name
function Scorer:init(fields)
  for k, v in pairs(fields) do self[k] = v end
  self.name, self.options = self.name or "autos", { exact = false, features = false }
  self.summary = ("learned score, %s on %s features"):format(self.kind, self.features)
  self.net:eval()
  self.score = function(job) return self:weigh(job) end
  self.before_select = function(chosen) self:warn_of_layers(chosen) end
end

-- ---- Values --------------------------------------------------------------------------------------

local function chunks(n, size)
  local at = 1 - size
  return function()
    at = at + size
    if at <= n then return at, math.min(size, n - at + 1) end
  end
end

-- fn of two vectors, some rows at a time, so that what lies between stays in the cache.
local function by_chunks(fn, size, u, v)
  local n = u:numel()
  local out = quern.empty({ n }, "f32")
  for at, count in chunks(n, size) do
    quern.scope(function()
      out:narrow(1, at, count):copy_(fn(u:narrow(1, at, count), v:narrow(1, at, count)))
    end)
  end
  return out
end

--- The grid that stands for the network; made on first use.
---@return userdata f32 [512,512]
function Scorer:grid()
  if not self.table then
    self.table = lookup.make(function(u, v) return self:exact(u, v) end, self.axes)
    self.table:keep()
  end
  return self.table
end

--- The network's scores of weights.
---@param u userdata f32 [N] scaled values
---@param v userdata f32 [N] scaled gradients
---@return userdata f32 [N]
function Scorer:exact(u, v)
  local function fn(a, b) return self.net(quern.stack({ a, b }, 2)) end
  return quern.no_grad(function() return by_chunks(fn, networks.chunk[self.kind], u, v) end)
end

--- The same from the table.
function Scorer:tabled(u, v)
  return quern.no_grad(function() return lookup.at(self:grid(), self.axes, u, v) end)
end

-- ---- Scoring a model ---------------------------------------------------------------------------------

local function warn(text) io.stderr:write("quern: ", text, "\n") end

-- What deserves a word about the model at hand.
local function remark(self, u, v)
  local outside, zero, n = 0.0, 0, 0
  for name, t in pairs(u) do
    local count = t:numel()
    outside = outside + count * lookup.outside(self.axes, t:reshape { count }, v[name]:reshape { count })
    zero, n = zero + quern.sum(quern.eq(v[name], 0):cast "i64"):item(), n + count
  end
  self.seen = { outside = outside / n, zero_gradients = zero / n }
  if self.seen.outside > FAR then
    warn(("%.1f %% of the weights lie outside of what scorer %s was taught on; %s"):format(100 * self.seen.outside,
         self.name, self.features == "raw" and "raw features depend on the number and size of batches"
         or "is the model trained already?"))
  end
end

local function check_mode(self, wanted)
  if wanted and wanted ~= self.features then
    util.fail("argument", ("autosparse: scorer %s was taught with features %s, not %s"):format(self.name, self.features,
              tostring(wanted)), nil, "fit one with features = \"" .. tostring(wanted) .. "\"")
  end
end

--- The scores of a model's weights, for prune.
---@param job prune.Job
---@return table<string, userdata> f32 by name
function Scorer:weigh(job)
  check_mode(self, job.options.features)
  local names, theta, out = {}, {}, {}
  for i, p in ipairs(job.params) do names[i], theta[p.name] = p.name, p.tensor:detach() end
  local u, v = features.of(self.features, names, theta, (job:gradients()))
  return quern.no_grad(function()
    remark(self, u, v)
    for _, name in ipairs(names) do
      local n = u[name]:numel()
      local method = job.options.exact and self.exact or self.tabled
      out[name] = quern.scope(function()
        return method(self, u[name]:reshape { n }, v[name]:reshape { n }):reshape(theta[name].shape)
      end)
    end
    return out
  end)
end

--- A word of warning about a selection: features of each layer and one threshold for all.
---@param options prune.SelectOptions
function Scorer:warn_of_layers(options)
  if self.features == "layer" and (options.alloc or "global") == "global" then
    warn("features = \"layer\" under one global threshold gives every layer about the same density; "
         .. "use alloc = \"erk\" or \"layer\", or features = \"global\"")
  end
end

-- ---- Files ---------------------------------------------------------------------------------------------

--- Writes network, ranges and report. The table is made again on loading.
---@param path string
function Scorer:save(path)
  local tensors = {}
  for name, t in pairs(self.net:state()) do tensors[name] = t end
  file:save(path, tensors, { kind = self.kind, hidden = self.hidden, features = self.features, axes = self.axes,
    report = self.report, origin = self.origin, name = self.name })
end

---@param path string
---@return autosparse.Scorer
function Scorer.load(path)
  local tensors, s = file:load(path)
  features.check(s.features)
  local net = networks.make(s.kind, s.hidden)
  net:load_state(tensors)
  s.net = net
  return Scorer(s)
end

function Scorer:__tostring()
  local r = self.report
  local lines = { ("%s: %s, %s features, %s parameters; taught on %s weights"):format(self.name, self.kind,
    self.features, util.thousands(self.net:count()), util.thousands(r.n)),
    ("held out: R2 %.4f, Spearman %.4f"):format(r.r2, r.spearman) }
  local rows = { { "layer", "weights", "R2", "Spearman" } }
  for _, l in ipairs(r.layers) do
    rows[#rows + 1] = { l.name, util.thousands(l.n), ("%.4f"):format(l.r2), ("%.4f"):format(l.spearman) }
  end
  lines[#lines + 1] = util.table(rows, { indent = "  ", right = { [2] = true, [3] = true, [4] = true } })
  return table.concat(lines, "\n")
end

return Scorer
