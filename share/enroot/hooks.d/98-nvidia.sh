#!/bin/sh
# GPUs that NVIDIA_VISIBLE_DEVICES names, by nvidia-container-cli. Where a CDI spec knows them, they are there already.
# The caller's variables go before the container's.
set -eu
[ -z "${ROOTLING_CDI:-}" ] || exit 0
PATH=${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin

# setting NAME: the caller's value, else the container's last one
setting() {
  if eval "[ \"\${$1+set}\" ]"; then
    eval "printf '%s' \"\$$1\""
  else
    sed -n "s/^$1=//p" "$ENROOT_ENVIRON" | tail -n 1
  fi
}

devices=$(setting NVIDIA_VISIBLE_DEVICES)
case $devices in '' | void) exit 0 ;; esac

set -- --no-cgroups "--ldconfig=@$(command -v ldconfig.real || command -v ldconfig)"
[ "$devices" = none ] || set -- "$@" "--device=$devices"

capabilities=$(setting NVIDIA_DRIVER_CAPABILITIES)
compute=
for capability in $(printf '%s' "${capabilities:-utility}" | tr , ' '); do
  case $capability in
    all)
      set -- "$@" --compute --compat32 --display --graphics --utility --video
      compute=yes
      break
      ;;
    compute | compat32 | display | graphics | utility | video)
      set -- "$@" "--$capability"
      [ "$capability" != compute ] || compute=yes
      ;;
    *)
      echo "98-nvidia.sh: unknown driver capability: $capability" >&2
      exit 1
      ;;
  esac
done

if [ -z "$(setting NVIDIA_DISABLE_REQUIRE)" ]; then
  for name in $({ env; cat "$ENROOT_ENVIRON"; } | sed -n 's/^\(NVIDIA_REQUIRE_[A-Za-z0-9_]*\)=.*/\1/p' | sort -u); do
    set -- "$@" "--require=$(setting "$name")"
  done
fi

command -v nvidia-container-cli >/dev/null || {
  echo "98-nvidia.sh: GPUs are asked for, and there is neither a CDI spec for nvidia.com/gpu nor nvidia-container-cli:" >&2
  echo "98-nvidia.sh: install the NVIDIA Container Toolkit, then: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml" >&2
  exit 1
}
grep -q nvidia_uvm /proc/modules || echo "98-nvidia.sh: the kernel module nvidia_uvm is not loaded" >&2

# GDRCopy's device, which nvidia-container-cli does not know.
if [ -n "$compute" ] && [ -e /dev/gdrdrv ]; then
  echo "/dev/gdrdrv /dev/gdrdrv none x-create=file,bind,ro,nosuid,noexec,private,nofail" >>"$ENROOT_MOUNTS"
fi

exec nvidia-container-cli --user ${NVIDIA_DEBUG_LOG+--debug=/dev/stderr} configure "$@" "$ENROOT_ROOTFS"
