#!/bin/sh
# npm run test:long: starts killed at every point, crowds of starts, thousands of cycles. See "Long tests" in
# test/README.md. Words are for test/long/main.ts, such as --only cycles. Ends with one line that says it all.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh test
sh scripts/build.sh
. scripts/node.sh

# In a pid namespace of our own, what is counted is ours alone. The shell in it reaps whom their parents left.
private=
if [ "$(id -u)" = 0 ]; then private='unshare --mount --propagation private --pid --fork --kill-child --mount-proc'; fi
# A copy of the package: what is built meanwhile changes nothing.
export ROOTLING_TEST_EXECUTOR="$PWD/dist/executor-$arch"
# shellcheck disable=SC2086
exec nice $private sh -c '"$@"; exit $?' sh "$node" test/long/main.ts "$@"
