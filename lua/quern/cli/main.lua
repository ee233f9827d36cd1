--- What the program hands over to: the arguments become words, the result an exit code.
-- SPDX-License-Identifier: MIT

---@param argv table<integer, string> [0] is the program's name
---@return integer exit code
return function(argv)
  local words = table.move(argv, 1, #argv, 1, {})
  local ok, cli = xpcall(require, function(e)
    return os.getenv("QUERN_TRACE") == "1" and debug.traceback(tostring(e), 2) or tostring(e)
  end, "quern.cli")
  if not ok then
    io.stderr:write(cli, "\n")
    return 2
  end
  return cli.main(words)
end
