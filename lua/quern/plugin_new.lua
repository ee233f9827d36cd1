--- A new plugin's folder, from one op's schema: it builds, loads, passes the conformance kit and
--- shows up in help before a line is edited.
--
-- Its kernel is a reference loop that any schema allows: element j of an output is the sum of the
-- elements j mod n of all inputs (n their counts), times the num arguments. It is linear, so its
-- gradient is the same loop the other way round. The author puts the method in its place.
-- SPDX-License-Identifier: MIT

local core = require "quern.core"
local util = require "quern.util"

local new = {}

-- ---- What the schema says ----------------------------------------------------------------------

local function refuse(what, hint) util.fail("argument", "plugin new: " .. what, nil, hint) end

local function read_schema(text)
  local s = core.schema(text)
  for _, o in ipairs(s.outputs) do
    if o.open then
      refuse(("the schema leaves the shape of output %s open"):format(o.name),
        "write the shape, or begin with one that the inputs give, and add an infer function later")
    end
    if o.alias then
      refuse(("output %s lies on an input"):format(o.name),
        "begin with a plain op, `-> y: ...`; views and ops that write in place are written by hand")
    end
  end
  if #s.outputs == 0 then refuse("the schema has no outputs", "write `-> y: f[...]` behind the arguments") end
  local tensors = 0
  for _, p in ipairs(s.params) do
    if p.written then refuse(("%s! is written in place"):format(p.name), "begin with an op that returns its result") end
    if p.tensor then tensors = tensors + 1 end
  end
  if tensors == 0 then refuse("the schema has no tensors", "an op works on at least one: x: f[...]") end
  return s
end

-- One output shaped like every input: the loop is plain then, and rows do not see each other.
local function elementwise(s)
  if #s.outputs > 1 then return false end
  local function whole(type) return type == "f[...]" or type:match("^like ") end
  if not whole(s.outputs[1].type) then return false end
  for _, p in ipairs(s.params) do
    if p.tensor and (not whole(p.type) or p.optional or p.variadic) then return false end
  end
  return true
end

local function numbers(s)
  local names = {}
  for _, p in ipairs(s.params) do if p.type:match("^num") then names[#names + 1] = p.name end end
  return names
end

-- ---- An example that runs -------------------------------------------------------------------------

local function literal(t)
  if t.floating then return ("quern.ones{%s}"):format(table.concat(t.shape, ", ")) end
  local function list(v)
    if type(v) ~= "table" then return tostring(v) end
    local parts = {}
    for i, x in ipairs(v) do parts[i] = list(x) end
    return "{" .. table.concat(parts, ", ") .. "}"
  end
  return #t.shape == 0 and ("quern.tensor(%s, %q)"):format(list(t.values), t.dtype)
    or ("quern.tensor(%s, %q)"):format(list(t.values), t.dtype):gsub('"', "'")
end

local function argument(a)
  if a.kind == "tensor" then
    local text = literal(a)
    return a.offsets and ("quern.jagged(%s, {%s})"):format(text, table.concat(a.offsets, ", ")) or text
  elseif a.kind == "tensors" then
    local parts = {}
    for i, t in ipairs(a.list) do parts[i] = literal(t) end
    return "{" .. table.concat(parts, ", ") .. "}"
  elseif type(a.value) == "table" then
    return "{" .. table.concat(a.value, ", ") .. "}"
  end
  return type(a.value) == "string" and ("'%s'"):format(a.value) or tostring(a.value)
end

-- First element of the reference loop's first output, for ones in and the sample's numbers.
local function known_answer(s, sample)
  local sum, scale, given = 0.0, 1.0, {}
  for _, a in ipairs(sample) do
    local list = a.kind == "tensors" and a.list or a.kind == "tensor" and { a } or {}
    for _, t in ipairs(list) do
      local first = t.values
      while type(first) == "table" do first = first[1] end
      sum = sum + (t.floating and 1.0 or first == true and 1.0 or tonumber(first) or 0.0)
    end
    if a.number then scale, given[a.name] = scale * a.value, true end
  end
  for _, p in ipairs(s.params) do
    if p.default and not given[p.name] then scale = scale * p.default end
  end
  return sum * scale
end

-- "quern.NAME(x, {k = 1})" and what its first element is.
local function example(s)
  local sample = core.schema_sample(s.schema)
  if not sample then
    refuse("no small input fits the schema", "relax its conditions; docs/schema.md is the language's manual")
  end
  local plain, named = {}, {}
  for _, a in ipairs(sample) do
    if a.tensor_param then plain[#plain + 1] = { a.name, argument(a) } else named[#named + 1] = a end
  end
  local parts, options = {}, {}
  for i, p in ipairs(plain) do parts[i] = p[2] end
  for i, a in ipairs(named) do options[i] = ("%s = %s"):format(a.name, argument(a)) end
  if #options > 0 then parts[#parts + 1] = "{" .. table.concat(options, ", ") .. "}" end
  local call = ("quern.%s(%s)"):format(s.name, table.concat(parts, ", "))
  return call, known_answer(s, sample)
end

-- ---- The files ------------------------------------------------------------------------------------

local function c_string(text, indent)
  local parts, rest = {}, text:gsub("\\", "\\\\"):gsub('"', '\\"')
  while #rest > 80 do
    local cut = rest:sub(1, 80):match("^.*() ") or 80
    parts[#parts + 1], rest = rest:sub(1, cut), rest:sub(cut + 1)
  end
  parts[#parts + 1] = rest
  return '"' .. table.concat(parts, '"\n' .. (" "):rep(indent) .. '"') .. '"'
end

local head = [[
/*
** @op@: @title@
**
@formula@
** SPDX-License-Identifier: MIT
*/
#include <quern/abi.h>

enum { GRAIN = 8192 };

static int64_t count(const qn_view *v) {
  int64_t n = 1;
  for (int32_t d = 0; d < v->ndim; d++) n *= v->shape[d];
  return n;
}

]]

local access = [[
/* Elements as doubles, whatever their type; bf16 inputs of class f arrive as f32. */
static double get(const qn_view *v, int64_t i) {
  switch (v->dtype) {
  case QN_F32: return (double)((const float *)v->data)[i];
  case QN_F64: return ((const double *)v->data)[i];
  case QN_I64: return (double)((const int64_t *)v->data)[i];
  case QN_I32: return (double)((const int32_t *)v->data)[i];
  case QN_BF16: {
    union {
      uint32_t bits;
      float value;
    } u = {.bits = (uint32_t)((const uint16_t *)v->data)[i] << 16};
    return (double)u.value;
  }
  default: return (double)((const uint8_t *)v->data)[i];
  }
}

static int64_t whole(double value, double most) {
  return value != value ? 0 : value > most ? (int64_t)most : value < -most ? -(int64_t)most : (int64_t)value;
}

static void put(const qn_view *v, int64_t i, double value) {
  union {
    float value;
    uint32_t bits;
  } u = {.value = (float)value};
  switch (v->dtype) {
  case QN_F32: ((float *)v->data)[i] = (float)value; return;
  case QN_F64: ((double *)v->data)[i] = value; return;
  case QN_I64: ((int64_t *)v->data)[i] = whole(value, 9e15); return;
  case QN_I32: ((int32_t *)v->data)[i] = (int32_t)whole(value, 2e9); return;
  case QN_BF16: ((uint16_t *)v->data)[i] = (uint16_t)(u.bits >> 16); return;
  case QN_BOOL: ((uint8_t *)v->data)[i] = value != 0; return;
  default: ((uint8_t *)v->data)[i] = (uint8_t)whole(value, 127); return;
  }
}

/* The product of the num arguments that are given. */
static double factor(const qn_host *h, qn_call *c) {
  static const char *const names[] = {@names@NULL};
  double f = 1;
  for (int32_t i = 0; names[i]; i++)
    if (h->has_arg(c, names[i])) f *= h->arg_num(c, names[i]);
  return f;
}

]]

local plain = [[
struct work {
  const qn_host *h;
  qn_call *c;
  double factor;
};

/* y[j] = factor sum over inputs x[j] */
static qn_status forward_range(void *ctx, int64_t begin, int64_t end) {
  const struct work *w = ctx;
  const qn_view *y = w->h->out(w->c, 0);
  for (int64_t j = begin; j < end; j++) {
    double sum = 0;
    for (int32_t k = 0; k < w->h->n_in(w->c); k++) sum += get(w->h->in(w->c, k), j);
    put(y, j, w->factor * sum);
  }
  return QN_OK;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  struct work w = {h, c, factor(h, c)};
  return h->parallel(c, count(h->out(c, 0)), GRAIN, forward_range, &w);
}

/* dx[j] = factor dy[j], for the inputs whose gradient is asked for. */
static qn_status backward(const qn_host *h, qn_call *c) {
  const qn_view *dy = h->in(c, 0);
  double f = factor(h, c);
  for (int32_t k = 0; k < h->n_out(c); k++) {
    qn_view *dx = h->out(c, k);
    for (int64_t j = 0; dx && j < count(dx); j++) put(dx, j, f * get(dy, j));
  }
  return QN_OK;
}

]]

local general = [[
/* y[j] = factor sum over inputs x[j mod n] */
static qn_status forward(const qn_host *h, qn_call *c) {
  double f = factor(h, c);
  for (int32_t o = 0; o < h->n_out(c); o++) {
    qn_view *y = h->out(c, o);
    for (int64_t j = 0; j < count(y); j++) {
      double sum = 0;
      for (int32_t k = 0; k < h->n_in(c); k++) {
        const qn_view *x = h->in(c, k); /* NULL: an optional one that was not given */
        if (x && count(x)) sum += get(x, j % count(x));
      }
      put(y, j, f * sum);
    }
  }
  return QN_OK;
}

static int32_t floating(const qn_view *v) {
  return v && (v->dtype == QN_F32 || v->dtype == QN_F64 || v->dtype == QN_BF16);
}

/* dx[i] = factor sum over outputs and j = i, i + n, i + 2n ... of dy[j] */
static qn_status backward(const qn_host *h, qn_call *c) {
  double f = factor(h, c);
  for (int32_t k = 0; k < h->n_out(c); k++) {
    qn_view *dx = h->out(c, k); /* NULL: nobody asks for this one */
    for (int64_t i = 0; dx && i < count(dx); i++) {
      double sum = 0;
      for (int32_t o = 0; o < h->n_in(c); o++) {
        const qn_view *dy = h->in(c, o);
        for (int64_t j = i; floating(dy) && j < count(dy); j += count(dx)) sum += get(dy, j);
      }
      put(dx, i, f * sum);
    }
  }
  return QN_OK;
}

]]

local tail = [[
static const qn_op op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = @batch@,
    .schema = @schema@,
    .summary = @summary@,
    .doc = @doc@,
@cite@    .example = @example@,
    .forward = forward,
    .backward = backward,
};

static const qn_op *const ops[] = {&op, NULL};

QN_EXPORT const qn_plugin qn_plugin_entry = {
    .magic = QN_MAGIC,
    .struct_size = sizeof(qn_plugin),
    .abi_major = QN_ABI_MAJOR,
    .abi_minor = QN_ABI_MINOR,
    .abi_minor_least = 0,
    .build = QN_BUILD,
    .id = @id@,
    .name = @name@,
    .version = "0.1.0",
    .ops = ops,
};
]]

local manifest = [[
-- What the plugin is: data only, read before any of it runs.
return {
  id = @id@, name = @name@, version = "0.1.0", abi = "1.0", library = @name@, ops = 1,
  summary = @summary@,
  license = "MIT",@paper@
}
]]

local module = [[
--- What a recipe gets from quern.plugin "@plain_name@".
local quern = require "quern"
local nn = require "quern.nn"

--- The op as a layer: options are those of its schema.
local Layer = nn.class "@class@"
function Layer:init(options) self.options = options or {} end
function Layer:forward(...)
  local args = table.pack(...)
  args[args.n + 1] = self.options
  return quern.@op@(table.unpack(args, 1, args.n + 1))
end

return { @op@ = quern.op "@plain_name@.@op@", @class@ = Layer }
]]

local test = [[
-- One known answer. Run it with `make test`.
local quern = require "quern"
quern.plugin(arg[0]:match("^(.*)/[^/]*$") or ".")

local y = @call@
local expected = @expected@
local first = (y.is_jagged and y:values() or y):to("f64"):reshape(-1):totable()[1]
assert(not first or math.abs(first - expected) < 1e-6 * math.max(1, math.abs(expected)),
  ("the first element is %s, not %s"):format(first, expected))
print("@op@: as expected")
]]

local readme = [[
# @plain_name@

## What it does

@summary_text@

    @schema_text@

## Paper

@paper_text@

## Equations

The reference loop that this plugin began with: y[j] = factor sum over inputs x[j mod n]. Write the
method's own here, with the numbers they have in the paper, and put them into the C file above the loops.

## Use

    make                      builds @plain_name@.so with the compiler and pkg-config
    make check                quern plugin check: the conformance kit
    make test                 one known answer
    make install              into ~/.local/share/quern/plugins

    local quern = require "quern"
    quern.plugin "@plain_name@"
    local y = @call@

## Results

What was measured, on which machine, beside the paper's numbers.

## Deviations

What is different from the paper, and why.
]]

local makefile = [[
# Builds against an installed Quern; PKG_CONFIG_PATH names its lib/pkgconfig if that is not a usual place.
CFLAGS ?= -O2
QUERN  ?= quern
PLACE  ?= $(HOME)/.local/share/quern/plugins/@plain_name@

@plain_name@.so: $(wildcard *.c *.h)
@tab@$(CC) -std=c11 $(CFLAGS) -Wall -Wextra -fPIC -fvisibility=hidden -shared $$(pkg-config --cflags quern) \
@tab@  -o $@ $(wildcard *.c) -lm
check: @plain_name@.so
@tab@$(QUERN) plugin check .
test: @plain_name@.so
@tab@$(QUERN) lua test.lua
install: @plain_name@.so
@tab@install -d $(PLACE)
@tab@install -m 644 $(wildcard *.lua) README.md @plain_name@.so $(PLACE)
clean:
@tab@rm -f @plain_name@.so
.PHONY: check test install clean
]]

local function fill(template, values)
  return (template:gsub("@tab@", "\t"):gsub("@([%w_]+)@", values))
end

local function class_name(name)
  return (name:gsub("^%l", string.upper):gsub("[_-](%w)", function(c) return c:upper() end))
end

local function paper_of(o)
  if not o.paper then
    return "", [[
None is cited. `paper = { title = "...", year = 2024, equations = { NAME = "7-9" } }` in plugin.lua
names one; every op then cites it too.]], ""
  end
  local equations = o.equation and (", equations = { %s = %q }"):format(o.op_name, o.equation) or ""
  local line = ("\n  paper = { title = %q, year = %d%s },"):format(o.paper, o.year or 0, equations)
  local text = ("%s (%d)%s"):format(o.paper, o.year or 0, o.equation and ", equation " .. o.equation or "")
  return line, text, ("    .cite = %s,\n"):format(c_string(text, 12))
end

--- The files of a new plugin by name.
---@param name string
---@param options {op: string, id: string?, paper: string?, year: integer?, equation: string?, summary: string?}
---@return table<string, string>
function new.files(name, options)
  if not name:match("^%a[%w_-]*$") then
    refuse(("%q cannot name a plugin"):format(name), "letters, digits, '_' and '-', beginning with a letter")
  end
  if options.paper and not options.year then refuse("--paper needs --year", "citations are checked") end
  local s = read_schema(options.op)
  local call, expected = example(s)
  local simple, names = elementwise(s), numbers(s)
  local paper, paper_text, cite = paper_of { paper = options.paper, year = options.year, equation = options.equation,
                                             op_name = s.name }
  local quoted = {}
  for i, n in ipairs(names) do quoted[i] = ('"%s", '):format(n) end
  local summary = options.summary or ("The reference loop of %s, to be replaced."):format(s.name)
  local product = #names > 0 and table.concat(names, " ") .. " " or ""
  local formula = simple and ("y[j] = %ssum over inputs x[j]"):format(product)
    or ("y[j] = %ssum over inputs x[j mod n], n being their counts of elements"):format(product)
  local v = { op = s.name, title = summary, formula = "**   " .. formula, names = table.concat(quoted),
    batch = simple and "QN_BATCH_ROWS" or "QN_BATCH_COUPLED", schema = c_string(s.schema, 14),
    summary = c_string(summary, 15), doc = c_string(formula .. ".", 11), cite = cite,
    example = c_string(("print(#%s.shape)"):format(call), 15), id = ("%q"):format(options.id or "example." .. name),
    name = ("%q"):format(name), plain_name = name, paper = paper, class = class_name(name), call = call,
    expected = ("%.17g"):format(expected), summary_text = summary, schema_text = s.schema, paper_text = paper_text }
  local kernels = simple and plain or general
  return { ["plugin.lua"] = fill(manifest, v), [name .. ".c"] = fill(head .. access, v) .. kernels .. fill(tail, v),
    [name .. ".lua"] = fill(module, v), ["test.lua"] = fill(test, v), ["README.md"] = fill(readme, v),
    Makefile = fill(makefile, v) }
end

--- Writes a new plugin's folder; nothing is written if one of its files is there already.
---@param name string
---@param options table as files; dir: the folder, default NAME
---@return string folder
---@return string[] files
function new.write(name, options)
  local folder = options.dir or name
  local files, there = new.files(name, options), {}
  for file in util.sorted(files) do
    if core.exists(folder .. "/" .. file) then there[#there + 1] = file end
  end
  if #there > 0 then
    util.fail("state", ("plugin new: %s has %s already"):format(folder, table.concat(there, ", ")),
      "nothing was written", "choose another folder with --dir, or move those files away")
  end
  core.mkdir(folder)
  local written = {}
  for file, text in util.sorted(files) do
    core.write_file(folder .. "/" .. file, text)
    written[#written + 1] = file
  end
  return folder, written
end

return new
