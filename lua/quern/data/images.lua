--- Images: sets of pictures with classes, as batches of normalised, augmented floats.
--
--   local set = quern.data.images { set = "cifar-10", limit = 5000, valid = 500,
--                                   augment = { crop = 4, flip = true } }
--   for batch in set:loader("train", { batch = 128, seed = 1 }):epoch() do
--     local logits = model(batch.x) ... quern.cross_entropy(logits, batch.y)
--
-- A batch has x f32 ([B,H,W,C]; "nchw": [B,C,H,W]; "flat": [B,C*H*W]), y i64 [B], rows, n.
-- Order, crops and mirror images are functions of (seed, epoch, image). The validation images are
-- taken from the training images by a fixed draw, and are never augmented.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local class = require "quern.class"
local util = require "quern.util"
local det = require "quern.det"
local store = require "quern.data.store"
local registry = require "quern.data.registry"
local files = require "quern.data.image_files"
local blobs = require "quern.data.blobs"
local runs = require "quern.runs"
local sys = require "quern.sys"

local core = require "quern.core"

-- ---- Loaders ----------------------------------------------------------------------------------

---@class quern.ImageLoader
local ImageLoader = class("ImageLoader")

function ImageLoader:init(inner) self.core, self.unit = inner, "img" end
--- The next batch; nil once at the end of each epoch.
function ImageLoader:next() return self.core:next() end
---@return integer batches per epoch
function ImageLoader:batches() return self.core:batches() end
--- The position: seed, epoch and index of the batch that comes next, from 0.
function ImageLoader:tell() return self.core:tell() end
function ImageLoader:seek(state) self.core:seek(state) end
--- Iterates over the rest of the epoch.
function ImageLoader:epoch() return function() return self:next() end end

-- ---- Sets ----------------------------------------------------------------------------------------

---@class quern.Images
---@field classes integer
---@field names string[]? of the classes
---@field channels integer
---@field height integer
---@field width integer
---@field inputs integer channels * height * width
---@field mean number[] by channel
---@field std number[]
local Images = class("Images")

local known = { set = 1, folder = 1, format = 1, limit = 1, test_limit = 1, valid = 1, augment = 1, layout = 1,
                mean = 1, std = 1, seed = 1, generate = 1, check = 1 }

local function cache() return (store.cache_folder():gsub("/data$", "/images")) end

-- { train, test }, the registry's image entry, the SHA-256 of the source
local function open(o)
  if o.folder then
    return files.read(o.format or "folders", o.folder, cache()), {}, "folder " .. sys.absolute(o.folder)
  end
  local entry = store.entry(o.set or util.fail("argument", "data.images: give set = or folder =", nil,
                                               "`quern data list` shows the sets there are"))
  if not entry.image then
    util.fail("argument", ("data.images: %s has no images"):format(o.set), nil, "data.sequences{...} reads it")
  end
  if entry.generated then
    local set, settings = blobs(o.generate)
    return set, { classes = settings.classes, mean = entry.image.mean, std = entry.image.std },
           core.sha256(quern.json.encode(settings))
  end
  local path, form = store.locate(o.set)
  local digest = store.check(o.set, path, form)
  return files.read(form.format, path, cache()), entry.image, digest
end

local function check_counts(name, set)
  for phase, n in util.sorted(registry[name].stats or {}) do
    if set[phase].images.shape[1] ~= n then
      util.fail("format", ("%s has %d images for %s, and should have %d"):format(name, set[phase].images.shape[1],
                phase, n), nil, "`quern data verify " .. name .. "` looks at the files")
    end
  end
end

-- Mean and deviation by channel of x / 255, over at most 10,000 images.
local function measure(images)
  local c, mean, std = images.shape[2], {}, {}
  local some = images:narrow(1, 1, math.min(images.shape[1], 10000))
  for i = 1, c do
    local x = some:select(2, i):contiguous():cast("f32") * (1 / 255)
    mean[i] = x:mean():item()
    std[i] = math.max(math.sqrt((x * x):mean():item() - mean[i] ^ 2), 1e-3)
  end
  return mean, std
end

local function classes_of(set)
  local most = 0
  for _, phase in ipairs { "train", "test" } do
    local y = set[phase].labels
    if #y > 0 then most = math.max(most, y:max():item() + 1) end
  end
  return most
end

-- Some of the rows, drawn by the seed, and the others; in order when that is all or none.
local function draw(rows, wanted, ...)
  if wanted >= #rows then return rows, {} end
  if wanted == 0 then return {}, rows end
  det.random(...):shuffle(rows)
  return table.move(rows, 1, wanted, 1, {}), table.move(rows, wanted + 1, #rows, 1, {})
end

local function rows_of(images)
  local rows = {}
  for i = 1, images.shape[1] do rows[i] = i - 1 end
  return rows
end

local function whole(v, name, most)
  if v == nil then return nil end
  return util.integer(v, "data.images: " .. name, 0, most)
end

-- Seeds of the fixed draws: they are the same in every run.
local VALID, TEST, LIMIT = 4711, 4712, 4713

function Images:split(o)
  local all, test = rows_of(self.data.train.images), rows_of(self.data.test.images)
  local valid, rest = draw(all, whole(o.valid, "valid", #all) or 0, VALID)
  local train = draw(rest, whole(o.limit, "limit") or #rest, LIMIT, self.seed)
  test = draw(test, whole(o.test_limit, "test_limit") or #test, TEST)
  self.lists = { train = train, valid = valid, test = test }
end

function Images:init(options)
  local o = util.options(options, known, "data.images")
  local set, entry, digest = open(o)
  if o.set and not registry[o.set].generated and o.check ~= false then check_counts(o.set, set) end
  self.data, self.set, self.sha256 = set, o.set, digest
  self.seed = util.integer(o.seed or 0, "data.images: seed")
  local _, c, h, w = table.unpack(set.train.images.shape)
  self.channels, self.height, self.width, self.inputs = c, h, w, c * h * w
  self.names, self.classes = entry.names or set.names, entry.classes or classes_of(set)
  self.layout, self.augment = o.layout or "nhwc", util.options(o.augment, { crop = 1, flip = 1 },
                                                               "data.images: augment")
  self.mean, self.std = o.mean or entry.mean, o.std or entry.std
  if not self.mean or not self.std then
    local mean, std = measure(set.train.images)
    self.mean, self.std = self.mean or mean, self.std or std
  end
  self:split(o)
  if runs.current then runs.current:uses_data(o.set or o.folder, digest) end
end

local function list_of(self, phase)
  return self.lists[phase] or util.fail("argument", ("data.images: there is no phase %q"):format(tostring(phase)), nil,
                                        "phases are train, valid, test")
end

--- Images of a phase: "train", "valid", "test".
---@param phase string
---@return integer
function Images:rows(phase) return #list_of(self, phase) end

--- Batches in the loader's order.
---@param phase string
---@param options {batch: integer?, seed: integer?, shuffle: boolean?, drop_last: boolean?, prefetch: integer?,
---  augment: boolean?, layout: string?, bucket: boolean?}? shuffle, augment: default for "train" alone
---@return quern.ImageLoader
function Images:loader(phase, options)
  local o = util.options(options, { batch = 1, seed = 1, shuffle = 1, drop_last = 1, prefetch = 1, augment = 1,
                                    layout = 1, bucket = 1 }, "loader")
  local list, training = list_of(self, phase), phase == "train"
  local function default(v) if v == nil then return training end return v end
  local look = default(o.augment) and self.augment or {}
  local from = self.data[phase == "test" and "test" or "train"]
  return ImageLoader(core.image_loader(from.images, from.labels, quern.tensor(list, "i64"), {
    batch = util.integer(o.batch or 128, "loader: batch", 1), seed = o.seed or runs.current and runs.current.seed or 0,
    shuffle = default(o.shuffle), drop_last = o.drop_last == true, prefetch = o.prefetch or 2,
    layout = o.layout or self.layout, crop = look.crop or 0, flip = look.flip == true, mean = self.mean,
    std = self.std }))
end

--- Iterates over all images of a phase once, in order.
---@param phase string
---@param batch integer? default 500
function Images:batches(phase, batch)
  return self:loader(phase, { batch = batch or 500, shuffle = false, augment = false }):epoch()
end

--- How often each class occurs in a phase.
---@param phase string
---@return integer[] counts of class 0, 1, ...
function Images:histogram(phase)
  local counts, labels = {}, self.data[phase == "test" and "test" or "train"].labels:totable()
  for i = 1, self.classes do counts[i] = 0 end
  for _, row in ipairs(list_of(self, phase)) do counts[labels[row + 1] + 1] = counts[labels[row + 1] + 1] + 1 end
  return counts
end

function Images:__tostring()
  return ("%s: %dx%dx%d, %d classes; train %s, valid %s, test %s images"):format(self.set or "images", self.channels,
    self.height, self.width, self.classes, util.thousands(self:rows("train")), util.thousands(self:rows("valid")),
    util.thousands(self:rows("test")))
end

---@class quern.ImagesOptions
---@field set string? a known set
---@field folder string? or a folder, read as format says
---@field format string? "folders" (default), "idx", "cifar-10", "cifar-100", "tiny-imagenet", "tar"
---@field limit integer? training images used, a draw by seed
---@field test_limit integer? test images used, a fixed draw
---@field valid integer? training images held out, a fixed draw; default 0
---@field augment {crop: integer?, flip: boolean?}? of training batches: padding of the random crop, mirror images
---@field layout string? of x: "nhwc" (default), "nchw", "flat"
---@field mean number[]? by channel of x / 255; default: the set's published ones, else measured
---@field std number[]?
---@field seed integer? of the draw of limit; default 0
---@field generate table? settings of the generator, with set = "blobs"

return Images
