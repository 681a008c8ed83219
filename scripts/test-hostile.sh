#!/bin/sh
# npm run test:hostile: 10,000 hostile or broken archives as root and as an ordinary user. The words are those of
# test/hostile/main.ts, such as --seed N, --count N, --only INDEX.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh test
. scripts/node.sh
exec nice "$node" test/hostile/main.ts "$@"
