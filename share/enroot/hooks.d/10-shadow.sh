#!/bin/sh
# passwd and group of the container: root, nobody and the caller as they are inside, then the image's others. Root alone is
# whom the image knows already: then its own files stay, and package managers may change them.
set -eu
stage=${ENROOT_MOUNTS%/*}
uid=$(id -u) gid=$(id -g)
read -r inside outside rest <"/proc/$ENROOT_PID/uid_map"
account=$(getent passwd "${outside:-$uid}" 2>/dev/null || true)
[ "${rest:-1}" = 1 ] || account=$(getent passwd "$uid" 2>/dev/null || true)
name=${account%%:*}
home=$(echo "$account" | cut -d: -f6)
shell=$(echo "$account" | cut -d: -f7)
[ -n "$shell" ] && [ -x "$ENROOT_ROOTFS$shell" ] || shell=/bin/sh
group=$(getent group "$gid" 2>/dev/null | cut -d: -f1 || true)

# What the image says of root and nobody stays; a file of the image is never followed outside its root.
has() {
  [ -f "$ENROOT_ROOTFS/etc/$1" ] && [ ! -L "$ENROOT_ROOTFS/etc" ] && [ ! -L "$ENROOT_ROOTFS/etc/$1" ]
}
entry() {
  has "$1" && grep -m 1 "^$2:" "$ENROOT_ROOTFS/etc/$1"
}
# All but those that are written here, and apt's, whom a map of one id does not hold.
others() {
  ! has "$1" || grep -v -e '^root:' -e '^nobody:' -e '^nogroup:' -e '^_apt:' -e "^$2:" "$ENROOT_ROOTFS/etc/$1" || true
}
if [ "$uid" = 0 ] && entry passwd root >/dev/null && entry group root >/dev/null; then exit 0; fi
{
  if [ "$uid" != 0 ]; then
    entry passwd root || echo 'root:x:0:0:root:/root:/bin/sh'
    echo "${name:-user}:x:$uid:$gid::${home:-/}:$shell"
  else
    echo "root:x:0:0:root:/root:$shell"
  fi
  entry passwd nobody || echo 'nobody:x:65534:65534:nobody:/:/sbin/nologin'
  others passwd "${name:-user}"
} >"$stage/passwd"
{
  [ "$gid" = 0 ] || entry group root || echo 'root:x:0:'
  if [ "$gid" = 0 ]; then echo 'root:x:0:'; else echo "${group:-user}:x:$gid:"; fi
  entry group nogroup || echo 'nogroup:x:65534:'
  others group "${group:-user}"
} >"$stage/group"
for file in passwd group; do
  echo "$stage/$file /etc/$file none x-create=file,bind,ro,nosuid,nodev,noexec,private" >>"$ENROOT_MOUNTS"
done
