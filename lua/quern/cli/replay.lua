--- quern replay: runs a past run again and says whether every bit came out the same.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local store = require "quern.store"
local replay = require "quern.replay"

---@param args table run, out, threads, force, keep
---@return integer exit code
return function(args)
  local r = store.find(args.out, args.run)
  if args.threads then quern.threads(args.threads) end
  print(("replaying %s: %s, seed %d, with %d threads"):format(r.id, r.name, r.seed, quern.threads()))
  local result = replay.run(r, { force = args.force, keep = args.keep })
  print(("%s to the bit: %d losses, %d lines of metrics%s"):format(
    result.whole and "the same" or ("the same as far as the " .. r.status .. " run went"), result.losses, result.lines,
    result.tensors > 0 and (", %d tensors of checkpoints"):format(result.tensors) or ""))
  if args.keep then print("the new run is in " .. result.folder) end
  return 0
end
