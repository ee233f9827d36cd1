--- Convolutions alone, channels last, batches of 128: forward, gradient of the image, gradient of the kernel.
-- FLOPs are nominal: they count the padding, and a method with fewer products may pass the peak.
--   quern lua tests/bench/bench_conv.lua [options of lib/bench.lua]
-- SPDX-License-Identifier: MIT

package.path = arg[0]:gsub("[^/]*$", "lib/?.lua;") .. package.path
local quern = require "quern"

local b = require "bench".open("conv")

local cases = { -- inputs, outputs, size, kernel, stride, batch
  { 3, 16, 32, 3, 1, 128 }, { 16, 16, 32, 3, 1, 128 }, { 16, 32, 32, 3, 2, 128 }, { 32, 32, 16, 3, 1, 128 },
  { 64, 64, 8, 3, 1, 128 }, { 64, 64, 32, 3, 1, 128 }, { 64, 128, 32, 1, 2, 128 }, { 64, 128, 32, 3, 2, 128 },
  { 128, 128, 16, 3, 1, 128 }, { 256, 256, 8, 3, 1, 128 }, { 512, 512, 4, 3, 1, 128 },
  { 64, 64, 56, 3, 1, 16 }, { 256, 64, 56, 1, 1, 16 }, { 128, 128, 28, 3, 1, 16 }, { 512, 512, 7, 3, 1, 16 },
}

-- A pruned kernel goes through the same dense loops: these rows show that its time does not depend on its zeros.
local DENSITIES, PRUNED = { 0.5, 0.1 }, "3x3 64 -> 64 @32 B128"

local function calls(c, density)
  local inputs, outputs, size, kernel, stride, batch = table.unpack(c)
  local padding = kernel // 2
  local out = (size + 2 * padding - kernel) // stride + 1
  local x = quern.normal { shape = { batch, size, size, inputs } }
  local w = quern.normal { shape = { outputs, inputs, kernel, kernel } }
  if density then w = w * quern.lt(quern.uniform { shape = w.shape }, density):to("f32") end
  local g = quern.normal { shape = { batch, out, out, outputs } }
  local function options(size_of)
    return { stride = stride, padding = padding, layout = "nhwc", size = size_of }
  end
  local parts = {
    forward = function() quern.conv2d(x, w, options()) end,
    back = function() quern.conv_transpose2d(g, w, options { size, size }) end,
    weight = function() quern.conv2d_weight_grad(x, g, options { kernel, kernel }) end,
  }
  return parts, 2 * batch * out ^ 2 * inputs * outputs * kernel ^ 2
end

for _, c in ipairs(cases) do
  local inputs, outputs, size, kernel, stride, batch = table.unpack(c)
  local name = ("%dx%d %d -> %d @%d%s B%d"):format(kernel, kernel, inputs, outputs, size,
                                                  stride > 1 and " stride " .. stride or "", batch)
  if not b:skipped(name) then
    local parts, flops = calls(c)
    for _, part in ipairs { "forward", "back", "weight" } do
      b:case { name = name .. ", " .. part, flops = flops, seconds = 0.15, items = flops / 1e9, unit = "GFLOP",
               ours = function() quern.scope(parts[part]) end,
               peer = { case = "vision.conv", backends = { "eager" },
                        args = { inputs = inputs, outputs = outputs, size = size, kernel = kernel, stride = stride,
                                 batch = batch, part = part } } }
    end
    for _, density in ipairs(name == PRUNED and DENSITIES or {}) do
      local pruned = calls(c, density)
      b:case { name = ("%s, forward, %.0f %% kept"):format(name, 100 * density), flops = flops, seconds = 0.15,
               ours = function() quern.scope(pruned.forward) end }
    end
  end
end
b:close()
