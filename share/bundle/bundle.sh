# What follows is the same in every bundle; what is this one's own stands above it.
# The file goes on with the executor and, from the byte $offset on, with the root as a tar compressed by gzip.
set -u
LC_ALL=C
export LC_ALL
mask=$(umask)
umask 022

say() { printf '%s\n' "$*" >&2; }

# fail WHAT [MEND]
fail() {
  say "ERROR: $1"
  [ $# -lt 2 ] || say "  mend: $2"
  exit "$failure"
}

usage() {
  cat <<END
Usage: ${0##*/} [options] [--] [COMMAND] [ARG...]

Run what is bundled in this file: $description

 Options:
   -i, --info            show what this file is
   -k, --keep            keep the root in the directory $target
   -q, --quiet           say nothing of unpacking
   -v, --verbose         name each file that is unpacked
   -x, --extract         only unpack the root into the directory $target
   -c, --conf CONFIG     a bash script: environ(), mounts(), hooks(), rc(), #ENROOT_...
   -e, --env KEY[=VAL]   set a variable; without a value, to the caller's (may repeat)
       --rc SCRIPT       run this in the place of /etc/rc; may be a pipe
   -r, --root            be root inside
   -w, --rw              let the root be changed; the changes go with it
   -m, --mount FSTAB     mount SRC:DST[:OPTIONS] (may repeat)
   -h, --help            show this help
END
}

info() {
  cat <<END
Description: $description
Compression: gzip
Target directory: $target
Runtime version: $version
Architecture: $machine
Uncompressed size: $kilobytes KB
END
  [ -z "$checksum" ] || printf 'Checksum: %s\n' "$checksum"
}

# Words for a step that failed: the executor's record is our standard input.
explain() {
  tr '\000\n' '\n ' | tr -cd '\n -~' | {
    for name in index verb errno call detail origin first _ _ fourth; do IFS= read -r "$name" || eval "$name="; done
    case $errno in
    1) why='operation not permitted' ;; 2) why='no such file or directory' ;; 8) why='not a program for this machine' ;;
    13) why='permission denied' ;; 20) why='not a directory' ;; 22) why='not supported by this kernel' ;;
    28) why='no space left, or a limit reached' ;; 30) why='read-only file system' ;;
    95) why='not supported' ;; 0 | 125) why="$detail" ;; *) why="error $errno" ;;
    esac
    limit=$(cat /proc/sys/user/max_user_namespaces 2>/dev/null)
    mend="ask the administrator to allow user namespaces (sysctl user.max_user_namespaces, now ${limit:-unknown}; kernel.unprivileged_userns_clone=1; kernel.apparmor_restrict_unprivileged_userns=0), or run it as root"
    case $verb in
    namespaces | id-map) say "ERROR: this user may not make user namespaces: $why" "
  mend: $mend" ;;
    login | exec) say "ERROR: the command cannot be executed: ${detail:-${fourth:-$first}}: $why" ;;
    fstab | fstab-file) say "ERROR: a mount failed: $origin: $call: $why${detail:+ ($detail)}" ;;
    hook) say "ERROR: a hook failed: $origin${detail:+: $detail}" ;;
    overlay) say "ERROR: no overlay can be mounted: $why" "
  mend: a kernel from 5.11 on is needed, and another TMPDIR may do; with --rw none is needed" ;;
    *) say "ERROR: step $index ($verb, from $origin) failed: $call: $why${detail:+ ($detail)}" ;;
    esac
  }
}

# The payload, from byte $1 on, of $2 bytes.
part() { tail -c "+$(($1 + 1))" "$self" | head -c "$2"; }

sha256() {
  if command -v sha256sum >/dev/null; then sha256sum
  elif command -v shasum >/dev/null; then shasum -a 256
  elif command -v openssl >/dev/null; then openssl dgst -sha256 -r
  else cat >/dev/null; fi
}

verify() {
  [ "$(wc -c <"$self")" -eq "$total" ] || fail "the file is truncated or damaged: it has not the $total bytes that it should have" "get it again"
  [ -n "$checksum" ] || return 0
  sum=$(tail -c "+$((header + 1))" "$self" | sha256)
  [ -n "$sum" ] || fail "nothing is here that computes SHA-256" "install sha256sum"
  [ "${sum%% *}" = "$checksum" ] || fail "Checksum validation failed" "get the file again"
}

# The start time of process $1 in ticks: field 22 of /proc/PID/stat. Empty if there is none.
start_of() {
  stat=
  { IFS= read -r stat <"/proc/$1/stat"; } 2>/dev/null
  stat=${stat##*) }
  # shellcheck disable=SC2086
  set -- $stat
  [ "${1-Z}" = Z ] || printf '%s' "${20-}"
}

remove() {
  rm -rf -- "$1" 2>/dev/null && return
  find "$1" -type d -exec chmod u+rwx {} \; 2>/dev/null
  rm -rf -- "$1"
}

# What bundles have left that were killed: names say whose they are, PID.START.BOOT, and only our own are removed.
clear_leavings() {
  for left in "$temporary"/rootling-bundle."$uid".*; do
    [ -d "$left" ] && [ ! -L "$left" ] && [ -O "$left" ] || continue
    owner=${left##*/rootling-bundle."$uid".}
    pid=${owner%%.*} owner=${owner#*.}
    start=${owner%%.*} owner=${owner#*.}
    if [ "${owner%%.*}" = "$boot" ]; then
      [ "$(start_of "$pid")" = "$start" ] && continue
    fi
    remove "$left"
  done
}

clean() {
  [ -z "$progress" ] || kill "$progress" 2>/dev/null
  [ -z "$work" ] || remove "$work"
  [ -z "$making" ] || remove "$making"
}

# ended_by SIGNAL: what has been unpacked goes, and whoever waits learns of the signal.
ended_by() {
  trap '' INT TERM HUP
  clean
  trap - EXIT "$1"
  kill -s "$1" $$
}

enter_work() {
  read -r boot </proc/sys/kernel/random/boot_id
  boot=${boot%%-*}
  clear_leavings
  trap clean EXIT
  for signal in INT TERM HUP; do
    # shellcheck disable=SC2064
    trap "ended_by $signal" $signal
  done
  work=$(mktemp -d "$temporary/rootling-bundle.$uid.$$.$(start_of $$).$boot.XXXXXX") ||
    fail "no directory can be made in $temporary" "name another with TMPDIR"
  chmod 700 "$work"
  mkdir "$work/stage"
}

need_space() {
  available=$(df -kP "$1" 2>/dev/null | { read -r _; read -r _ _ _ available _; printf '%s' "$available"; })
  [ "${available:-$kilobytes}" -ge "$kilobytes" ] || fail "Not enough space left in $1 ($kilobytes KB needed)" "$2"
}

# How far the bundle has been read: descriptor 3 is shared with what unpacks it.
show_progress() {
  while :; do
    while read -r key value; do [ "$key" = pos: ] && break; done <"/proc/$$/fdinfo/3"
    printf '\rUnpacking %s: %d%%' "$description" $((value * 100 / total)) >&2
    sleep 1
  done
}

unpack() {
  for program in gzip tar; do
    command -v $program >/dev/null || fail "Command not found: $program" "install $program"
  done
  how=xpf
  [ -z "$verbose" ] || how=xvpf
  set -- --numeric-owner
  case $(tar --version 2>/dev/null) in
  *GNU*) if [ "$uid" = 0 ]; then set -- "$@" --xattrs '--xattrs-include=*'; else set -- "$@" --xattrs '--xattrs-include=user.*'; fi ;;
  esac
  exec 3<"$self"
  if [ -z "$quiet" ] && [ -t 2 ]; then
    show_progress &
    progress=$!
  fi
  { tail -c "+$((offset + 1))" <&3 | gzip -dc || : >"$work/failed"; } | (cd "$root" && tar "$how" - "$@" >&2) || : >"$work/failed"
  exec 3<&-
  if [ -n "$progress" ]; then
    kill "$progress"
    wait "$progress" 2>/dev/null
    progress=
    printf '\r\033[K' >&2
  fi
  [ ! -e "$work/failed" ] || fail "the root cannot be unpacked into $root" "see the message above; the file may be damaged, or the disk full"
}

# A word that eval takes back as it was.
quoted() { printf '%s\n' "$1" | sed "s/'/'\\\\''/g; 1s/^/'/; \$s/\$/'/"; }

# The plan, as the executor reads it: a step is VERB ORIGIN COUNT FIELD...
op() {
  ops=$((ops + 1))
  printf '%s\0' "$1" "$2" $(($# - 2))
  shift 2
  [ $# = 0 ] || printf '%s\0' "$@"
}

op_caller() {
  cat "/proc/$$/environ" >"$work/environment"
  ops=$((ops + 1))
  set -- "ENROOT_VERSION=$enroot" "ROOTLING_VERSION=$enroot"
  printf '%s\0' caller rootling $(($(tr -cd '\000' <"$work/environment" | wc -c) + $#))
  cat "$work/environment"
  printf '%s\0' "$@"
}

# The line NAME=VALUE of the environment that we were started with: our own variables may have the same names.
caller() { tr '\000\n' '\n\001' <"/proc/$$/environ" | sed -n "/^$1=/p" | tr '\001' '\n'; }

# The value alone.
value_of() {
  value=$(caller "$1")
  printf '%s' "${value#*=}"
}

op_environment() {
  eval "set -- $variables"
  for variable; do
    case $variable in *=*) ;; *) variable=$(caller "$variable") ;; esac
    [ -z "$variable" ] || op variables --env "$variable"
  done
}

# A text with each ${NAME} replaced.
expand() {
  text=$1
  while :; do
    name=${text#*\$\{}
    [ "$name" != "$text" ] && [ "${name#*\}}" != "$name" ] || break
    name=${name%%\}*}
    case $name in '' | [0-9]* | *[!A-Za-z0-9_]*) break ;; esac
    text=${text%%\$\{*}$(value_of "$name")${text#*\}}
  done
  printf '%s' "$text"
}

op_mounts() {
  eval "set -- $mounts"
  for mount; do op fstab --mount 0 "$(mount_line "$mount")"; done
}

# SRC:DST:OPTIONS as a line of fstab; of a path, OPTIONS alone mean a bind mount.
mount_line() {
  case $1 in
  /*:*:*:*) ;;
  /*:*:*)
    options=${1##*:}
    case ,$options, in *,bind,* | *,rbind,* | *,none,*) ;; *)
      set -- "${1%:*}:none:rbind,x-create=auto,$options" ;;
    esac
    ;;
  esac
  printf '%s' "$1" | tr : ' '
}

hook() {
  printf '%s' "$2" >"$work/hook$1"
  chmod 700 "$work/hook$1"
}

# Directives of a configuration, which win over the environment.
read_directives() {
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
    '#ENROOT_REMAP_ROOT='* | '#ENROOT_ROOTFS_WRITABLE='*) ;;
    *) continue ;;
    esac
    case ${line#*=} in [nNfF]* | 0 | '') value= ;; *) value=1 ;; esac
    case $line in '#ENROOT_REMAP_ROOT='*) remap=$value ;; *) writable=$value ;; esac
  done <"$conf"
}

# main's words are the command.
start() {
  script=none
  [ -z "$conf$rc" ] || script=given
  [ -z "$files" ] || script=root
  ops=0
  who=user
  [ "$uid" != 0 ] || who=root
  write_hooks
  "plan_$who${remap:+_root}${writable:+_rw}" "$@" >"$work/ops"
  { printf '%s\0' rootling-wire 2 "$topology" "$failure" 3 /bin/sh "$self" --explain-failure "$ops"; cat "$work/ops"; } >"$work/wire"
  rm "$work/ops"
  chmod 600 "$work/wire"
  # The executor keeps our process id, so the directory stays ours; it removes it at the end.
  trap - EXIT INT TERM HUP
  umask "$mask"
  exec "$work/executor" "$work/wire"
}

case $0 in /*) self=$0 ;; *) self=$PWD/$0 ;; esac
[ -f "$self" ] || fail "this file does not find itself: $self"
[ "${1-}" != --explain-failure ] || { explain; exit 0; }

keep= quiet= verbose= extract= conf= rc= remap= writable= variables= mounts= work= making= progress=
need() { [ -n "${2-}" ] || { say "ERROR: $1 lacks its value"; usage >&2; exit 2; }; }
bad() { say "ERROR: Invalid argument: $1"; exit 2; }
while [ $# -gt 0 ]; do
  case $1 in --conf=* | --env=* | --rc=* | --mount=*)
    flag=${1%%=*} value=${1#*=}
    shift
    set -- "$flag" "$value" "$@"
    ;;
  esac
  case $1 in
  -h | --help) usage; exit 0 ;;
  -i | --info) info; exit 0 ;;
  -k | --keep) keep=1 ;;
  -q | --quiet) quiet=1 ;;
  -v | --verbose) verbose=1 ;;
  -x | --extract) extract=1 keep=1 ;;
  -r | --root) remap=1 ;;
  -w | --rw) writable=1 ;;
  -c | --conf)
    need "$@"
    conf=$2
    shift
    ;;
  -e | --env)
    need "$@"
    case ${2%%=*} in '' | [0-9]* | *[!A-Za-z0-9_]*) bad "$2" ;; esac
    variables="$variables $(quoted "$2")"
    shift
    ;;
  --rc)
    need "$@"
    rc=$(cat -- "$2") || fail "the script cannot be read: $2"
    rc="$rc
"
    shift
    ;;
  -m | --mount)
    need "$@"
    case $2 in *' '* | *"	"* | *'
'*) bad "$2" ;; ?*:?*) ;; *) bad "$2" ;; esac
    mounts="$mounts $(quoted "$2")"
    shift
    ;;
  --) shift; break ;;
  -?*) say "ERROR: there is no option $1"; usage >&2; exit 2 ;;
  *) break ;;
  esac
  shift
done

[ -z "$conf" ] || { [ -r "$conf" ] && [ ! -d "$conf" ]; } || fail "No such file or directory: $conf"
case $(uname -m) in
"$machine") ;;
*) [ -n "$extract" ] || fail "this bundle is for $machine, and this machine is $(uname -m)" "make one for this machine, or only unpack it with --extract" ;;
esac
uid=$(id -u) gid=$(id -g)
temporary=${TMPDIR:-/tmp}
case $temporary in /*) ;; *) temporary=$PWD/$temporary ;; esac
verify
enter_work
if [ -n "$conf" ]; then
  cat -- "$conf" >"$work/conf" || fail "the configuration cannot be read: $conf"
  conf=$work/conf
  read_directives
fi
if [ -n "$keep" ]; then
  target=$(expand "$target")
  case $target in /*) root=$target ;; *) root=$PWD/$target ;; esac
  [ ! -e "$root" ] && [ ! -L "$root" ] || fail "File already exists: $root" "remove it, or go to another directory"
  mkdir -m 755 "$root" || fail "the directory cannot be made: $root"
  making=$root
  need_space "$root" "free some, or go to another directory"
else
  root=$work/root
  mkdir -m 755 "$root"
  need_space "$work" "free some, or name another directory with TMPDIR"
fi
if [ -z "$extract" ]; then
  part "$header" $((offset - header)) >"$work/executor"
  chmod 700 "$work/executor"
  "$work/executor" --ops >/dev/null 2>&1 ||
    fail "no program can be executed in $temporary: it may be mounted noexec" "name another directory with TMPDIR"
fi
unpack
making=
[ -n "$extract" ] || start "$@"
[ -n "$quiet" ] || say "unpacked into $root"
exit 0
