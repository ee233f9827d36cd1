-- A small model trained from LuaJIT through libquern.so alone: ops by name, zero-copy access
-- to tensor memory, backward, an optimizer op, save and load.
--   luajit tests/luajit/train.lua build/libquern.so [folder of the headers]
-- SPDX-License-Identifier: MIT
local ffi = require "ffi"

for _, name in ipairs { "abi_decls.h", "quern_decls.h" } do
  local file = assert(io.open((arg[2] or "core/include/quern") .. "/" .. name))
  ffi.cdef(file:read "*a")
  file:close()
end
local C = ffi.load(arg[1] or "build/libquern.so")

local function check(status)
  if status == 0 then return end
  local e = C.qn_error_last()
  error(("%s\n%s\n%s"):format(ffi.string(e.what), ffi.string(e.detail), ffi.string(e.hint)), 2)
end

local function tensor(dtype, ...)
  local shape, out = ffi.new("int64_t[8]", ...), ffi.new "qn_tensor *[1]"
  check(C.qn_tensor_new(dtype, select("#", ...), shape, out))
  return ffi.gc(out[0], C.qn_tensor_free)
end

local function floats(t) return ffi.cast("float *", C.qn_tensor_view(t).data) end

-- call("mul", {x, 2.0}, {axis = 1}): tensors and numbers by position, numbers by name.
local function call(name, positional, named)
  local op = C.qn_op_find(name)
  if op == nil then check(-7) end
  local args, n = ffi.new "qn_arg[16]", 0
  local function put(value, key)
    local a = args[n]
    n = n + 1
    a.name = key
    if type(value) == "number" then a.kind, a.v.f = C.QN_ARG_NUM, value
    else a.kind, a.v.tensor = C.QN_ARG_TENSOR, value end
  end
  for _, v in ipairs(positional) do put(v) end
  for k, v in pairs(named or {}) do put(v, k) end
  local outs, n_outs = ffi.new "qn_tensor *[1]", ffi.new "int32_t[1]"
  check(C.qn_op_call(op, args, n, outs, 1, n_outs))
  return ffi.gc(outs[0], C.qn_tensor_free)
end

check(C.qn_start(nil))

-- y = 2 a - 3 b + 0.5, from 64 points; learned by gradient descent.
local N = 64
local x, y = tensor(C.QN_F32, N, 2), tensor(C.QN_F32, N, 1)
local px, py = floats(x), floats(y)
for i = 0, N - 1 do
  px[2 * i], px[2 * i + 1] = math.sin(i), math.cos(1.7 * i)
  py[i] = 2 * px[2 * i] - 3 * px[2 * i + 1] + 0.5
end
local w, b = tensor(C.QN_F32, 1, 2), tensor(C.QN_F32, 1)
check(C.qn_tensor_require_grad(w, 1))
check(C.qn_tensor_require_grad(b, 1))

local loss
for _ = 1, 300 do
  loss = call("mse", { call("linear", { x, w, b }), y })
  check(C.qn_backward(loss, nil, 0))
  for _, p in ipairs { w, b } do
    local value, grad = floats(p), floats(C.qn_tensor_grad(p))
    for i = 0, tonumber(C.qn_tensor_view(p).shape[C.qn_tensor_view(p).ndim - 1]) - 1 do
      value[i] = value[i] - 0.2 * grad[i]
    end
    C.qn_tensor_clear_grad(p)
  end
end
assert(floats(loss)[0] < 1e-8, "the loss is still " .. floats(loss)[0])
assert(math.abs(floats(w)[0] - 2) < 1e-3 and math.abs(floats(w)[1] + 3) < 1e-3 and math.abs(floats(b)[0] - 0.5) < 1e-3)

local path = os.tmpname()
check(C.qn_save(path, ffi.new("const char *[2]", { "w", "b" }), ffi.new("qn_tensor *[2]", { w, b }), 2, nil))
local archive, read = ffi.new "qn_archive *[1]", ffi.new "qn_tensor *[1]"
check(C.qn_archive_open(path, archive))
check(C.qn_archive_read(archive[0], "w", read))
assert(floats(read[0])[1] == floats(w)[1])
C.qn_tensor_free(read[0])
C.qn_archive_close(archive[0])
os.remove(path)
print(("luajit: trained to a loss of %.2g"):format(floats(loss)[0]))
