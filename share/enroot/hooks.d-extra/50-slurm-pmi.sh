#!/bin/sh
# For MPI inside, in a job step of Slurm: what the process manager (PMI, PMI2, PMIx) told the task, and where it meets it.
set -eu
[ -n "${SLURM_JOB_ID:-}" ] && [ -n "${SLURM_STEP_ID:-}" ] || exit 0
# pass PREFIX: the caller's variables that begin so; fails where there is none.
pass() {
  env | grep "^$1_[A-Za-z0-9_]*=" >>"$ENROOT_ENVIRON"
}
# module NAME MODULE: has PMIx inside use the module that the server uses, unless that is set.
module() {
  if [ -n "$2" ] && ! grep -q "^PMIX_MCA_$1=" "$ENROOT_ENVIRON"; then echo "PMIX_MCA_$1=$2" >>"$ENROOT_ENVIRON"; fi
}
bind() {
  echo "$1 $1 none x-create=dir,bind,rw,nosuid,nodev,noexec,private$2" >>"$ENROOT_MOUNTS"
}
pass SLURM || :
pass PMI || :
pass PMI2 || :
case ${SLURM_MPI_TYPE:-pmix} in pmix*) pass PMIX || exit 0 ;; *) exit 0 ;; esac
module ptl "${PMIX_PTL_MODULE:-}"
module psec "${PMIX_SECURITY_MODE:-}"
module gds "${PMIX_GDS_MODULE:-}"
# Slurm's plugin keeps the directory of a step below the system's; with newer versions its name has the user's number.
temporary=${TMPDIR:-${TEMP:-${TMP:-/tmp}}}
step=$SLURM_JOB_ID.$SLURM_STEP_ID
application=${PMIX_SYSTEM_TMPDIR:-$temporary}/spmix_appdir_
if [ -e "$application${SLURM_JOB_UID:-}_$step" ]; then application=$application${SLURM_JOB_UID:-}_; fi
bind "$application$step" ,nofail
bind "${PMIX_SERVER_TMPDIR:-$temporary}" ''
