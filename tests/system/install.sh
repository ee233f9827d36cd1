#!/bin/sh
# An installation serves strangers: plugins built outside the tree, LuaJIT, clear refusals.
#   tests/system/install.sh BUILD          from the project's folder
# Texts of refusals are compared with tests/golden; RECORD=1 writes them anew.
# Ends with "N passed, N failed, N skipped".
# SPDX-License-Identifier: MIT
build=$1
passed=0 failed=0 skipped=0
root=$(pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
prefix=$tmp/usr
quern=$prefix/bin/quern
unset QUERN_LUA QUERN_PLUGIN_PATH
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig" HOME="$tmp"

# try "promise" command...: passes if the command does.
try() {
  promise=$1; shift
  if "$@" >"$tmp/log" 2>&1; then passed=$((passed + 1)); else
    failed=$((failed + 1))
    echo "install: FAILED: $promise"
    tail -n 40 "$tmp/log"
  fi
}

# says "text" command...: the command succeeds and prints the text.
says() {
  text=$1; shift
  "$@" >"$tmp/said" 2>&1 || { cat "$tmp/said"; return 1; }
  cat "$tmp/said"
  grep -qF -- "$text" "$tmp/said"
}

# A copy of the plugin in folder $1, built through pkg-config with the flags $2.
build_plugin() {
  mkdir -p "$1" && cp tests/out_of_tree/scale/* "$1" && make -C "$1" -s scale.so CFLAGS="$2"
}

build_toolbox() {
  mkdir -p "$tmp/plugins/toolbox" && cp tests/out_of_tree/toolbox/* "$tmp/plugins/toolbox" &&
    make -C "$tmp/plugins/toolbox" -s toolbox.so
}

# The loader's refusal of a plugin built with flags $2 equals the recorded text $1; exit code 3.
refusal() {
  build_plugin "$tmp/$1/scale" "$2" || return 1
  "$quern" plugin load "$tmp/$1/scale" >"$tmp/text" 2>&1
  [ $? = 3 ] || { echo "the exit code is not 3"; cat "$tmp/text"; return 1; }
  sed "s|$tmp/$1|PLUGINS|g; /^  at /d" "$tmp/text" >"$tmp/refusal"
  [ -z "$RECORD" ] || cp "$tmp/refusal" "$root/tests/golden/$1.txt"
  diff -u "$root/tests/golden/$1.txt" "$tmp/refusal"
}

# A program that closes the library while its workers are awake, sixteen times.
unload() {
  cc -o "$tmp/unload" tests/system/unload.c $(pkg-config --cflags quern) -ldl || return 1
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do "$tmp/unload" "$prefix/lib/libquern.so" || return 1; done
}

try "make install fills a folder" make --no-print-directory install BUILD="$build" PREFIX="$prefix"
try "the installed command runs" says "quern " "$quern" version
try "pkg-config gives the version" says "$("$quern" version | sed 's/quern //')" pkg-config --modversion quern
try "the library may be closed while its workers are awake" unload
try "a plugin builds with the installed headers alone" build_plugin "$tmp/plugins/scale" ""
export QUERN_PLUGIN_PATH="$tmp/plugins"
try "the plugin is listed" says "$tmp/plugins/scale" "$quern" plugin list
try "its manifest and ops are shown" says "example.scale" "$quern" plugin info scale
try "first-party plugins are installed" says "hstu" "$quern" plugin list
try "a model with the plugin's layer trains" says "trained" "$quern" lua tests/system/train_scale.lua
try "the plugin passes the conformance kit" says "21 checks, 0 failed; level L4" "$quern" plugin check scale
try "a plugin with a sampler, hook, data set, metric, format and scorer builds" build_toolbox
try "and each of them works" says "toolbox: RMSE" "$quern" lua tests/system/use_toolbox.lua
if command -v luajit >/dev/null; then
  try "LuaJIT trains through the installed library" \
    luajit tests/luajit/train.lua "$prefix/lib/libquern.so" "$prefix/include/quern"
  try "LuaJIT's front finds the installed library, and does what Lua 5.4 does" says "luajit front:" \
    luajit tests/luajit/front.lua "$prefix/share/quern/lua" "$tmp/plugins/scale"
  try "the installed recipe trains under LuaJIT" says "points are on the right arm" \
    luajit "$prefix/share/quern/recipes/luajit/spirals.lua"
else
  skipped=$((skipped + 3))
  echo "install: skipped: LuaJIT is not here"
fi
try "a plugin of the next major version is refused" refusal refuse_newer_major -DSCALE_MAJOR=QN_ABI_MAJOR+1
try "a plugin of an older major version is refused" refusal refuse_older_major -DSCALE_MAJOR=QN_ABI_MAJOR-1
try "a plugin that needs a later host is refused" refusal refuse_newer_least -DSCALE_LEAST=QN_ABI_MINOR+1
try "a library that is no plugin is refused" refusal refuse_other_magic '-DSCALE_MAGIC=\"OTHER\"'
try "a plugin with unknown needs is refused" refusal refuse_unknown_needs '-DSCALE_NEEDS=\"qn.warp/9\"'
printf '%-28s %3d passed\n' install "$passed"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
