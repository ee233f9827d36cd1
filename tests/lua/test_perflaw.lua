--- The Performance Law: entropies against brute force, fits against the reference surfaces.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local det = require "quern.det"
local perflaw = quern.plugin "perflaw"

local rows = perflaw.reference()

local function surface(metric, dataset, maxlen, more)
  local o = { data = rows, metric = metric, where = { dataset = dataset, maxlen = maxlen } }
  for k, v in pairs(more or {}) do o[k] = v end
  return o
end

local function fit(...) return perflaw.fit(surface(...)) end

local function jagged(lists) return quern.jagged(lists, "i64") end

local function random_lists(random, n, longest, alphabet)
  local lists = {}
  for i = 1, n do
    lists[i] = {}
    for j = 1, random:range(0, longest) do lists[i][j] = random:range(1, alphabet) end
  end
  return lists
end

local function median(list)
  table.sort(list)
  local n = #list
  return n % 2 == 1 and list[(n + 1) // 2] or (list[n // 2] + list[n // 2 + 1]) / 2
end

-- ---- By definition ------------------------------------------------------------------------

local function phi(u, m, r)
  local T = #u - m + 1
  if T <= 0 then return 0.0 end
  local sum = 0.0
  for i = 1, T do
    local count = 0
    for j = 1, T do
      local near = true
      for k = 0, m - 1 do
        if math.abs(u[i + k] - u[j + k]) > r then
          near = false
          break
        end
      end
      if near then count = count + 1 end
    end
    sum = sum + math.log(count > 0 and count / T or 1e-10)
  end
  return sum / T
end

local function apen(u, m, r) return math.abs(phi(u, m, r) - phi(u, m + 1, r)) end

local function key(u, from, to) return table.concat(u, ",", from, to) end

-- Sum of the lengths of new substrings: of a dictionary, or of what came before.
local function new_lengths(u, classic)
  local known, sum = {}, 0
  for i = 1, #u do
    local n = #u - i + 2
    for to = i, #u do
      local text, inside = key(u, i, to), false
      if classic then
        for at = 1, i - 1 - (to - i) do inside = inside or key(u, at, at + to - i) == text end
      else
        inside = known[text]
      end
      if not inside then
        n = to - i + 1
        known[text] = true
        break
      end
    end
    sum = sum + n
  end
  return sum
end

-- ---- Fitting by hand --------------------------------------------------------------------------

-- Rows of a noise-free law on the 4 x 6 grid, with noise added by add().
local function simulated(a, w, c, add)
  local out = {}
  for _, d in ipairs { 25, 50, 75, 100 } do
    for _, N in ipairs { 4, 8, 12, 16, 24, 32 } do
      local v = w[1] * perflaw.g(N, a[1], 2) + w[2] * perflaw.g(d, a[2], 2) + c
      out[#out + 1] = { layers = N, dim = d, metric = "HR", k = 10, value = v + (add and add() or 0), row = #out + 1 }
    end
  end
  return out
end

-- R2 of the table in the specification: repo form with p = 2, by metric and surface.
local TABLE = {
  ["HR@10"] = { .8949, .9158, .8933, .9238, .8377, .7874, .9397, .6279, .9811, .9746 },
  ["NDCG@10"] = { .8514, .8776, .9088, .9349, .8669, .9233, .9286, .6370, .9701, .9639 } }

return {
  -- ---- Entropies ----------------------------------------------------------------------------
  { "ApEn has the worked values", function()
    local ones, count = {}, {}
    for i = 1, 50 do ones[i], count[i] = 7, i end
    local lists = jagged { { 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2 }, { 1, 2, 1, 2, 3 },
      { 1, 2, 3, 1, 2, 3, 1, 2, 4, 1, 2, 3 }, { 7, 7, 8, 7, 9, 7, 7, 8 }, ones, count }
    check.near(quern.apen(lists, { m = 1 }), { .002224, .015199, .182083, .649570, 0, math.log(50 / 49) }, 5e-7)
    check.near(quern.apen(lists), { .002224, .058892, .227603, .010884, 0, math.log(49 / 48) }, 5e-7)
    check.near(quern.apen(lists, { m = 1, r = 1 })[2], .047582, 5e-7)
    check.near(quern.apen(lists, { m = 2, r = 1 }):narrow(1, 2, 2), { .126469, .391377 }, 5e-7)
    check.near(quern.apen(lists, { m = 2, r = -1 }), { 0, 0, 0, 0, 0, 0 }, 0)
  end },

  { "counted and scanned ApEn equal the definition on random sequences", function()
    local random = det.random(1)
    for _, alphabet in ipairs { 2, 5, 1000 } do
      local lists = random_lists(random, 330, 60, alphabet)
      for m = 1, 8 do
        for _, r in ipairs { 0.2, 1, 2 } do
          local got = quern.apen(jagged(lists), { m = m, r = r }):totable()
          local i = random:range(1, #lists)
          for k = i, math.min(i + 13, #lists) do check.near(got[k], apen(lists[k], m, r), 1e-12, "m " .. m) end
        end
      end
    end
  end },

  { "renaming ids leaves exact ApEn with the same bits and moves the tolerant one", function()
    local lists, other = random_lists(det.random(2), 50, 60, 9), {}
    for i, u in ipairs(lists) do
      other[i] = {}
      for j, v in ipairs(u) do other[i][j] = (v * 7919 + 13) % 104729 end
    end
    check.equal(quern.apen(jagged(lists)):totable(), quern.apen(jagged(other)):totable())
    check.yes(not pcall(check.equal, quern.apen(jagged(lists), { r = 1 }):totable(),
                        quern.apen(jagged(other), { r = 1 }):totable()))
  end },

  { "pooled ApEn of uniform symbols is their entropy, in any order of users", function()
    local random, lists = det.random(3), { {}, {} }
    for i = 1, 20000 do table.insert(lists[i <= 9000 and 1 or 2], random:range(1, 4)) end
    local q = perflaw.entropy { data = lists, m = { 1, 2 }, lz = {} }
    check.near(q.pooled[1].plain, math.log(4), 3e-3)
    check.near(q.pooled[2].plain, math.log(4), 3e-3)
    check.near(q.pooled[2].chao_shen, math.log(4), 3e-3)
    local back = perflaw.entropy { data = { lists[2], lists[1] }, m = { 1, 2 }, lz = {} }
    check.equal(back.pooled, q.pooled)
  end },

  { "MovieLens-100K has the known tokens and entropies", function()
    check.data "ml100k/ml-100k.inter"
    local data = quern.data.sequences { set = "ml-100k", protocol = "whole" }
    local q = perflaw.entropy { data = data, m = { 1, 2 }, lz = {} }
    check.near({ q.pooled[1].entropy, q.pooled[2].entropy }, { 6.7279, 11.0397 }, 1e-4)
    check.near({ q.pooled[1].plain, q.pooled[2].plain }, { 4.3118, .4426 }, 1e-4)
    q = perflaw.entropy { data = data, max_len = 25, lz = {} }
    check.equal(q.tokens, 23187)
    check.near(q.apen[2], .043455, 1e-6)
    check.yes(table.concat(q.warnings, "\n"):find("never repeat an item", 1, true))
  end },

  { "both Lempel-Ziv forms have the worked values", function()
    local count = {}
    for i = 1, 50 do count[i] = i end
    local lists = jagged { { 1, 2, 1, 2, 3 }, { 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2 },
      { 5, 5, 5, 5, 5, 5, 5, 5 }, { 7, 7, 8, 7, 9, 7, 7, 8 }, { 1, 2, 3, 1, 2, 3, 1, 2, 4, 1, 2, 3 }, count, {}, { 3 } }
    local s, total = quern.lz_entropy(lists)
    check.equal(total:totable(), { 7, 56, 24, 14, 23, 50, 0, 1 })
    check.near(s, { 1.149599, .792168, .693147, 1.188252, 1.296473, 3.912023, 0, 0 }, 5e-7)
    s, total = quern.lz_entropy(lists, { variant = "classic" })
    check.equal(total:totable(), { 8, 76, 24, 16, 30, 50, 0, 1 })
    check.near(s, { 1.005899, .583703, .693147, 1.039721, .993963, 3.912023, 0, 0 }, 5e-7)
  end },

  { "both Lempel-Ziv forms equal their definitions on random sequences", function()
    local random = det.random(4)
    for _, alphabet in ipairs { 1, 2, 3, 20 } do
      local lists = random_lists(random, 25, 30, alphabet)
      for _, variant in ipairs { "repo", "classic" } do
        local _, total = quern.lz_entropy(jagged(lists), { variant = variant })
        for i, n in ipairs(total:totable()) do check.equal(n, new_lengths(lists[i], variant == "classic"), variant) end
      end
    end
  end },

  { "blocks of zeros, of distinct ids, and too few ids", function()
    local distinct = {}
    for i = 1, 10000 do distinct[i] = i end
    local shannon, zlib = quern.block_entropy(quern.zeros(10000, "i64"))
    check.equal(shannon:item(), 0.0)
    check.yes(zlib:item() < 0.01)
    check.near(quern.block_entropy(quern.i64(distinct)):item(), 13.287712, 1e-6)
    local _, _, blocks = quern.block_entropy(quern.zeros(9999, "i64"))
    check.equal(blocks:item(), 0)
    local q = perflaw.entropy { data = { { 1, 2, 3, 4 } } }
    check.equal(q.shannon, nil)
    check.fails(function() quern.block_entropy(quern.i64 { -1, 2 }, { block = 2 }) end, "-1", "4 bytes")
  end },

  { "sequences not longer than m are counted and left out of the mean", function()
    local q = perflaw.entropy { data = { { 1, 2 }, { 1, 2, 1, 2, 3 }, {} }, m = 2 }
    check.equal(q.skipped[2], 2)
    check.near(q.apen[2], .058892, 5e-7)
  end },

  -- ---- The law --------------------------------------------------------------------------------
  { "g peaks at p^(-1/a) with ln p - 1, and its slopes are right", function()
    for _, a in ipairs { -.25, .25 } do
      for _, p in ipairs { .5, 2, 16 } do
        check.near(perflaw.g(p ^ (-1 / a), a, p), math.log(p) - 1, 1e-12)
        local x, h = 3.7, 1e-5
        local da, dx, dp = perflaw.g_slopes(x, a, p)
        check.near(da, (perflaw.g(x, a + h, p) - perflaw.g(x, a - h, p)) / (2 * h), 1e-8)
        check.near(dx, (perflaw.g(x * math.exp(h), a, p) - perflaw.g(x * math.exp(-h), a, p)) / (2 * h), 1e-8)
        check.near(dp, (perflaw.g(x, a, p + h) - perflaw.g(x, a, p - h)) / (2 * h), 1e-8)
      end
    end
    check.near(perflaw.g(16, -.25, 2), -.306853, 5e-7)
  end },

  { "a noise-free surface gives its parameters back", function()
    local f = perflaw.fit { data = simulated({ -.26, -.17 }, { .16, 2.2 }, 1.04), metric = "HR@10" }
    check.near(f.theta, { -.26, -.17 }, 1e-6)
    check.near({ f.weights[1][1], f.weights[2][1], f.coefficients[1] }, { .16, 2.2, 1.04 }, 1e-6)
  end },

  { "the reference surfaces give the known parameters", function()
    for _, r in ipairs {
      { "ML-1M", 100, { -.260313, -.166519 }, { .157280, 2.196639, 1.038783 }, 3.069934e-4, .894910,
        { 14.34, 64.24 } },
      { "KuaiRand", 50, { -.237836, -.170564 }, { .143747, 1.066222, .494191 }, 3.820056e-5, .939663,
        { 18.44, 58.20 } },
      { "Huawei", 25, { -.155875, -.107932 }, { .348482, .650693, .655966 }, 2.283056e-5, .981104,
        { 85.35, 615.3 } },
    } do
      local f = fit("HR@10", r[1], r[2])
      for k = 1, 2 do check.near(f.theta[k] / r[3][k], 1, 1e-3, r[1]) end
      local got = { f.weights[1][1], f.weights[2][1], f.coefficients[1] }
      for k = 1, 3 do check.near(got[k] / r[4][k], 1, 1e-3, r[1]) end
      check.near(f.sse / r[5], 1, 1e-5, r[1])
      check.near(f.r2, r[6], 1e-5, r[1])
      for k = 1, 2 do check.near(f:peak_of(f.solution, k) / r[7][k], 1, 1e-3, r[1]) end
    end
  end },

  { "every reference surface reaches the R2 of the specification's table", function()
    for metric, expected in pairs(TABLE) do
      for i, f in ipairs(perflaw.fits { data = rows, metric = metric }) do
        check.near(f.r2, expected[i], 5e-4, metric .. " " .. f.surfaces[1].label)
      end
    end
  end },

  { "closed-form baselines have the known values", function()
    local f = fit("HR@10", "ML-1M", 100, { form = "loglinear" })
    check.near(f.coefficients, { .00201, .01551, .23799 }, 5e-6)
    check.near(f.r2, .551254, 1e-6)
    check.near(fit("HR@10", "ML-1M", 200, { form = "loglinear" }).r2, .189586, 1e-6)
    check.near(fit("NDCG@10", "KuaiRand", 100, { form = "loglinear" }).r2, .142100, 1e-6)
    check.near(fit("HR@10", "Huawei", 25, { form = "loglinear" }).r2, .905138, 1e-6)
  end },

  { "a joint fit with shared shape has the known R2", function()
    for dataset, r2 in pairs { ["ML-1M"] = { .7930, .8011 }, Books = { .8681, .8916 }, KuaiRand = { .8244, .8690 },
                               Huawei = { .9514, .9301 } } do
      check.near(fit("HR@10", dataset).r2, r2[1], 1e-4, dataset)
      check.near(fit("NDCG@10", dataset).r2, r2[2], 1e-4, dataset)
    end
    check.yes(fit("HR@10", "ML-1M", nil, { share = "exponents" }).r2 > .7930)
  end },

  { "held-out sizes are foretold as well as the specification's table says", function()
    local expected = {
      ["HR@10"] = { repo = { 2.1, 2.2, 2.2 }, loglinear = { 3.7, 5.8, 5.7 }, quadlog = { 2.2, 2.1, 2.2 } },
      ["NDCG@10"] = { repo = { 2.7, 2.4, 2.5 }, loglinear = { 4.4, 7.3, 7.0 }, quadlog = { 2.8, 2.4, 2.8 } } }
    for metric, by_form in pairs(expected) do
      for form, medians in pairs(by_form) do
        local errors = { {}, {}, {} }
        for _, f in ipairs(perflaw.fits { data = rows, metric = metric, form = form }) do
          local h = f:holdout()
          for i, name in ipairs { "layers", "dim", "both" } do errors[i][#errors[i] + 1] = h[name].rmse end
        end
        for i, m in ipairs(medians) do
          check.yes(math.abs(median(errors[i]) - m) < (form == "repo" and 0.3 or 0.1), metric .. " " .. form)
        end
      end
    end
  end },

  { "bootstrap intervals of the peaks have the known width", function()
    for _, r in ipairs { { "ML-1M", 100, 11.3, 24.4, 60.1, 69.9 }, { "KuaiRand", 50, 16.1, 24.4, 55.8, 61.2 },
                         { "Huawei", 25, 59.5, 201, 486, 959 } } do
      local b = fit("HR@10", r[1], r[2]):bootstrap { n = 2000, seed = 1 }
      for k = 1, 2 do
        local i, lo, hi = b:peak(k), r[1 + 2 * k], r[2 + 2 * k]
        check.yes(i.lo < i.estimate and i.estimate < i.hi)
        local ratio = math.log(i.hi / i.lo) / math.log(hi / lo)
        check.yes(ratio > 0.65 and ratio < 1.55, ("%s: width %.3g of the known one"):format(r[1], ratio))
      end
    end
  end },

  { "95 % intervals of a predicted cell cover it that often", function()
    local random, a, w, c = det.random(5), { -.26, -.17 }, { .16, 2.2 }, 1.04
    local function noise()                                 -- normal, sigma .001 (Box and Muller)
      return .001 * math.sqrt(-2 * math.log(1 - random:float())) * math.cos(2 * math.pi * random:float())
    end
    local truth = w[1] * perflaw.g(14, a[1], 2) + w[2] * perflaw.g(60, a[2], 2) + c
    local covered = 0
    for s = 1, 200 do
      local f = perflaw.fit { data = simulated(a, w, c, noise), metric = "HR@10" }
      local i = f:bootstrap({ n = 200, seed = s }):predict { 14, 60 }
      covered = covered + (i.lo <= truth and truth <= i.hi and 1 or 0)
    end
    check.yes(covered >= 176 and covered <= 198, covered .. " of 200")
  end },

  { "BCa and profile intervals agree with percentiles where the surface is well determined", function()
    local f = fit("HR@10", "KuaiRand", 50)
    local b = f:bootstrap { n = 1000 }
    local percentile, bca, profile = b:peak(2), b:peak(2, { method = "bca" }), f:profile(2)
    check.near({ bca.lo / percentile.lo, bca.hi / percentile.hi }, { 1, 1 }, 0.05)
    check.near({ 2 ^ (-1 / profile.lo) / percentile.lo, 2 ^ (-1 / profile.hi) / percentile.hi }, { 1, 1 }, 0.08)
    check.yes(not profile.open_lo and not profile.open_hi)
  end },

  { "the data term of one surface is refused; a measured one needs four", function()
    local value, warning = fit("HR@10", "ML-1M", 100):data_term()
    check.equal(value, nil)
    check.yes(warning:find("any D gives the same predictions", 1, true))
    local two = {}
    for _, s in ipairs { 100, 200 } do
      for i, r in ipairs(simulated({ -.26, -.17 }, { .16, 2.2 }, 1.04)) do
        r.maxlen, r.tokens, r.apen, r.row = s, s * 1000, 0.02, i
        two[#two + 1] = r
      end
    end
    check.fails(function() perflaw.fit { data = two, metric = "HR@10", data_term = "measured" } end, "2 surfaces",
                "at least 4")
  end },

  { "a measured data term is found over surfaces that share it", function()
    local all = {}
    for s, tokens in ipairs { 1e5, 2e5, 4e5, 8e5, 16e5 } do
      local D = tokens / 0.02 / (4e5 / 0.02)
      for _, r in ipairs(simulated({ -.26, -.17 }, { .16, 2.2 }, 1.02 + .03 * perflaw.g(D, -.3, 2))) do
        r.maxlen, r.tokens, r.apen = s, tokens, 0.02
        all[#all + 1] = r
      end
    end
    local f = perflaw.fit { data = all, metric = "HR@10", data_term = "measured" }
    check.near(f.theta, { -.26, -.17, -.3 }, 1e-5)
    check.near(f:data_term(5), .03 * perflaw.g(4, -.3, 2) + 1.02, 1e-5)
    check.yes(f.r2 > 1 - 1e-9)
  end },

  { "optima carry the right flags and stay within reach", function()
    local ml = fit("HR@10", "ML-1M", 100):optimum()
    check.equal(ml.flags, { layers = "interior", dim = "interior" })
    check.near({ ml.layers, ml.dim }, { 14.34, 64.24 }, 1e-3)
    check.equal(fit("HR@10", "Books", 25):optimum().flags.dim, "valley")
    check.equal(fit("HR@10", "Books", 50):optimum().flags.dim, "none")
    local huawei = fit("HR@10", "Huawei", 50)
    check.equal(huawei:optimum().flags.layers, "beyond_grid")
    local near, far = huawei:optimum { max_extrapolation = 1 }, huawei:optimum { force = true }
    check.near(near.layers, 64, 1e-9)
    check.yes(near.clipped and not far.clipped)
    check.near(far.layers, 121.8, 1e-3)
  end },

  { "a budget is kept, and more of it never gives less", function()
    local f, before = fit("HR@10", "ML-1M", 100), -1
    for _, params in ipairs { 1e5, 2e5, 4e5, 1e6, 1e7 } do
      local best = f:optimum { budget = { params = params, items = 3416, backbone = "hstu" } }
      check.yes(3416 * best.dim + best.layers * 5 * best.dim ^ 2 <= params * (1 + 1e-9))
      check.yes(best.value >= before - 1e-12)
      before = best.value
    end
    check.near(before, f:optimum().value, 1e-4)
    check.fails(function() f:optimum { budget = { params = 10, items = 3416 } } end, "keeps the budget")
    check.fails(function() f:optimum { budget = {} } end, "limits nothing")
  end },

  { "forms are compared, and near ones are said to be near", function()
    local list, verdict = perflaw.compare(surface("HR@10", "ML-1M", 100))
    check.equal(#list, 5)
    check.yes(verdict:find("repo is least in AICc; quadlog lies within 2", 1, true), verdict)
    for _, r in ipairs(list) do
      check.yes(r.r2 <= list[1].r2 + 1e-9 and r.loo_rmse > 0 and r.holdout.largest)
    end
  end },

  { "the next cell to train is one that is not trained yet", function()
    local f = fit("HR@10", "ML-1M", 100)
    local plan = f:plan { items = 3416, most = 5 }
    check.equal(#plan, 5)
    for i, c in ipairs(plan) do
      check.yes(c.x[1] == 64 or c.x[2] == 200)
      check.yes(i == 1 or plan[i - 1].score >= c.score)
    end
  end },

  { "whether the largest model lies inside the band is said", function()
    local r = fit("HR@10", "ML-1M", 100):largest_inside { n = 300 }
    check.near(r.value, .3012, 1e-12)
    check.equal(r.inside, r.lo <= r.value and r.value <= r.hi)
  end },

  { "logit predictions stay inside 0..1; identity ones outside are warned of", function()
    local steep = simulated({ -.26, -.17 }, { .16, 2.2 }, 1.04)
    for _, r in ipairs(steep) do r.value = r.layers > 4 and 0.999 or 0.001 end
    local f = perflaw.fit { data = steep, metric = "HR@10", link = "logit" }
    for N = 1, 200, 13 do
      local v = f:predict { N, 500 }
      check.yes(v > 0 and v < 1)
    end
    for _, r in ipairs(steep) do r.value = r.dim > 25 and 0.95 + r.layers / 640 or r.layers / 64 end
    f = perflaw.fit { data = steep, metric = "HR@10", form = "loglinear" }
    check.yes(table.concat(f.warnings):find("outside 0..1", 1, true))
  end },

  { "one wild value moves a Huber fit less", function()
    local wild = simulated({ -.26, -.17 }, { .16, 2.2 }, 1.04)
    wild[9].value = wild[9].value + .05
    local plain = perflaw.fit { data = wild, metric = "HR@10" }
    local robust = perflaw.fit { data = wild, metric = "HR@10", huber = 1e-4 }
    check.yes(math.abs(robust.theta[1] + .26) < 0.1 * math.abs(plain.theta[1] + .26))
  end },

  { "seeds of a cell are averaged and can be drawn again", function()
    local random, several = det.random(6), {}
    for seed = 1, 3 do
      for _, r in ipairs(simulated({ -.26, -.17 }, { .16, 2.2 }, 1.04,
                         function() return .002 * (random:float() - .5) end)) do
        r.seed = seed
        several[#several + 1] = r
      end
    end
    local f = perflaw.fit { data = several, metric = "HR@10", weights = "seeds" }
    check.equal(f.n, 24)
    local i = f:bootstrap({ n = 300, kind = "case" }):predict { 16, 50 }
    check.yes(i.lo < i.estimate and i.estimate < i.hi)
    check.fails(function() fit("HR@10", "ML-1M", 100):bootstrap { kind = "case" } end, "more than one seed")
  end },

  { "plots are SVG that hold every cell and nothing from outside", function()
    local f, folder = fit("HR@10", "ML-1M", 100), check.folder()
    local svg = f:plot { file = folder .. "/law.svg" }
    check.equal(select(2, svg:gsub("<circle", "")), 24)
    check.yes(svg:find("optimum: layers 14.3, dim 64.2", 1, true))
    for _, kind in ipairs { "slices", "residuals", "holdout" } do
      local other = f:plot { kind = kind, band = kind == "slices" and f:bootstrap { n = 50 } or nil }
      check.yes(other:find("^<svg") and not other:find("nan", 1, true))
    end
    local file = check.read(folder .. "/law.svg")
    check.yes(file:find("<?xml", 1, true) and not file:gsub("http://www.w3.org/2000/svg", ""):find("http", 1, true))
    check.fails(function() f:plot { kind = "countour" } end, "contour")
  end },

  { "the same seed and any thread count give the same numbers", function()
    local texts, threads = {}, quern.threads()
    for i, n in ipairs { 1, 2, 3, 7 } do
      quern.threads(n)
      local f = fit("NDCG@10", "Books", 25)
      local b = f:bootstrap({ n = 100, seed = 3 })
      local q = perflaw.entropy { data = random_lists(det.random(7), 200, 40, 6), m = { 1, 3 } }
      texts[i] = quern.json.encode { theta = f.theta, peak = b:peak(1),
                                     q = { q.apen[1], q.lz.classic, q.pooled[3].plain } }
      check.equal(texts[i], texts[1])
    end
    quern.threads(threads)
  end },

  -- ---- What cannot be -----------------------------------------------------------------------------
  { "rows that cannot be fitted are refused with their number", function()
    local function fails(change, ...)
      local bad, words = simulated({ -.26, -.17 }, { .16, 2.2 }, 1.04), table.pack(...)
      bad = change(bad) or bad
      check.fails(function() perflaw.fit { data = bad, metric = "HR@10" } end, table.unpack(words))
    end
    fails(function(r) return { r[1], r[2], r[7], r[8], r[13] } end, "5 cells", "at least 6")
    fails(function(r) for _, x in ipairs(r) do x.dim = 50; x.seed = x.row end end, "one dim only")
    fails(function(r) r[3].value = 0 / 0 end, "row 3", "nan")
    fails(function(r) r[4].value = -.1 end, "row 4", "-0.1")
    fails(function(r) r[5].value = 1.5 end, "row 5", "1.5")
    fails(function(r) r[6].layers = 0 end, "row 6", "layers is 0")
    fails(function(r) r[2].layers = 4 end, "row 2", "there twice")
    fails(function(r) r[1].candidates, r[9].candidates = 2500, "full" end, "candidates", "2500")
    check.fails(function() perflaw.fit { data = rows, metric = "HR@11" } end, "no row has metric HR@11", "HR@10")
    check.fails(function() perflaw.fit { data = rows, metric = "HR@10", form = "quadlgo" } end, "quadlog")
    check.fails(function() perflaw.fit { data = rows, metric = "HR@10", shape = 1 } end, "shape")
    check.fails(function() perflaw.entropy { data = 7 } end, "jagged")
  end },

  { "CSV files are read with their mistakes named", function()
    local folder = check.folder()
    local function file(text)
      check.write(folder .. "/r.csv", text)
      return folder .. "/r.csv"
    end
    local got = perflaw.read(file('dataset,layers,dim,metric,value\n"a, ""b""",4,8,HR@10,0.5\r\n\n'
      .. "# note\nc,8,8,HR@10,.25"))
    check.equal(#got, 2)
    check.equal({ got[1].dataset, got[1].layers, got[2].value, got[2].row }, { 'a, "b"', 4, .25, 5 })
    check.fails(function() perflaw.read(file "layers,dim,value\n1,2,3\n") end, "line 1", '"metric"')
    check.fails(function() perflaw.read(file "layers,metric,value\n1,2\n") end, "line 2", "2 columns instead of 3")
    check.fails(function() perflaw.read(file '"layers,metric,value\n') end, "line 1", "quote")
    check.fails(function() perflaw.read(file "") end, "is empty")
    check.fails(function() perflaw.read(folder .. "/no.csv") end, "no.csv")
  end },

  { "rows come from finished runs of the store, settings as columns", function()
    local folder = check.folder()
    for i, blocks in ipairs { 1, 2 } do
      local run = ("%s/cell-20260101-00000%d"):format(folder, i)
      require("quern.sys").mkdir(run)
      check.write(run .. "/settings.json", quern.json.encode { name = "cell", seed = 1, size = "small",
        settings = { model = { blocks = blocks, dim = 16 }, data = { set = "ml-100k", max_len = 50 } } })
      check.write(run .. "/state.json", '{"status":"done","at":"2026-01-01T00:00:09Z"}')
      check.write(run .. "/report.json", quern.json.encode { { label = "HSTU",
        metrics = { ["HR@10"] = 0.1 * blocks, ["NDCG@10"] = 0.05, loss = 3.5 } } })
    end
    local got = perflaw.runs(folder)
    check.equal(#got, 4)
    local one = got[1]
    check.equal({ one.layers, one.dim, one.dataset, one.maxlen, one.seed, one.loss, one.candidates },
                { 1, 16, "ml-100k", 50, 1, 3.5, "full" })
    check.near(got[3].value, 0.2, 1e-12)
    check.equal(one.density, 1)
  end },

  { "density is an axis like any other: pruned runs of several depths give its law", function()
    local pruned = {}
    for _, layers in ipairs { 1, 2, 4, 8 } do
      for _, density in ipairs { 0.02, 0.05, 0.1, 0.2, 0.5, 1 } do
        pruned[#pruned + 1] = { dataset = "d", layers = layers, density = density, metric = "HR@10", row = #pruned + 1,
          value = 0.1 + 0.16 * perflaw.g(layers, -0.26, 2) + 0.03 * perflaw.g(density, 0.3, 2) }
      end
    end
    local law = perflaw.fit { data = pruned, metric = "HR@10", x = { "layers", "density" } }
    check.yes(law.r2 > 1 - 1e-9)
    check.near(law:predict { 4, 0.1 }, pruned[15].value, 1e-6)
    check.near(law:optimum().density, 2 ^ (-1 / 0.3), 1e-3)                  -- p^(-1/a)
  end },
}
