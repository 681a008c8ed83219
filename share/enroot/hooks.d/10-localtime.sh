#!/bin/sh
# The host's time zone, unless a variable says which.
set -eu
[ -e /etc/localtime ] || exit 0
while IFS= read -r line; do
  case $line in TZ=*) exit 0 ;; esac
done <"$ENROOT_ENVIRON"
echo "/etc/localtime /etc/localtime none x-create=file,bind,ro,nosuid,nodev,noexec,nofail,private" >>"$ENROOT_MOUNTS"
