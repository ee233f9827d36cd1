--- Readers of image sets: each gives { train = { images, labels }, test = { images, labels } }.
--
-- images u8 [N,C,H,W], labels i64 [N] from 0. Formats:
--   idx            four files of MNIST's names in a folder, packed by gzip or not
--   idx-test       two of them; a fixed shuffle cuts a quarter off for the test
--   cifar-10, -100 the official binary files, in a folder or in their tar.gz
--   jpeg-tar       train/CLASS/*.jpg, test/CLASS/*.jpg in a tar; packed once into binary files
--   folders        the same as folders of PNG and JPEG
--   tiny-imagenet  train/WNID/images, val/images with val_annotations.txt, wnids.txt
-- Classes of folders are numbered in the order of their names.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local sys = require "quern.sys"
local det = require "quern.det"
local core = require "quern.core"

local files = {}

local PACKED = 10000                 -- images per file of CIFAR-10's binary layout

-- ---- idx -----------------------------------------------------------------------------------

local function idx(folder, name)
  for _, ending in ipairs { ".gz", "" } do
    local path = folder .. "/" .. name .. ending
    if sys.exists(path) then return core.idx_parse(core.unpack(path), path), path end
  end
  util.fail("not_found", ("cannot find %s/%s"):format(folder, name), "nor the same with .gz")
end

local function idx_pair(folder, phase)
  local images, where = idx(folder, phase .. "-images-idx3-ubyte")
  local labels = idx(folder, phase .. "-labels-idx1-ubyte")
  if #images.shape ~= 3 then
    util.fail("format", ("%s holds %d dimensions, images have 3"):format(where, #images.shape))
  end
  if #labels.shape ~= 1 or labels.shape[1] ~= images.shape[1] then
    util.fail("format", ("%s has %d images, its labels are %s"):format(where, images.shape[1],
              table.concat(labels.shape, "x")), nil, "the two files are of different sets")
  end
  local n, h, w = table.unpack(images.shape)
  return { images = images:reshape { n, 1, h, w }, labels = labels:cast "i64" }
end

local readers = {}

readers["idx"] = function(folder) return { train = idx_pair(folder, "train"), test = idx_pair(folder, "t10k") } end

local function part_of(pair, rows)
  local ids = quern.tensor(rows, "i64")
  return { images = quern.index_select(pair.images, ids, 1), labels = quern.index_select(pair.labels, ids, 1) }
end

readers["idx-test"] = function(folder)
  local pair, rows = idx_pair(folder, "t10k"), {}
  local n = pair.images.shape[1]
  for i = 1, n do rows[i] = i - 1 end
  det.random(10, n):shuffle(rows)
  local cut = n - n // 4
  return { train = part_of(pair, table.move(rows, 1, cut, 1, {})),
           test = part_of(pair, table.move(rows, cut + 1, n, 1, {})) }
end

-- ---- CIFAR's binary files -----------------------------------------------------------------------

local layouts = {
  [10] = { train = { "data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
                     "data_batch_5.bin" }, test = { "test_batch.bin" } },
  [100] = { train = { "train.bin" }, test = { "test.bin" } },
}

-- name -> bytes of the files inside an archive, by their last part.
local function archive(path)
  local found, tar = {}, core.tar(path)
  for name, bytes in function() return tar:next() end do found[name:match("[^/]+$")] = bytes end
  return function(name)
    return found[name] or util.fail("not_found", ("%s holds no %s"):format(path, name), nil,
                                    "the binary version of CIFAR is read")
  end
end

local function folder_of(path) return function(name) return core.unpack(path .. "/" .. name) end end

local function join(list) return #list == 1 and list[1] or quern.concat(list) end

local function cifar(path, classes)
  local open = core.stat(path).folder and folder_of(path) or archive(path)
  local out = {}
  for phase, names in util.sorted(layouts[classes]) do
    local images, labels = {}, {}
    for i, name in ipairs(names) do
      local x, coarse, fine = core.cifar_parse(open(name), path .. "/" .. name, classes)
      images[i], labels[i] = x, fine or coarse
    end
    out[phase] = { images = join(images), labels = join(labels) }
  end
  return out
end

readers["cifar-10"] = function(path) return cifar(path, 10) end
readers["cifar-100"] = function(path) return cifar(path, 100) end

-- ---- Pictures in classes ---------------------------------------------------------------------------

local function is_picture(name) return name:lower():match("%.jpe?g$") or name:lower():match("%.png$") end

-- entries: { class =, origin =, bytes = function or string }. All have the size of the first.
local function decode(entries, classes)
  if #entries == 0 then util.fail("format", "there is no PNG or JPEG picture") end
  local function bytes(e) return type(e.bytes) == "string" and e.bytes or e.bytes() end
  local first = core.picture(bytes(entries[1]), entries[1].origin)
  local images = core.empty({ #entries, first.shape[1], first.shape[2], first.shape[3] }, "u8")
  local labels = {}
  for i, e in ipairs(entries) do
    core.picture_row(images, i, bytes(e), e.origin)
    labels[i] = classes[e.class]
  end
  return { images = images, labels = quern.tensor(labels, "i64") }
end

local function numbered(names)
  local out = {}
  for i, name in ipairs(names) do out[name] = i - 1 end
  return out
end

-- { train = entries, test = entries } from a list of "PHASE/CLASS/FILE" or "CLASS/FILE".
local function by_phase(list, where)
  local phases, names = { train = {}, test = {} }, {}
  for _, e in ipairs(list) do
    local phase, class = e.name:match("([^/]+)/([^/]+)/[^/]+$")
    if not phases[phase] then phase, class = "train", e.name:match("([^/]+)/[^/]+$") end
    e.class, names[class or ""] = class, true
    table.insert(phases[phase], e)
  end
  if names[""] then
    util.fail("format", ("%s has pictures outside of any class"):format(where), nil,
              "expected are train/CLASS/FILE and test/CLASS/FILE")
  end
  return phases, util.keys(names)
end

local function decode_phases(list, where)
  local phases, names = by_phase(list, where)
  local out, numbers = { names = names }, numbered(names)
  for phase, entries in pairs(phases) do
    table.sort(entries, function(a, b) return a.name < b.name end)
    if #entries > 0 then out[phase] = decode(entries, numbers) end
  end
  if not out.train then util.fail("format", ("%s has no pictures for training"):format(where)) end
  return out
end

local function walk(folder, prefix, list)
  for _, name in ipairs(sys.list(folder)) do
    local path = folder .. "/" .. name
    if core.stat(path).folder then walk(path, prefix .. name .. "/", list)
    elseif is_picture(name) then
      list[#list + 1] = { name = prefix .. name, origin = path, bytes = function() return core.read_file(path) end }
    end
  end
  return list
end

readers["folders"] = function(folder) return decode_phases(walk(folder, "", {}), folder) end

local function tar_entries(path)
  local list, tar = {}, core.tar(path)
  for name, bytes in function() return tar:next() end do
    if is_picture(name) then list[#list + 1] = { name = name, origin = path .. ":" .. name, bytes = bytes } end
  end
  return list
end

readers["tar"] = function(path) return decode_phases(tar_entries(path), path) end

readers["tiny-imagenet"] = function(folder)
  local names = {}
  for wnid in core.read_file(folder .. "/wnids.txt"):gmatch("[^\r\n]+") do names[#names + 1] = wnid end
  table.sort(names)
  local numbers, train, test = numbered(names), {}, {}
  local function add(list, path, class)
    if not numbers[class] then util.fail("format", ("%s is of class %s, which wnids.txt lacks"):format(path, class)) end
    list[#list + 1] = { class = class, origin = path, bytes = function() return core.read_file(path) end }
  end
  for _, wnid in ipairs(names) do
    local images = ("%s/train/%s/images"):format(folder, wnid)
    for _, name in ipairs(sys.list(images)) do add(train, images .. "/" .. name, wnid) end
  end
  for line in core.read_file(folder .. "/val/val_annotations.txt"):gmatch("[^\r\n]+") do
    local name, wnid = line:match("^([^\t]+)\t([^\t]+)")
    if not name or name:find("/", 1, true) then
      util.fail("format", ("val_annotations.txt: %q is not FILE TAB CLASS TAB box"):format(line))
    end
    add(test, folder .. "/val/images/" .. name, wnid)
  end
  return { train = decode(train, numbers), test = decode(test, numbers), names = names }
end

-- ---- Packing -----------------------------------------------------------------------------------

local function shuffled(pair, seed)
  local rows = {}
  for i = 1, pair.images.shape[1] do rows[i] = i - 1 end
  det.random(seed, #rows):shuffle(rows)
  return part_of(pair, rows)
end

local function write_cifar(folder, set)
  local train = shuffled(set.train, 1)               -- folders come class by class
  local n = train.images.shape[1]
  local each = n > 5 * PACKED and (n + 4) // 5 or PACKED
  for i = 1, 5 do
    local from = math.min((i - 1) * each, n)
    local count = math.min(each, n - from)
    core.cifar_write(("%s/data_batch_%d.bin"):format(folder, i), train.images:narrow(1, from + 1, count):contiguous(),
                     train.labels:narrow(1, from + 1, count):contiguous())
  end
  core.cifar_write(folder .. "/test_batch.bin", set.test.images, set.test.labels)
  if set.names then sys.write_file(folder .. "/batches.meta.txt", table.concat(set.names, "\n") .. "\n") end
end

local function write_idx(folder, set)
  for phase, name in pairs { train = "train", test = "t10k" } do
    local pair = phase == "train" and shuffled(set.train, 1) or set.test
    local n, _, h, w = table.unpack(pair.images.shape)
    core.idx_write(("%s/%s-images-idx3-ubyte"):format(folder, name), pair.images:reshape { n, h, w })
    core.idx_write(("%s/%s-labels-idx1-ubyte"):format(folder, name), pair.labels:cast "u8")
  end
end

--- Packs pictures in class folders (a folder, or a tar of one) into an official layout: colour
--- 32x32 into CIFAR-10's binary files, grey into idx. The training images are shuffled once.
---@param source string folder or archive with train/CLASS/FILE and test/CLASS/FILE
---@param folder string where the files go
---@return table set what was packed
---@return string format "cifar-10" or "idx"
function files.pack(source, folder)
  local set = readers[core.stat(source).folder and "folders" or "tar"](source)
  if not set.test then util.fail("format", ("%s has no pictures under test/"):format(source)) end
  local _, c, h, w = table.unpack(set.train.images.shape)
  local format = c == 1 and "idx" or h == 32 and w == 32 and #set.names <= 10 and "cifar-10"
  if not format then
    util.fail("unsupported", ("%s has %d channels of %d x %d and %d classes"):format(source, c, h, w, #set.names), nil,
      "packed are grey pictures, and 32x32 colour ones of at most 10 classes; data.images{folder =} reads all")
  end
  sys.mkdir(folder);
  (format == "idx" and write_idx or write_cifar)(folder, set)
  return set, format
end

-- Packed once, into the cache, under the hash of the source.
readers["jpeg-tar"] = function(path, cache)
  local folder = ("%s/%s"):format(cache, sys.sha256(path):sub(1, 16))
  if not sys.exists(folder .. "/batches.meta.txt") then
    sys.remove_all(folder)
    files.pack(path, folder)
  end
  return readers["cifar-10"](folder)
end

--- Reads a set.
---@param format string
---@param path string
---@param cache string folder for what is packed
---@return table set
function files.read(format, path, cache)
  local reader = readers[format]
  if not reader then
    util.fail("argument", ("data.images: there is no format %q"):format(tostring(format)), nil,
              util.suggest(tostring(format), util.keys(readers)))
  end
  if not sys.exists(path) then util.fail("not_found", ("cannot find %s"):format(path)) end
  local set = reader(path, cache)
  set.test = set.test or { images = set.train.images:narrow(1, 1, 0):contiguous(),
                           labels = set.train.labels:narrow(1, 1, 0):contiguous() }
  return set
end

return files
