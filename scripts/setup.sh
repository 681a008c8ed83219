#!/bin/sh
# Installs what is missing: Debian packages (as root; an ordinary user is told their names) and npm packages.
# usage: scripts/setup.sh start|test|bench|fuzz|guestfs|vm     what `npm start`, `npm test`, `npm run bench` and so on need
set -eu
cd "$(dirname "$0")/.."
level=${1:-start}

# Every system package: for what (s start, t test, b bench, f fuzz, g test:guestfs) · package · its sign (program or file) · why
packages='
stb squashfs-tools   mksquashfs       writes squashfs images
stb tar              tar              unpacks trees with owners and xattrs
stb util-linux       unshare          namespaces, mounts, setpriv for the ordinary user of demo and tests
stb squashfuse       squashfuse       mounts squashfs files for ordinary users
stb uidmap           newuidmap        id maps with subordinate ranges
-tb libext2fs-dev    /usr/include/ext2fs/ext2fs.h  the library that disks are made with
-tb passt            pasta            networks of ordinary users
-tb iproute2         ip               cables of root, and the network of tests
-tb nftables         nft              rules for cables: translated networks, ports, addresses
stb gcc              gcc              compiles the executor
stb musl-tools       musl-gcc         the C library that the static executor is linked with
stb libyaml-dev      /usr/include/yaml.h  reads init.yml in guests, without JavaScript
stb linux-libc-dev   /usr/include/linux/mount.h  kernel headers for the executor
stb umoci            umoci            makes OCI images
st- mmdebstrap       mmdebstrap       makes a Debian root file system
-tb skopeo           skopeo           pushes and copies images, beside us
-tb docker-registry  docker-registry  a real registry on the loopback address
-tb busybox-static   /usr/share/doc/busybox-static  the smallest image
-tb python3          python3          lists trees byte by byte, measures processes
-t- bzip2            bzip2            reads tarballs compressed with it
-t- xz-utils         xz               reads tarballs compressed with it
-t- libarchive-tools bsdtar           archives of another writer: what it means is read alike
-t- buildah          buildah          layers of another builder: what it means is read alike
-t- groff-base       groff            takes the man pages
-t- man-db           man              shows them
-t- zsh              zsh              completes words
-t- fish             fish             completes words
-t- attr             setfattr         xattrs of test images
-t- openssl          openssl          hashes passwords; certificates of a registry with TLS
-t- gnupg            gpg              signs images
-t- gpgv             gpgv             verifies such signatures
-t- e2fsprogs        mke2fs           disks of the User-Mode Linux test bed; checks the disks that we make
--b libguestfs-tools guestfish        peer: disks; its appliance needs a kernel in /boot, linux-image-amd64 say
-tb qemu-utils       qemu-img         checks them as well
-t- chromium         chromium         shows the page of inspect
-t- slurmctld        slurmctld        a real Slurm on loopback: how its plugin pyxis drives enroot
-t- slurmd           slurmd           the same: the daemon of a node
-t- slurm-client     srun             the same: jobs
-t- libslurm-dev     /usr/include/slurm/spank.h  for a plugin that drives enroot
--bv qemu-system-x86 qemu-system-x86_64  virtual machines
--bv linux-image-cloud-amd64 /usr/share/doc/linux-image-cloud-amd64  their kernel
-t- libvirt-daemon   libvirtd         guests of libvirt-LXC
-t- libvirt-daemon-driver-lxc /usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_lxc.so the same
-t- libvirt-clients  virsh            the same
-t- lxc              lxc-start        guests of LXC
-t- user-mode-linux  linux.uml        the oldest kernel that is supported, 6.1
--b podman           podman           peer: pull, run
--b crun             crun             peer: an OCI runtime
--b bubblewrap       bwrap            peer: a sandbox
---f clang            clang            libFuzzer and the sanitizers
---f libclang-rt-dev  libclang-rt-dev  their libraries
---g guestfs-tools    virt-builder     makes disks of templates
---g guestfish        guestfish        reads them
---g e2fsprogs        mke2fs           makes the disk of a template
---g xz-utils         xz               compresses it
'

case $level in
  start) column='s*' ;;
  test) column='?t*' ;;
  bench) column='??b*' ;;
  fuzz) column='*f' ;;
  guestfs) column='*g' ;;
  vm) column='*v' ;;
  *)
    echo "setup.sh: unknown level '$level': start, test, bench, fuzz, guestfs or vm" >&2
    exit 2
    ;;
esac

present() {
  case $1 in /*) [ -e "$1" ] && return ;; esac
  for directory in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
    if [ -x "$directory/$1" ]; then return; fi
  done
  return 1
}

missing=
why=
newline='
'
while read -r levels package sign reason; do
  # shellcheck disable=SC2254
  case $levels in $column) ;; *) continue ;; esac
  if ! present "$sign"; then
    missing="$missing $package"
    why="$why  $package: $reason$newline"
  fi
done <<LIST
$(printf '%s' "$packages" | sed '/^$/d')
LIST

if [ -n "$missing" ]; then
  if [ "$(id -u)" != 0 ]; then
    printf 'These system packages are missing:\n%sInstall them (Debian, Ubuntu), then run this again:\n  sudo apt-get install --no-install-recommends%s\n' \
      "$why" "$missing" >&2
    exit 125
  fi
  if ! present apt-get; then
    printf 'These system packages are missing, and there is no apt-get to install them:\n%s' "$why" >&2
    echo "Install what your system calls them, then run this again." >&2
    exit 125
  fi
  printf 'Installing system packages with apt-get:\n%s' "$why"
  log=$(mktemp)
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } \
    >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    rm -f "$log"
    echo "apt-get failed: see above" >&2
    exit 125
  fi
  rm -f "$log"
fi

if [ -L node_modules ]; then
  : # Somebody shares one between work trees: theirs to keep up to date.
elif [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  if ! command -v npm >/dev/null; then
    echo "npm is missing: install it (Debian, Ubuntu: apt-get install npm), then run this again" >&2
    exit 125
  fi
  echo "Installing the npm packages of package-lock.json into node_modules (Node.js itself is one of them)"
  # Not `npm ci`: that refuses a lock file without every build of the tools for other systems, and registries need
  # not hold those. This installs the versions and checks the digests of the lock file just the same.
  npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error
  touch node_modules/.package-lock.json
fi
