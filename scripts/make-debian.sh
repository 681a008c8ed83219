#!/bin/sh
# Makes a Debian root file system (minbase, without documentation) a tar file, from this machine's own apt sources.
# usage: scripts/make-debian.sh FILE.tar [SUITE]      SUITE: this machine's own if not given
set -eu
out=$1
suite=${2:-}
if [ -z "$suite" ]; then
  suite=$(. /etc/os-release && printf %s "${VERSION_CODENAME:-}")
fi
if [ -z "$suite" ]; then
  echo "make-debian.sh: this machine does not say which Debian it is: give a suite, such as bookworm" >&2
  exit 125
fi
mode=root
if [ "$(id -u)" != 0 ]; then
  mode=unshare
  if ! grep -q "^$(id -un):" /etc/subuid || ! grep -q "^$(id -un):" /etc/subgid; then
    echo "Making a Debian as an ordinary user needs subordinate ids. Let the administrator type:" >&2
    echo "  sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un)" >&2
    exit 125
  fi
fi

set --
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
  if [ -f "$file" ] && grep -q "$suite" "$file"; then set -- "$@" "$file"; fi
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch" "$out.part"' EXIT
mmdebstrap --quiet --mode="$mode" --variant=minbase --format=tar --skip=output/dev \
  --aptopt='Acquire::Languages "none"' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  "$suite" "$out.part" "$@"
# Device nodes are for those who boot it to make; their directory is not.
mkdir -m 755 "$scratch/dev"
tar --append --file "$out.part" --directory "$scratch" --owner=0 --group=0 --numeric-owner ./dev
mv "$out.part" "$out"
