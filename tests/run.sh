#!/bin/sh
# Runs the tests of a build: tests/run.sh BUILD [c|lua|system]. Ends with "N passed, N failed, N skipped".
build=$1 only=$2
passed=0 failed=0 skipped=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT
if [ -n "$QUERN_DATA" ] && [ -d "$QUERN_DATA" ]; then echo "data: real data from QUERN_DATA"
else echo "data: no real data (QUERN_DATA is not set); tests that need it are skipped"; fi

count() { grep -E "$1" "$out" | sed -E "s/.*$1.*/\1/" | awk '{n += $1} END {print n + 0}'; }

if [ -z "$only" ] || [ "$only" = c ]; then
  for t in "$build"/tests/test_*; do
    [ -x "$t" ] && [ -f "$t" ] || continue
    case $t in *.d|*.o) continue ;; esac
    "$t" >"$out" 2>&1; code=$?
    p=$(count '\[  PASSED  \] ([0-9]+) test'); s=$(count '\[  SKIPPED \] ([0-9]+) test'); f=$(count '\[  FAILED  \] ([0-9]+) test')
    [ $code -ne 0 ] && [ "$f" = 0 ] && f=1
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    printf '%-28s %3d passed' "$(basename "$t")" "$p"
    [ "$s" -gt 0 ] && printf ', %d skipped' "$s" && grep -E '^(skipped|skip):' "$out" | sort -u | sed 's/^/  /' | tr '\n' ';'
    echo
    [ "$f" -gt 0 ] && { echo "  $f failed (exit code $code):"; grep -vE '^\[ *(RUN|OK) ' "$out" | tail -n 60; }
  done
fi
# Adds the last "N passed, N failed[, N skipped]" line of $out; $1 names what ran.
sum_up() {
  line=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$out" | tail -n 1)
  if [ -z "$line" ]; then echo "the $1 did not end with their summary"; failed=$((failed + 1)); return; fi
  passed=$((passed + $(echo "$line" | sed -E 's/^([0-9]+) passed.*/\1/')))
  failed=$((failed + $(echo "$line" | sed -E 's/.* ([0-9]+) failed.*/\1/')))
  skipped=$((skipped + $(echo "$line" | sed -nE 's/.* ([0-9]+) skipped.*/\1/p' | grep . || echo 0)))
}

if [ -z "$only" ] || [ "$only" = lua ]; then
  "$build"/quern lua tests/lua/run.lua 2>&1 | tee "$out"
  sum_up "Lua tests"
fi
if [ -z "$only" ] || [ "$only" = system ]; then
  for t in tests/system/*.sh; do
    "$t" "$build" 2>&1 | tee "$out"
    sum_up "system tests of $t"
  done
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
