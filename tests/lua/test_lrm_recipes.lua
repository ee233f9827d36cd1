--- Recipes of large recommendation models: they load, run at their smallest, and record what a law of scaling reads.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local recipe = require "quern.recipe"

local here = debug.getinfo(1, "S").source:match "^@(.*)tests/lua/[^/]*$" or "./"
if here == "" then here = "./" end

local names = { "12_backbone_scaling", "13_hstu_ablation", "14_side_information", "15_multi_behaviour",
                "16_multi_domain", "17_ranking", "18_dirichlet_stream" }

local function load(name) return recipe.load(here .. "recipes/" .. name .. ".lua") end

-- Reports by label of a run, at smoke size unless told otherwise.
local function reports(name, size)
  local run, out = recipe.run(load(name), { size = size or "smoke", out = check.folder(), seed = 1 }), {}
  run:finish "done"
  for _, r in ipairs(quern.json.decode(check.read(run.folder .. "/report.json"))) do out[r.label] = r.metrics end
  return out
end

local tests = {
  { "each recipe loads and has its three sizes", function()
    for _, name in ipairs(names) do
      local r = load(name)
      for _, size in ipairs { "smoke", "small", "full" } do check.yes(r.sizes[size], name .. " " .. size) end
    end
  end },

  { "the Dirichlet stream needs no data and reports all models, and an oracle ahead of those barely trained", function()
    local m = reports "18_dirichlet_stream"
    for _, label in ipairs { "HSTU, SiLU", "HSTU, softmax", "Transformer", "SASRec" } do
      check.yes(m[label]["HR@10"] > 0 and m[label].n == 20 * 15, label)
      check.yes(m[label]["HR@10"] < m.oracle["HR@10"] and m.oracle["HR@10"] < 0.3, label)
    end
  end },

  { "a scaling run records depth, width, parameters, tokens and metrics", function()
    check.data "ml1m/train_input.txt"
    local m = reports("12_backbone_scaling").hstu
    check.equal({ m.depth, m.width, m.users, m.epochs, m.n }, { 1, 16, 200, 1, 200 })
    check.yes(m.parameters > m["parameters of blocks"] and m["parameters of blocks"] > 1000 and m.tokens > 3000)
    check.yes(m["HR@10"] >= 0 and m["NDCG@10"] <= m["HR@10"] and m.loss > 0)
  end },

  { "ranking reports AUC, GAUC and LogLoss of the baseline and of each head", function()
    check.data "ml100k/ml-100k.inter"
    local m = reports "17_ranking"
    for _, label in ipairs { "DIN", "HSTU, dot", "HSTU, mlp", "HSTU, ffn", "LLaMA, ffn" } do
      check.yes(m[label]["AUC liked"] > 0 and m[label]["GAUC liked"] > 0 and m[label]["LogLoss liked"] > 0, label)
    end
  end },
}

-- A minute of one core: make study.
if os.getenv "QUERN_STUDIES" then
  tests[#tests + 1] = { "on the Dirichlet stream: SiLU before softmax before the Transformer, over 3 seeds", function()
    local m = reports("18_dirichlet_stream", "small")
    local silu, softmax, transformer = m["HSTU, SiLU"], m["HSTU, softmax"], m.Transformer
    check.equal(silu.runs, 3)
    check.yes(silu["HR@10"] > softmax["HR@10"] and softmax["HR@10"] > transformer["HR@10"],
              ("%.4f, %.4f, %.4f"):format(silu["HR@10"], softmax["HR@10"], transformer["HR@10"]))
  end }
end

return tests
