#!/bin/sh
# Devices of InfiniBand adapters that MELLANOX_VISIBLE_DEVICES names: all, none, void, or their numbers.
set -eu
wanted=
while IFS= read -r line; do
  case $line in MELLANOX_VISIBLE_DEVICES=*) wanted=${line#*=} ;; esac
done <"$ENROOT_ENVIRON"
case $wanted in '' | void | none) exit 0 ;; esac
show() {
  echo "$1 $1 none x-create=$2,bind,rw,nosuid,noexec,nofail,private" >>"$ENROOT_MOUNTS"
}
[ -d /sys/class/infiniband ] || { echo "99-mellanox.sh: there is no InfiniBand adapter here" >&2; exit 1; }
[ -e /dev/infiniband/rdma_cm ] && show /dev/infiniband/rdma_cm file
number=0
for adapter in /sys/class/infiniband/*; do
  case ,$wanted, in
    *,all,* | *,$number,*)
      for device in "$adapter"/device/infiniband_verbs/* "$adapter"/device/infiniband_mad/*; do
        [ -e "$device" ] && show "/dev/infiniband/${device##*/}" file
      done
      ;;
  esac
  number=$((number + 1))
done
