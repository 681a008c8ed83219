#!/bin/sh
# Builds dist: entry.cjs and its chunks, index.js and its types from src, executor-ARCH from executor, disk-ARCH from
# helpers/disk. What is newer than its sources stays.
set -eu
cd "$(dirname "$0")/.."

. scripts/node.sh
mkdir -p dist

# stale FILE SOURCE…: FILE is missing or older than something in the sources
stale() {
  made=$1
  shift
  [ ! -e "$made" ] || [ -n "$(find "$@" -newer "$made" -print -quit)" ]
}

if stale dist/entry.cjs src package-lock.json package.json scripts/build.sh scripts/bundle.config.mjs scripts/types.mjs; then
  # A new directory takes the place of the old one, so that no chunk of an older build stays.
  rm -rf dist/.new
  "$node" node_modules/rolldown/bin/cli.mjs --config scripts/bundle.config.mjs --dir dist/.new >/dev/null
  "$node" node_modules/typescript/bin/tsc --project scripts/library.tsconfig.json --outDir dist/.new/types
  "$node" scripts/types.mjs dist/.new/types >dist/.new/index.d.ts
  find dist -maxdepth 1 -name '*.?js' -delete
  mv dist/.new/index.js dist/.new/index.d.ts dist/
  find dist/.new -name '*.cjs' ! -name entry.cjs -exec mv {} dist/ \;
  mv dist/.new/entry.cjs dist/entry.cjs
  rm -rf dist/.new
fi

# Static, so that it runs inside any root. Not -static-pie: musl-gcc makes that a dynamic one without a word.
# The kernel's headers come last: musl's own win where both have one.
compile() {
  musl-gcc -std=gnu17 -D_GNU_SOURCE -static -Os "$@" \
    -idirafter /usr/include -idirafter "/usr/include/$(uname -m)-linux-gnu" \
    -Wall -Wextra -Werror -Wshadow -Wvla -Wformat=2 -Wstrict-prototypes \
    -fstack-protector-strong -fstack-clash-protection -fno-strict-aliasing \
    -ffunction-sections -fdata-sections \
    -Wl,-z,noexecstack -Wl,-z,relro -Wl,-z,now -Wl,--gc-sections -Wl,--build-id=none -s
}
executor=dist/executor-$arch
if stale "$executor" executor scripts/build.sh; then
  compile -o "$executor.new" executor/*.c
  mv "$executor.new" "$executor"
fi

# The same with the tools of guests. libyaml is built for another C library: libyaml-glibc.c has what that one lends it.
guest=dist/guest-$arch
if stale "$guest" executor scripts/build.sh; then
  compile -DROOTLING_GUEST -o "$guest.new" $(printf '%s\n' executor/*.c | grep -v /main.c) executor/guest/*.c "/usr/lib/$(uname -m)-linux-gnu/libyaml.a"
  mv "$guest.new" "$guest"
fi

# With glibc, as Debian builds libext2fs. Where that is not installed, there are no disks, and all else works.
disk=dist/disk-$arch
if [ ! -e /usr/include/ext2fs/ext2fs.h ]; then
  echo "build.sh: no disks are made: libext2fs-dev is not installed" >&2
elif stale "$disk" helpers/disk scripts/build.sh; then
  gcc -std=gnu17 -D_GNU_SOURCE -static -O2 -o "$disk.new" helpers/disk/*.c \
    -Wall -Wextra -Werror -Wshadow -Wvla -Wformat=2 -Wstrict-prototypes \
    -fstack-protector-strong -fstack-clash-protection -fno-strict-aliasing -ffunction-sections -fdata-sections \
    -Wl,-z,noexecstack -Wl,-z,relro -Wl,-z,now -Wl,--gc-sections -Wl,--build-id=none -s -lext2fs -lcom_err -lpthread
  mv "$disk.new" "$disk"
fi
