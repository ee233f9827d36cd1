--- What is made from the schemas (docs/ops, lua/meta, tests/golden/help) is what they say now.
-- SPDX-License-Identifier: MIT

local api = require "quern.api"
local check = require "check"
local core = require "quern.core"
local quern = require "quern"
local util = require "quern.util"

local here = arg[0]:match("^(.*)/tests/lua/[^/]*$") or "."
local build = core.program():match("^(.*)/[^/]*$")

-- A fresh process knows only the project's own plugins.
local function run(words)
  local command = ("QUERN_PLUGIN_PATH= %s api --plugins %s/plugins %s"):format(core.program(), build, words)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  check.yes(pipe:close(), text)
  return text
end

return {
  { "pages, stubs and help pages are fresh: if not, run `make docs` and commit what it writes", function()
    local folder = check.folder()
    run("--write " .. folder)
    local stale = {}
    for _, place in ipairs { "docs/ops", "lua/meta", "tests/golden/help" } do
      local made, kept = {}, {}
      for _, name in ipairs(core.list(folder .. "/" .. place)) do made[name] = true end
      for _, name in ipairs(core.exists(here .. "/" .. place) and core.list(here .. "/" .. place) or {}) do
        kept[name] = true
        if not made[name] then stale[#stale + 1] = ("%s/%s belongs to no plugin: remove it"):format(place, name) end
      end
      for name in util.sorted(made) do
        local path = place .. "/" .. name
        local fresh, text = check.read(folder .. "/" .. path), kept[name] and check.read(here .. "/" .. path) or ""
        if text ~= fresh then stale[#stale + 1] = path end
      end
    end
    check.equal(stale, {}, "stale: run `make docs` and commit what it writes")
  end },

  { "api --json has every op with its arguments, class and plugin", function()
    local all = quern.json.decode(run "--json")
    check.equal(all.quern, core.version())
    local seen = {}
    for _, op in ipairs(all.ops) do
      seen[op.name] = op
      check.yes(op.schema and op.summary and op.determinism and op.plugin and #op.hash == 16, op.name)
    end
    check.equal(seen.concat.params[2].name, "dim")
    check.equal(seen.concat.params[2].default, 1)
    check.equal(seen.hstu_attention.plugin, "org.quern.hstu")
    check.yes(#all.things >= 7)
  end },

  { "stubs are Lua that loads, with every op in them", function()
    for _, name in ipairs(core.list(here .. "/lua/meta")) do
      local text = check.read(here .. "/lua/meta/" .. name)
      check.yes(load(text, name, "t"), name)
    end
    local text = api.files()["lua/meta/core.lua"]
    for _, op in ipairs(api.ops()) do
      local there = text:find("function quern." .. op.name .. "(", 1, true)
        or text:find(("quern[%q] = function("):format(op.name), 1, true)
      if op.plugin.core then check.yes(there, op.name) end
    end
  end },
}
