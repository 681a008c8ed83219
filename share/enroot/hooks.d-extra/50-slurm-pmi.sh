#!/bin/sh
# A process manager's part of a job under Slurm: its directories and what it told the task, for MPI inside.
set -eu
[ -n "${SLURM_STEP_ID:-}${SLURM_STEPID:-}" ] || exit 0
bind() {
  [ -e "$1" ] && echo "$1 $1 none x-create=$2,bind,rw,nosuid,nodev,noexec,private" >>"$ENROOT_MOUNTS" || :
}
env | grep -E '^(PMI|PMIX|PMI2|SLURM)_?[A-Z0-9_]*=' >>"$ENROOT_ENVIRON" || :
for directory in "${PMIX_SERVER_TMPDIR:-}" "${PMIX_SYSTEM_TMPDIR:-}" "${SLURM_JOB_TMPDIR:-}"; do
  if [ -n "$directory" ]; then bind "$directory" dir; fi
done
# PMIx keeps its rendezvous where the server says.
if [ -n "${PMIX_SERVER_URI2:-}${PMIX_SERVER_URI3:-}" ] && ! grep -q '^PMIX_MCA_ptl=' "$ENROOT_ENVIRON"; then
  echo 'PMIX_MCA_ptl=^usock' >>"$ENROOT_ENVIRON"
fi
if ! grep -q '^PMIX_MCA_psec=' "$ENROOT_ENVIRON"; then echo 'PMIX_MCA_psec=none' >>"$ENROOT_ENVIRON"; fi
if ! grep -q '^PMIX_MCA_gds=' "$ENROOT_ENVIRON"; then echo 'PMIX_MCA_gds=hash' >>"$ENROOT_ENVIRON"; fi
