#!/bin/sh
# What torch.distributed reads, from what Slurm knows of the job, unless it is set.
set -eu
[ -n "${SLURM_JOB_ID:-}" ] && [ -n "${SLURM_NTASKS:-}" ] || exit 0
default() {
  grep -q "^$1=" "$ENROOT_ENVIRON" || echo "$1=$2" >>"$ENROOT_ENVIRON"
}
first=${SLURM_STEP_NODELIST:-${SLURM_JOB_NODELIST:-localhost}}
if command -v scontrol >/dev/null; then first=$(scontrol show hostnames "$first" | head -n 1); fi
default MASTER_ADDR "$first"
default MASTER_PORT "$((15000 + SLURM_JOB_ID % 20000))"
default WORLD_SIZE "$SLURM_NTASKS"
default RANK "${SLURM_PROCID:-0}"
default LOCAL_RANK "${SLURM_LOCALID:-0}"
