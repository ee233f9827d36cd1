--- StepPlan: what a captured step runs, to be read.
-- SPDX-License-Identifier: MIT

local class = require "quern.class"

--- tostring gives it as text, plan:dot() for Graphviz.
---@class quern.StepPlan
---@field captured boolean false: the step was not called yet
---@field parameters integer that get a gradient
---@field loss string what kind of sum it is
---@field arena_bytes integer of a worker
---@field budget integer bytes of it that may grow with the slice
---@field step_bytes integer of what runs once per step
---@field packed_bytes integer of weights packed once per step, for forward and backward
---@field batch_bytes integer of what crosses segments
---@field slices integer of the last batch
---@field lanes integer
---@field again integer tensors that are made again in backward instead of being kept
---@field narrow integer tensors that are kept for backward as bf16
---@field flops integer of the forward pass over the last batch, as far as ops say
---@field segments {kind: string, entries: integer, flops: integer, why: string?}[]
---@field entries {when: string, segment: integer?, what: string, shape: string?, why: string?, flops: integer}[]
local StepPlan = class("StepPlan")

local function list_entries(made)
  local entries, i = {}, 1
  while true do
    local e = made:entry(i)
    if not e then return entries end
    entries[i], i = e, i + 1
  end
end

local function list_segments(entries, n)
  local segments = {}
  for s = 1, n do segments[s] = { kind = s % 2 == 1 and "slices" or "whole batch", entries = 0, flops = 0 } end
  for _, e in ipairs(entries) do
    local s = e.when ~= "dropped" and e.segment and segments[e.segment]
    if s then
      s.entries, s.flops = s.entries + 1, s.flops + e.flops
      s.why = s.why or e.why and ("%s: %s"):format(e.what, e.why)
    end
  end
  return segments
end

--- Of a capture of core (quern.capture makes them); nil: none yet.
function StepPlan:init(made)
  self.captured, self.flops, self.segments, self.entries = made ~= nil, 0, {}, {}
  if not made then return end
  for k, v in pairs(made:describe()) do self[k] = v end
  self.n_segments, self.entries = self.segments, list_entries(made)
  self.segments = list_segments(self.entries, self.n_segments)
  for _, e in ipairs(self.entries) do self.flops = self.flops + e.flops end
end

local function kib(bytes) return ("%.0f KiB"):format(bytes / 1024) end

--- The lines above the entries.
---@return string[]
function StepPlan:summary()
  local live = 0
  for _, s in ipairs(self.segments) do live = live + s.entries end
  local out = {
    ("%d entries per batch (%d of them fused), %d once per step, %d dropped; loss: %s"):format(
      live, self.fused, self.hoisted, self.dropped, self.loss),
    ("arena %s a worker (%s may grow with the slice), %s for what runs once per step, %s of packed weights"):format(
      kib(self.arena_bytes), kib(self.budget), kib(self.step_bytes), kib(self.packed_bytes)),
    ("last batch: %d slices in %d lanes, %.2f GFLOP forward; %d parameters"):format(
      self.slices, self.lanes, self.flops / 1e9, self.parameters),
  }
  if self.again > 0 then
    out[#out + 1] = ("%d tensors are made again in backward instead of being kept"):format(self.again)
  end
  if self.narrow > 0 then out[#out + 1] = ("%d tensors are kept for backward as bf16"):format(self.narrow) end
  if self.n_segments <= 1 then return out end
  out[#out + 1] = ("%d segments, %s go between them:"):format(self.n_segments, kib(self.batch_bytes))
  for i, s in ipairs(self.segments) do
    out[#out + 1] = ("  %d  %-11s  %3d entries%s"):format(i, s.kind, s.entries, s.why and "  (" .. s.why .. ")" or "")
  end
  return out
end

function StepPlan:__tostring()
  if not self.captured then return "not captured yet: call the step once" end
  local out = self:summary()
  for _, e in ipairs(self.entries) do
    out[#out + 1] = ("%-7s %s%s%s"):format(e.when, self.n_segments > 1 and ("%-3s "):format(e.segment or "") or "",
                                           e.what, e.shape and " -> " .. e.shape or "")
  end
  return table.concat(out, "\n")
end

local colours = { step = "lightyellow", slice = "lightblue", batch = "salmon" }

--- The entries and what they read of each other, as a Graphviz graph.
---@return string
function StepPlan:dot()
  local out = { "digraph step {", "  node [shape=box, style=filled, fontname=sans];" }
  for i, e in ipairs(self.entries) do
    if e.when ~= "dropped" then
      out[#out + 1] = ("  n%d [label=%q, fillcolor=%s];"):format(i, e.what .. (e.shape and " " .. e.shape or ""),
                                                                colours[e.when])
      for _, from in ipairs(e.from) do out[#out + 1] = ("  n%d -> n%d;"):format(from, i) end
    end
  end
  out[#out + 1] = "}"
  return table.concat(out, "\n")
end

return StepPlan
