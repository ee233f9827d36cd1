--- Shell completion and the manual page, from the command definitions. SPDX-License-Identifier: MIT
local check = require "check"
local cli = require "quern.cli"

local function printed(words)
  local out, real = {}, print
  print = function(text) out[#out + 1] = tostring(text) end  -- luacheck: ignore 121
  local code = cli.main(words)
  print = real                                               -- luacheck: ignore 121
  check.equal(code, 0)
  return table.concat(out, "\n") .. "\n"
end

local function shell(command)
  local p = io.popen(command .. " 2>&1", "r")
  local text = p:read("a")
  p:close()
  return text
end

-- What bash offers for words.
local function offered(...)
  local path = check.temporary "quern.bash"
  check.write(path, printed { "help", "--completion", "bash" })
  local words = {}
  for i, w in ipairs { ... } do words[i] = "'" .. w .. "'" end
  local ask = "bash -c \"source '%s'; COMP_WORDS=(%s); COMP_CWORD=%d; _quern; echo \\${COMPREPLY[*]}\""
  local text = shell(ask:format(path, table.concat(words, " "), #words - 1))
  return " " .. text:gsub("%s+", " ")
end

local function offers(text, ...)
  for _, word in ipairs { ... } do
    check.yes(text:find(" " .. word .. " ", 1, true), word .. " is not offered in" .. text)
  end
end

return {
  { "bash completes commands, subcommands, options and choices", function()
    offers(offered("quern", ""), "run", "report", "prompt", "doctor")
    for _, name in ipairs(cli.commands) do offers(offered("quern", name:sub(1, 1)), name) end
    offers(offered("quern", "run", "--s"), "--set", "--size", "--seed")
    offers(offered("quern", "run", "--check", ""), "finite")
    offers(offered("quern", "plugin", ""), "list", "info", "check")
    offers(offered("quern", "help", ""), "run", "report")
    check.equal(offered("quern", "plugin", ""):find("check-one", 1, true), nil)
  end },

  { "zsh reads its completion", function()
    if not os.execute("command -v zsh >/dev/null 2>&1") then check.skip "zsh is not here" end
    local path = check.temporary "_quern"
    check.write(path, printed { "help", "--completion", "zsh" })
    check.equal(shell("zsh -n '" .. path .. "'"), "")
    check.yes(check.read(path):find("#compdef quern", 1, true))
  end },

  { "the manual has every command and option", function()
    local page = printed { "help", "--man" }
    for _, name in ipairs(cli.commands) do check.yes(page:find(".SS quern " .. name .. "\n", 1, true), name) end
    for _, text in ipairs { "\\fB\\-\\-check\\fR", "QUERN_THREADS",
                            "\n.SH EXIT STATUS\n.TP\n\\fB0\\fR\ndone\n", ".TH QUERN 1" } do
      check.yes(page:find(text, 1, true), text)
    end
    if not os.execute("command -v man >/dev/null 2>&1") then check.skip "man is not here" end
    local path = check.temporary "quern.1"
    check.write(path, page)
    local shown = shell("MANWIDTH=80 man --warnings -l '" .. path .. "' | col -b")
    check.equal(shown:find("warning", 1, true), nil)
    check.yes(shown:find("quern report", 1, true) and shown:find("interrupted with a valid checkpoint", 1, true), shown)
  end },
}
