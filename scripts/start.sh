#!/bin/sh
# npm start: the main job on something real. A Debian root file system is made and becomes an OCI image; an ordinary
# user imports it and boots it. Every step is shown with the command that was typed and what it said.
set -eu
cd "$(dirname "$0")/.."
checkout=$PWD
sh scripts/setup.sh start
sh scripts/build.sh
. scripts/node.sh

title() { printf '\n== %s\n' "$1"; }
now() { date +%s%N; }
took() { printf '   (%d.%02d s)\n' $((($2 - $1) / 1000000000)) $((($2 - $1) / 10000000 % 100)); }

if [ "$(id -u)" = 0 ]; then
  place=/var/cache/rootling-demo
else
  place=${XDG_CACHE_HOME:-$HOME/.cache}/rootling-demo
fi
mkdir -p "$place"
layout=$place/images
reference=$layout:debian

title "A Debian root file system becomes an OCI image"
begin=$(now)
if [ -e "$place/complete" ]; then
  echo "There from an earlier run: $layout (remove $place to make it anew)"
else
  echo "Making it with mmdebstrap from this machine's apt sources; this takes half a minute"
  rm -rf "$layout" "$place/debian.tar"
  sh scripts/make-debian.sh "$place/debian.tar"
  umoci init --layout "$layout"
  umoci new --image "$reference"
  umoci raw add-layer --image "$reference" "$place/debian.tar"
  umoci config --image "$reference" --clear config.entrypoint --config.entrypoint=/usr/bin/env \
    --clear config.cmd --config.cmd=/bin/bash --config.workingdir=/root \
    --clear config.env --config.env=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    --config.env=GREETING='hello from the image' --config.label=org.opencontainers.image.title=debian
  rm -f "$place/debian.tar"
  # umoci writes for its own user only; the one who imports is another.
  chmod -R a+rX "$layout"
  : >"$place/complete"
fi
took "$begin" "$(now)"

# Root shows it as somebody without any privileges, made for this and removed afterwards.
rootling=$checkout/bin/rootling
if [ "$(id -u)" = 0 ]; then
  user=rootling-demo
  home=$(mktemp -d /var/tmp/rootling-demo.XXXXXX)
  userdel --force "$user" 2>/dev/null || true
  useradd --no-create-home --home-dir "$home" --shell /bin/sh "$user"
  sed -i "/^$user:/d" /etc/subuid /etc/subgid
  trap 'userdel --force "$user" 2>/dev/null; sed -i "/^$user:/d" /etc/subuid /etc/subgid; rm -rf "$home"' EXIT
  trap 'exit 130' INT TERM
  chown "$user:" "$home"
  chmod 700 "$home"
  as_user() {
    setpriv --reuid="$user" --regid="$user" --clear-groups --inh-caps=-all \
      env -i HOME="$home" USER="$user" PATH="$PATH" TERM="${TERM:-dumb}" "$@"
  }
  if ! as_user test -r "$checkout/dist/entry.cjs" || ! as_user test -x "$node"; then
    echo "Other users cannot enter $checkout: the demonstration runs a copy of it in $place/package"
    rm -rf "$place/package"
    mkdir -p "$place/package/node_modules/node-linux-$arch/bin"
    cp -R bin dist package.json "$place/package"
    cp "$node" "$place/package/node_modules/node-linux-$arch/bin/node"
    rootling=$place/package/bin/rootling
  fi
  title "The rest happens as the user $user (uid $(id -u "$user")), who has no privileges and no subordinate ids"
else
  user=$(id -un)
  as_user() { "$@"; }
  title "The rest happens as you, $user, without privileges"
fi

# say EXPECTED WHY WORDS…: shows a command, runs it, checks its exit status
say() {
  expected=$1
  printf '\n-- %s\n' "$2"
  shift 2
  printf '$ bin/rootling'
  for word in "$@"; do
    case $word in
      *[!A-Za-z0-9_./:=@,+-]* | '') printf " '%s'" "$word" ;;
      *) printf ' %s' "$word" ;;
    esac
  done
  echo
  begin=$(now)
  status=0
  as_user "$rootling" "$@" </dev/null || status=$?
  end=$(now)
  [ "$expected" = 0 ] || echo "   exit status $status"
  took "$begin" "$end"
  if [ "$status" != "$expected" ]; then
    echo "npm start: this step was to end with status $expected and ended with $status" >&2
    exit 125
  fi
}

as_user "$rootling" remove hello >/dev/null 2>&1 || true
say 0 "the image becomes a root file system in the store of $user" import "oci:$reference" --name debian
say 0 "a container of it: a reference to the image and an empty upper directory" create debian --name hello
say 0 "it boots: a command in it" start hello cat /etc/os-release
say 0 "inside, one is who one is outside" start hello id
say 0 "or root of the container, and of nothing else" start --root hello id
say 0 "environment and working directory are the image's" start hello sh -c 'echo "$GREETING, in $PWD"'
say 1 "started without --rw, its root is read-only" start --root hello touch /srv/note
say 0 "with --rw, what is written is kept in the container" start --rw --root hello \
  sh -c 'echo "kept by the container" >/srv/note; ls -l /srv'
say 0 "it is there at the next start" start hello cat /srv/note
say 0 "run leaves nothing behind" run --root debian sh -c 'echo gone >/srv/gone; ls /srv'
say 7 "the exit status is the command's own" run debian sh -c 'exit 7'
say 0 "what there is" list
say 0 "removing the container frees what it changed" remove hello

title "Done. Go on with"
cat <<NEXT
The image stays in $layout. In $checkout you can type:

  bin/rootling import oci:$reference --name debian
  bin/rootling run debian                        a shell in it; nothing is left behind
  bin/rootling create debian --name web
  bin/rootling start --rw --root web             a shell that keeps what it changes
  bin/rootling run --dry-run debian              the plan of a start, step by step
  bin/rootling import oci:$reference -o debian.sqsh --comp zstd:3
  bin/rootling doctor                            what this machine offers and what it lacks
NEXT
