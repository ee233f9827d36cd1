--- Image sets: every layout is read, packed and refused as documented; real data when there.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local core = require "quern.core"
local data = quern.data
local store = require "quern.data.store"

local function crc32(s)
  local crc = 0xffffffff
  for i = 1, #s do
    crc = crc ~ s:byte(i)
    for _ = 1, 8 do crc = (crc & 1) == 1 and (crc >> 1) ~ 0xedb88320 or crc >> 1 end
  end
  return ~crc & 0xffffffff
end

local function adler32(s)
  local a, b = 1, 0
  for i = 1, #s do
    a = (a + s:byte(i)) % 65521
    b = (b + a) % 65521
  end
  return b << 16 | a
end

-- A PNG whose pixels are stored, not packed: rows of bytes, 1 or 3 for each pixel.
local function png(width, height, channels, pixel)
  local rows = {}
  for y = 0, height - 1 do
    rows[#rows + 1] = "\0"
    for x = 0, width - 1 do
      for c = 0, channels - 1 do rows[#rows + 1] = string.char(pixel(y, x, c) % 256) end
    end
  end
  local raw = table.concat(rows)
  local stored = "\x78\x01\x01" .. string.pack("<I2I2", #raw, ~#raw & 0xffff) .. raw
    .. string.pack(">I4", adler32(raw))
  local function chunk(kind, body)
    return string.pack(">I4", #body) .. kind .. body .. string.pack(">I4", crc32(kind .. body))
  end
  local head = string.pack(">I4I4BBBBB", width, height, 8, channels == 3 and 2 or 0, 0, 0, 0)
  return "\x89PNG\r\n\x1a\n" .. chunk("IHDR", head) .. chunk("IDAT", stored) .. chunk("IEND", "")
end

local function put(folder, name, text)
  quern._io.mkdir((folder .. "/" .. name):match("^(.*)/"))
  check.write(folder .. "/" .. name, text)
end

-- train/CLASS/N.png and test/CLASS/N.png; pixel value tells class and number.
local function picture_folder(side, channels, classes, each)
  local folder = check.folder()
  for ci, class in ipairs(classes) do
    for i = 1, each do
      local image = png(side, side, channels, function(y, x, c) return 60 * ci + 10 * i + y + x + c end)
      put(folder, ("train/%s/%d.png"):format(class, i), image)
      if i == 1 then put(folder, ("test/%s/%d.png"):format(class, i), image) end
    end
  end
  return folder
end

local function epoch_of(loader)
  local out = {}
  for b in loader:epoch() do out[#out + 1] = { b.rows:totable(), b.x:sum():item() } end
  return out
end

return {
  { "folders of pictures give classes by name, in planes", function()
    local set = data.images { folder = picture_folder(6, 3, { "cat", "ant" }, 3), mean = { 0 }, std = { 1 / 255 } }
    check.equal({ set.names, set.classes, set.channels, set.height, set.inputs }, { { "ant", "cat" }, 2, 3, 6, 108 })
    check.equal({ set:rows("train"), set:rows("valid"), set:rows("test") }, { 6, 0, 2 })
    local b = set:batches("train", 4)()
    check.equal(b.x.shape, { 4, 6, 6, 3 })
    check.equal(b.y:totable(), { 0, 0, 0, 1 })
    check.near(b.x[{ 1, 1, 1 }]:totable(), { 130, 131, 132 }, 1e-4)   -- ant is the second class written
    check.near(b.x[{ 4, 2, 3 }]:totable(), { 73, 74, 75 }, 1e-4)
  end },

  { "a set is cut into train, valid and test by draws that no run changes", function()
    local function make(seed)
      return data.images { set = "blobs", valid = 100, limit = 50, seed = seed, generate = { train = 300, test = 60 } }
    end
    local a, b, c = make(1), make(1), make(2)
    check.equal({ a:rows("train"), a:rows("valid"), a:rows("test") }, { 50, 100, 60 })
    check.equal(a.lists, b.lists)
    check.equal(a.lists.valid, c.lists.valid)
    check.yes(table.concat(a.lists.train, " ") ~= table.concat(c.lists.train, " "))
    local seen = {}
    for _, r in ipairs(a.lists.valid) do seen[r] = true end
    for _, r in ipairs(a.lists.train) do check.yes(not seen[r], "an image is in train and in valid") end
    local n = 0
    for _, k in ipairs(a:histogram("valid")) do n = n + k end
    check.equal(n, 100)
  end },

  { "only training batches are shuffled and augmented; a position can be sought", function()
    local set = data.images { set = "blobs", augment = { crop = 3, flip = true }, generate = { train = 64, test = 20 } }
    local a = epoch_of(set:loader("test", { batch = 8, seed = 1 }))
    local b = epoch_of(set:loader("test", { batch = 8, seed = 2 }))
    check.equal(a, b)
    local l = set:loader("train", { batch = 8, seed = 1 })
    check.yes(table.concat(l:next().rows:totable(), " ") ~= "0 1 2 3 4 5 6 7")
    l:next()
    local at = l:tell()
    check.equal(at, { seed = 1, epoch = 0, index = 2 })
    local expected = epoch_of(l)
    local again = set:loader("train", { batch = 8, seed = 1, prefetch = 0 })
    again:seek(at)
    check.equal(epoch_of(again), expected)
  end },

  { "layouts hold the same numbers", function()
    local set = data.images { set = "blobs", generate = { train = 4, test = 2, channels = 3, size = 8 } }
    local function first(layout) return set:loader("test", { batch = 2, layout = layout }):next().x end
    local nhwc, nchw, flat = first "nhwc", first "nchw", first "flat"
    check.equal({ nhwc.shape, nchw.shape, flat.shape }, { { 2, 8, 8, 3 }, { 2, 3, 8, 8 }, { 2, 192 } })
    check.equal(nhwc:permute({ 1, 4, 2, 3 }):contiguous():totable(), nchw:totable())
    check.equal(nchw:reshape({ 2, 192 }):totable(), flat:totable())
  end },

  { "packed pictures are CIFAR's binary files, and read back the same", function()
    local source, out = picture_folder(32, 3, { "a", "b" }, 4), check.folder()
    local set, format = data.pack(source, out)
    check.equal({ format, set.train.images.shape[1] }, { "cifar-10", 8 })
    check.equal(quern._io.stat(out .. "/data_batch_1.bin").size, 8 * 3073)
    check.equal(check.read(out .. "/batches.meta.txt"), "a\nb\n")
    for i = 2, 5 do put(out, ("data_batch_%d.bin"):format(i), check.read(out .. "/data_batch_1.bin")) end
    local packed, read = data.images { folder = out, format = "cifar-10" }, data.images { folder = source }
    check.equal({ packed:rows("train"), packed:rows("test") }, { 40, 2 })
    check.equal(packed.data.test.images:totable(), read.data.test.images:totable())
    check.equal(packed.data.test.labels:totable(), { 0, 1 })
  end },

  { "packed grey pictures are idx files", function()
    local out = check.folder()
    local _, format = data.pack(picture_folder(5, 1, { "x", "y" }, 2), out)
    check.equal(format, "idx")
    local set = data.images { folder = out, format = "idx" }
    check.equal({ set.channels, set.height, set:rows("train"), set.classes }, { 1, 5, 4, 2 })
    check.equal(set.data.test.images[{ 1, 1, 2 }]:totable(), { 71, 72, 73, 74, 75 })
  end },

  { "TinyImageNet's layout is read", function()
    local folder = check.folder()
    put(folder, "wnids.txt", "n2\nn1\n")
    for i, wnid in ipairs { "n1", "n2" } do
      for k = 0, 1 do
        local image = png(4, 4, 3, function() return 10 * i + k end)
        put(folder, ("train/%s/images/%s_%d.JPEG"):format(wnid, wnid, k), image)
      end
    end
    put(folder, "val/images/val_0.JPEG", png(4, 4, 3, function() return 99 end))
    put(folder, "val/val_annotations.txt", "val_0.JPEG\tn2\t0\t0\t3\t3\n")
    local set = data.images { folder = folder, format = "tiny-imagenet" }
    check.equal({ set.names, set:rows("train"), set:rows("test") }, { { "n1", "n2" }, 4, 1 })
    check.equal(set.data.test.labels:totable(), { 1 })
    check.equal(set.data.train.images[{ 4, 1, 1 }]:totable(), { 21, 21, 21, 21 })
    put(folder, "val/val_annotations.txt", "../../x\tn2\n")
    check.fails(function() data.images { folder = folder, format = "tiny-imagenet" } end, "is not FILE TAB CLASS")
  end },

  { "hostile folders and files are refused with their names", function()
    local folder = picture_folder(6, 3, { "a" }, 2)
    put(folder, "train/a/2.png", png(5, 6, 3, function() return 0 end))
    check.fails(function() data.images { folder = folder } end, "2.png has 5 x 6 pixels, the set's images 6 x 6")
    put(folder, "train/a/2.png", "no picture")
    check.fails(function() data.images { folder = folder } end, "2.png is neither PNG nor JPEG")
    check.fails(function() data.images { folder = check.folder() } end, "no pictures for training")
    check.fails(function() data.images { folder = folder .. "/nowhere" } end, "cannot find")
    check.fails(function() data.images { folder = folder, format = "cifer" } end, "no format \"cifer\"", "cifar")
    check.fails(function() data.images { set = "mnst" } end, "no dataset \"mnst\"", "mnist")
    check.fails(function() data.images { set = "ml-100k" } end, "ml-100k has no images")
    check.fails(function() data.sequences { set = "blobs" } end, "a set of images")
    check.fails(function() data.images { set = "blobs", augment = { corp = 4 } } end, "unknown option \"corp\"")
    put(folder, "x/cifar.tar.gz", "not packed at all, and much too short")
    check.fails(function() core.tar(folder .. "/x/cifar.tar.gz") end, "is no tar archive")
  end },

  { "pictures, folders and idx files that do not fit are told apart", function()
    local tiny = png(1, 1, 3, function() return 0 end)
    local head = string.pack(">I4I4", 60000, 60000) .. tiny:sub(25, 29)
    local huge = tiny:sub(1, 16) .. head .. string.pack(">I4", crc32("IHDR" .. head)) .. tiny:sub(34)
    check.fails(function() core.picture(huge, "x.png") end, "x.png: a picture of 60000 x 60000 pixels")
    local folder = picture_folder(4, 3, { "a", "b" }, 2)
    check.fails(function() data.pack(folder, check.folder()) end, "has 3 channels of 4 x 4 and 2 classes")
    put(folder, "loose.png", tiny)
    check.fails(function() data.images { folder = folder } end, "has pictures outside of any class")
    local function idx(...)
      local sizes, count = { ... }, 1
      for _, n in ipairs(sizes) do count = count * n end
      return string.char(0, 0, 8, #sizes) .. string.pack((">I4"):rep(#sizes), ...) .. ("\0"):rep(count)
    end
    local set = check.folder()
    put(set, "train-images-idx3-ubyte", idx(2, 3))
    put(set, "train-labels-idx1-ubyte", idx(3))
    check.fails(function() data.images { folder = set, format = "idx" } end, "holds 2 dimensions, images have 3")
    put(set, "train-images-idx3-ubyte", idx(2, 3, 3))
    check.fails(function() data.images { folder = set, format = "idx" } end, "has 2 images, its labels are 3")
    local tree = check.folder()
    put(tree, "wnids.txt", "n1\n")
    put(tree, "train/n1/images/n1_0.JPEG", tiny)
    put(tree, "val/images/v.JPEG", tiny)
    put(tree, "val/val_annotations.txt", "v.JPEG\tn2\n")
    check.fails(function() data.images { folder = tree, format = "tiny-imagenet" } end,
                "is of class n2, which wnids.txt lacks")
  end },

  { "a set of several files is found, checked and imported", function()
    local folder, cache = check.folder(), check.folder()
    data.pack(picture_folder(5, 1, { "x", "y" }, 2), folder)
    local entry = { doc = "t", terms = "t", cite = "t", image = { classes = 2 }, stats = { train = 4, test = 2 },
      files = { { local_ = "tiny-grey", format = "idx", parts = {
        { name = "train-images-idx3-ubyte" }, { name = "train-labels-idx1-ubyte" },
        { name = "t10k-images-idx3-ubyte" }, { name = "t10k-labels-idx1-ubyte" } } } } }
    data.registry["tiny-grey"] = entry
    check.with_env({ QUERN_DATA = false, QUERN_CACHE = cache }, function()
      check.yes(not data.have "tiny-grey")
      check.fails(function() store.get "tiny-grey" end, "cannot download tiny-grey", "no address")
      check.fails(function() store.import("tiny-grey", cache) end, "does not hold the files")
      store.import("tiny-grey", folder)
      check.yes(data.have "tiny-grey")
      check.equal(data.images { set = "tiny-grey" }:rows("train"), 4)
      entry.stats.train = 5
      check.fails(function() data.images { set = "tiny-grey" } end, "has 4 images for train, and should have 5")
      entry.stats.train = 4
      local path = store.find "tiny-grey"
      local text = check.read(path .. "/t10k-labels-idx1-ubyte")
      check.write(path .. "/t10k-labels-idx1-ubyte", text:sub(1, -2) .. "\0")
      check.fails(function() data.images { set = "tiny-grey" } end, "is not the file that tiny-grey should be")
    end)
    data.registry["tiny-grey"] = nil
  end },

  { "MNIST's test images, cut in two", function()
    check.data "mnist/t10k-images-idx3-ubyte.gz"
    local set = data.images { set = "mnist-10k" }
    check.equal({ set:rows("train"), set:rows("test"), set.classes }, { 7500, 2500, 10 })
    local train, test = set:histogram("train"), set:histogram("test")
    local all = {}
    for i = 1, 10 do all[i] = train[i] + test[i] end
    check.equal(all, { 980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009 })
  end },

  { "Fashion-MNIST of the Debian package", function()
    if not data.have "fashion-mnist" then check.skip "fashion-mnist is not here (package dataset-fashion-mnist)" end
    local set = data.images { set = "fashion-mnist" }
    check.equal({ set:rows("train"), set:rows("test") }, { 60000, 10000 })
    check.equal(set:histogram("test"), { 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000 })
  end },
}
