--- quern doctor: looks at everything a run stands on and says what to fix.
-- SPDX-License-Identifier: MIT

local quern = require "quern"
local util = require "quern.util"
local data = require "quern.data"
local store = require "quern.data.store"
local sys = require "quern.sys"

local function output_of(command)
  local pipe = io.popen(command .. " 2>/dev/null", "r")
  if not pipe then return nil end
  local text = pipe:read("l")
  pipe:close()
  return text
end

local advice                     -- of the present look

local function row(name, text) print(("%-10s %s"):format(name, text)) end
local function fix(text) advice[#advice + 1] = text end

local function look_compiler()
  local found = {}
  for _, cc in ipairs { "gcc", "clang" } do
    local line = output_of(cc .. " --version")
    if line then found[#found + 1] = line end
  end
  row("compiler", #found > 0 and table.concat(found, "; ") or "none")
  if #found == 0 then fix("no C compiler, which plugins need: apt-get install gcc") end
end

local function look_cpu(s)
  row("cpu", ("%s, %d cores"):format(s.cpu, s.cores))
  row("kernels", ("%s (%s)"):format(s.isa, s.features))
  row("caches", ("L1d %s, L2 %s"):format(util.bytes(s.l1d), util.bytes(s.l2)))
  row("threads", ("%d"):format(quern.threads()))
  if quern.threads() > s.cores then fix(("more threads than cores: QUERN_THREADS=%d"):format(s.cores)) end
  local has512 = (" " .. s.features .. " "):find(" avx512f ", 1, true)
  local has2 = (" " .. s.features .. " "):find(" avx2 ", 1, true)
  if s.isa == "plain" and (has2 or has512) then
    fix("the CPU has AVX2 but plain kernels are used: is QUERN_ISA set, or were they left out of the build?")
  end
end

-- OpenBLAS on a core it does not know falls to kernels that are several times slower.
local slow_cores = { prescott = true, katmai = true, coppermine = true, banias = true, generic = true, core2 = true,
                     northwood = true, nehalem = true }

local function look_blas(s)
  if s.blas == "" then
    row("blas", "none; own kernels only")
    fix("no BLAS was found, large products are slower: apt-get install libopenblas0-pthread")
    return
  end
  row("blas", ("%s, core %s"):format(s.blas, s.blas_core))
  if s.blas_config and s.blas_config ~= "" then row("", s.blas_config) end
  if s.blas_warning ~= "" then fix(s.blas_warning) end
  if s.blas_speed > 0 then
    row("", ("one thread, measured: BLAS %.0f GFLOP/s, own kernels %.0f GFLOP/s"):format(s.blas_speed, s.own_speed))
  end
  if s.blas_warning == "" and slow_cores[s.blas_core:lower()] and s.isa ~= "plain" then
    fix(("BLAS uses its kernels for %s, which are slow here: OPENBLAS_CORETYPE=%s, or another library by QUERN_BLAS")
        :format(s.blas_core, s.isa == "avx512" and "SkylakeX" or "Haswell"))
  end
end

local function meminfo(name)
  local text = sys.try_read("/proc/meminfo") or ""
  local kib = text:match(name .. ":%s*(%d+) kB")
  return kib and math.tointeger(tonumber(kib)) * 1024
end

local function look_memory()
  local total, free = meminfo("MemTotal"), meminfo("MemAvailable")
  if total then row("memory", ("%s, %s available"):format(util.bytes(total), util.bytes(free or 0))) end
  if free and free < 1 << 30 then fix("less than 1 GiB of memory is available") end
  local m = quern.memory()
  row("tensors", ("%s live, %s peak%s"):format(util.bytes(m.live), util.bytes(m.peak),
    m.limit and m.limit > 0 and m.limit < 1 << 62 and ", limit " .. util.bytes(m.limit) or ""))
end

local function look_plugins()
  local names = {}
  for _, p in ipairs(quern.plugin.list()) do
    names[#names + 1] = p.name .. (p.version and " " .. p.version or "")
    if p.problem then fix(("plugin %s: %s"):format(p.name, p.problem)) end
  end
  row("plugins", #names > 0 and table.concat(names, ", ") or "none found")
  if #names == 0 then fix("no plugins on the search path; QUERN_PLUGIN_PATH names more folders") end
end

local function look_data()
  local here = {}
  for name, entry in util.sorted(data.registry) do
    if not entry.generated and store.find(name) then here[#here + 1] = name end
  end
  row("data", #here > 0 and table.concat(here, ", ") or "none")
  row("", "QUERN_DATA=" .. (os.getenv("QUERN_DATA") or "(not set)") .. ", cache " .. store.cache_folder())
  if #here == 0 then fix("no datasets here: `quern data get ml-100k` downloads one") end
  local ok, e = pcall(sys.mkdir, store.cache_folder())
  if not ok then fix("the cache folder cannot be made: " .. util.as_error(e).what) end
end

---@return integer exit code
return function()
  advice = {}
  local s = sys.machine()
  row("quern", sys.version())
  look_compiler()
  look_cpu(s)
  look_blas(s)
  look_memory()
  look_plugins()
  look_data()
  if #advice == 0 then
    print("all is well")
  else
    print("\nto fix:")
    for _, a in ipairs(advice) do print(util.wrap("- " .. a, 100)) end
  end
  return 0
end
