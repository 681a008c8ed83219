#!/bin/sh
# npm run test:asan: the kernel tests with an executor that AddressSanitizer and UndefinedBehaviorSanitizer watch.
# usage: scripts/test-asan.sh [FILE…]     only these test files
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh test
sh scripts/build.sh
. scripts/node.sh

scratch=$(mktemp -d)
. scripts/fuse.sh
trap 'rm -rf "$scratch"; close_fuse' EXIT
trap 'exit 130' INT TERM
chmod 755 "$scratch"
# Options are compiled in, for the environment of a test's user is its own. Leaks are none: the executor frees nothing.
cat >"$scratch/options.c" <<'OPTIONS'
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "detect_leaks=0:exitcode=99"; }
OPTIONS
gcc -std=gnu17 -D_GNU_SOURCE -g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all \
  -o "$scratch/executor" executor/*.c "$scratch/options.c"
[ $# -gt 0 ] || set -- test/kernel/*.test.ts
ROOTLING_TEST_EXECUTOR=$scratch/executor "$node" --test --test-concurrency=2 --test-timeout=600000 "$@"
