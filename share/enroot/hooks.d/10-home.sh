#!/bin/sh
# With ENROOT_MOUNT_HOME the caller's home directory is there as well: for who is remapped to root as root's, else under its
# own name, and HOME says so.
set -eu
[ -n "${ENROOT_MOUNT_HOME:-}" ] && [ -d "${HOME:-}" ] || exit 0
if [ -n "${ENROOT_REMAP_ROOT:-}" ]; then
  echo "$HOME /root none x-create=dir,bind,rslave,nosuid" >>"$ENROOT_MOUNTS"
  exit 0
fi
echo "$HOME $HOME none x-create=dir,bind,rslave,nosuid" >>"$ENROOT_MOUNTS"
grep -q '^HOME=' "$ENROOT_ENVIRON" || echo "HOME=$HOME" >>"$ENROOT_ENVIRON"
