#!/bin/sh
# npm run fuzz: libFuzzer on the executor's parser of wires and on the guests' reader of init.yml, with AddressSanitizer and
# UndefinedBehaviorSanitizer.
# usage: scripts/fuzz.sh [EXECUTIONS] [wire|init]     10,000,000 of wires and a tenth of init.yml if not given; prints how
# many there were
set -eu
cd "$(dirname "$0")/.."
wanted=${1:-10000000}
only=${2:-}
sh scripts/setup.sh fuzz
. scripts/node.sh

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

# fuzz NAME EXECUTIONS OPTION…: half of the runs on each of two processors; what one finds the other goes on from.
fuzz() {
  name=$1
  runs=$2
  shift 2
  mkdir "$scratch/$name/found"
  if ! (cd "$scratch/$name" && ./fuzz -jobs=2 -workers=2 -runs=$(((runs + 1) / 2)) -max_len=4096 -timeout=120 \
    -artifact_prefix=found/ "$@" seeds >log 2>&1); then
    tail -n 30 "$scratch/$name"/fuzz-*.log >&2
    for file in "$scratch/$name"/found/*; do
      [ -e "$file" ] || continue
      kept=$(basename "$file")
      cp "$file" "$kept"
      echo "kept: $PWD/$kept"
    done
    exit 1
  fi
  ran=$(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$scratch/$name"/fuzz-*.log | awk '{ sum += $1 } END { printf "%d", sum }')
  echo "$name: executions: $ran, findings: 0"
  [ "$ran" -ge "$runs" ]
}

compile() {
  clang -std=gnu17 -D_GNU_SOURCE -Dmain=executor_main -g -O2 -fno-omit-frame-pointer \
    -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
    -Wall -Wextra -Wno-unused-parameter -Wno-return-type "$@"
}

if [ "$only" != init ]; then
  mkdir "$scratch/wire"
  "$node" test/fuzz/seeds.ts "$scratch/wire/seeds" "$scratch/wire/words"
  # All of the executor is linked, so that the parser meets its own table of verbs.
  compile -o "$scratch/wire/fuzz" executor/*.c test/fuzz/wire.c
  fuzz wire "$wanted" -dict=words -detect_leaks=1
fi

if [ "$only" != wire ]; then
  mkdir -p "$scratch/init/seeds"
  cp test/boot/init/*.yml "$scratch/init/seeds"
  # The C library here is the one that libyaml was built for. What is read stays in memory until a guest's first process
  # becomes another program, so that nothing is said of leaks; nor is what a refused file is told shown.
  compile -DROOTLING_GUEST -o "$scratch/init/fuzz" $(printf '%s\n' executor/*.c executor/guest/*.c | grep -v -e /main.c -e glibc) \
    test/fuzz/init.c -lyaml
  export ASAN_OPTIONS=detect_leaks=0
  fuzz init $(((wanted + 9) / 10)) -detect_leaks=0 -rss_limit_mb=0 -close_fd_mask=2
fi
