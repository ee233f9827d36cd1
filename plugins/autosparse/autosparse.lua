--- AutoSparse: a score for pruning before training, learned once from iterative rewind pruning.
--
--   local autosparse = quern.plugin "autosparse"
--   local irp = autosparse.irp { model = teacher, data = set, loss = loss, train = train,
--                                rounds = 20, final = 0.01, folder = "irp-lenet" }
--   local scorer = autosparse.fit { from = irp }
--   scorer:save "mine.safetensors";  print(scorer)
--   local mask = prune.mask(scorer, model, set, { density = 0.01, loss = loss })   -- any new model
--   local mask = prune.mask("autos", model, set, { density = 0.01, loss = loss })  -- the shipped scorer
--
-- Masks, selection and the other scorers are the plugin prune's. README.md has the method, its
-- equations, results and deviations.
-- SPDX-License-Identifier: MIT

local _, here = ...

local quern = require "quern"
local util = require "quern.util"
local sys = require "quern.sys"

local prune = quern.plugin "prune"
local irp = require "autosparse.irp"
local Dataset = require "autosparse.dataset"
local Scorer = require "autosparse.scorer"
local fit = require "autosparse.fit"
local schedule = require "autosparse.schedule"
local statistics = require "autosparse.statistics"

local folder = here:match("^(.*)/") or "."
local autosparse = { irp = irp.run, dataset = Dataset.from, load_dataset = Dataset.load, fit = fit, Scorer = Scorer,
                     schedule = schedule.keep, spearman = statistics.spearman }

--- Names of the scorers that are shipped.
---@return string[]
function autosparse.shipped()
  local names = {}
  for _, name in ipairs(sys.list(folder)) do
    names[#names + 1] = name:match("^(.*)%.safetensors$")
  end
  return names
end

local loaded = {}

--- A fitted scorer: the name of a shipped one, or a file.
---@param name string
---@return autosparse.Scorer
function autosparse.load(name)
  if loaded[name] then return loaded[name] end
  local shipped = folder .. "/" .. name .. ".safetensors"
  local path = sys.exists(shipped) and shipped or name
  if not sys.exists(path) then
    util.fail("not_found", ("autosparse: there is no scorer %q"):format(tostring(name)), nil,
              util.suggest(tostring(name), autosparse.shipped()) or "a file is given by its path")
  end
  loaded[name] = Scorer.load(path)
  return loaded[name]
end

prune.register {
  name = "autos", summary = "learned from iterative rewind pruning: a network of weight and gradient",
  paper = "Liu, Cheng et al. 2024, arXiv 2408.14757", needs = { data = true },
  options = { scorer = "lenet-snip", exact = false },
  score = function(job) return autosparse.load(job.options.scorer).score(job) end,
}

return autosparse
