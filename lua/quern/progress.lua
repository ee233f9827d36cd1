--- Progress: a bar with rate, time left, loss and memory; plain lines when not a terminal.
--
-- On a terminal one line is redrawn at most ten times a second and fitted to the width;
-- elsewhere a line is printed each `every` seconds and at the end. Between draws an
-- update costs one look at the clock.
--   epoch 3  [#########-----------]  45%  12.3k tok/s  0:12 left  loss 6.8123  312 MiB
-- SPDX-License-Identifier: MIT

local class = require "quern.class"
local util = require "quern.util"

---@class quern.Progress
local Progress = class("Progress")

---@class quern.ProgressOptions
---@field label string what is being done
---@field total number? units of the whole; nil: unknown
---@field unit string? "tok", "seq", "rows": for the rate
---@field terminal boolean? draw a bar; default: is the output one?
---@field width integer? columns; default: the terminal's
---@field every number? seconds between plain lines, default 10
---@field write fun(text: string)? default: standard error
---@field clock fun(): number? seconds; default: the monotonic clock
---@field memory fun(): integer? bytes; default: live tensor bytes

---@param options quern.ProgressOptions
function Progress:init(options)
  local sys = require "quern.sys"
  self.label, self.total, self.unit = options.label or "", options.total, options.unit or "it"
  self.clock = options.clock or sys.clock
  self.memory = options.memory or sys.memory
  self.terminal = options.terminal
  if self.terminal == nil then self.terminal = sys.is_terminal(2) and os.getenv("TERM") ~= "dumb" end
  self.width = options.width
  self.write = options.write or function(text) io.stderr:write(text) end
  self.every = self.terminal and 0.1 or options.every or 10
  self.began = self.clock()
  self.next_draw = self.began + self.every
  self.done, self.units, self.drawn = 0, 0, false
  self.skipped = 0
end

-- Work that was done by an earlier run and must not count for the rate.
function Progress:start_at(done) self.done, self.skipped = done, done end

--- One step more.
---@param done number of the total
---@param units number tokens or samples since the last call, for the rate
---@param loss number? shown as it is
function Progress:update(done, units, loss)
  self.done, self.loss = done, loss or self.loss
  self.units = self.units + units
  local now = self.clock()
  if now >= self.next_draw then
    self:draw(now)
    self.next_draw = now + self.every
  end
end

local function bar_text(share, cells)
  local full = math.floor(share * cells + 0.5)
  return "[" .. ("#"):rep(full) .. ("-"):rep(cells - full) .. "]"
end

--- The parts of the line, most important first.
function Progress:parts(now)
  local spent = math.max(now - self.began, 1e-9)
  local parts = {}
  if self.loss then parts[#parts + 1] = ("loss %.4f"):format(self.loss) end
  local work = self.done - self.skipped
  if self.total and work > 0 and self.done < self.total then
    parts[#parts + 1] = util.duration(spent / work * (self.total - self.done)) .. " left"
  elseif self.total and self.done >= self.total then
    parts[#parts + 1] = util.duration(spent)
  end
  parts[#parts + 1] = util.count(self.units / spent) .. " " .. self.unit .. "/s"
  parts[#parts + 1] = util.bytes(self.memory())
  return parts
end

--- The line as it stands, at most `width` columns; the least important parts go first.
---@param now number
---@param width integer
---@return string
function Progress:line(now, width)
  local parts = self:parts(now)
  local share = self.total and math.min(1, self.done / math.max(self.total, 1e-9))
  local head = self.label .. (share and ("  %3d%%"):format(math.floor(share * 100)) or "")
  while #parts > 1 and #head + 2 + #table.concat(parts, "  ") > width do parts[#parts] = nil end
  local tail = table.concat(parts, "  ")
  local cells = math.min(30, width - #head - #tail - 5)
  if self.terminal and share and cells >= 6 then
    head = ("%s  %s %3d%%"):format(self.label, bar_text(share, cells), math.floor(share * 100))
  end
  return (head .. "  " .. tail):sub(1, width)
end

function Progress:draw(now)
  local width = self.width
  if not width then width = self.terminal and require("quern.sys").width() or 100 end
  if self.terminal then
    self.write("\r" .. self:line(now, width - 1) .. "\27[K")
  else
    self.write(self:line(now, width) .. "\n")
  end
  self.drawn = true
end

--- Takes the bar off the line, so that other text may be printed.
function Progress:clear()
  if self.terminal and self.drawn then
    self.write("\r\27[K")
    self.drawn = false
  end
end

--- The last line, with the whole time; text goes behind it.
---@param text string?
function Progress:finish(text)
  local now = self.clock()
  self:clear()
  local line = self:line(now, 1000):gsub(" %[[#-]*%]", "")
  if text and text ~= "" then line = line .. "  " .. text end
  self.write(line .. "\n")
end

--- Seconds since the start.
function Progress:seconds() return self.clock() - self.began end

return Progress
