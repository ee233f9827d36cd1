-- The Performance Law on the published surfaces: fits the 20 surfaces of the paper's figures (HR@10 and
-- NDCG@10 by depth and width, ten data sets and lengths) in seconds, without training anything.
--   quern run recipes/30_perflaw_reference.lua
--   quern run recipes/30_perflaw_reference.lua --set form=quadlog
-- SPDX-License-Identifier: MIT
local quern = require "quern"
local perflaw = quern.plugin "perflaw"

local r = quern.recipe {
  name = "perflaw-reference",
  doc = "refits the Performance Law's published surfaces and compares forms",
  params = {
    form = { "enum", "repo", "the law's form", of = { "repo", "paper", "power", "loglinear", "quadlog" } },
    p = { "num", 2, "shape of the law's power term", min = 0.01 },
    draws = { "int", 2000, "bootstrap draws for the intervals of the peaks", min = 10 },
  },
  sizes = { smoke = { draws = 100 }, small = {}, full = { draws = 10000 } },
  -- R2 as printed in the paper's figures, whose constants are not known.
  paper = {
    ["HR@10 ML-1M/100"] = { R2 = .8987 }, ["HR@10 ML-1M/150"] = { R2 = .9169 }, ["HR@10 ML-1M/200"] = { R2 = .8924 },
    ["HR@10 Books/25"] = { R2 = .8930 }, ["HR@10 Books/50"] = { R2 = .8516 }, ["HR@10 KuaiRand/25"] = { R2 = .7916 },
    ["HR@10 KuaiRand/50"] = { R2 = .9398 }, ["HR@10 KuaiRand/100"] = { R2 = .6494 },
    ["HR@10 Huawei/25"] = { R2 = .9400 }, ["HR@10 Huawei/50"] = { R2 = .9520 },
    ["NDCG@10 ML-1M/100"] = { R2 = .8517 }, ["NDCG@10 ML-1M/150"] = { R2 = .8823 },
    ["NDCG@10 ML-1M/200"] = { R2 = .9077 }, ["NDCG@10 Books/25"] = { R2 = .9043 },
    ["NDCG@10 Books/50"] = { R2 = .8663 }, ["NDCG@10 KuaiRand/25"] = { R2 = .9251 },
    ["NDCG@10 KuaiRand/50"] = { R2 = .9282 }, ["NDCG@10 KuaiRand/100"] = { R2 = .6571 },
    ["NDCG@10 Huawei/25"] = { R2 = .9133 }, ["NDCG@10 Huawei/50"] = { R2 = .9384 } },
}

function r:surface(metric, fit, draws)
  local label = ("%s %s"):format(metric, fit.surfaces[1].label)
  local best, row, note = fit:optimum(), { R2 = fit.r2 }, {}
  local band = fit:bootstrap { n = draws, seed = self.seed }
  for k, axis in ipairs { "layers", "dim" } do
    local i = band:peak(k)
    row["peak " .. axis] = best.flags[axis] ~= "none" and best.flags[axis] ~= "valley" and best.peaks[axis] or nil
    note[k] = ("%s: %s"):format(axis, best.flags[axis]) .. (i.estimate and i.share > 0
      and (", 95 %% in %.4g .. %.4g"):format(i.lo, i.hi) or "")
  end
  row.holdout = fit:holdout().both.rmse
  self:report(label, row, table.concat(note, "; "))
  self:figure(label, fit:plot { title = label })
end

function r:main(cfg)
  local rows = perflaw.reference()
  for _, metric in ipairs { "HR@10", "NDCG@10" } do
    for _, fit in ipairs(perflaw.fits { data = rows, metric = metric, form = cfg.form, p = cfg.p }) do
      self:surface(metric, fit, cfg.draws)
    end
  end
  local _, verdict = perflaw.compare { data = rows, metric = "HR@10", where = { dataset = "ML-1M", maxlen = 100 } }
  self:log("ML-1M/100, HR@10: " .. verdict)
end

return r
