#!/bin/sh
# libvirt with its LXC driver, in a mount namespace of its own: unshare -m sh libvirt.sh [BRIDGE], as root; with a name
# of a bridge in a network namespace of its own, too, where it makes it. Says "ready" once it
# answers, and ends with its standard input. Where cgroups are of both versions libvirt stumbles: it gets one.
set -eu
mount --make-rprivate /
if [ -n "${1:-}" ]; then
  ip link set lo up
  ip link add "$1" type bridge
  ip address add 10.77.0.1/24 dev "$1"
  ip link set "$1" up
fi
# What it wants to find, and what goes with it again.
made=
getent group libvirt >/dev/null || { groupadd --system libvirt && made="groupdel libvirt;"; }
getent passwd libvirt-qemu >/dev/null ||
  { useradd --system --user-group --home-dir /nonexistent --shell /usr/sbin/nologin libvirt-qemu && made="$made userdel libvirt-qemu;"; }
umount /sys/fs/cgroup/unified 2>/dev/null || true
for directory in /run/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt; do
  mkdir -p "$directory"
  mount -t tmpfs libvirt "$directory"
done
virtlogd --pid-file /run/libvirt/virtlogd.pid >/dev/null 2>&1 &
log=$!
libvirtd --pid-file /run/libvirt/libvirtd.pid >/run/libvirt/said 2>&1 &
daemon=$!
trap 'kill $daemon $log 2>/dev/null || true; wait; eval "$made"' EXIT
tries=0
until virsh -q -c lxc:/// list >/dev/null 2>&1; do
  tries=$((tries + 1))
  if [ $tries -gt 100 ]; then
    cat /run/libvirt/said >&2
    exit 1
  fi
  sleep 0.1
done
echo ready
cat >/dev/null
for guest in $(virsh -q -c lxc:/// list --name); do virsh -q -c lxc:/// destroy "$guest" >/dev/null 2>&1 || true; done
