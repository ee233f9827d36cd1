--- The report's page: one HTML file that refers to nothing outside itself.
--
-- It has no script; its charts are SVG in place; a policy in its head forbids everything
-- that is not in the file. Tables scroll sideways on narrow screens; dark where the reader's
-- system is dark; on paper light, with the recipe's long lines folded.
-- SPDX-License-Identifier: MIT

local util = require "quern.util"
local chart = require "quern.chart"
local sys = require "quern.sys"

local escape = chart.escape
local MOST_ROWS = 50             -- of a curve's numbers, before they are thinned

local light = "--ink:#1c2430;--soft:#5c6773;--rule:#dfe3e8;--ground:#fff;--raised:#f5f7f9;"
  .. "--good:#00734f;--bad:#b1380f;"
local dark = "--ink:#e6e9ee;--soft:#a4adb8;--rule:#333b46;--ground:#161b22;--raised:#1f2630;"
  .. "--good:#4fd1a5;--bad:#ff9a76;"

local style = ":root{color-scheme:light;" .. light .. "}\n" .. chart.style ..
  "@media screen and (prefers-color-scheme:dark){:root{color-scheme:dark;" .. dark .. "}" .. chart.dark_style
  .. "}\n" .. [[
*{box-sizing:border-box}
body{margin:0 auto;padding:1.5rem 1rem 4rem;max-width:68rem;background:var(--ground);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;line-height:1.2;margin:.5rem 0}h2{font-size:1.15rem;margin:2.2rem 0 .6rem}
p{margin:.4rem 0}.soft{color:var(--soft)}.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.28rem .9rem .28rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
th{color:var(--soft);font-weight:600;white-space:nowrap}.n{text-align:right;white-space:nowrap}
.good{color:var(--good)}.bad{color:var(--bad)}.changed{font-weight:600}
code,pre{font:13px/1.45 ui-monospace,monospace}td code{overflow-wrap:anywhere}
pre{background:var(--raised);padding:1rem;border-radius:6px;overflow-x:auto}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,22rem),1fr));gap:1.2rem 1.6rem}
figure{margin:0;min-width:0}svg.chart{width:100%;height:auto;display:block}
summary{cursor:pointer;color:var(--soft);font-size:.85rem}
@media screen and (max-width:30rem){body{padding:1rem .7rem 3rem}table{font-size:.78rem}
th,td{padding-right:.5rem}h1{font-size:1.35rem}}
@media print{
body{max-width:none;padding:0;font-size:10.5pt}h2{break-after:avoid}figure,tr{break-inside:avoid}
details{display:none}.charts{grid-template-columns:1fr 1fr}.scroll,pre{overflow:visible}
pre{white-space:pre-wrap;padding:0;font-size:8pt}table{font-size:8.5pt}}
]]

-- ---- Pieces ------------------------------------------------------------------------------

-- A cell is a text, or { text, class }; texts are escaped here and nowhere else.
local function cell(c, tag)
  local text, class = c, nil
  if type(c) == "table" then text, class = c[1], c[2] end
  return ("<%s%s>%s</%s>"):format(tag, class and (' class="%s"'):format(class) or "", escape(text or ""), tag)
end

local function html_table(head, rows)
  local out = { '<div class="scroll"><table><thead><tr>' }
  for _, c in ipairs(head) do out[#out + 1] = cell(c, "th") end
  out[#out + 1] = "</tr></thead><tbody>\n"
  for _, row in ipairs(rows) do
    out[#out + 1] = "<tr>"
    for i = 1, #head do out[#out + 1] = cell(row[i] or "", "td") end
    out[#out + 1] = "</tr>\n"
  end
  out[#out + 1] = "</tbody></table></div>"
  return table.concat(out)
end

local function section(title, ...)
  return ("<section><h2>%s</h2>\n%s\n</section>\n"):format(escape(title), table.concat({ ... }, "\n"))
end

-- Counts come as floats from means and tensors: 943, not 943.0.
local function text_of(v)
  if math.type(v) == "float" and v % 1 == 0 and math.abs(v) < 1e15 then v = math.tointeger(v) end
  return util.number(v)
end

local function number(v) return { v and text_of(v) or "", "n" } end

local function soft(text) return ('<p class="soft">%s</p>'):format(escape(text)) end

-- ---- Sections ------------------------------------------------------------------------------

-- Columns without a single entry are left out.
local function without_empty(head, rows)
  local kept, out = {}, {}
  for i in ipairs(head) do
    local filled = i <= 2
    for _, row in ipairs(rows) do filled = filled or (type(row[i]) == "table" and row[i][1] or row[i]) ~= "" end
    if filled then kept[#kept + 1] = i end
  end
  local function cut(row)
    local cells = {}
    for k, i in ipairs(kept) do cells[k] = row[i] end
    return cells
  end
  for k, row in ipairs(rows) do out[k] = cut(row) end
  return cut(head), out
end

local function results(r)
  if #r.results == 0 then return section("Results", soft "No results were reported.") end
  local several, rows, label = #r.groups > 1, {}, nil
  for _, row in ipairs(r.results) do
    local s = row.spread
    local line = { row.label ~= label and row.label or "", row.metric }
    if several then line[#line + 1] = row.group.label end
    line[#line + 1] = s and number(s.mean) or { "-", "n" }
    line[#line + 1] = number(row.paper)
    line[#line + 1] = { row.gap and ("%+.1f %%"):format(row.gap) or "", "n" }
    line[#line + 1] = { s and s.sd and "± " .. util.number(s.sd) or "", "n" }
    line[#line + 1] = { s and s.n > 1 and text_of(s.low) .. " .. " .. text_of(s.high) or "", "n" }
    line[#line + 1] = { s and ("%d"):format(s.n) or "0", "n" }
    rows[#rows + 1] = line
    label = row.label
  end
  local head = { "", "metric" }
  if several then head[3] = "runs" end
  for _, name in ipairs { "ours", "paper", "gap", "sd", "range", "seeds" } do head[#head + 1] = { name, "n" } end
  local parts, noted = { html_table(without_empty(head, rows)) }, {}
  for _, row in ipairs(r.results) do
    if row.note and not noted[row.label] then
      noted[row.label] = true
      parts[#parts + 1] = soft(row.label .. ": " .. tostring(row.note))
    end
  end
  parts[#parts + 1] = soft("Ours is the mean over seeds, sd the standard deviation (n - 1), "
    .. "the gap is relative to the paper's number.")
  return section("Results", table.unpack(parts))
end

local function numbers_of(c)
  local head, by_x = { { c.axis, "n" } }, {}
  for i, s in ipairs(c.series) do
    head[i + 1] = { s.name, "n" }
    for _, p in ipairs(s.points) do
      by_x[p[1]] = by_x[p[1]] or {}
      by_x[p[1]][i] = p[2]
    end
  end
  local xs, rows = util.keys(by_x), {}
  local every = math.max(1, math.ceil(#xs / MOST_ROWS))
  for k, x in ipairs(xs) do
    if (k - 1) % every == 0 or k == #xs then
      local row = { number(x) }
      for i = 1, #c.series do row[i + 1] = number(by_x[x][i]) end
      rows[#rows + 1] = row
    end
  end
  return ("<details><summary>numbers</summary>%s</details>"):format(html_table(head, rows))
end

local function figures(title, charts, text)
  if #charts == 0 then return "" end
  local out = {}
  for _, c in ipairs(charts) do
    out[#out + 1] = "<figure>" .. c.svg .. (c.series and numbers_of(c) or "") .. "</figure>"
  end
  return section(title, text and soft(text) or "", '<div class="charts">' .. table.concat(out, "\n") .. "</div>")
end

local function curves(r)
  local text = {}
  for _, g in ipairs(r.groups) do
    if #g.runs > 1 then text[1] = "Lines are means over seeds, bands reach from the least to the greatest." end
  end
  if r.left_out > 0 then
    text[#text + 1] = ("%d more are left out here; they stand in metrics.jsonl."):format(r.left_out)
  end
  return figures("Curves", r.curves, #text > 0 and table.concat(text, " ") or nil)
end

local function run_table(r)
  local rows = {}
  for i, run in ipairs(r.runs) do
    rows[i] = { run.id, run.name .. (run.size and " (" .. run.size .. ")" or ""), number(run.seed),
      { run.status, run.status == "done" and "good" or "bad" }, { run.epochs and ("%d"):format(run.epochs) or "", "n" },
      run.began or "", { run.seconds and util.duration(run.seconds) or "", "n" }, { run.peak or "", "n" } }
  end
  local out = html_table({ "folder", "recipe", { "seed", "n" }, "state", { "epochs", "n" }, "began (UTC)",
                           { "took", "n" }, { "peak memory", "n" } }, rows)
  local notes = {}
  for _, run in ipairs(r.runs) do
    if run.message then notes[#notes + 1] = soft(run.id .. ": " .. run.message) end
  end
  return section("Runs", out, table.concat(notes))
end

local function settings(r)
  local paths, rows = {}, {}
  for _, g in ipairs(r.groups) do for path in pairs(g.settings) do paths[path] = true end end
  for _, path in ipairs(util.keys(paths)) do
    local row, differs = { path }, false
    for i, g in ipairs(r.groups) do
      local v = g.settings[path]
      differs = differs or not util.same(v, r.groups[1].settings[path])
      row[i + 1] = { v == nil and "-" or util.number(v), "n" }
    end
    if differs then
      row[1] = { path, "changed" }
      for i = 2, #row do row[i][2] = "n changed" end
    end
    rows[#rows + 1] = row
  end
  if #rows == 0 then return section("Settings", soft "The recipe has no settings.") end
  local head = { "setting" }
  for i, g in ipairs(r.groups) do head[i + 1] = { g.label, "n" } end
  return section("Settings", html_table(head, rows))
end

-- What a lock says, as rows of name and value; hashes by their first 16 digits.
local function lock_rows(lock)
  local rows = {}
  for _, key in ipairs { "quern", "build", "cpu", "isa", "blas", "blas_core", "threads" } do
    if lock[key] ~= nil then rows[#rows + 1] = { key, tostring(lock[key]) } end
  end
  for name, p in util.sorted(lock.plugins or {}) do
    rows[#rows + 1] = { "plugin " .. name, ("%s %s"):format(p.version or "", (p.sha256 or ""):sub(1, 16)) }
  end
  for name, hash in util.sorted(lock.data or {}) do
    rows[#rows + 1] = { "data " .. name, tostring(hash):sub(1, 16) }
  end
  if lock.ops then rows[#rows + 1] = { "op schemas", ("%d"):format(#util.keys(lock.ops)) } end
  return rows
end

local function environment(r)
  local order, values = {}, {}
  for _, run in ipairs(r.runs) do
    for _, row in ipairs(lock_rows(run.lock)) do
      local name, value = row[1], row[2]
      if not values[name] then
        values[name] = { seen = {} }
        order[#order + 1] = name
      end
      if not values[name].seen[value] then
        values[name].seen[value] = 0
        table.insert(values[name], value)
      end
      values[name].seen[value] = values[name].seen[value] + 1
    end
  end
  local rows = {}
  for i, name in ipairs(order) do
    local v = values[name]
    local texts = {}
    for k, value in ipairs(v) do texts[k] = #v > 1 and ("%s (%d runs)"):format(value, v.seen[value]) or value end
    rows[i] = { name, { table.concat(texts, "; "), #v > 1 and "changed" or nil } }
  end
  if #rows == 0 then return section("Environment", soft "No lock was written.") end
  return section("Environment", html_table({ "", "" }, rows))
end

local function recipes(r)
  local seen, out = {}, {}
  for _, g in ipairs(r.groups) do
    if not seen[g.text] then
      seen[g.text] = true
      out[#out + 1] = section("Recipe " .. g.name, "<pre><code>" .. escape(g.text) .. "</code></pre>")
    end
  end
  return table.concat(out)
end

-- ---- The page ------------------------------------------------------------------------------

local function title_of(r)
  local names, seen = {}, {}
  for _, g in ipairs(r.groups) do
    if not seen[g.name] then names[#names + 1] = g.name end
    seen[g.name] = true
  end
  return table.concat(names, ", ")
end

local function heading(r)
  local out = { ("<h1>%s</h1>"):format(escape(title_of(r))) }
  local said = {}
  for _, g in ipairs(r.groups) do
    if g.about.doc and not said[g.about.doc] then
      said[g.about.doc] = true
      out[#out + 1] = ("<p>%s</p>"):format(escape(g.about.doc))
    end
  end
  local began = r.runs[1].began
  out[#out + 1] = soft(("%d run%s%s, Quern %s"):format(#r.runs, #r.runs == 1 and "" or "s",
    began and ", from " .. began .. " UTC" or "", r.runs[1].lock.quern or sys.version()))
  return table.concat(out, "\n")
end

--- The whole page.
---@param r table of report.gather
---@return string html
return function(r)
  return table.concat { '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
    [[<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">]],
    "\n",
    "<title>", escape(title_of(r)), " - report</title>\n<style>\n", style, "</style>\n</head>\n<body>\n",
    heading(r), "\n",
    results(r), figures("Figures", r.figures), curves(r),
    figures("Spread over seeds", r.spreads, "A dot is a run, the bar their mean."),
    run_table(r), settings(r), environment(r), recipes(r), "</body>\n</html>\n" }
end
