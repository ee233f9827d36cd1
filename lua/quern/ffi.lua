--- Quern under LuaJIT: tensors, every op by name, gradients, plugins, files, through libquern.so alone.
--
--   package.path = "lua/?.lua;" .. package.path
--   local quern = require "quern.ffi"                 -- or quern.ffi with QUERN_LIBRARY, QUERN_INCLUDE set
--   local x = quern.tensor({ { 1, 2 }, { 3, 4 } }):requires_grad_()
--   (x * x):sum():backward();  print(x.grad)
--
-- Ops are quern.NAME(...) and t:NAME(...), as in Lua 5.4: tensors first, the rest by position or in a
-- table of names that ends the call. LuaJIT has one kind of number; what an op wants as an integer
-- is taken as one. Memory of a tensor that nobody holds is given back when LuaJIT collects it;
-- quern.scope(fn) gives back what was made inside at once.
-- SPDX-License-Identifier: MIT

local ffi = require "ffi"

local here = debug.getinfo(1, "S").source:match("^@(.*)/lua/quern/[^/]*$") or "."

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return text
end

local function first(paths, what)
  for _, path in ipairs(paths) do
    if read(path) then return path end
  end
  error(("quern.ffi: %s was not found\n  looked at %s\nhint: set QUERN_LIBRARY and QUERN_INCLUDE"):format(what,
    table.concat(paths, ", ")), 0)
end

local function given(name) local v = os.getenv(name) return v and v ~= "" and v or nil end

local include = given "QUERN_INCLUDE"
for _, name in ipairs { "abi_decls.h", "quern_decls.h" } do
  local path = include and { include .. "/" .. name, include .. "/quern/" .. name }
    or { here .. "/core/include/quern/" .. name, here .. "/../../include/quern/" .. name }
  ffi.cdef(read(first(path, name)))
end
local library = given "QUERN_LIBRARY" or first({ here .. "/build/libquern.so", here .. "/../../lib/libquern.so" },
  "libquern.so")
local C = ffi.load(library)

local quern, Tensor, methods = {}, {}, {}

-- ---- Errors ----------------------------------------------------------------------------------

local error_meta = { __tostring = function(e)
  return e.what .. (e.detail ~= "" and "\n  " .. e.detail:gsub("\n", "\n  ") or "") ..
    (e.hint ~= "" and "\nhint: " .. e.hint or "")
end }

local function check(status)
  if status == 0 then return end
  local e = C.qn_error_last()
  local text = { status = ffi.string(C.qn_status_name(status)), what = ffi.string(e.what),
                 detail = ffi.string(e.detail), hint = ffi.string(e.hint), op = ffi.string(e.op) }
  error(setmetatable(text, error_meta), 3)
end

local function fail(what, ...)
  error(setmetatable({ status = "argument", what = what:format(...), detail = "", hint = "", op = "" }, error_meta), 3)
end

check(C.qn_start(nil))

-- ---- Tensors and their memory ------------------------------------------------------------------

local scope                       -- innermost: list of tensors made inside
local made, COLLECT = 0, 4000     -- tensors since the last full collection
local memory = ffi.new "qn_memory"
local soft = 256 * 2 ^ 20         -- live bytes that start one

-- Takes a new reference over.
local function own(t)
  t = ffi.gc(t, C.qn_tensor_free)
  if scope then scope[#scope + 1] = t end
  made = made + 1
  if made % 64 == 0 then
    C.qn_memory_stats(memory)
    if made > COLLECT or tonumber(memory.live) > soft then
      made = 0
      collectgarbage "collect"
      C.qn_memory_stats(memory)
      soft = math.max(256 * 2 ^ 20, 1.5 * tonumber(memory.live))
    end
  end
  return t
end

local function borrow(t)
  if t == nil then return nil end
  return own(C.qn_tensor_retain(t))
end

local is_tensor
do
  local tensor_type = ffi.typeof "qn_tensor *"
  function is_tensor(v) return type(v) == "cdata" and ffi.istype(tensor_type, v) end
end

local out1 = ffi.new "qn_tensor *[1]"

local dtypes = { f32 = C.QN_F32, f64 = C.QN_F64, bf16 = C.QN_BF16, i64 = C.QN_I64, i32 = C.QN_I32, u8 = C.QN_U8,
                 bool = C.QN_BOOL }
local names, pointers = {}, {}
for name, id in pairs(dtypes) do names[tonumber(id)] = name end
for name, c in pairs { f32 = "float *", f64 = "double *", i64 = "int64_t *", i32 = "int32_t *", u8 = "uint8_t *",
                       bool = "uint8_t *" } do
  pointers[name] = ffi.typeof(c)
end

local function dtype_of(name)
  return dtypes[name or "f32"] or fail("there is no element type %q", tostring(name))
end

local shape_buffer = ffi.new "int64_t[8]"
local function shape_of(shape)
  if #shape > 8 then fail("a tensor of %d dimensions; at most 8 are possible", #shape) end
  for i, n in ipairs(shape) do shape_buffer[i - 1] = n end
  return #shape, shape_buffer
end

--- Zeros of a shape.
function quern.zeros(shape, dtype)
  local n, s = shape_of(type(shape) == "table" and shape or { shape })
  check(C.qn_tensor_new(dtype_of(dtype), n, s, out1))
  return own(out1[0])
end

local function fill(t, values, at, data)
  if type(values) == "table" then
    for _, v in ipairs(values) do at = fill(t, v, at, data) end
    return at
  end
  if type(values) == "boolean" then values = values and 1 or 0 end
  data[at] = values
  return at + 1
end

--- A tensor of nested tables (or one number); dtype "f32" unless given.
function quern.tensor(values, dtype)
  local shape, level = {}, values
  while type(level) == "table" do
    shape[#shape + 1] = #level
    level = level[1]
  end
  if dtype == "bf16" then return quern.tensor(values, "f32"):to "bf16" end
  local t, count = quern.zeros(shape, dtype), 1
  for _, n in ipairs(shape) do count = count * n end
  local filled = fill(t, values, 0, t:data())
  if filled ~= count then fail("rows of different lengths: %d numbers for %d places", filled, count) end
  return t
end

function quern.full(shape, value, dtype)
  local t = quern.zeros(shape, dtype)
  local data = t:data()
  for i = 0, t:numel() - 1 do data[i] = value end
  return t
end

function quern.ones(shape, dtype) return quern.full(shape, 1, dtype) end

for name in pairs(dtypes) do
  quern[name] = function(values) return quern.tensor(values, name) end
end

--- Values and offsets as one jagged tensor; offsets may be a table.
function quern.jagged(values, offsets)
  if not is_tensor(offsets) then offsets = quern.tensor(offsets, "i64") end
  check(C.qn_tensor_jagged(values, offsets, out1))
  return own(out1[0])
end

quern.is_tensor = is_tensor

-- ---- Ops -------------------------------------------------------------------------------------------

local words = { int = "int", num = "num", bool = "bool", str = "str", enum = "str" }

local function kind_of(type)
  local list = type:match "^%[(%a+)"
  if list then return list .. "s" end
  if type:match "^%w+%[" or type:match "^like " then return "tensor" end
  return words[type:match "^%a+"] or "tensor"
end

-- Parameters of a canonical schema, in order and by name: { name, kind, keyword, variadic }.
local function parse_schema(text)
  local inner, params, keyword, depth, word = text:match "^[%w_]+(%b())", {}, false, 0, ""
  local function done()
    word = word:match "^%s*(.-)%s*$"
    local name, type = word:match "^([%w_]+)[!~]?:%s*(.+)$"
    if word == "*" then keyword = true end
    if name then
      type = type:gsub("%s+=.*$", "")
      local p = { name = name, keyword = keyword, variadic = type:match "%]%*$" ~= nil, kind = kind_of(type) }
      params[#params + 1], params[name] = p, p
    end
    word = ""
  end
  for c in inner:sub(2, -2):gmatch "." do
    if c:match "[%[{(]" then depth = depth + 1 elseif c:match "[%]})]" then depth = depth - 1 end
    if c == "," and depth == 0 then done() else word = word .. c end
  end
  done()
  return params
end

local args, outs, n_outs = ffi.new "qn_arg[34]", ffi.new "qn_tensor *[8]", ffi.new "int32_t[1]"
local anchors = {}                -- lists of the running call

local ints_type, nums_type, tensors_type = ffi.typeof "int64_t[?]", ffi.typeof "double[?]", ffi.typeof "qn_tensor *[?]"

local function list_of(a, value, kind, what)
  local n = #value
  local list
  if kind == "ints" then
    list = ints_type(n, value)
    a.kind, a.v.ints = C.QN_ARG_INTS, list
  elseif kind == "nums" then
    list = nums_type(n, value)
    a.kind, a.v.nums = C.QN_ARG_NUMS, list
  else
    list = tensors_type(math.max(n, 1))
    for i = 1, n do
      if not is_tensor(value[i]) then fail("argument '%s': element %d is no tensor", what, i) end
      list[i - 1] = value[i]
    end
    a.kind, a.v.tensors = C.QN_ARG_TENSORS, list
  end
  a.count = n
  anchors[#anchors + 1] = list
end

local function set(a, value, p)
  local kind = type(value)
  a.count = 0
  if kind == "cdata" and is_tensor(value) then
    if p and p.variadic then return list_of(a, { value }, "tensor", p.name) end
    a.kind, a.v.tensor = C.QN_ARG_TENSOR, value
  elseif kind == "number" then
    if p and (p.kind == "int" or p.kind == "ints") and value == math.floor(value) then
      a.kind, a.v.i = C.QN_ARG_INT, value
    else
      a.kind, a.v.f = C.QN_ARG_NUM, value
    end
  elseif kind == "boolean" then a.kind, a.v.i = C.QN_ARG_BOOL, value and 1 or 0
  elseif kind == "string" then a.kind, a.v.s = C.QN_ARG_STR, value
  elseif kind == "nil" then a.kind = C.QN_ARG_NIL
  elseif kind == "table" then list_of(a, value, p and p.kind or "tensor", p and p.name or "?")
  else fail("argument '%s' is a %s", p and p.name or "?", kind) end
end

local function is_options(v) return type(v) == "table" and #v == 0 and next(v) ~= nil end

local function put(n, value, p, name)
  if n >= 33 then fail "too many arguments" end
  local a = args[n]
  a.name = name
  set(a, value, p)
  return n + 1
end

local function results(n)
  if n == 1 then return own(outs[0]) end
  local all = {}
  for i = 1, n do all[i] = outs[i - 1] end
  for i = 1, n do all[i] = own(all[i]) end
  return unpack(all, 1, n)
end

local function make_op(name)
  local op = C.qn_op_find(name)
  if op == nil then return nil end
  local params = parse_schema(ffi.string(C.qn_op_schema(op)))
  local variadic = params[1] and params[1].variadic
  return function(...)
    local count, n = select("#", ...), 0
    if #anchors > 0 then anchors = {} end
    local last = count > 0 and select(count, ...) or nil
    local options = is_options(last) and last or nil
    if options then count = count - 1 end
    if variadic and count > 1 and is_tensor((select(2, ...))) then
      n = put(n, { select(1, ...) }, params[1], nil)
      if options then args[0].count = count end
    else
      for i = 1, count do
        local p = params[i]
        n = put(n, (select(i, ...)), p, p and p.keyword and p.name or nil)
      end
    end
    if options then
      for key, value in pairs(options) do n = put(n, value, params[key], key) end
    end
    check(C.qn_op_call(op, args, n, outs, 8, n_outs))
    return results(n_outs[0])
  end
end

--- The function of an op, "name" or "plugin.name"; raises with the nearest name.
function quern.op(name)
  local fn = make_op(name)
  if not fn then check(-7) end
  return fn
end

setmetatable(quern, { __index = function(_, name)
  local fn = make_op(name)
  if fn then rawset(quern, name, fn) end
  return fn
end })

--- All ops: { name, schema, summary }.
function quern.ops()
  local list = {}
  for i = 0, C.qn_op_count() - 1 do
    local op = C.qn_op_at(i)
    list[#list + 1] = { name = ffi.string(C.qn_op_name(op)), schema = ffi.string(C.qn_op_schema(op)),
                        summary = ffi.string(C.qn_op_info(op).summary) }
  end
  return list
end

-- ---- What tensors can do ---------------------------------------------------------------------------

local function view(t) return C.qn_tensor_view(t) end

--- Pointer to the elements (from 0), of the element type; the tensor must stay alive.
function methods.data(t)
  local v = view(t)
  local pointer = pointers[names[v.dtype]] or fail("elements of %s have no C type; convert first", names[v.dtype])
  return ffi.cast(pointer, v.data)
end

function methods.numel(t)
  local v, n = view(t), 1
  for i = 0, v.ndim - 1 do n = n * tonumber(v.shape[i]) end
  return n
end

local function element(t, at) return tonumber(t:data()[at]) end

--- The one element of a tensor.
function methods.item(t)
  if t:numel() ~= 1 then fail("item() of a tensor of %d elements", t:numel()) end
  if t.dtype == "bf16" then t = t:to "f32" end
  return element(t, 0)
end

local function nest(t, v, d, at)
  if d == v.ndim then return element(t, at) end
  local list = {}
  for i = 0, tonumber(v.shape[d]) - 1 do list[i + 1] = nest(t, v, d + 1, at + i * tonumber(v.stride[d])) end
  return list
end

function methods.totable(t)
  if t.dtype == "bf16" then t = t:to "f32" end
  return nest(t, view(t), 0, 0)
end

--- A converted copy.
function methods.to(t, dtype) return quern.cast(t, { dtype = dtype }) end

--- Asks for a gradient of this leaf; returns it.
function methods.requires_grad_(t, on)
  check(C.qn_tensor_require_grad(t, on == false and 0 or 1))
  return t
end

--- Adds the gradients of all leaves; seed: the gradient of t itself, for one that is no single number.
function methods.backward(t, seed, options)
  local flags = options and options.keep and C.QN_BACKWARD_KEEP or 0
  check(C.qn_backward(t, seed, flags))
end

function methods.zero_grad(t) C.qn_tensor_clear_grad(t) end
function methods.offsets(t) return borrow(C.qn_tensor_offsets(t)) end

local copied = ffi.new "qn_tensor *[1]"
--- Writes another tensor's elements into this one, both contiguous and of one type and size.
function methods.copy_(t, from)
  if t.dtype ~= from.dtype or t:numel() ~= from:numel() then fail "copy_: the tensors differ in type or size" end
  local size = ({ f32 = 4, f64 = 8, bf16 = 2, i64 = 8, i32 = 4, u8 = 1, bool = 1 })[t.dtype]
  ffi.copy(view(t).data, view(from).data, t:numel() * size)
  return t
end

--- Gives the memory back now; the tensor must not be used again.
function methods.free(t)
  ffi.gc(t, nil)
  C.qn_tensor_free(t)
end

local properties = {}
function properties.shape(t)
  local v, s = view(t), {}
  for i = 0, v.ndim - 1 do s[i + 1] = tonumber(v.shape[i]) end
  return s
end
function properties.dtype(t) return names[view(t).dtype] end
function properties.grad(t) return borrow(C.qn_tensor_grad(t)) end
function properties.requires_grad(t) return C.qn_tensor_requires_grad(t) ~= 0 end

function Tensor.__index(t, key)
  local method = methods[key]
  if method then return method end
  local property = properties[key]
  if property then return property(t) end
  return quern[key]
end

for event, op in pairs { __add = "add", __sub = "sub", __mul = "mul", __div = "div", __unm = "neg", __pow = "pow" } do
  Tensor[event] = function(a, b)
    if event == "__unm" then return quern.neg(a) end
    return quern[op](a, b)
  end
end

function Tensor.__tostring(t)
  if t:numel() == 1 then return tostring(t:item()) end
  return ("tensor %s[%s]"):format(t.dtype, table.concat(t.shape, ","))
end

ffi.metatype("struct qn_tensor", Tensor)

-- ---- Gradients, random numbers, memory -------------------------------------------------------------

--- Gradients of root with respect to inputs, returned and not stored.
function quern.grad(root, inputs, seed, options)
  local list, grads = tensors_type(#inputs, inputs), tensors_type(#inputs)
  check(C.qn_grad(root, seed, list, #inputs, options and options.create and C.QN_BACKWARD_CREATE or 0, grads))
  local out = {}
  for i = 1, #inputs do out[i] = grads[i - 1] ~= nil and own(grads[i - 1]) or nil end
  return out
end

local function finish(before, ok, ...)
  C.qn_grad_enable(before)
  if not ok then error((...), 0) end
  return ...
end

--- Runs fn without recording gradients and returns its results.
function quern.no_grad(fn, ...) return finish(C.qn_grad_enable(0), pcall(fn, ...)) end

--- Runs fn, then frees the tensors made inside, but those it returns.
function quern.scope(fn, ...)
  local outer, mine = scope, {}
  scope = mine
  local found = { pcall(fn, ...) }
  scope = outer
  local kept = {}
  for i = 2, #found do if is_tensor(found[i]) then kept[tostring(ffi.cast("void *", found[i]))] = true end end
  for _, t in ipairs(mine) do
    if not kept[tostring(ffi.cast("void *", t))] then methods.free(t) elseif outer then outer[#outer + 1] = t end
  end
  if not found[1] then error(found[2], 0) end
  return unpack(found, 2)
end

function quern.seed(n) C.qn_random_seed(n) end
function quern.step(n) C.qn_random_step(n) end
function quern.threads(n)
  if n then check(C.qn_threads_set(n)) end
  return C.qn_threads()
end
function quern.version() return ffi.string(C.qn_version()) end
--- Bytes of tensors and work memory.
function quern.memory()
  C.qn_memory_stats(memory)
  return { live = tonumber(memory.live), peak = tonumber(memory.peak) }
end

-- ---- Plugins and files -----------------------------------------------------------------------------

--- Loads a plugin's library by its folder or .so; its ops are then there by name.
function quern.plugin(path) check(C.qn_plugin_load(path)) end

--- Writes named tensors to a safetensors file; meta is a JSON object as text.
function quern.save(path, tensors, meta)
  local list, count = {}, 0
  for name in pairs(tensors) do
    count = count + 1
    list[count] = name
  end
  table.sort(list)
  local keys, values = ffi.new("const char *[?]", math.max(count, 1), list), tensors_type(math.max(count, 1))
  for i, name in ipairs(list) do values[i - 1] = tensors[name] end
  check(C.qn_save(path, keys, values, count, meta))
end

--- Named tensors of a safetensors file, and its metadata as text.
function quern.load(path)
  local open, out = ffi.new "qn_archive *[1]", {}
  check(C.qn_archive_open(path, open))
  local archive = ffi.gc(open[0], C.qn_archive_close)
  for i = 0, C.qn_archive_count(archive) - 1 do
    local name = C.qn_archive_name(archive, i)
    check(C.qn_archive_read(archive, name, copied))
    out[ffi.string(name)] = own(copied[0])
  end
  return out, ffi.string(C.qn_archive_meta(archive))
end

return quern
