#!/bin/sh
# npm test: sets up, builds, checks, runs every test here, and those of test/kernel on the oldest kernel at the same time.
# With ROOTLING_MUST_WORK=1, as in CI, a skipped test is a failed one.
# usage: scripts/test.sh [FILE…]     only these test files, without checks and without the oldest kernel
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh test
. scripts/node.sh
sh scripts/build.sh

results=$(mktemp -d)
. scripts/fuse.sh
oldest=
trap '[ -z "$oldest" ] || kill $oldest 2>/dev/null; rm -rf "$results"; close_fuse' EXIT
trap 'exit 130' INT TERM
passed=0
failed=0
skipped=0

# count NAME: adds up the closing lines of a run; a run that left none has failed as a whole
count() {
  tap=$results/$1
  if ! grep -q '^# pass [0-9]' "$tap" 2>/dev/null; then
    echo "$1: the run did not come to its end"
    failed=$((failed + 1))
    return
  fi
  passed=$((passed + $(sed -n 's/^# pass //p' "$tap" | tail -n 1)))
  failed=$((failed + $(sed -n 's/^# fail //p' "$tap" | tail -n 1) + $(sed -n 's/^# cancelled //p' "$tap" | tail -n 1)))
  skipped=$((skipped + $(sed -n 's/^# skipped //p' "$tap" | tail -n 1) + $(sed -n 's/^# todo //p' "$tap" | tail -n 1)))
}

run_here() {
  # A test that hangs is ended after four minutes, and named.
  "$node" --test --test-concurrency=2 --test-timeout=240000 \
    --test-reporter=spec --test-reporter-destination=stdout \
    --test-reporter=tap --test-reporter-destination="$results/here" "$@" || true
  count here
}

if [ $# -gt 0 ]; then
  run_here "$@"
else
  if [ "$(id -u)" = 0 ]; then
    echo "The kernel tests run on the oldest kernel (User-Mode Linux) at the same time; what they say comes last"
    # Two machines, since each has one processor.
    for part in 1 2; do
      "$node" test/support/uml.ts --part "$part/2" --tap "$results/uml-$part" test/kernel/*.test.ts \
        >"$results/uml-$part.log" 2>&1 </dev/null &
      oldest="$oldest $!"
    done
  else
    echo "Not run, since only root can make users there: the kernel tests on the oldest kernel"
    skipped=$((skipped + 1))
  fi
  echo "Checking types, lint, unused code and the rules of the house"
  sh scripts/check.sh || failed=$((failed + 1))
  run_here 'test/**/*.test.ts'
  if [ -n "$oldest" ]; then
    echo "The kernel tests on the oldest kernel"
    for pid in $oldest; do wait "$pid" || true; done
    oldest=
    for part in 1 2; do
      cat "$results/uml-$part.log"
      count "uml-$part"
    done
  fi
fi

if [ "${ROOTLING_MUST_WORK:-}" = 1 ] && [ "$skipped" -gt 0 ]; then
  echo "$skipped skipped: where everything must work, that is a failure"
  failed=$((failed + skipped))
  skipped=0
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
