#!/bin/sh
# Runs the tests of a build: tests/run.sh BUILD [c|lua|system]. Ends with "N passed, N failed, N skipped".
# Without a part: the C tests beside the Lua tests, their output after them, then the system tests.
build=$1 only=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0

# The number that cmocka's lines like $1 in file $2 hold, added up.
count() { grep -aE "$1" "$2" | sed -E "s/.*$1.*/\1/" | awk '{n += $1} END {print n + 0}'; }

c_tests() {
  cp=0 cf=0 cs=0 one=$work/one
  for t in "$build"/tests/test_*; do
    [ -x "$t" ] && [ -f "$t" ] || continue
    case $t in *.d|*.o) continue ;; esac
    "$t" >"$one" 2>&1; code=$?
    p=$(count '\[  PASSED  \] ([0-9]+) test' "$one"); s=$(count '\[  SKIPPED \] ([0-9]+) test' "$one"); f=$(count '\[  FAILED  \] ([0-9]+) test' "$one")
    [ $code -ne 0 ] && [ "$f" = 0 ] && f=1
    cp=$((cp + p)) cf=$((cf + f)) cs=$((cs + s))
    printf '%-28s %3d passed' "$(basename "$t")" "$p"
    [ "$s" -gt 0 ] && printf ', %d skipped' "$s" && grep -aE '^(skipped|skip):' "$one" | sort -u | sed 's/^/  /' | tr '\n' ';'
    echo
    [ "$f" -gt 0 ] && { echo "  $f failed (exit code $code):"; grep -avE '^\[ *(RUN|OK) ' "$one" | tail -n 60; }
  done
  echo "$cp passed, $cf failed, $cs skipped"
}
lua_tests() { "$build"/quern lua tests/lua/run.lua 2>&1; }
system_tests() { for t in tests/system/*.sh; do "$t" "$build" 2>&1; done; }

# Adds the summaries in file $1; $2 names what ran.
sum_up() {
  lines=$(grep -aE '^[0-9]+ passed, [0-9]+ failed' "$1")
  if [ -z "$lines" ]; then echo "the $2 tests did not end with their summary"; failed=$((failed + 1)); return; fi
  passed=$((passed + $(count '^([0-9]+) passed, [0-9]+ failed' "$1")))
  failed=$((failed + $(count '^[0-9]+ passed, ([0-9]+) failed' "$1")))
  skipped=$((skipped + $(count '^[0-9]+ passed, [0-9]+ failed, ([0-9]+) skipped' "$1")))
}
run() { "$1_tests" | tee "$work/$1"; sum_up "$work/$1" "$1"; }

if [ -n "$QUERN_DATA" ] && [ -d "$QUERN_DATA" ]; then echo "data: real data from QUERN_DATA"
else echo "data: no real data (QUERN_DATA is not set); tests that need it are skipped"; fi
if [ -n "$only" ]; then
  run "$only"
else
  c_tests >"$work/c" &
  run lua
  wait
  cat "$work/c"
  sum_up "$work/c" C
  run system
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
