--- A new plugin builds, loads, passes the conformance kit and shows up in help before a line of it is edited.
-- SPDX-License-Identifier: MIT

local check = require "check"
local core = require "quern.core"
local kit = require "quern.check"
local new = require "quern.plugin_new"
local quern = require "quern"

local here = arg[0]:match("^(.*)/tests/lua/[^/]*$") or "."

local schemas = {
  twice = "twice(x: f[...]) -> y: f[...]",
  hstuish = "hstuish(q: f[T@B,H,D], k: like q, v: f[T@B,H,E], len: i64[B], *, causal: bool = true, scale: num? = nil)"
    .. " -> o: f[T@B,H,E]",
  unfolded = "unfolded(x: f[N,C,L], *, k: int{1..}, s: int{1..} = 1) -> y: f[N,C,k,(L-k)/s+1] where L >= k",
  added = "added(xs: f[?]*, *, a: num = 2) -> y: f[]",
  picked = "picked(x: f[N,C], y: i64[N]{0..C-1}, b: f[C]? = nil) -> l: f[N], n: i64[N]",
}

-- Writes and builds one, with this tree's headers.
local function built(name, schema, options)
  local folder = check.folder() .. "/" .. name
  options = options or {}
  options.op, options.dir = schema, folder
  new.write(name, options)
  local compile = "${CC:-cc} -std=c11 -O1 -Wall -Wextra -Werror -fPIC -fvisibility=hidden -shared -I'%s/core/include'"
    .. " -o '%s/%s.so' '%s/%s.c' -lm"
  if not os.execute(compile:format(here, folder, name, folder, name)) then
    if os.execute("command -v ${CC:-cc} >/dev/null") then error("it does not compile") end
    check.skip("no C compiler")
  end
  return folder
end

local function output(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read("a")
  pipe:close()
  return text
end

local tests = {
  { "its op is in ops and help by reading the file alone, and its known answer holds", function()
    local folder = built("pages", "paged(x: f[N,D], *, a: num = 3) -> y: f[N,D]")
    local place = folder:match("^(.*)/")
    local quern_with = ("QUERN_PLUGIN_PATH='%s' XDG_CACHE_HOME='%s/cache' %s "):format(place, place, core.program())
    check.yes(output(quern_with .. "ops"):find("paged", 1, true))
    check.yes(output(quern_with .. "help paged"):find("paged(x: f[N,D], *, a: num = 3.0) -> y: f[N,D]", 1, true)
      or output(quern_with .. "help paged"):find("paged(x: f[N,D], *, a: num = 3) -> y: f[N,D]", 1, true))
    check.yes(output(quern_with .. "lua " .. folder .. "/test.lua"):find("paged: as expected", 1, true))
    local read = core.plugin_read(folder)
    check.equal({ read.id, read.version, read.abi, #read.ops }, { "example.pages", "0.1.0", "1.0", 1 })
  end },

  { "nothing is overwritten, and then nothing at all is written", function()
    local folder = check.folder() .. "/mine"
    check.write(check.folder() .. "/x", "")
    os.execute("mkdir -p " .. folder)
    check.write(folder .. "/README.md", "my own words")
    check.fails(function() new.write("mine", { op = schemas.twice, dir = folder }) end, "README.md already", "--dir")
    check.equal(core.list(folder), { "README.md" })
    check.equal(check.read(folder .. "/README.md"), "my own words")
  end },

  { "schemas that no reference loop fits are refused with what to write", function()
    local function refused(op, ...) check.fails(function() new.files("x", { op = op }) end, ...) end
    refused("f(x: f[...) -> y: f[...]", "expected ',' or ']'")
    refused("f(x: f[?]) -> y: f[?]", "leaves the shape of output y open")
    refused("f_(x!: f[...]) -> x", "lies on an input")
    refused("f(*, n: int) -> y: f32[n]", "no tensors")
    check.fails(function() new.files("9x", { op = schemas.twice }) end, "cannot name a plugin")
    check.fails(function() new.files("x", { op = schemas.twice, paper = "On Mills" }) end, "--year")
  end },

  { "a paper is cited by the manifest and by the op", function()
    local files = new.files("mill", { op = schemas.twice, paper = "On Mills", year = 1586, equation = "7-9" })
    local m = quern.plugin.parse(files["plugin.lua"], "plugin.lua")
    check.equal(m.paper, { title = "On Mills", year = 1586, equations = { twice = "7-9" } })
    check.yes(files["mill.c"]:find('.cite = "On Mills (1586), equation 7-9"', 1, true))
    check.yes(files["README.md"]:find("## Deviations", 1, true))
  end },
}

for name, schema in pairs(schemas) do
  tests[#tests + 1] = { "a new plugin of " .. schema:match("^[^(]*") .. " passes the kit unedited", function()
    local results = kit.run(built(name, schema, { paper = "On Mills", year = 1586 }),
                            { jobs = 2, quick = true, shared = true })
    for _, r in ipairs(results) do check.yes(r.ok, r.check .. ": " .. r.text) end
    check.equal(kit.reached(results), "L4")
  end }
end
table.sort(tests, function(a, b) return a[1] < b[1] end)

return tests
