--- Reports: numbers read back from the page's text, nothing outside the page, groups by settings.
-- SPDX-License-Identifier: MIT

local check = require "check"
local quern = require "quern"
local report = require "quern.report"
local cli = require "quern.cli"
local sys = require "quern.sys"

-- A run's folder as `quern run` leaves it, with numbers that the test knows.
local function make_run(parent, name, o)
  local folder = parent .. "/" .. name
  os.execute("mkdir -p '" .. folder .. "'")
  local function write(file, value) check.write(folder .. "/" .. file, quern.json.encode(value)) end
  write("settings.json", { name = "toy", seed = o.seed, size = "small", settings = { train = { lr = o.lr or 0.1 } } })
  write("about.json", { doc = "adds & <subtracts>", paper = { ours = { hr = 0.5, ndcg = 0.25 } } })
  write("state.json", { status = o.status or "done" })
  write("report.json", { { label = "ours", metrics = { hr = o.hr } } })
  write("lock.json", { quern = "0.1.0", cpu = "Some CPU", threads = 2, data = { toy = ("ab"):rep(32) } })
  check.write(folder .. "/recipe.lua", "return [[ </pre><script>alert(1)</script> ]]\n")
  check.write(folder .. "/metrics.jsonl", '{"fit":"fit-1","epoch":1,"step":5,"loss":2.5,"metrics":{"hr":0.1}}\n'
    .. '{"fit":"fit-1","epoch":2,"step":10,"loss":"nan"}\n{"fit":"fit-1","epoch":3,"step":15,"loss":1.25}\n{"fit":"fi')
  check.write(folder .. "/log.txt", "2026-01-01T00:00:00Z started: seed 1\n2026-01-01T00:01:05Z stopped\n"
    .. "2026-01-01T05:00:00Z resumed: seed 1\n2026-01-01T05:00:10Z done; peak memory 12 MiB\n")
  return folder
end

-- The page's text: cells in brackets, tags gone, entities back.
local function text_of(html)
  local body = html:match("<body>(.*)</body>")
  body = body:gsub("<t[dh][^>]*>", "["):gsub("</t[dh]>", "]"):gsub("<[^>]*>", " ")
  return (body:gsub("&lt;", "<"):gsub("&gt;", ">"):gsub("&quot;", '"'):gsub("&#39;", "'"):gsub("&amp;", "&"))
end

local function contains(text, ...)
  for _, part in ipairs { ... } do check.yes(text:find(part, 1, true), part .. " is missing in\n" .. text) end
end

local function page(o)
  local parent = check.folder()
  local folders = {}
  for i, run in ipairs(o) do folders[i] = make_run(parent, ("toy-2026010%d-000000"):format(i), run) end
  local html, charts = report.page(report.gather(folders))
  return html, charts, parent
end

local function quiet(words)
  local print_ = print
  print = function() end         -- luacheck: ignore 121
  local code = cli.main(words)
  print = print_                 -- luacheck: ignore 121
  return code
end

return {
  { "mean, spread, the paper's numbers and the gap can be read from the page", function()
    local html = page { { seed = 1, hr = 0.4 }, { seed = 2, hr = 0.5 }, { seed = 3, hr = 0.45 } }
    contains(text_of(html), "[ours][hr][0.45][0.5][-10.0 %][± 0.05][0.4 .. 0.5][3]", "[][ndcg][-][0.25][]",
      "adds & <subtracts>", "[toy-20260101-000000][toy (small)][1][done][3][2026-01-01 00:00][1:15][12 MiB]",
      "[train.lr][0.1]", "[cpu][Some CPU]", "[data toy][abababababababab]", "[3][1.25]")
  end },

  { "runs with other settings stand apart, with the setting that differs", function()
    local html = page { { seed = 1, hr = 0.4 }, { seed = 2, hr = 0.6 }, { seed = 1, hr = 0.2, lr = 0.2 } }
    contains(text_of(html), "[hr][toy train.lr=0.1][0.5]", "[hr][toy train.lr=0.2][0.2]", "toy train.lr=0.1, mean of 2",
      "[train.lr][0.1][0.2]")
  end },

  { "the page refers to nothing outside itself and runs no script", function()
    local html = page { { seed = 1, hr = 0.4 }, { seed = 2, hr = 0.5 } }
    for _, pattern in ipairs { "%shref%s*=", "%ssrc%s*=", "url%(", "@import", "https?:", "<script", "<link", "<iframe",
                               "<object", "<img", "xlink", "%son%a+=" } do
      check.equal(html:gsub("&lt;.-&gt;", ""):find(pattern), nil, pattern)
    end
    contains(html, "default-src 'none'", 'name="viewport"', "prefers-color-scheme:dark", "@media print")
    contains(text_of(html), "</pre><script>alert(1)</script>")
  end },

  { "each tag that opens is closed in order", function()
    local html = page { { seed = 1, hr = 0.4 }, { seed = 2, hr = 0.5 } }
    local stack = {}
    for slash, name, inside in html:gsub("<!.->", ""):gmatch("<(/?)(%a[%w]*)([^>]*)>") do
      if slash == "/" then check.equal(table.remove(stack), name)
      elseif name ~= "meta" and inside:sub(-1) ~= "/" then stack[#stack + 1] = name end
    end
    check.equal(#stack, 0)
  end },

  { "equal folders give an equal page; one unfinished run has one too", function()
    local parent = check.folder()
    local folder = make_run(parent, "toy-20260101-000000", { seed = 1, hr = 0.4, status = "interrupted" })
    local html = report.page(report.gather { folder })
    check.equal(html, (report.page(report.gather { folder })))
    contains(text_of(html), "[interrupted]", "[0.4][0.5][-20.0 %][1]")
    os.remove(folder .. "/report.json")
    os.remove(folder .. "/metrics.jsonl")
    os.remove(folder .. "/log.txt")
    contains(text_of((report.page(report.gather { folder }))), "[interrupted]")
  end },

  { "the command writes the page and a file for each chart", function()
    local _, charts, parent = page { { seed = 1, hr = 0.4 }, { seed = 2, hr = 0.5 } }
    local real = print
    print = function() end                                -- luacheck: ignore 121
    local code = cli.main { "report", "toy-20260101", parent .. "/toy-20260102-000000", "--out", parent, "-o",
                            parent .. "/x.html", "--svg", parent .. "/svg" }
    print = real                                          -- luacheck: ignore 121
    check.equal(code, 0)
    check.equal(#charts, 2)
    contains(check.read(parent .. "/x.html"), "<h1>toy</h1>")
    contains(check.read(parent .. "/svg/ours-hr.svg"), "<svg xmlns", "seed 1: 0.4")
    contains(check.read(parent .. "/svg/loss.svg"), "toy, mean of 2")
  end },

  { "names that are no run, or more than one, are refused", function()
    local _, _, parent = page { { seed = 1, hr = 0.4 }, { seed = 2, hr = 0.5 } }
    check.fails(function() report.folders({ "tpy-20260101-000000" }, parent) end, "cannot find", "toy-20260101-000000")
    check.fails(function() report.folders({ "toy-" }, parent) end, "2 runs")
    check.fails(function() report.gather {} end, "at least one")
    check.equal(#report.folders({ "name=toy", "seed>=1" }, parent), 2)
    check.equal(report.folders({ "last", "seed=1" }, parent),
                { parent .. "/toy-20260102-000000", parent .. "/toy-20260101-000000" })
    check.fails(function() report.folders({ "seed=9" }, parent) end, "no run in", "seed=9")
  end },

  { "each chart as PNG, drawn by what papers' tools know of SVG: no variables", function()
    local _, _, parent = page { { seed = 1, hr = 0.4 }, { seed = 2, hr = 0.5 } }
    local words = { "report", parent .. "/toy-20260101-000000", parent .. "/toy-20260102-000000",
                    "-o", parent .. "/x.html", "--svg", parent .. "/svg", "--png", parent .. "/png" }
    if not sys.find_program "rsvg-convert" then
      words[#words - 1], words[#words] = nil, nil
      check.equal(quiet(words), 0)
    else
      check.equal(quiet(words), 0)
      check.equal(#sys.list(parent .. "/png"), #sys.list(parent .. "/svg"))
      local png = check.read(parent .. "/png/loss.png")
      check.equal(png:sub(1, 8), "\137PNG\r\n\26\n")
      check.equal((string.unpack(">I4", png, 17)), 3 * 420)
    end
    local svg = check.read(parent .. "/svg/loss.svg")
    check.equal(svg:find("var(", 1, true), nil)
    contains(svg, 'stroke="#0072b2"')
  end },

  { "a browser shows the numbers, without a word on its console, narrow and wide", function()
    if not sys.find_program "chromium" then check.skip "chromium is not here" end
    local html, _, parent = page { { seed = 1, hr = 0.4 }, { seed = 2, hr = 0.5 } }
    check.write(parent .. "/x.html", html)
    local function browse(options)
      local pipe <close> = io.popen(("cd '%s' && nice timeout 60 chromium --headless --no-sandbox --disable-gpu "
        .. "--enable-logging=stderr --user-data-dir='%s/profile' %s x.html 2>console.txt")
        :format(parent, parent, options), "r")
      return pipe:read("a"), check.read(parent .. "/console.txt")
    end
    for _, width in ipairs { 500, 1200 } do
      local shown, said = browse(("--window-size=%d,900 --screenshot=%d.png --dump-dom"):format(width, width))
      if not said:find("written to file", 1, true) then check.skip "chromium does not start here" end
      check.equal(said:find("CONSOLE", 1, true), nil, said)
      contains(text_of(shown), "[0.45]", "[0.5]", "[-10.0 %]", "± 0.0707", "[toy-20260101-000000]")
      local png = check.read(("%s/%d.png"):format(parent, width))
      check.equal((string.unpack(">I4", png, 17)), width)
      check.yes(#png > 5000)
    end
  end },
}
