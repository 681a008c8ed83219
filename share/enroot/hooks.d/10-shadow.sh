#!/bin/sh
# passwd and group of the container: root, nobody and the caller as they are inside, then the image's others. Root alone is
# whom the image knows already: then its own files stay, and package managers may change them.
# Every start runs it: what the shell can do by itself starts no program.
set -eu
stage=${ENROOT_MOUNTS%/*}
while read -r key value _; do
  case $key in
    Uid:) uid=$value ;;
    Gid:) gid=$value && break ;;
  esac
done <"/proc/$ENROOT_PID/status"

# image FILE NAME NOBODY: what the image's file says of root, of NOBODY, and of all others but NAME, and apt's user, whom a
# map of one id does not hold. A file of the image is never followed outside its root.
image() {
  of_root='' of_nobody='' of_others=''
  [ -f "$ENROOT_ROOTFS/etc/$1" ] && [ ! -L "$ENROOT_ROOTFS/etc" ] && [ ! -L "$ENROOT_ROOTFS/etc/$1" ] || return 0
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
      root:*) of_root=${of_root:-$line} ;;
      "$3":*) of_nobody=${of_nobody:-$line} ;;
      '' | _apt:* | "$2":*) ;;
      *) of_others="$of_others$line
" ;;
    esac
  done <"$ENROOT_ROOTFS/etc/$1"
}

if [ "$uid" = 0 ]; then
  image passwd '' nobody
  if [ -n "$of_root" ]; then
    image group '' nogroup
    [ -z "$of_root" ] || exit 0
  fi
fi

read -r _ outside count <"/proc/$ENROOT_PID/uid_map"
[ "$count" = 1 ] || outside=$uid
IFS=: read -r name _ _ _ _ home shell <<ACCOUNT
$(getent passwd "$outside" 2>/dev/null || true)
ACCOUNT
IFS=: read -r group _ <<GROUP
$(getent group "$gid" 2>/dev/null || true)
GROUP
[ -n "$shell" ] && [ -x "$ENROOT_ROOTFS$shell" ] || shell=/bin/sh
name=${name:-user} group=${group:-user}

image passwd "$name" nobody
{
  if [ "$uid" != 0 ]; then
    echo "${of_root:-root:x:0:0:root:/root:/bin/sh}"
    echo "$name:x:$uid:$gid::${home:-/}:$shell"
  else
    echo "root:x:0:0:root:/root:$shell"
  fi
  echo "${of_nobody:-nobody:x:65534:65534:nobody:/:/sbin/nologin}"
  printf '%s' "$of_others"
} >"$stage/passwd"
image group "$group" nogroup
{
  if [ "$gid" != 0 ]; then
    echo "${of_root:-root:x:0:}"
    echo "$group:x:$gid:"
  else
    echo 'root:x:0:'
  fi
  echo "${of_nobody:-nogroup:x:65534:}"
  printf '%s' "$of_others"
} >"$stage/group"
for file in passwd group; do
  echo "$stage/$file /etc/$file none x-create=file,bind,ro,nosuid,nodev,noexec,private" >>"$ENROOT_MOUNTS"
done
