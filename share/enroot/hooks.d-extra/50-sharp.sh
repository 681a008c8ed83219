#!/bin/sh
# Reductions in the switches of InfiniBand (SHARP), where devices are asked for and the host runs their daemon: the name
# of its socket, and what NCCL's plugin needs. The caller's variable goes before the container's; what is set stays.
set -eu
devices=
while IFS= read -r line; do
  case $line in MELLANOX_VISIBLE_DEVICES=*) devices=${line#*=} ;; esac
done <"$ENROOT_ENVIRON"
case ${MELLANOX_VISIBLE_DEVICES-$devices} in '' | void | none) exit 0 ;; esac

# Each daemon has an abstract socket besides the one that all have.
socket=
while read -r _ _ _ _ _ _ _ path; do
  case $path in @sharpd_unix_sock) ;; @sharpd*) socket=${path#@} && break ;; esac
done </proc/net/unix
[ -n "$socket" ] || exit 0

default() {
  grep -q "^$1=" "$ENROOT_ENVIRON" || echo "$1=$2" >>"$ENROOT_ENVIRON"
}
echo "SHARP_COLL_SHARPD_SOCKET_NAME=$socket" >>"$ENROOT_ENVIRON"
default SHARP_COLL_LOCK_ON_COMM_INIT 1
default SHARP_COLL_NUM_COLL_GROUP_RESOURCE_ALLOC_THRESHOLD 0
default NCCL_COLLNET_ENABLE 1
nodes=${SLURM_STEP_NUM_NODES:-${OMPI_MCA_orte_num_nodes:-}}
[ -z "$nodes" ] || default NCCL_SHARP_GROUP_SIZE_THRESH "$nodes"
