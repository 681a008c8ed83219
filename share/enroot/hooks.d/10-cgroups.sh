#!/bin/sh
# Of the cgroups, each hierarchy shows the caller's own, read-only.
set -eu
[ -d /sys/fs/cgroup ] || exit 0
while IFS=: read -r number controllers path; do
  case $number:$controllers in
    0:) place=/sys/fs/cgroup; [ -e /sys/fs/cgroup/cgroup.controllers ] || place=/sys/fs/cgroup/unified ;;
    *) place=/sys/fs/cgroup/${controllers#name=} ;;
  esac
  [ "$path" != / ] && [ -d "$place$path" ] || continue
  echo "$place$path $place none bind,ro,nosuid,nodev,noexec,nofail,private" >>"$ENROOT_MOUNTS"
done <"/proc/$ENROOT_PID/cgroup"
