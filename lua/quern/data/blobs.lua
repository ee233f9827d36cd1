--- Blobs: generated pictures, for tests and for machines without image data.
--
-- Each class has a smooth pattern, the sum of a few random Gaussian bumps; a picture is its
-- class's pattern, shifted by up to `shift` pixels, brightened at random, under noise.
-- A function of its settings alone.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local det = require "quern.det"

local BUMPS = 5

local defaults = { classes = 10, size = 28, channels = 1, train = 2000, test = 1000, noise = 0.25, shift = 3, seed = 1 }

-- One plane of a class's pattern, with a margin of `shift` on each side, values in 0..1.
local function pattern(o, class, channel)
  local random, side = det.random(o.seed, class, channel), o.size + 2 * o.shift
  local plane = {}
  for i = 1, side * side do plane[i] = 0 end
  for _ = 1, BUMPS do
    local cy, cx = (0.2 + 0.6 * random:float()) * side, (0.2 + 0.6 * random:float()) * side
    local width, height = (0.06 + 0.1 * random:float()) * side, 0.4 + 0.6 * random:float()
    for y = 1, side do
      for x = 1, side do
        local i = (y - 1) * side + x
        plane[i] = plane[i] + height * math.exp(-((y - cy) ^ 2 + (x - cx) ^ 2) / (2 * width * width))
      end
    end
  end
  return quern.tensor(plane, "f32"):reshape { side, side }:clamp { max = 1.0 }
end

local function patterns(o)
  local out = {}
  for class = 1, o.classes do
    local planes = {}
    for c = 1, o.channels do planes[c] = pattern(o, class, c) end
    out[class] = quern.stack(planes, 1)
  end
  return out
end

-- Normal deviates (Box and Muller), of which each picture takes a stretch; the run's own random
-- numbers are left alone.
local function noise_bank(o, random)
  local n = (1 << 15) + o.channels * o.size * o.size
  local bank = {}
  for i = 1, n, 2 do
    local r, turn = math.sqrt(-2 * math.log(1 - random:float())), 2 * math.pi * random:float()
    bank[i], bank[i + 1] = o.noise * r * math.cos(turn), o.noise * r * math.sin(turn)
  end
  return quern.tensor(bank, "f32"), #bank
end

-- One tensor of many, a few dozen at a time.
local function gather(list)
  local parts = {}
  for i = 1, #list, 64 do parts[#parts + 1] = quern.stack(table.move(list, i, math.min(i + 63, #list), 1, {}), 1) end
  while #parts > 1 do
    local joined = {}
    for i = 1, #parts, 32 do
      joined[#joined + 1] = quern.concat(table.move(parts, i, math.min(i + 31, #parts), 1, {}))
    end
    parts = joined
  end
  return parts[1]
end

local function make(o, all, n, phase)
  local random, list, noise, labels, gains = det.random(o.seed, 1000 + phase), {}, {}, {}, {}
  local bank, length = noise_bank(o, random)
  local each = o.channels * o.size * o.size
  for i = 1, n do
    local class = (i - 1) % o.classes
    local dy, dx = random:range(1, 2 * o.shift + 1), random:range(1, 2 * o.shift + 1)
    list[i] = all[class + 1]:narrow(2, dy, o.size):narrow(3, dx, o.size)
    noise[i] = bank:narrow(1, random:range(1, length - each + 1), each)
    labels[i], gains[i] = class, 0.7 + 0.3 * random:float()
  end
  local gain = quern.tensor(gains, "f32"):reshape { n, 1, 1, 1 }
  local x = gather(list) * gain + gather(noise):reshape { n, o.channels, o.size, o.size }
  x = (x * 255):clamp { min = 0.0, max = 255.0 }
  return { images = x:cast "u8", labels = quern.tensor(labels, "i64") }
end

--- A generated set.
---@param options table? classes, size, channels, train, test, noise, shift, seed
---@return table set { train, test } with images u8 [N,C,H,W] and labels
---@return table settings
return function(options)
  local o = util.options(options, defaults, "data.images: generate")
  local settings = { generator = "blobs 1" }
  for k, v in pairs(defaults) do settings[k] = o[k] == nil and v or o[k] end
  for _, k in ipairs { "classes", "size", "channels", "train", "test" } do
    util.integer(settings[k], "data.images: generate." .. k, 1)
  end
  local set = quern.no_grad(function()
    return quern.scope(function()
      local all = patterns(settings)
      return { train = make(settings, all, settings.train, 1), test = make(settings, all, settings.test, 2) }
    end)
  end)
  return set, settings
end
