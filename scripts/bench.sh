#!/bin/sh
# npm run bench: rootling beside its peers. Words after -- are for test/bench/main.ts, such as --only start.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh bench
case " $* " in
  *" --peers-only "*) ;;
  *) sh scripts/build.sh ;;
esac
. scripts/node.sh
# A copy of the package, as users install it: in a checkout each start looks whether a source is newer than the bundle.
export ROOTLING_TEST_EXECUTOR="$PWD/dist/executor-$arch"
exec "$node" test/bench/main.ts "$@"
