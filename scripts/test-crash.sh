#!/bin/sh
# npm run test:crash: kills at every point, full and failing disks, power cuts. See "Faults" in test/README.md.
# usage: scripts/test-crash.sh [kill|errors|powercut] [--only SWEEP] [--user KIND] [--jobs N]
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh test
sh scripts/build.sh
. scripts/node.sh

programs='kill errors powercut'
case ${1:-} in
  kill | errors | powercut)
    programs=$1
    shift
    ;;
esac

# Mounts are made in a mount namespace of our own: they end with it, and no other process keeps a disk alive that
# has lost power.
private=
if [ "$(id -u)" = 0 ]; then private='unshare --mount --propagation private'; fi
status=0
for program in $programs; do
  echo "== $program"
  # shellcheck disable=SC2086
  nice $private "$node" "test/crash/$program.ts" "$@" || status=1
done
exit "$status"
