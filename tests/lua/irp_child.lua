--- A child of test_autosparse: an IRP run in the folder given, which kills itself, by SIGKILL, at step 7
--- of round 3 when told to.
-- SPDX-License-Identifier: MIT

local folder, deadly = ...
local quern = require "quern"
local process = require "quern.process"
local vision, autosparse = quern.plugin "vision", quern.plugin "autosparse"

local set = quern.data.images { set = "blobs", generate = { train = 120, test = 20, classes = 4, size = 8 } }
quern.seed(5)
local model = vision.make("lenet-300-100", set, { hidden = { 12 } })
local irp = autosparse.irp { model = model, data = set, loss = vision.loss, rounds = 5, final = 0.1, seed = 5,
  batch = 40, folder = folder,
  train = function(m, how)
    local hook = { after_step = function(_, fit)
      if deadly and how.round == 3 and fit.step == 7 then process.kill(quern._io.pid(), "kill") end
    end }
    vision.train(m, set, { epochs = 3, batch = 30, lr = 0.1, seed = how.seed, name = how.name, folder = how.folder,
                           resume = how.resume, progress = false, checkpoint_steps = 5, hooks = { hook } })
  end }
irp.mask:save(folder .. "/final.mask")
quern.save(folder .. "/survival.safetensors", irp.survival)
