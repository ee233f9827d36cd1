--- quern plan: what a run of a recipe will need. A run that will not fit into memory is exit code 5.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local plan = require "quern.plan"

local function training(rows, f)
  local function add(name, text) rows[#rows + 1] = { name, text } end
  add(f.name, ("%s parameters (%s)"):format(util.count(f.parameters), util.bytes(f.parameter_bytes)))
  add("  batches", ("%s %s on average, %s at most"):format(util.count(math.floor(f.mean_batch + 0.5)), f.unit,
    util.count(f.largest_batch)))
  add("  steps", ("%s (%d epochs of %d), %s each"):format(util.thousands(f.steps), f.epochs, f.steps_per_epoch,
    util.seconds(f.seconds_per_step)))
  add("  arithmetic", f.flops_per_step > 0 and ("%sFLOP forward each, by ops that take %.0f %% of its time; %s"):format(
    util.count(f.flops_per_step), 100 * f.flops_counted, "about three times that with backward")
    or "these ops do not count theirs")
  for i, line in ipairs(f.step or { f.eager and "trained eagerly: " .. f.eager }) do
    add(i == 1 and "  captured" or "", line)
  end
  if f.evaluations > 0 then
    add("  evaluations", ("%d, %s each"):format(f.evaluations, util.seconds(f.seconds_per_evaluation)))
  end
  add("  checkpoints", ("%s (last, previous and best), %s to write one"):format(util.bytes(f.checkpoint_bytes),
    util.seconds(f.seconds_per_checkpoint)))
end

local function show(p, available)
  local rows = {}
  for _, f in ipairs(p.fits) do training(rows, f) end
  rows[#rows + 1] = { "memory", ("%s of tensors at most%s"):format(util.bytes(p.memory),
    available and (", %s are free"):format(util.bytes(available)) or "") }
  rows[#rows + 1] = { "disk", util.bytes(p.disk) }
  rows[#rows + 1] = { "time", ("about %s, %s of it outside of training; less with an early stop"):format(
    util.duration(p.seconds), util.duration(p.rest)) }
  print(util.table(rows))
end

---@param args table recipe, size, set, seed, threads, json
---@return integer exit code
return function(args)
  if args.threads then quern.threads(args.threads) end
  local p, r = plan.make(args.recipe, { size = args.size, sets = args.set, seed = args.seed })
  local available = plan.available()
  if args.json then
    p.available = available
    print(quern.json.encode(p, { pretty = true }))
  else
    local _, _, size = r:resolve(args.size, args.set)
    print(("%s%s: what a run will need\n"):format(r.name, size and " (" .. size .. ")" or ""))
    show(p, available)
  end
  if available and p.memory > available then
    util.fail("nomem", "the run does not fit into memory", ("it needs %s of tensors, %s are free"):format(
      util.bytes(p.memory), util.bytes(available)), "a smaller batch, width or table; --set changes a setting")
  end
  return 0
end
