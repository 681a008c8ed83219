#!/bin/sh
# npm run test:vm: what needs a machine of its own: virtual machines of QEMU, and all kernel tests on User-Mode
# Linux, which has cgroup v2 and VLANs. Minutes where KVM does not work.
# usage: scripts/test-vm.sh [qemu|uml]     both if not given
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh test
sh scripts/setup.sh vm
sh scripts/build.sh
. scripts/node.sh
if [ "${1:-qemu}" = qemu ]; then
  nice "$node" --test --test-concurrency=1 --test-reporter=spec 'test/vm/*.ts'
fi
if [ "${1:-uml}" = uml ]; then
  nice "$node" test/support/uml.ts --all test/kernel/*.test.ts
fi
