-- Settings of luacheck. SPDX-License-Identifier: MIT
std = "lua54"
max_line_length = 120
codes = true
ignore = { "212/self" }
exclude_files = { "build*/**" }
files["plugins/*/plugin.lua"] = { std = "none" }
