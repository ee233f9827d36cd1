--- Known datasets: where they come from, their checksums, terms and sizes.
--
-- files: each of them is one form of the set, the first found is taken.
--   local_   where it lies below $QUERN_DATA     url     official address, or a mirror's
--   sha256   of the file; nil: not known, then it is printed and recorded when it first comes in
--   bytes    its size                            format  of core's reader
--   member   the file inside, where url is a zip archive
-- attributes, held_out: a file beside the interactions, read by quern.data.attributes and by
--   quern.data.sequences, which puts the held-out event behind its user's others.
-- behaviours: their names from 0; target_behaviour: what is held out.
-- Image sets stand in image_sets.lua.
-- stats: what a reader must find; `quern data verify` compares.
-- SPDX-License-Identifier: MIT

local GROUPLENS = "GroupLens: research use with citation; no redistribution or commercial use without permission"
local MOVIELENS = "Harper & Konstan 2015, The MovieLens Datasets, ACM TiiS 5(4)"
local S3REC = "https://raw.githubusercontent.com/RUCAIBox/CIKM2020-S3Rec/master/data/"
local AMAZON = "no licence stated; Amazon 2014 reviews, research use"

local function attributes(file, sha256, bytes)
  return { local_ = "s3rec/" .. file, url = S3REC .. file, sha256 = sha256, bytes = bytes }
end

local function s3rec(file, sha256, bytes, terms, cite, stats, side)
  return { doc = "user sequences without times, 5-core, from the S3Rec repository", terms = terms, cite = cite,
           stats = stats, times = false, attributes = side,
           files = { { local_ = "s3rec/" .. file, url = S3REC .. file, sha256 = sha256, bytes = bytes,
                       format = "user-sequences" } } }
end

local MCAULEY = "McAuley et al. 2015, Image-based recommendations on styles and substitutes, SIGIR"

local known = {
  ["ml-100k"] = {
    doc = "MovieLens 100K: ratings with times, 1997-1998", terms = GROUPLENS, cite = MOVIELENS, times = true,
    stats = { users = 943, items = 1682, rows = 100000 },
    files = {
      { local_ = "ml100k/ml-100k.inter", format = "recbole", bytes = 1979230,
        url = "https://raw.githubusercontent.com/RUCAIBox/RecBole/master/dataset/ml-100k/ml-100k.inter",
        sha256 = "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff" },
      { local_ = "ml-100k/u.data", format = "ml-100k", bytes = 1979173,
        url = "https://files.grouplens.org/datasets/movielens/ml-100k/u.data",
        sha256 = "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490" },
      { local_ = "ml-100k/ml-100k.zip", member = "ml-100k/u.data", format = "ml-100k",
        url = "https://files.grouplens.org/datasets/movielens/ml-100k.zip" },
    },
  },
  ["ml-1m"] = {
    doc = "MovieLens 1M: ratings with times, 2000-2003", terms = GROUPLENS, cite = MOVIELENS, times = true,
    stats = { users = 6040, items_seen = 3706, rows = 1000209 },
    files = {
      { local_ = "ml-1m/ratings.dat", format = "ml-1m" },
      { local_ = "ml-1m/ml-1m.zip", member = "ml-1m/ratings.dat", format = "ml-1m",
        url = "https://files.grouplens.org/datasets/movielens/ml-1m.zip" },
    },
  },
  ["ml-1m-sequences"] = {
    doc = "MovieLens 1M as item sequences without times, ids renumbered, the last two items of each user removed "
      .. "(gSASRec copy); figures are near to, not equal to, those on ml-1m",
    terms = GROUPLENS, cite = MOVIELENS .. "; Petrov & Macdonald 2023, gSASRec, RecSys", times = false,
    stats = { users = 6040, items = 3416, rows = 987019 },
    files = {
      { local_ = "ml1m/train_input.txt", format = "sequences", bytes = 4177265,
        url = "https://raw.githubusercontent.com/asash/gSASRec-pytorch/main/datasets/ml1m/train/input.txt",
        sha256 = "06957b3d3cc937ac05e5f5ade2d2d5c1042efdd2b6779b768140e74d4f6b20e3" },
    },
  },
  ["ml-20m"] = {
    doc = "MovieLens 20M: ratings with times, 1995-2015", terms = GROUPLENS, cite = MOVIELENS, times = true,
    stats = { users = 138493, items_seen = 26744, rows = 20000263 },
    files = {
      { local_ = "ml-20m/ratings.csv", format = "ml-20m" },
      { local_ = "ml-20m/ml-20m.zip", member = "ml-20m/ratings.csv", format = "ml-20m",
        url = "https://files.grouplens.org/datasets/movielens/ml-20m.zip" },
    },
  },
  ["beauty"] = s3rec("Beauty.txt", "226cce9c3105299ca0db9615d7d3fb32b3175e90da43100ae352599f0f0107b8", 1090094,
    AMAZON, MCAULEY, { users = 22363, items = 12101, rows = 198502 },
    attributes("Beauty_item2attributes.json",
      "129e40f67486f6877eff0f5318cfa8530ee8ac23d8b0d1de04e1bb7a2ba0b2d4", 305674)),
  ["sports"] = s3rec("Sports_and_Outdoors.txt", "2a095e0648872beb9982408958290f5d655db5be2911c3756b5446de9f0b8de2",
    1707483, AMAZON, MCAULEY, { users = 35598, items = 18357, rows = 296337 },
    attributes("Sports_and_Outdoors_item2attributes.json",
      "7fb10733ac4f1811384a52144cdefa7fcc7536fa80a7232c5da9bd789155c34b", 653780)),
  ["toys"] = s3rec("Toys_and_Games.txt", "176c680c688d497598c4a89a03b402c0fe78d795e5db335c2e78dd5f2d778a3f",
    922166, AMAZON, MCAULEY, { users = 19412, items = 11924, rows = 167597 }),
  ["yelp"] = s3rec("Yelp.txt", "724b219106b81dd2349027da997334ddb6da9fe2f152ad6e0d97a93170f7caed", 1814224,
    "no licence stated; Yelp dataset terms, research use", "Yelp Open Dataset",
    { users = 30431, items = 20033, rows = 316354 }),
  ["lastfm"] = s3rec("LastFM.txt", "9ded486adb5b0fe9dc761950afa0a9a05e93ff018992e0c52bf11afec529f802", 239312,
    "no licence stated; HetRec 2011, research use", "Cantador et al. 2011, HetRec",
    { users = 1090, items = 3646, rows = 52551 },
    attributes("LastFM_item2attributes.json",
      "a4ccd678dc9ff6d43fe5073f491db5c9b02eb98dfa4f8c0382913a784be217ef", 524368)),
  ["grocery"] = {
    doc = "Amazon Grocery and Gourmet Food with times of day resolution (ReChorus)", terms = AMAZON,
    cite = "He & McAuley 2016, Ups and downs, WWW", times = true,
    stats = { users = 14681, items_seen = 8687, rows = 121892 },
    files = {
      { local_ = "grocery/train.csv", format = "tsv", bytes = 2575651,
        columns = { user = "user_id", item = "item_id", time = "time" },
        url = "https://raw.githubusercontent.com/THUwangcy/ReChorus/master/data/Grocery_and_Gourmet_Food/train.csv",
        sha256 = "75847958fbcfec35dd0a20bda43432c22a5d7e5b5fe571fef0b25ff580b475f4" },
    },
  },
  ["retailrocket"] = {
    doc = "RetailRocket: views, carts and purchases with times, a purchase of each user held out (SSLRec's subset, "
      .. "its matrices written as a table: user, item, behaviour, time by TAB)",
    terms = "CC BY-NC-SA 4.0", cite = "RetailRocket recommender system dataset, 2015; Ren et al. 2024, SSLRec, WSDM",
    times = true, behaviours = { "view", "cart", "buy" }, target_behaviour = "buy",
    stats = { users = 2174, rows = 99555 },
    files = {
      { local_ = "multibehaviour/retailrocket.tsv", format = "tsv", bytes = 2182751,
        sha256 = "0aae2ff919b6c8a0a7b80fdc11620935d01b53ba401a43d0ffede1a2e53ccc0d",
        columns = { user = "user", item = "item", behaviour = "behaviour", time = "time" } },
    },
    held_out = { local_ = "multibehaviour/retailrocket.test.tsv", bytes = 21485,
                 sha256 = "3b37de5cce6c5b0ba2c54de0ea49413fb560c60b17fde0790a0ac88595c6f3a1",
                 hint = "it stands beside the table: user TAB item, the purchase held out" },
  },
  ["dirichlet"] = {
    doc = "generated: a Dirichlet-process stream on a growing catalogue; nothing to download", times = false,
    terms = "none: made on the spot", cite = "Zhai et al. 2024, Actions speak louder than words, appendix C",
    generated = true, files = {},
  },
}

for name, entry in pairs(require "quern.data.image_sets") do known[name] = entry end

return known
