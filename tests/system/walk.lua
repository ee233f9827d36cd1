-- Runs the console blocks of docs/plugins.md in an empty folder and compares what they print.
--   quern lua tests/system/walk.lua DOC FOLDER [record]
-- A line "$ ..." is a command, what follows until the next is its output. A block of code after a line
-- that ends in a file's name in backquotes and a colon is written to that file. Times, dates and
-- versions of compilers are replaced by words. Ends with "N passed, N failed".
-- SPDX-License-Identifier: MIT

local doc, folder, record = arg[1], arg[2], arg[3] == "record"

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  file:write(text)
end

-- What differs from one machine and day to the next.
local function steady(text)
  text = text:gsub(folder:gsub("%p", "%%%0"), "~")
  text = text:gsub("%d%d%d%d%-%d%d%-%d%d", "DATE")
  text = text:gsub("(build +)%a+ [%d.]+[^\n]*", "%1COMPILER")
  text = text:gsub("([%w_]+): [%d.]+ us, [%d.]+ ns/byte, [%d.]+ times", "%1: TIME, TIME/byte, N times")
  return (text:gsub("[ \t]+\n", "\n"))
end

-- { file = name, text } and { command, expected output } in order; block says where each block's body lies.
local function parse(text)
  local steps, at, last = {}, 1, ""
  while true do
    local first, stop, kind = text:find("\n```(%w+)\n", at)
    if not first then return steps end
    last = text:sub(at, first - 1):match("([^\n]*)\n*$")
    local close = text:find("\n```\n", stop, true)
    local body = text:sub(stop + 1, close)
    local name = last:match("`([%w_./-]+)`:$")
    if kind == "console" then steps[#steps + 1] = { block = { stop + 1, close }, body = body }
    elseif name then steps[#steps + 1] = { file = name, body = body } end
    at = close + 4
  end
end

local function commands_of(body)
  local list = {}
  for line in body:gmatch("[^\n]+") do
    if line:sub(1, 2) == "$ " then list[#list + 1] = line:sub(3) end
  end
  return list
end

-- One shell for all, so that cd and export hold.
local MARK = "=== walk "
local function script(steps)
  local lines = { "exec 2>&1", "cd '" .. folder .. "'" }
  for i, step in ipairs(steps) do
    if step.file then
      write(folder .. "/body" .. i, step.body)
      local move = "mkdir -p \"$(dirname %s)\" && mv body%d %s && touch %s"
      lines[#lines + 1] = move:format(step.file, i, step.file, step.file)
    else
      for k, command in ipairs(commands_of(step.body)) do
        lines[#lines + 1] = ("echo '%s%d %d'"):format(MARK, i, k)
        lines[#lines + 1] = command
      end
    end
  end
  lines[#lines + 1] = "echo '" .. MARK .. "end'"
  return table.concat(lines, "\n") .. "\n"
end

local function outputs(steps)
  write(folder .. "/walk.sh", script(steps))
  local pipe = assert(io.popen(("sh '%s/walk.sh'"):format(folder)))
  local text = pipe:read "a"
  pipe:close()
  local found = {}
  for i, k in text:gmatch(MARK .. "(%d+) (%d+)\n") do
    local key = i .. " " .. k
    local begin = select(2, text:find(MARK .. key .. "\n", 1, true)) + 1
    found[key] = steady(text:sub(begin, text:find(MARK, begin, true) - 1))
  end
  return found
end

local text = read(doc)
local steps = parse(text)
local found = outputs(steps)
local passed, failed = 0, 0
for i = #steps, 1, -1 do
  local step = steps[i]
  if not step.file then
    local made = {}
    for k, command in ipairs(commands_of(step.body)) do
      made[#made + 1] = "$ " .. command .. "\n" .. (found[i .. " " .. k] or "(nothing: the walk ended before)\n")
    end
    local whole = table.concat(made)
    if whole == step.body then
      passed = passed + 1
    elseif record then
      text = text:sub(1, step.block[1] - 1) .. whole .. text:sub(step.block[2] + 1)
    else
      failed = failed + 1
      print(("walk: FAILED: a block of %s prints\n%s\nand the page has\n%s"):format(doc, whole, step.body))
    end
  end
end
if record then write(doc, text) end
if passed + failed == 0 and not record then failed = 1 end
print(("%d passed, %d failed"):format(passed, failed))
return failed == 0 and 0 or 1
