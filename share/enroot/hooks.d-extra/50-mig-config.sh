#!/bin/sh
# Where whole GPUs are asked for that are partitioned (MIG mode), the container may see how: nvidia-container-cli has the
# right to it from NVIDIA_MIG_CONFIG_DEVICES. The caller's variable goes before the container's, as in 98-nvidia.sh.
set -eu
PATH=${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin
devices=
while IFS= read -r line; do
  case $line in NVIDIA_VISIBLE_DEVICES=*) devices=${line#*=} ;; esac
done <"$ENROOT_ENVIRON"
devices=${NVIDIA_VISIBLE_DEVICES-$devices}
# Partitions have names of their own: MIG-UUID, or GPU:PARTITION.
case $devices in '' | void | none | *MIG-* | *?:?*) exit 0 ;; esac

command -v nvidia-smi >/dev/null || {
  echo "50-mig-config.sh: GPUs are asked for, and there is no nvidia-smi to ask for their MIG mode" >&2
  exit 1
}
set -- --query-gpu=mig.mode.current --format=csv,noheader
[ "$devices" = all ] || set -- "$@" -i "$devices"
modes=$(nvidia-smi "$@")
case $modes in *Enabled*) echo NVIDIA_MIG_CONFIG_DEVICES=all >>"$ENROOT_ENVIRON" ;; esac
