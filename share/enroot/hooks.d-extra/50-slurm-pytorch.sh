#!/bin/sh
# What torch.distributed reads, from what Slurm knows of the job step, unless it is set: for images with PyTorch, which
# have PYTORCH_VERSION. Port and number of threads are the same on every node, whoever starts the containers there.
set -eu
grep -q '^PYTORCH_VERSION=' "$ENROOT_ENVIRON" || exit 0
default() {
  [ -z "$2" ] || grep -q "^$1=" "$ENROOT_ENVIRON" || echo "$1=$2" >>"$ENROOT_ENVIRON"
}
first=
if [ -n "${SLURM_STEP_NODELIST:-}" ] && command -v scontrol >/dev/null; then
  first=$(scontrol show hostnames "$SLURM_STEP_NODELIST" | head -n 1)
fi
default MASTER_ADDR "$first"
default MASTER_PORT "${SLURM_JOB_ID:+$((61000 + ${SLURM_JOB_ID:-0} % 4536))}"
default WORLD_SIZE "${SLURM_NTASKS:-}"
default RANK "${SLURM_PROCID:-}"
default LOCAL_RANK "${SLURM_LOCALID:-}"
# As torchrun has it, where a node has several tasks.
if [ "${SLURM_STEP_NUM_TASKS:-1}" -gt "${SLURM_STEP_NUM_NODES:-1}" ]; then default OMP_NUM_THREADS 1; fi
