#!/bin/sh
# The walk of docs/plugins.md, from an empty folder to a published plugin, with an installation alone.
#   tests/system/walk.sh BUILD          from the project's folder
# What the commands print is compared with the page; RECORD=1 writes it anew. Ends with "N passed, N failed".
# SPDX-License-Identifier: MIT
build=$1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
prefix=$tmp/usr
unset QUERN_LUA QUERN_PLUGIN_PATH XDG_CACHE_HOME MAKEFLAGS MAKELEVEL
make --no-print-directory install BUILD="$build" PREFIX="$prefix" >"$tmp/log" 2>&1 || { cat "$tmp/log"; echo "0 passed, 1 failed"; exit 1; }
mkdir "$tmp/home"
export PATH="$prefix/bin:$PATH" PKG_CONFIG_PATH="$prefix/lib/pkgconfig" HOME="$tmp/home"
"$prefix/bin/quern" lua tests/system/walk.lua docs/plugins.md "$tmp/home" ${RECORD:+record}
