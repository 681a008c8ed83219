#!/bin/sh
# npm run test:guestfs: templates of virt-builder, with the virtual machine of libguestfs: minutes where there is no KVM.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh test
sh scripts/setup.sh guestfs
kernel=
for file in /boot/vmlinuz* /lib/modules/*/vmlinuz; do
  if [ -e "$file" ]; then kernel=$file; fi
done
if [ -z "$kernel" ]; then
  echo "libguestfs starts a kernel of this machine, and there is none: install a linux-image package, as root" >&2
  exit 125
fi
sh scripts/build.sh
. scripts/node.sh
exec nice "$node" --test --test-reporter=spec test/guestfs/virt-builder.ts
