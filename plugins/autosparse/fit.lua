--- Fitting a scorer to survival counts: rank regression by a small network.
--
--   min over phi of mean (f(u_j, v_j; phi) - y_j)^2,   u, v the scaled value and gradient of weight j,
-- y its survival brought to (0, 1]. With loss = "pairwise", softplus(-(f_j - f_k)) over neighbours in a
-- batch with y_j > y_k instead, which asks for the order alone.
-- A tenth of each layer's weights is held out; the network of the epoch that is best on it is kept.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local det = require "quern.det"
local features = require "autosparse.features"
local lookup = require "autosparse.lookup"
local networks = require "autosparse.networks"
local statistics = require "autosparse.statistics"
local Dataset = require "autosparse.dataset"
local Scorer = require "autosparse.scorer"

local known = { from = 1, network = 1, hidden = 1, features = 1, epochs = 1, batch = 1, lr = 1, holdout = 1, seed = 1,
                loss = 1, limit = 1, name = 1, progress = 1 }

-- ---- Data ---------------------------------------------------------------------------------------

-- Features, labels and layers of one data set, as flat tensors.
local function prepare(from, mode)
  local data = from.survival and from.layer and from or Dataset.from(from)
  local names, theta, gradient, at = {}, {}, {}, 1
  local layers = {}
  for i, name in ipairs(data.names) do
    local n = quern.sum(quern.eq(data.layer, i - 1):cast "i64"):item()
    names[i], theta[name] = name, data.theta:narrow(1, at, n)
    gradient[name], layers[i] = data.gradient:narrow(1, at, n), { name = name, from = at - 1, n = n }
    at = at + n
  end
  local u, v = features.of(mode, names, theta, gradient)
  local us, vs = {}, {}
  for i, name in ipairs(names) do us[i], vs[i] = u[name], v[name] end
  local function all(list) return #list > 1 and quern.concat(list) or list[1] end
  return { u = all(us), v = all(vs), y = data:labels(), layers = layers, origin = data.origin }
end

-- Several teachers become one data set, one after the other.
local function prepare_all(from, mode)
  local list = (from.survival or from.names) and { from } or from
  local out
  for i, f in ipairs(list) do
    local d = prepare(f, mode)
    if not out then
      out = d
    else
      local n = out.u:numel()
      for _, l in ipairs(d.layers) do
        out.layers[#out.layers + 1] = { name = ("%d:%s"):format(i, l.name), from = l.from + n, n = l.n }
      end
      for _, key in ipairs { "u", "v", "y" } do out[key] = quern.concat { out[key], d[key] } end
    end
  end
  return out or util.fail("argument", "autosparse.fit: from is empty")
end

-- Rows (from 0) held out and taught: a share of each layer, drawn by seed; at most `limit` are taught.
local function cut(layers, holdout, seed, limit)
  local held, taught, total = {}, {}, 0
  for _, l in ipairs(layers) do total = total + l.n end
  local share = limit and limit < total and limit / total or 1.0
  for i, l in ipairs(layers) do
    local rows = {}
    for k = 1, l.n do rows[k] = l.from + k - 1 end
    det.random(seed, i):shuffle(rows)
    local n = math.floor(holdout * l.n + 0.5)
    l.held = table.move(rows, 1, n, 1, {})
    table.move(rows, 1, n, #held + 1, held)
    table.move(rows, n + 1, n + math.ceil((l.n - n) * share), #taught + 1, taught)
  end
  return held, taught
end

local function part(d, rows)
  local ids = quern.tensor(rows, "i64")
  local function pick(t) return quern.index_select(t, ids, 1) end
  return pick(d.u), pick(d.v), pick(d.y)
end

-- ---- Losses -----------------------------------------------------------------------------------------

local losses = {}

function losses.mse(score, y) return quern.mse(score, y) end

function losses.pairwise(score, y)
  local n = score.shape[1] - 1
  if n < 1 then return quern.mse(score, y) end
  local order = quern.sign(y:narrow(1, 1, n) - y:narrow(1, 2, n))
  return (quern.softplus(-(order * (score:narrow(1, 1, n) - score:narrow(1, 2, n)))) * quern.abs(order)):mean()
end

local function loss_of(name)
  return losses[name] or util.fail("argument", ("autosparse.fit: there is no loss %q"):format(tostring(name)), nil,
                                   util.suggest(tostring(name), util.keys(losses)))
end

-- ---- Report ------------------------------------------------------------------------------------------

local function judge(scorer, d, rows)
  local u, v, y = part(d, rows)
  local guess = scorer:exact(u, v)
  return { n = #rows, r2 = statistics.r2(y, guess), spearman = statistics.spearman(y, guess) }
end

local function report(scorer, d, held)
  local out = judge(scorer, d, held)
  out.n, out.held, out.layers = d.u:numel(), #held, {}
  for i, l in ipairs(d.layers) do
    local j = #l.held > 1 and judge(scorer, d, l.held) or { r2 = 0 / 0, spearman = 0 / 0 }
    local function number(x) return x == x and x or 0.0 end     -- of a layer whose labels are all equal
    out.layers[i] = { name = l.name, n = l.n, r2 = number(j.r2), spearman = number(j.spearman) }
  end
  return out
end

-- ---- Fitting ------------------------------------------------------------------------------------------

local function axis(t, mode)
  local unit = mode == "raw" and math.max((statistics.deviation({ t = t }, { "t" })), 1e-12) or 1.0
  local low, high = lookup.range(t, unit)
  return { unit = unit, low = low, high = high }
end

---@class autosparse.FitOptions
---@field from table result of irp, a data set, or a list of such (several teachers)
---@field network string? "mlp" (default), "fc", "resnet18"
---@field hidden integer[]? widths; default { 32, 64, 32 }
---@field features string? "global" (default), "raw", "layer"
---@field epochs integer? default 6
---@field batch integer? default 1024
---@field lr number? of Adam, falling by cosine; default 0.01
---@field loss string? "mse" (default) or "pairwise"
---@field holdout number? share of each layer kept for the report; default 0.1
---@field limit integer? weights taught at most, a draw from each layer; default 2,000,000
---@field seed integer?
---@field name string?

--- Fits a scorer.
---@param options autosparse.FitOptions
---@return autosparse.Scorer
return function(options)
  local o = util.options(options, known, "autosparse.fit")
  local mode, kind = features.check(o.features), o.network or "mlp"
  local seed, batch = util.integer(o.seed or 0, "autosparse.fit: seed"), o.batch or 1024
  local holdout = o.holdout or 0.1
  if type(holdout) ~= "number" or not (holdout > 0 and holdout < 1) then
    util.fail("argument", ("autosparse.fit: holdout must be in (0, 1), not %s"):format(tostring(holdout)))
  end
  local loss = loss_of(o.loss or "mse")
  local d = prepare_all(o.from or util.fail("argument", "autosparse.fit: from is missing"), mode)
  local held, taught = cut(d.layers, holdout, seed, util.integer(o.limit or 2000000, "autosparse.fit: limit", 2))
  quern.seed(seed)
  local net, hidden = networks.make(kind, o.hidden)
  local u, v, y = part(d, taught)
  local hu, hv, hy = part(d, held)
  local epochs = util.integer(o.epochs or 6, "autosparse.fit: epochs", 1)
  local loader = quern.data.tensors({ x = quern.stack({ u, v }, 2), y = y }, { batch = batch, seed = seed,
                                                                             drop_last = #taught >= batch })
  local made = { kind = kind, hidden = hidden, features = mode, net = net, origin = d.origin, name = o.name,
                 axes = { axis(d.u, mode), axis(d.v, mode) } }
  local scorer = Scorer(made)
  quern.fit(net, loader, { epochs = epochs, seed = seed, optim = { name = "adam", lr = o.lr or 0.01 },
    schedule = { name = "cosine", steps = epochs * loader:batches() }, progress = o.progress, checkpoints = false,
    loss = function(m, b) return loss(m(b.x), b.y) end,
    evaluate = function() return { loss = loss(scorer:exact(hu, hv), hy):item() } end, select = "loss" })
  scorer.report = report(scorer, d, held)
  return scorer
end
