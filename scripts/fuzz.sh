#!/bin/sh
# npm run fuzz: libFuzzer on the executor's parser of wires, with AddressSanitizer and UndefinedBehaviorSanitizer.
# usage: scripts/fuzz.sh [EXECUTIONS]     10,000,000 if not given; prints how many there were
set -eu
cd "$(dirname "$0")/.."
wanted=${1:-10000000}
sh scripts/setup.sh fuzz
. scripts/node.sh

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
"$node" test/fuzz/seeds.ts "$scratch/seeds" "$scratch/words"
# All of the executor is linked, so that the parser meets its own table of verbs.
clang -std=gnu17 -D_GNU_SOURCE -Dmain=executor_main -g -O2 -fno-omit-frame-pointer \
  -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
  -Wall -Wextra -Wno-unused-parameter -Wno-return-type -o "$scratch/fuzz" executor/*.c test/fuzz/wire.c
mkdir "$scratch/found"
# Half of the runs on each of two processors; what one finds the other goes on from.
if ! (cd "$scratch" && ./fuzz -jobs=2 -workers=2 -runs=$(((wanted + 1) / 2)) -max_len=4096 -timeout=120 -dict=words \
  -detect_leaks=1 -artifact_prefix="$scratch/found/" seeds >log 2>&1); then
  tail -n 30 "$scratch"/fuzz-*.log >&2
  for file in "$scratch"/found/*; do
    [ -e "$file" ] || continue
    kept=$(basename "$file")
    cp "$file" "$kept"
    echo "kept: $PWD/$kept"
  done
  exit 1
fi
ran=$(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$scratch"/fuzz-*.log | awk '{ sum += $1 } END { printf "%d", sum }')
echo "executions: $ran, findings: 0"
[ "$ran" -ge "$wanted" ]
