#!/bin/sh
# npm run test:long: starts killed at every point, crowds of starts, thousands of cycles. See "Long tests" in
# test/README.md. Words are for test/long/main.ts, such as --only cycles. Ends with one line that says it all.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh test
sh scripts/build.sh
. scripts/node.sh

private=
if [ "$(id -u)" = 0 ]; then private='unshare --mount --propagation private'; fi
# A copy of the package: what is built meanwhile changes nothing.
export ROOTLING_TEST_EXECUTOR="$PWD/dist/executor-$arch"
# shellcheck disable=SC2086
exec nice $private "$node" test/long/main.ts "$@"
