-- One thing of each kind, from a plugin that was built outside the tree. SPDX-License-Identifier: MIT
local quern = require "quern"
quern.plugin "toolbox"

local arms = quern.dataset("spirals", { n = 200, turns = 1 })
local all = {}
for r = 0, arms:count() - 1 do all[r + 1] = r end
local batch = arms:read(all)
local model = quern.nn.Sequential(quern.nn.Linear(2, 16), quern.nn.Tanh(), quern.nn.Linear(16, 1))
local y = batch.label:to "f32":reshape(-1, 1)
local data = quern.data.tensors { x = batch.x, y = y }
local clamp = quern.hook("clamp", { limit = 2 })
quern.fit(model, data, { loss = function(m, b) return quern.mse(m(b.x), b.y) end, optim = { name = "adam", lr = 0.05 },
  epochs = 40, batch = 50, hooks = { clamp }, progress = false, seed = 1 })
local rmse = quern.metric "rmse"
rmse:add(model(batch.x):detach(), y)
assert(rmse:result().RMSE < 0.4, ("RMSE is %g"):format(rmse:result().RMSE))
local w = model:parameters()[1].tensor
assert(quern.scorer("fan"):score(w):sum():item() > 0)
local path = os.tmpname()
quern.codec("pgm"):write(path, { image = quern.u8 { { 1, 2 } } })
assert((quern.thing.read(path)).image.shape[2] == 2)
os.remove(path)
quern.object("alias"):step(quern.f64 { 1, 2 }, { n = 3 })
print(("toolbox: RMSE %.3g, %d weights clamped"):format(rmse:result().RMSE, clamp:describe().clamped))
