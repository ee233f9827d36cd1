#!/bin/sh
# Runs benchmarks of a build: tests/bench/run.sh BUILD [NAME]. Each prints its limits first, then its rows; the
# same as lines of JSON go to BUILD/bench/NAME.jsonl when BENCH_JSON=1 is set.
# QUERN_PEER names a Python with the peers (tests/bench/setup_peers.sh makes one); without one they are skipped.
# Without NAME all run, briefly (--brief: fewer rounds, without torch.compile), in under 15 minutes on 2 cores; how long
# each took stands at the end.
build=$1 only=$2
if [ -z "$QUERN_PEER" ] && [ -x "$build/peers/bin/python" ]; then QUERN_PEER="$PWD/$build/peers/bin/python"; fi
export QUERN_PEER QUERN_BENCH="$build/bench"
found=0 took= total=0
run() {
  name=$1; shift
  [ -z "$only" ] || [ "$only" = "${name#bench_}" ] || [ "$only" = "$name" ] || return 0
  found=1
  echo "== $name"
  begin=$(date +%s)
  [ -n "$only" ] || case $name in
    bench_mfalcon) set -- "$@" 1 ;;
    bench_prune|bench_capture) set -- "$@" 3 ;;
    bench_start|bench_ffi|bench_math) ;;
    *) set -- "$@" --brief ;;
  esac
  if [ -n "$BENCH_JSON" ]; then "$@" --json >>"$build/bench/$name.jsonl"; else "$@"; fi || exit 1
  spent=$(($(date +%s) - begin)) total=$((total + spent))
  took="$took
  $(printf '%-16s %4d s' "${name#bench_}" $spent)"
}
[ -z "$BENCH_JSON" ] || rm -f "$build"/bench/"bench_${only:-*}".jsonl
for b in tests/bench/bench_*.c; do
  name=$(basename "$b" .c)
  run "$name" "$build/bench/$name"
done
for b in tests/bench/bench_*.lua; do
  run "$(basename "$b" .lua)" "$build/quern" lua "$b"
done
[ "$found" = 1 ] || { echo "there is no benchmark '$only'; there are:"; ls tests/bench/bench_* | sed 's/.*bench_/  /; s/\..*//' | sort -u; exit 1; }
[ -n "$only" ] || echo "== seconds of each$took
  $(printf '%-16s %4d s' all $total)"
