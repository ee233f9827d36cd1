--- Comparing printed output with stored files. SPDX-License-Identifier: MIT

local golden = {}

local folder = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"

--- Compares with tests/golden/NAME; QUERN_GOLDEN=write rewrites it for review.
---@param name string
---@param text string
function golden.compare(name, text)
  local path = folder .. "../golden/" .. name
  if os.getenv("QUERN_GOLDEN") == "write" then
    local out <close> = assert(io.open(path, "wb"))
    out:write(text)
  end
  local file <close> = assert(io.open(path, "rb"))
  local expected = file:read("a")
  if text ~= expected then error(("the text differs from golden/%s:\n%s"):format(name, text), 2) end
end

return golden
