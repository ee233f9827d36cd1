--- The Performance Law: how a metric depends on depth, width and data, and what to train next.
--
--   local perflaw = quern.plugin "perflaw"
--   local rows = perflaw.read "results.csv"                  -- or perflaw.runs "runs"
--   local fit = perflaw.fit { data = rows, metric = "NDCG@10", where = { dataset = "ML-1M" } }
--   print(fit, fit:optimum().layers, fit:bootstrap():peak(1).hi)
--   print(select(2, perflaw.compare { data = rows, metric = "NDCG@10" }))
--
-- SPDX-License-Identifier: MIT

local law = require "perflaw.law"
local forms = require "perflaw.forms"
local source = require "perflaw.source"
local compare = require "perflaw.compare"
local optimum = require "perflaw.optimum"
local intervals = require "perflaw.intervals"
local entropy = require "perflaw.entropy"
local plot = require "perflaw.plot"

function law.Fit:bootstrap(o) return intervals.bootstrap(self, o) end
function law.Fit:profile(axis, level) return intervals.profile(self, axis, level) end
function law.Fit:holdout() return compare.holdout(self) end
function law.Fit:leave_one_out() return compare.leave_one_out(self) end
function law.Fit:largest_inside(o) return compare.largest_inside(self, o) end
function law.Fit:plan(o) return optimum.plan(self, o) end
function law.Fit:plot(o) return plot.of(self, o) end

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"

return {
  g = forms.g, g_slopes = forms.g_slopes, forms = forms.names,
  fit = law.fit, fits = law.fits, compare = compare.forms, plan = optimum.plan,
  read = source.read, runs = source.runs,
  --- The 20 surfaces of the paper's figures (HR@10 and NDCG@10 of ten data sets and lengths).
  reference = function() return source.read(here .. "surfaces.csv") end,
  entropy = entropy.of,
  plot = plot,
}
