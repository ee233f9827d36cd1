--- help and what Lua knows of ops. SPDX-License-Identifier: MIT
local quern = require "quern"
local check = require "check"
local golden = require "golden"

return {
  { "help shows schema, summary, formula, arguments and example", function()
    golden.compare("help_add.txt", quern.help("add", true) .. "\n")
    check.fails(function() quern.help("ad", true) end, "ad")
  end },
  { "op_info tells parameters with defaults", function()
    local info = quern.op_info "concat"
    check.equal(info.params[1].name, "xs")
    check.yes(info.params[1].variadic)
    check.equal(info.params[2].default, 1)
    check.yes(info.plugin.core)
    check.equal(#info.hash, 16)
  end },
  { "ops are sorted and callable by their names", function()
    local before = ""
    for _, op in ipairs(quern.ops()) do
      check.yes(before <= op.name, op.name)
      check.equal(type(quern.op(op.call)), "function")
      before = op.name
    end
  end },
}
