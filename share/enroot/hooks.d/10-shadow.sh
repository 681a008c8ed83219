#!/bin/sh
# passwd and group of the container: root, nobody, and the caller as they are inside, then those of the image.
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
own() {
  [ -f "$ENROOT_ROOTFS/etc/$1" ] && [ ! -L "$ENROOT_ROOTFS/etc" ] && [ ! -L "$ENROOT_ROOTFS/etc/$1" ]
}
entry() {
  own "$1" && grep -m 1 "^$2:" "$ENROOT_ROOTFS/etc/$1"
}
# All others but apt's user, to whom it cannot change.
others() {
  own "$1" || return 0
  while IFS= read -r line || [ -n "$line" ]; do
    case ${line%%:*} in root | _apt | "$2" | "$3") ;; *) printf '%s\n' "$line" ;; esac
  done <"$ENROOT_ROOTFS/etc/$1"
}
{
  if [ "$uid" != 0 ]; then
    entry passwd root || echo 'root:x:0:0:root:/root:/bin/sh'
    echo "${name:-user}:x:$uid:$gid::${home:-/}:$shell"
  else
    echo "root:x:0:0:root:/root:$shell"
  fi
  entry passwd nobody || echo 'nobody:x:65534:65534:nobody:/:/sbin/nologin'
  others passwd nobody "${name:-user}"
} >"$stage/passwd"
{
  [ "$gid" = 0 ] || entry group root || echo 'root:x:0:'
  if [ "$gid" = 0 ]; then echo 'root:x:0:'; else echo "${group:-user}:x:$gid:"; fi
  entry group nogroup || echo 'nogroup:x:65534:'
  others group nogroup "${group:-user}"
} >"$stage/group"
# Where changes are kept, the files themselves are changed, so that users can be added; else ours lie over them.
for file in passwd group; do
  if [ -n "${ENROOT_ROOTFS_WRITABLE:-}" ] && own "$file" && [ -w "$ENROOT_ROOTFS/etc/$file" ]; then
    cmp -s "$stage/$file" "$ENROOT_ROOTFS/etc/$file" || cat "$stage/$file" >"$ENROOT_ROOTFS/etc/$file"
  else
    echo "$stage/$file /etc/$file none x-create=file,bind,ro,nosuid,nodev,noexec,private" >>"$ENROOT_MOUNTS"
  fi
done
