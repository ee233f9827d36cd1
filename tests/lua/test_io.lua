--- Files from Lua. SPDX-License-Identifier: MIT
local quern = require "quern"
local check = require "check"
local core = quern._io

local function spoil(path, fn)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  file = assert(io.open(path, "wb"))
  file:write(fn(text))
  file:close()
end

return {
  { "named tensors come back with their metadata", function()
    local path = check.temporary("a.safetensors")
    quern.save(path, { x = quern.tensor { 1, 2 }, ids = quern.i64 { 1 << 40 }, e = quern.zeros(0, 3) }, { note = "hi" })
    local t, meta = quern.load(path)
    check.equal(t.x:totable(), { 1.0, 2.0 })
    check.equal(t.ids:totable(), { 1 << 40 })
    check.equal(t.e.shape, { 0, 3 })
    check.equal(meta, { note = "hi" })
    check.fails(function() quern.save(path, { x = 1 }) end, "a tensor")
    check.fails(function() quern.save(path, {}, { a = 1 }) end, "strings")
  end },
  { "truncated and missing files are refused by name", function()
    local path = check.temporary("b.safetensors")
    quern.save(path, { x = quern.zeros(100) })
    spoil(path, function(text) return text:sub(1, -5) end)
    check.equal(check.fails(function() quern.load(path) end, "b.safetensors").status, "format")
    check.fails(function() quern.load(check.temporary("none")) end, "none")
  end },
  { "npy files come back", function()
    local path = check.temporary("a.npy")
    quern.npy.save(path, quern.tensor { { 1, 2 }, { 3, 4 } }:transpose(1, 2))
    check.equal(quern.npy.load(path):totable(), { { 1.0, 3.0 }, { 2.0, 4.0 } })
  end },
  { "json keeps integers, floats, empty arrays and null", function()
    local json = quern.json
    local text = '{"a":[1,2.5,null,[]],"b":{"c":true},"d":"x"}'
    check.equal(json.encode(json.decode(text)), text)
    check.equal(math.type(json.decode("[9007199254740993]")[1]), "integer")
    check.equal(json.encode { b = 1, a = 2 }, '{"a":2,"b":1}')
    check.equal(json.encode(json.array {}), "[]")
    check.yes(json.decode("[null]")[1] == json.null)
  end },
  { "json refuses what has no form, and malformed text with its place", function()
    local json = quern.json
    check.fails(function() json.encode { a = 0 / 0 } end, "JSON")
    check.fails(function() json.encode { print } end, "function")
    check.fails(function() json.encode { 1, x = quern.zeros(1) } end)
    local loop = {}
    loop.x = loop
    check.fails(function() json.encode(loop) end, "deep")
    check.fails(function() json.decode('{"a":1,"a":2}') end, "a")
    check.fails(function() json.decode("{", "settings") end, "settings")
  end },
  { "small files: written whole, logs appended and cut", function()
    local path = check.temporary("sub/deep/x.txt")
    core.mkdir(path:match("(.*)/"))
    core.write_file(path, "one\n")
    core.append(path, "two\n")
    check.equal(core.read_file(path), "one\ntwo\n")
    spoil(path, function(text) return text .. "torn" end)
    core.append(path, "three\n")
    check.equal(core.read_file(path), "one\ntwo\nthree\n")
    core.cut(path, 4)
    check.equal(core.read_file(path), "one\n")
    check.equal(core.sha256_file(path), core.sha256("one\n"))
    check.equal(core.list(path:match("(.*)/")), { "x.txt" })
    check.equal(core.stat(path).size, 4)
    check.fails(function() core.read_file(path, 2) end, "x.txt")
    core.remove(path)
    check.yes(not core.exists(path))
  end },
}
