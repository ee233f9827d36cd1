-- Settings of luacheck. SPDX-License-Identifier: MIT
std = "lua54"
max_line_length = 120
codes = true
ignore = { "212/self" }
exclude_files = { "build*/**", "lua/meta" } -- meta is made from the schemas
files["plugins/*/plugin.lua"] = { std = "none" }
for _, path in ipairs { "lua/quern/ffi.lua", "recipes/luajit", "tests/luajit" } do files[path] = { std = "luajit" } end
