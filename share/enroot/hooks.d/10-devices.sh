#!/bin/sh
# With ENROOT_RESTRICT_DEV /dev has few devices: those that every program expects, and what others hooks bring.
set -eu
[ -n "${ENROOT_RESTRICT_DEV:-}" ] || exit 0
{
  echo 'tmpfs /dev tmpfs nosuid,noexec,mode=0755'
  for name in null zero full random urandom tty; do
    echo "/dev/$name /dev/$name none x-create=file,bind,nosuid,noexec,private"
  done
  echo 'devpts /dev/pts devpts x-create=dir,newinstance,ptmxmode=0666,mode=0620,nosuid,noexec'
  echo '/dev/pts/ptmx /dev/ptmx none x-create=file,bind,nofail'
  echo 'tmpfs /dev/shm tmpfs x-create=dir,nosuid,nodev,mode=1777'
} >>"$ENROOT_MOUNTS"
