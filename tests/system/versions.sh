#!/bin/sh
# Versions are negotiated with real binaries: plugins built with headers that have fewer or more fields,
# hosts of an older and a later minor version, descriptors and tables cut after every field.
#   tests/system/versions.sh BUILD          from the project's folder
# Texts of refusals are compared with tests/golden; RECORD=1 writes them anew.
# Ends with "N passed, N failed, N skipped".
# SPDX-License-Identifier: MIT
build=$1
passed=0 failed=0
root=$(pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
quern=$build/quern
CC=${CC:-gcc}
export XDG_CACHE_HOME="$tmp/cache"

try() {
  promise=$1; shift
  if "$@" >"$tmp/log" 2>&1; then passed=$((passed + 1)); else
    failed=$((failed + 1))
    echo "versions: FAILED: $promise"
    tail -n 20 "$tmp/log"
  fi
}

# headers NAME SED: a copy of the public headers, changed. An added field comes before the closing line of
# its table; a removed one takes its line away.
headers() {
  mkdir -p "$tmp/$1" && cp -r core/include/quern "$tmp/$1" && sed -i -E "$2" "$tmp/$1/quern/abi.h" "$tmp/$1/quern/abi_decls.h"
}

# plugin NAME HEADERS FLAGS: the out-of-tree plugin built with those headers.
plugin() {
  mkdir -p "$tmp/p/$1" &&
    $CC -std=c11 -O1 -fPIC -fvisibility=hidden -shared $3 -I"$2" -o "$tmp/p/$1/scale.so" tests/out_of_tree/scale/scale.c &&
    sed "s/abi = \"1.0\"/abi = \"1.${4:-0}\"/" tests/out_of_tree/scale/plugin.lua >"$tmp/p/$1/plugin.lua"
}

accepted() {
  plugin "$1" "$2" "$3" "$4" && "$quern" plugin load "$tmp/p/$1/scale.so" | grep -q 'leaky_scale('
}

# refused NAME HEADERS FLAGS: with the text of tests/golden/NAME.txt and exit code 3.
refused() {
  plugin "$1" "$2" "$3" || return 1
  "$quern" plugin load "$tmp/p/$1/scale.so" >"$tmp/text" 2>&1
  [ $? = 3 ] || { echo "the exit code is not 3"; cat "$tmp/text"; return 1; }
  sed "s|$tmp/p/$1|PLUGINS|g; /^  at /d" "$tmp/text" >"$tmp/refusal"
  [ -z "$RECORD" ] || cp "$tmp/refusal" "$root/tests/golden/$1.txt"
  diff -u "$root/tests/golden/$1.txt" "$tmp/refusal"
}

# A release of the future: every growing table has a field more, and the minor version is 3.
newer='s/^#define QN_ABI_MINOR 0/#define QN_ABI_MINOR 3/; s/^\} (qn_op|qn_plugin|qn_host|qn_math|qn_store);/  void (*from_the_future)(void);\n&/'
headers newer "$newer"
# Before the first release: the last fields of the descriptor, of an op, were not there yet.
headers no_query '/const void \*\(\*query\)\(const char \*interface_id\); \/\* \[any\]/d'
headers no_kink '/^  qn_op_fn kink;/d; /Called as forward is, but out/d'

try "a plugin of a newer minor that can live with this host is accepted" accepted newer "$tmp/newer" "" 3
try "one that needs the newer host is refused" refused refuse_minor_3 "$tmp/newer" -DSCALE_LEAST=3
try "a descriptor without its last field is refused" refused refuse_short_plugin "$tmp/no_query" ""
try "an op without its last field is refused" refused refuse_short_op "$tmp/no_kink" -DSCALE_NO_KINK

# The descriptor and the op cut after every field: never accepted, never a crash.
cut() {
  plugin "cut_$1_$2" core/include "-DSCALE_$1=$2" || return 1
  "$quern" plugin load "$tmp/p/cut_$1_$2/scale.so" >"$tmp/text" 2>&1
  [ $? = 3 ] || { echo "$1 cut after $2 bytes: not refused"; cat "$tmp/text"; return 1; }
}
cut_all() {
  for bytes in $(awk -v type="$2" 'index($1, type ".") == 1 {print $2 + $3}' tests/abi/layout.txt | head -n -1); do
    cut "$1" "$bytes" || return 1
  done
}
try "a descriptor cut after any field is refused" cut_all SIZE qn_plugin
try "an op cut after any field is refused" cut_all OP_SIZE qn_op

# A host of the future, on the rest of today's core.
newer_host() {
  for file in core/registry/registry.c core/registry/types.c core/api/load.c core/api/scan.c core/graph/host.c tests/system/newer_host.c; do
    $CC -std=c11 -O1 -D_GNU_SOURCE -I"$tmp/newer" -Icore -fvisibility=hidden -c -o "$tmp/$(basename "$file" .c).o" "$file" || return 1
  done
  $CC -o "$tmp/newer_host" "$tmp"/*.o "$build/libcore.a" -ljansson -lcurl -lm -ldl -pthread
}
on_newer() { plugin "$1" "$2" "$3" && "$tmp/newer_host" "$tmp/p/$1/scale.so" >"$tmp/said"; [ $? = "$4" ] && cat "$tmp/said" && grep -q "$5" "$tmp/said"; }
if ! nm "$build/libcore.a" 2>/dev/null | grep -q __asan_init; then
  try "a host of the next minor versions builds on this core" newer_host
  try "it takes a plugin of today" on_newer today core/include "" 0 "host 1.3: leaky_scale gives -0.2 3"
  try "it takes a plugin that needs it" on_newer needs3 "$tmp/newer" -DSCALE_LEAST=3 0 "host 1.3: leaky_scale gives -0.2 3"
  try "it refuses one that needs a later one" on_newer needs4 "$tmp/newer" -DSCALE_LEAST=4 3 "needs plugin ABI 1.4 or later, this host has 1.3"
  try "it refuses one of another major version" on_newer major core/include -DSCALE_MAJOR=2 3 "was built for plugin ABI 2, this host has 1.3"
fi
printf '%-28s %3d passed\n' versions "$passed"
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
