#!/bin/sh
# Runs every benchmark of a build: tests/bench/run.sh BUILD [NAME]. Peers run where their interpreter is found:
# QUERN_PEER names a Python with PyTorch (default: python3); without one, peers are skipped by name.
build=$1 only=$2
peer=${QUERN_PEER:-python3}
"$peer" -c 'import torch' 2>/dev/null || { echo "peers: PyTorch is not installed for $peer; its columns are skipped"; peer=; }
export QUERN_PEER="$peer"
for b in "$build"/bench/*; do
  [ -x "$b" ] && [ -f "$b" ] || continue
  name=$(basename "$b")
  [ -z "$only" ] || [ "$only" = "$name" ] || continue
  echo "== $name"
  "$b" || exit 1
done
for b in tests/bench/bench_*.lua; do
  name=$(basename "$b" .lua)
  [ -z "$only" ] || [ "$only" = "$name" ] || continue
  echo "== $name"
  "$build"/quern lua "$b" || exit 1
done
