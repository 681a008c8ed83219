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
exec "$node" test/bench/main.ts "$@"
