#!/bin/sh
# GPUs that NVIDIA_VISIBLE_DEVICES names, by nvidia-container-cli. Where a CDI spec knows them, they are there already.
# The caller's variables go before the container's.
set -eu
[ -z "${ROOTLING_CDI:-}" ] || exit 0
PATH=${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin

# setting NAME: `value` becomes the caller's value, else the container's last one. Without a program: most starts end here.
setting() {
  value=
  if eval "[ \"\${$1+set}\" ]"; then
    eval "value=\$$1"
    return 0
  fi
  while IFS= read -r line; do
    case $line in "$1="*) value=${line#*=} ;; esac
  done <"$ENROOT_ENVIRON"
}

setting NVIDIA_VISIBLE_DEVICES
devices=$value
case $devices in '' | void) exit 0 ;; esac

set -- --no-cgroups "--ldconfig=@$(command -v ldconfig.real || command -v ldconfig)"
[ "$devices" = none ] || set -- "$@" "--device=$devices"

setting NVIDIA_DRIVER_CAPABILITIES
capabilities=$value
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

setting NVIDIA_DISABLE_REQUIRE
if [ -z "$value" ]; then
  for name in $({ env; cat "$ENROOT_ENVIRON"; } | sed -n 's/^\(NVIDIA_REQUIRE_[A-Za-z0-9_]*\)=.*/\1/p' | sort -u); do
    setting "$name"
    set -- "$@" "--require=$value"
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
