#!/bin/sh
# The host's time zone, unless the image has data of its own for it and a variable says which.
set -eu
[ -e /etc/localtime ] && ! grep -q '^TZ=' "$ENROOT_ENVIRON" || exit 0
file=$(readlink -f /etc/localtime)
echo "$file /etc/localtime none x-create=file,bind,ro,nosuid,nodev,noexec,nofail,private" >>"$ENROOT_MOUNTS"
