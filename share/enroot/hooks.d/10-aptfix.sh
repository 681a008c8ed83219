#!/bin/sh
# apt gives its rights to the user _apt, whom a map of one id does not hold: as root of such a container it stays root.
set -eu
read -r inside _ count <"/proc/$ENROOT_PID/uid_map"
[ "$inside $count" = "0 1" ] && [ -d "$ENROOT_ROOTFS/etc/apt/apt.conf.d" ] || exit 0
file=${ENROOT_MOUNTS%/*}/apt-user
echo 'APT::Sandbox::User "root";' >"$file"
echo "$file /etc/apt/apt.conf.d/99-sandbox-user none x-create=file,bind,ro,nosuid,nodev,noexec,private" >>"$ENROOT_MOUNTS"
