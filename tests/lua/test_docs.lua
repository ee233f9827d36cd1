--- Every code block of the documentation runs: README.md, docs/*.md and the README.md of each folder.
--
-- The blocks of a page run one after the other in a folder of their own, as a reader would type
-- them, with build/ and recipes/ at hand:
--   ```lua           a script, run by `quern lua` with quern at hand; one that makes a recipe is run at size smoke
--   ```lua x.lua     the same, saved under this name for the blocks after it
--   ```bash          commands; each must succeed. Of `make X` only the target is looked for
--   ```bash data     commands, ```lua data a script, that need MovieLens-100K: skipped without it
--   ```c             compiles against the public headers
--   ```console       what a terminal shows, $ before what is typed; tests/system/walk.sh walks docs/plugins.md
-- Other fences (```text, or none) hold output, formats and drawings. Commands in indented blocks
-- would not run, so there are none.
-- SPDX-License-Identifier: MIT

local check = require "check"
local sys = require "quern.sys"

local root = sys.absolute((debug.getinfo(1, "S").source:match("^@(.*)/tests/lua/[^/]*$") or "."))

-- ---- Blocks --------------------------------------------------------------------------------------

local function blocks_of(page)
  local out, open, number = {}, nil, 0
  for line in (check.read(page) .. "\n"):gmatch("([^\n]*)\n") do
    number = number + 1
    local fence = line:match("^```(.*)$")
    if fence and open then open = nil
    elseif fence then
      open = { language = fence:match("^%S*"), word = fence:match("^%S+%s+(%S+)"), line = number, lines = {} }
      out[#out + 1] = open
    elseif open then table.insert(open.lines, line)
    elseif line:match("^    %S*quern ") or line:match("^    make ") then
      error(("%s:%d: commands stand in ```bash blocks, where they are run: %s"):format(page, number, line), 0)
    end
  end
  check.equal(open, nil, page .. ": a fence is not closed")
  return out
end

local targets
local function has_target(name)
  targets = targets or check.read(root .. "/Makefile")
  local stem = name:match("^(%w+%-)%w+$")                -- bench-step of the rule bench-%
  if stem and ("\n" .. targets):find("\n" .. stem .. "%:", 1, true) then return true end
  return ("\n" .. targets):find("\n[%w%- ]*%f[%w]" .. name:gsub("%p", "%%%0") .. "%f[^%w%-][%w%- ]*:") ~= nil
end

-- ---- Running -------------------------------------------------------------------------------------

local function shell(folder, script)
  check.write(folder .. "/.block.sh", script)
  local pipe <close> = io.popen(("cd '%s' && HOME='%s' QUERN_HISTORY= PATH='%s/bin':\"$PATH\" bash -e .block.sh 2>&1 "
    .. "</dev/null; echo \"=$?\""):format(folder, folder, folder), "r")
  local text = pipe:read("a")
  local code = text:match("=(%d+)\n$")
  return math.tointeger(code), text
end

local run = {}

function run.bash(folder, block)
  local out = {}
  for i, line in ipairs(block.lines) do
    local words = line:match("^%s*make%s*([^#]*)")
    for word in (words or ""):gmatch("%S+") do
      if word:match("^[%w-]+$") then check.yes(has_target(word), "the Makefile has no target " .. word) end
    end
    out[i] = words and ":" or line
  end
  return shell(folder, table.concat(out, "\n") .. "\n")
end

local counted = 0

function run.lua(folder, block)
  local text = table.concat(block.lines, "\n") .. "\n"
  counted = counted + 1
  local name = block.word and block.word:match("%.lua$") and block.word or ("block%d.lua"):format(counted)
  if not text:find("require \"quern\"", 1, true) then text = "local quern = require \"quern\"\n" .. text end
  check.write(folder .. "/" .. name, text)
  local whole = text:find("\nreturn r\n", 1, true) and text:find("quern.recipe", 1, true)
  return shell(folder, whole and ("quern run %s --size smoke"):format(name) or "quern lua " .. name)
end

function run.c(folder, block)
  local text = table.concat(block.lines, "\n") .. "\n"
  if not text:find("#include", 1, true) then text = "#include <quern/abi.h>\n" .. text end
  check.write(folder .. "/block.c", text)
  return shell(folder, ("gcc -std=c11 -fsyntax-only -I'%s/core/include' block.c"):format(root))
end

local function scratch()
  local folder = check.folder()
  local build = sys.folder(sys.program())
  os.execute(("mkdir '%s/bin' && ln -s '%s' '%s/build' && ln -s '%s/recipes' '%s/recipes' && ln -s '%s' '%s/bin/quern'")
    :format(folder, sys.absolute(build), folder, root, folder, sys.absolute(sys.program()), folder))
  return folder
end

local function run_page(page)
  local folder, left_out = scratch(), 0
  for _, block in ipairs(blocks_of(page)) do
    local fn = run[block.language]
    if block.word == "data" and not require("quern.data").have "ml-100k" then
      left_out = left_out + 1
    elseif fn then
      local code, text = fn(folder, block)
      if code ~= 0 then
        error(("%s:%d: the block ends with %d:\n%s\n%s"):format(page, block.line, code,
          table.concat(block.lines, "\n"), text), 0)
      end
    else
      check.yes(block.language == "" or block.language == "text" or block.language == "console",
                ("%s:%d: %s blocks are not run; call it text"):format(page, block.line, block.language))
    end
  end
  if left_out > 0 then check.skip(left_out .. " blocks of " .. page .. " need MovieLens-100K") end
end

local pages = { "README.md" }
for _, name in ipairs(sys.list(root .. "/docs")) do
  if name:match("%.md$") then pages[#pages + 1] = "docs/" .. name end
end
for _, folder in ipairs { "core", "recipes", "tests", "plugins" } do pages[#pages + 1] = folder .. "/README.md" end
for _, name in ipairs(sys.list(root .. "/plugins")) do
  local page = ("plugins/%s/README.md"):format(name)
  if sys.exists(root .. "/" .. page) then pages[#pages + 1] = page end
end

local WALKED = { ["docs/plugins.md"] = true }   -- whole, with what it shows, by tests/system/walk.sh

local tests = {}
for _, page in ipairs(pages) do
  local function run_it() run_page(root .. "/" .. page) end
  if not WALKED[page] then tests[#tests + 1] = { "the blocks of " .. page .. " run", run_it } end
end

tests[#tests + 1] = { "links between pages lead somewhere", function()
  for _, page in ipairs(pages) do
    local folder = sys.folder(root .. "/" .. page)
    for target in check.read(root .. "/" .. page):gsub("```.-```", ""):gmatch("%]%(([^)%s]+)%)") do
      if not target:match("^%a+:") and not target:match("^#") then
        local path, part = target:match("^([^#]*)#?(.*)$")
        check.yes(sys.exists(folder .. "/" .. path), ("%s leads to %s, which is not there"):format(page, target))
        if part ~= "" then
          local headings = {}
          for line in check.read(folder .. "/" .. path):gmatch("\n#+ ([^\n]+)") do
            headings[line:lower():gsub("[^%w%s_-]", ""):gsub(" ", "-")] = true
          end
          check.yes(headings[part], ("%s leads to %s, a heading that is not there"):format(page, target))
        end
      end
    end
  end
end }

return tests
