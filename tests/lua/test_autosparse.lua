--- autosparse: schedules, iterative rewind pruning, the fit, scales of features, the table, refusals.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local sys = require "quern.sys"
local prune, vision, autosparse = quern.plugin "prune", quern.plugin "vision", quern.plugin "autosparse"

local function pictures(options)
  local generate = { train = 120, test = 40, classes = 4, size = 8 }
  for k, v in pairs(options or {}) do generate[k] = v end
  return quern.data.images { set = "blobs", generate = generate }
end

local function make(set, seed, hidden)
  quern.seed(seed)
  return vision.make("lenet-300-100", set, { hidden = hidden or { 12 } })
end

local function no_training() end

local function quick(set)
  return function(model, how)
    vision.train(model, set, { epochs = 1, batch = 30, lr = 0.1, seed = how.seed, progress = false, name = how.name,
                               folder = how.folder, resume = how.resume })
  end
end

local function teach(set, options)
  local o = { model = make(set, 1), data = set, loss = vision.loss, rounds = 5, final = 0.1, seed = 1, batch = 40,
              train = quick(set) }
  for k, v in pairs(options or {}) do o[k] = v end
  return autosparse.irp(o)
end

local function truths(t) return quern.sum(t:cast "i64"):item() end

-- A data set whose survival is the rank of |theta g|, in `rounds` levels.
local function known_rank(n, rounds)
  quern.seed(11)
  local theta, gradient = quern.normal { shape = { n } }, quern.normal { shape = { n }, std = 3.0 }
  local order = quern.argsort(quern.abs(theta * gradient)):totable()
  local survival = {}
  for rank, i in ipairs(order) do survival[i + 1] = (rank - 1) * (rounds + 1) // n end
  local Dataset = require "autosparse.dataset"
  return Dataset { theta = theta, gradient = gradient:cast "f64", survival = quern.tensor(survival, "i32"),
                   layer = quern.concat { quern.full({ n // 2 }, 0, "i32"), quern.full({ n - n // 2 }, 1, "i32") },
                   names = { "a", "b" }, rounds = rounds }
end

local function warnings_of(fn)
  local real, text = io.stderr, {}
  io.stderr = { write = function(_, ...) text[#text + 1] = table.concat { ... } end }   -- luacheck: ignore 122
  local ok, e = pcall(fn)
  io.stderr = real                                                                       -- luacheck: ignore 122
  if not ok then error(e, 0) end
  return table.concat(text)
end

local scorer                     -- fitted once for several tests
local function fitted(features)
  scorer = scorer or {}
  local key = features or "global"
  scorer[key] = scorer[key] or autosparse.fit { from = teach(pictures(), { train = no_training, rounds = 8,
    final = 0.05 }), features = features, epochs = 2, batch = 128, seed = 1, progress = false }
  return scorer[key]
end

return {
  { "schedules keep the shares of the paper's code, with pct as it was meant", function()
    local keep, alive = autosparse.schedule { rounds = 4, final = 0.2 }
    check.near(keep, { 0.8, 0.75, 2 / 3, 0.5 }, 1e-12)
    check.near(alive, { 0.8, 0.6, 0.4, 0.2 }, 1e-12)
    keep = autosparse.schedule { rounds = 20, final = 0.01 }
    check.near({ keep[1], keep[2], keep[11], keep[20] }, { 0.9505, 0.947922, 0.901980, 0.168067 }, 1e-6)
    keep, alive = autosparse.schedule { rounds = 20, final = 0.01, schedule = "pct" }
    check.near({ keep[1], keep[20], alive[20] }, { 0.794328, 0.794328, 0.01 }, 1e-6)
    keep, alive = autosparse.schedule { rounds = 20, schedule = "pct", ratio = 0.85 }
    check.near({ keep[7], alive[20] }, { 0.85, 0.038760 }, 1e-6)
    check.fails(function() autosparse.schedule { rounds = 3, final = 0 } end, "final must be in (0, 1]")
    check.fails(function() autosparse.schedule { rounds = 0, final = 0.1 } end, "rounds must be an integer")
    check.fails(function() autosparse.schedule { rounds = 3, final = 0.1, schedule = "nmu" } end, "\"nmu\"", "num")
    check.fails(function() autosparse.schedule { rounds = 3, final = 0.1, ratio = 0.5 } end, "is for schedule pct")
  end },

  { "num gives every survival count about the same number of weights", function()
    local set = pictures()
    local irp = teach(set, { model = make(set, 2, { 40, 20 }), rounds = 20, final = 0.01, train = no_training })
    local s = autosparse.dataset(irp):survived()
    local N = 64 * 40 + 40 * 20 + 20 * 4
    check.near(s.mean, 9.605, 2e-3)
    check.near(s.std, 5.8317, 2e-3)
    for k = 1, 20 do
      check.yes(math.abs(s.counts[k] - 0.99 * N / 20) <= 2, ("%d survived %d"):format(s.counts[k], k - 1))
    end
    check.yes(math.abs(s.counts[21] - 0.01 * N) <= 1)
  end },

  { "pct ends within one weight of the final density", function()
    local irp = teach(pictures(), { rounds = 7, final = 0.03, schedule = "pct", train = no_training })
    local kept, all = irp.mask:count()
    check.yes(math.abs(kept - 0.03 * all) <= 1, ("%d of %d"):format(kept, all))
  end },

  { "rounds may share out by layer", function()
    local set = pictures()
    local irp = teach(set, { model = make(set, 2, { 40, 20 }), rounds = 3, alloc = "layer", train = no_training })
    for _, h in ipairs(irp.history) do
      for name, d in pairs(h.densities) do check.yes(math.abs(d - h.alive) < 0.01, name) end
    end
    check.fails(function() teach(set, { alloc = "ekr" }) end, "alloc is ekr", "known are global, layer, erk")
  end },

  { "masks shrink, survival is their sum, kept weights begin each round as they were", function()
    local set, masks, starts = pictures(), {}, 0
    local irp
    local model, first = make(set, 1), {}
    for name, t in pairs(model:state()) do first[name] = t:detach():clone() end
    irp = teach(set, { model = model, train = function(m, how)
      for _, p in ipairs(prune.parameters(m)) do
        local expected = quern.masked_fill(first[p.name], quern.logical_not(p.mask), 0)
        check.equal(truths(quern.ne(p.tensor, expected)), 0, p.name)
      end
      masks[how.round] = {}
      for _, p in ipairs(prune.parameters(m)) do masks[how.round][p.name] = p.mask end
      starts = starts + 1
      quick(set)(m, how)
    end })
    check.equal(starts, 5)
    for _, name in ipairs(irp.names) do
      local sum
      for i, mask in ipairs(masks) do
        if i > 1 then
          local risen = quern.logical_and(mask[name], quern.logical_not(masks[i - 1][name]))
          check.equal(truths(risen), 0, "a pruned weight came back")
        end
        sum = sum and sum + mask[name]:cast "i32" or mask[name]:cast "i32"
      end
      check.equal(truths(quern.ne(sum, irp.survival[name])), 0)
      check.equal(truths(quern.ne(quern.eq(irp.survival[name], 5), irp.mask.kept[name])), 0)
    end
  end },

  { "equal seeds give equal masks; the other orders and criteria run", function()
    local set = pictures()
    check.equal(teach(set).mask == teach(set).mask, true)
    local irp = teach(set, { criterion = "magnitude", rewind = "weights", first = "trained", rounds = 2 })
    check.near(irp.mask:density(), 0.1, 2e-3)
    check.yes(irp.trained)
    check.fails(function() teach(set, { criterion = "snipp" }) end, "no scorer \"snipp\"", "snip")
    check.fails(function() teach(set, { rewind = "some" }) end, "rewind is some", "all, weights")
    check.fails(function() teach(set, { train = 3 }) end, "train must be a function")
  end },

  { "killed by SIGKILL in the middle of a round and called again, it ends with the same bits", function()
    local folder = check.folder()
    local child = debug.getinfo(1, "S").source:match("^@(.*/)") .. "irp_child.lua"
    local function run(name, deadly)
      return os.execute(("'%s' lua '%s' '%s/%s' %s > '%s/log' 2>&1"):format(sys.program(), child, folder, name,
                        deadly and "deadly" or "", folder))
    end
    check.yes(run "whole", "the unbroken run failed")
    local _, how, number = run("broken", true)
    check.yes((how == "signal" and number == 9) or number == 137, ("the child ended by %s %d"):format(how, number))
    check.yes(not sys.exists(folder .. "/broken/final.mask"))
    local text = check.read(folder .. "/broken/last.json")
    check.equal(quern.json.decode(text).done, 2)
    check.yes(sys.exists(folder .. "/broken/irp-003/last.safetensors"), "the training had no checkpoint")
    check.yes(run "broken", "the resumed run failed")
    for _, file in ipairs { "final.mask", "survival.safetensors" } do
      check.equal(check.read(folder .. "/broken/" .. file) == check.read(folder .. "/whole/" .. file), true, file)
    end
  end },

  { "a folder with another run's state is refused", function()
    local set, folder = pictures(), check.folder()
    teach(set, { folder = folder, rounds = 2, train = no_training })
    check.fails(function() teach(set, { folder = folder, rounds = 3, train = no_training }) end, "rounds = 2", "has 3")
    local again = teach(set, { folder = folder, rounds = 2, train = function() error "trained again" end })
    check.equal(again.done, 2)
  end },

  { "a known ranking is learned, and the table stands for the network", function()
    local data = known_rank(20000, 20)
    local s = autosparse.fit { from = data, epochs = 6, seed = 1, progress = false }
    check.yes(s.report.spearman >= 0.95, ("Spearman %.4f"):format(s.report.spearman))
    check.equal({ #s.report.layers, s.report.n, s.report.held }, { 2, 20000, 2000 })
    local u = data.theta
    local sd = require("autosparse.statistics").deviation({ g = data.gradient }, { "g" })
    local v = (data.gradient * (1 / sd)):cast "f32"
    local exact, tabled = s:exact(u, v), s:tabled(u, v)
    check.yes(autosparse.spearman(exact, tabled) >= 0.999)
    local a = quern.topk_select(exact, nil, { k = 400 })
    local b = quern.topk_select(tabled, nil, { k = 400 })
    check.yes(truths(quern.logical_and(a, b)) / truths(quern.logical_or(a, b)) >= 0.98)
  end },

  { "the order alone can be learned too", function()
    local s = autosparse.fit { from = known_rank(8000, 10), loss = "pairwise", epochs = 6, seed = 1, progress = false }
    check.yes(s.report.spearman >= 0.9, ("Spearman %.4f"):format(s.report.spearman))
  end },

  { "the score network's gradient is right", function()
    local net = require("autosparse.networks").make("mlp", { 5, 4 })
    net:to "f64"
    quern.seed(2)
    local x, y = quern.normal { shape = { 6, 2 }, dtype = "f64" }, quern.normal { shape = { 6 }, dtype = "f64" }
    for _, p in ipairs(net:parameters()) do            -- away from relu's kink
      quern.no_grad(function() p.tensor:copy_(quern.normal { shape = p.tensor.shape, dtype = "f64" }) end)
    end
    local function loss() return quern.mse(net(x), y) end
    loss():backward()
    for _, p in ipairs(net:parameters()) do
      local flat, grad = p.tensor:detach():reshape { p.tensor:numel() }, p.tensor.grad:reshape { p.tensor:numel() }
      for k = 1, math.min(4, flat:numel()) do
        local value, h = flat:narrow(1, k, 1):item(), 1e-6
        flat[{ { k, k } }] = value + h
        local up = loss():item()
        flat[{ { k, k } }] = value - h
        local down = loss():item()
        flat[{ { k, k } }] = value
        check.near(grad:narrow(1, k, 1):item(), (up - down) / (2 * h), 1e-6, p.name)
      end
    end
  end },

  { "networks have the published sizes", function()
    local networks = require "autosparse.networks"
    check.equal(networks.make("fc"):count(), 1187345)
    check.equal(networks.make("mlp"):count(), 4321)
    local net = networks.make "resnet18"
    check.yes(net:count() > 11.3e6 and net:count() < 11.5e6)
    check.fails(function() networks.make "mpl" end, "no network \"mpl\"", "mlp")
  end },

  { "the scale of the loss and of the batches drops out of global features, not of raw ones", function()
    local set = pictures()
    local function mask_of(s, factor, batch)
      return prune.mask(s, make(set, 3), set, { density = 0.1, batch = batch, guard = "report",
        loss = function(m, b) return vision.loss(m, b) * factor end })
    end
    local global, raw = fitted(), fitted "raw"
    check.yes(mask_of(global, 1, 40):iou(mask_of(global, 8, 40)) >= 0.99)
    check.yes(mask_of(global, 1, 40):iou(mask_of(global, 1, 20)) >= 0.99)
    local text = warnings_of(function() check.yes(mask_of(raw, 1, 40):iou(mask_of(raw, 8, 40)) < 0.99) end)
    check.yes(text:find("raw features depend on", 1, true))
  end },

  { "features of each layer under one threshold are warned of, and so are trained weights", function()
    local set = pictures()
    local by_layer = fitted "layer"
    local function mask_of(s, alloc, model)
      return warnings_of(function()
        prune.mask(s, model or make(set, 3), set, { density = 0.3, alloc = alloc, loss = vision.loss,
                                                    guard = "report" })
      end)
    end
    check.yes(mask_of(by_layer, "global"):find("under one global threshold", 1, true))
    check.equal(mask_of(by_layer, "erk"):find("global threshold", 1, true), nil)
    local trained = make(set, 3)
    quern.no_grad(function()
      prune.parameters(trained)[1].tensor:narrow(2, 1, 1):mul_(1000.0)         -- one weight of 68, far out
    end)
    check.yes(mask_of(fitted(), nil, trained):find("trained already", 1, true))
    check.equal(mask_of(fitted()), "")
  end },

  { "a scorer survives its file, and a damaged or foreign one is refused", function()
    local set, path = pictures(), check.temporary "s.safetensors"
    local s = fitted()
    s:save(path)
    local again = autosparse.Scorer.load(path)
    check.equal(tostring(again), tostring(s))
    local function mask_of(x, more)
      local o = { density = 0.1, loss = vision.loss, guard = "report" }
      for k, v in pairs(more or {}) do o[k] = v end
      return prune.mask(x, make(set, 4), set, o)
    end
    check.equal(mask_of(s) == mask_of(again), true)
    check.yes(mask_of(s):iou(mask_of(s, { exact = true })) >= 0.98)
    check.fails(function() mask_of(s, { features = "raw" }) end, "taught with features global, not raw")
    local text = check.read(path)
    check.write(path, text:sub(1, -3) .. "zz")
    check.fails(function() autosparse.Scorer.load(path) end, "is damaged")
    quern.save(path, { x = quern.zeros { 2 } })
    check.fails(function() autosparse.load(path) end, "is not a scorer")
    check.fails(function() autosparse.load "lenet-snap" end, "no scorer \"lenet-snap\"", "lenet-snip")
  end },

  { "the shipped scorer is a scorer of prune", function()
    local set = pictures()
    local names = table.concat(prune.scorers(), " ")
    check.yes(names:find("autos", 1, true), names)
    local mask = prune.mask("autos", make(set, 4), set, { density = 0.1, loss = vision.loss, guard = "report" })
    check.near(mask:density(), 0.1, 2e-3)
    local s = autosparse.load "lenet-snip"
    check.equal({ s.kind, s.features, s.net:count() }, { "mlp", "global", 4321 })
    check.yes(s.report.spearman > 0.4)
  end },

  { "data sets survive their file; labels that are all equal are refused", function()
    local path, data = check.temporary "d.safetensors", known_rank(100, 4)
    data:save(path)
    local again = autosparse.load_dataset(path)
    check.equal(again:labels():totable(), data:labels():totable())
    check.near(again:labels():max():item(), 1)
    check.yes(again:labels():min():item() > 0)
    data.survival:fill_(3)
    check.fails(function() autosparse.fit { from = data } end, "every weight survived 3 rounds")
    check.fails(function() autosparse.fit { from = known_rank(100, 4), holdout = 1 } end, "holdout must be in (0, 1)")
    check.fails(function() autosparse.fit { from = known_rank(100, 4), features = "globl" } end, "\"globl\"", "global")
  end },

  { "ties share their rank", function()
    check.near(autosparse.spearman(quern.tensor { 1.0, 2.0, 2.0, 3.0 }, quern.tensor { 1.0, 2.0, 2.0, 3.0 }), 1, 1e-12)
    check.near(autosparse.spearman(quern.tensor { 1.0, 2.0, 3.0 }, quern.tensor { 3.0, 2.0, 1.0 }), -1, 1e-12)
  end },
}
