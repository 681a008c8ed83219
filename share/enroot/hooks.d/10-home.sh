#!/bin/sh
# With ENROOT_MOUNT_HOME the caller's home directory is there as well, under its own name; HOME says so.
set -eu
[ -n "${ENROOT_MOUNT_HOME:-}" ] && [ -d "${HOME:-}" ] || exit 0
echo "$HOME $HOME none x-create=dir,bind,rslave,nosuid" >>"$ENROOT_MOUNTS"
grep -q '^HOME=' "$ENROOT_ENVIRON" || echo "HOME=$HOME" >>"$ENROOT_ENVIRON"
