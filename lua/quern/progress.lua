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
---@field memory (fun(): integer)|false|nil bytes; default: live tensor bytes; false: not shown
---@field after number? seconds in which nothing is shown; what takes no longer is never shown

---@param options quern.ProgressOptions
function Progress:init(options)
  local sys = require "quern.sys"
  self.label, self.total, self.unit = options.label or "", options.total, options.unit or "it"
  self.clock = options.clock or sys.clock
  self.memory = options.memory == nil and sys.memory or options.memory
  self.terminal = options.terminal
  if self.terminal == nil then self.terminal = sys.is_terminal(2) and os.getenv("TERM") ~= "dumb" end
  self.width = options.width
  self.write = options.write or function(text) io.stderr:write(text) end
  self.every = self.terminal and 0.1 or options.every or 10
  self.began = self.clock()
  self.after = options.after
  self.next_draw = self.began + math.max(self.every, self.after or 0)
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
  if self.units > 0 then
    local rate = self.units / spent
    parts[#parts + 1] = (self.unit == "B" and util.bytes(rate) or util.count(rate) .. " " .. self.unit) .. "/s"
  end
  if self.memory then parts[#parts + 1] = util.bytes(self.memory()) end
  if #parts == 0 then parts[1] = util.duration(spent) end
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
  if self.after and now - self.began < self.after then return end
  self:clear()
  local line = self:line(now, 1000):gsub(" %[[#-]*%]", "")
  if text and text ~= "" then line = line .. "  " .. text end
  self.write(line .. "\n")
end

--- Goes through an iterator; a bar is shown from the third second on.
---@param iterate fun(): any
---@param label string
---@param total integer
---@param unit string
---@param size_of fun(value: any): number units of one value
---@return fun(): any
function Progress.over(iterate, label, total, unit, size_of)
  local bar, done = nil, 0
  return function()
    bar = bar or Progress { label = label, total = total, unit = unit, after = 2 }
    local value = iterate()
    if value == nil then
      bar:clear()
      return nil
    end
    bar:update(done, 0)
    done, bar.units = done + 1, bar.units + size_of(value)
    return value
  end
end

--- Runs a function while long work in C that it calls for shows a bar, from the third second on.
---@param label string
---@param fn function
---@return any ... of fn
function Progress.during(label, fn, ...)
  local core, bars = require "quern.core", {}
  core.tick(function(what, done, total)
    local bar = bars[what] or Progress { label = ("%s %s"):format(what, label), total = total, unit = "B", after = 2 }
    bars[what] = bar
    bar:update(done, done - bar.done)
  end)
  local result = table.pack(pcall(fn, ...))
  core.tick(nil)
  for _, bar in pairs(bars) do bar:clear() end
  if not result[1] then error(result[2], 0) end
  return table.unpack(result, 2, result.n)
end

--- Seconds since the start.
function Progress:seconds() return self.clock() - self.began end

return Progress
