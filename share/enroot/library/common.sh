# Functions that hooks written for enroot take from its common.sh, for machines that have enroot's hooks and no enroot.
# Hooks find this file by ENROOT_LIBRARY_PATH, unless that names a directory with a common.sh of its own.

# common::log LEVEL TEXT: to standard error. TEXT may be -, which is standard input.
common::log() {
  local line
  [ -n "${2-}" ] || return 0
  if [ "$2" != - ]; then
    printf '[%s] %s\n' "$1" "$2" >&2
  else
    while IFS= read -r line; do printf '[%s] %s\n' "$1" "$line" >&2; done
  fi
}

common::err() {
  common::log ERROR "$1"
  exit 1
}

common::checkcmd() {
  local name
  for name; do command -v "$name" >/dev/null || common::err "Command not found: $name"; done
}

common::realpath() { readlink -f -- "$1" 2>/dev/null || common::err "No such file or directory: $1"; }

common::chdir() { cd -- "$1" 2>/dev/null || common::err "Could not change directory: $1"; }

common::read() { read "$@" || :; }

common::mktmpdir() (umask 077 && mktemp -d --tmpdir "$1.XXXXXXXXXX")

common::rmall() {
  rm --one-file-system -rf -- "$1" 2>/dev/null || { chmod -R u+rwX -- "$1" && rm --one-file-system -rf -- "$1"; }
}

# common::getpwent, common::getgrent: the caller's lines of passwd and group, on the host.
common::getpwent() { getent passwd "$(awk '{ print $2; exit }' /proc/self/uid_map)"; }

common::getgrent() { getent group "$(awk '{ print $2; exit }' /proc/self/gid_map)"; }

# common::envsubst FILE: its text with each ${NAME} replaced.
common::envsubst() {
  awk '{
    while (match($0, /[$][{][A-Za-z_][A-Za-z0-9_]*[}]/)) {
      printf "%s%s", substr($0, 1, RSTART - 1), ENVIRON[substr($0, RSTART + 2, RLENGTH - 3)]
      $0 = substr($0, RSTART + RLENGTH)
    }
    print
  }' "$1"
}
