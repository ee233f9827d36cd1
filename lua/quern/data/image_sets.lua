--- Known image sets: where they come from, their checksums, terms and sizes.
--
-- As in registry.lua, with: form.parts, the files that a folder must hold (local_ names the
-- folder, system a folder of the operating system, base the address that they lie below);
-- image: size, classes, and the mean and deviation by channel that images are normalised
-- with; in_place: too many files to copy, the folder is put in its place by hand;
-- stats: how many images of each phase a reader must find.
-- SPDX-License-Identifier: MIT

local CIFAR10 = { "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck" }
local FASHION = { "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
                  "Ankle boot" }

local KRIZHEVSKY = "Krizhevsky 2009, Learning multiple layers of features from tiny images"
local LECUN = "LeCun et al. 1998, Gradient-based learning applied to document recognition, Proc. IEEE 86(11)"

local function idx(train_images, train_labels, test_images, test_labels)
  return { { name = "train-images-idx3-ubyte.gz", sha256 = train_images },
           { name = "train-labels-idx1-ubyte.gz", sha256 = train_labels },
           { name = "t10k-images-idx3-ubyte.gz", sha256 = test_images },
           { name = "t10k-labels-idx1-ubyte.gz", sha256 = test_labels } }
end

local MNIST_TEST = { "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                     "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6" }
local MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
local MNIST = { size = { 1, 28, 28 }, classes = 10, mean = { 0.1307 }, std = { 0.3081 } }

local cifar10_parts = {}
for i = 1, 5 do cifar10_parts[i] = { name = ("data_batch_%d.bin"):format(i) } end
cifar10_parts[6] = { name = "test_batch.bin" }

return {
  ["mnist"] = {
    doc = "MNIST: handwritten digits, 28x28 grey", terms = "no formal licence; widely redistributed", cite = LECUN,
    image = MNIST, stats = { train = 60000, test = 10000 },
    files = { { local_ = "mnist", format = "idx", base = MNIST_URL,
      parts = idx("440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                  "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                  MNIST_TEST[1], MNIST_TEST[2]) } },
  },
  ["mnist-10k"] = {
    doc = "the 10,000 test images of MNIST, cut by a fixed seed into 7,500 for training and 2,500 for testing; "
      .. "figures are not those of MNIST",
    terms = "no formal licence; widely redistributed", cite = LECUN, image = MNIST,
    stats = { train = 7500, test = 2500 },
    files = { { local_ = "mnist", format = "idx-test", base = MNIST_URL,
      parts = { { name = "t10k-images-idx3-ubyte.gz", sha256 = MNIST_TEST[1] },
                { name = "t10k-labels-idx1-ubyte.gz", sha256 = MNIST_TEST[2] } } } },
  },
  ["fashion-mnist"] = {
    doc = "Fashion-MNIST: pictures of clothes, 28x28 grey; Debian's package dataset-fashion-mnist has it",
    terms = "MIT", cite = "Xiao et al. 2017, Fashion-MNIST, arXiv 1708.07747",
    image = { size = { 1, 28, 28 }, classes = 10, names = FASHION, mean = { 0.2860 }, std = { 0.3530 } },
    stats = { train = 60000, test = 10000 },
    files = {
      { system = "/usr/share/datasets/fashion-mnist", local_ = "fashion-mnist", format = "idx",
        parts = idx("b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
                    "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
                    "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
                    "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05") },
      { local_ = "fashion-mnist-github", format = "idx", parts = idx(),
        base = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/" },
    },
  },
  ["cifar-10"] = {
    doc = "CIFAR-10: 32x32 colour pictures of ten classes", terms = "free for research with citation",
    cite = KRIZHEVSKY, stats = { train = 50000, test = 10000 },
    image = { size = { 3, 32, 32 }, classes = 10, names = CIFAR10, mean = { 0.491, 0.482, 0.447 },
              std = { 0.247, 0.243, 0.262 } },
    files = {
      { local_ = "cifar-10-batches-bin", format = "cifar-10", parts = cifar10_parts },
      { local_ = "cifar-10-binary.tar.gz", format = "cifar-10", bytes = 170052171,
        url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        sha256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd" },
    },
  },
  ["cifar-10-jpeg"] = {
    doc = "CIFAR-10 as 60,000 JPEG files: encoded with loss, so expect slightly lower accuracy; packed into the "
      .. "official binary layout on first use",
    terms = "free for research with citation", cite = KRIZHEVSKY, stats = { train = 50000, test = 10000 },
    image = { size = { 3, 32, 32 }, classes = 10, names = CIFAR10, mean = { 0.491, 0.482, 0.447 },
              std = { 0.247, 0.243, 0.262 } },
    files = { { local_ = "cifar10_jpeg.tar.gz", format = "jpeg-tar" },
              { local_ = "cifar10_jpeg.tar", format = "jpeg-tar" } },
  },
  ["cifar-100"] = {
    doc = "CIFAR-100: 32x32 colour pictures of a hundred classes", terms = "free for research with citation",
    cite = KRIZHEVSKY, stats = { train = 50000, test = 10000 },
    image = { size = { 3, 32, 32 }, classes = 100, mean = { 0.507, 0.487, 0.441 }, std = { 0.267, 0.256, 0.276 } },
    files = {
      { local_ = "cifar-100-binary", format = "cifar-100", parts = { { name = "train.bin" }, { name = "test.bin" } } },
      { local_ = "cifar-100-binary.tar.gz", format = "cifar-100",
        url = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        sha256 = "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec" },
    },
  },
  ["tiny-imagenet"] = {
    doc = "TinyImageNet: 64x64 colour pictures of 200 classes, as the unpacked folder tiny-imagenet-200",
    terms = "ImageNet: research use", cite = "Le & Yang 2015, Tiny ImageNet visual recognition challenge",
    image = { size = { 3, 64, 64 }, classes = 200, mean = { 0.480, 0.448, 0.397 }, std = { 0.276, 0.269, 0.282 } },
    stats = { train = 100000, test = 10000 },
    files = { { local_ = "tiny-imagenet-200", format = "tiny-imagenet", in_place = true,
                parts = { { name = "wnids.txt" }, { name = "val/val_annotations.txt" } } } },
  },
  ["blobs"] = {
    doc = "generated: noisy, shifted pictures of smooth patterns, one pattern for each class; nothing to download",
    terms = "none: made on the spot", cite = "made for tests and for machines without data", generated = true,
    image = { size = { 1, 28, 28 }, classes = 10, mean = { 0.5 }, std = { 0.25 } }, files = {},
  },
}
