# shellcheck shell=sh
# Sourced by the scripts that run tests. Distributions let everybody use FUSE; a machine that does not opens it for the
# time of the tests: close_fuse has to be called at their end.
fuse=$(stat -c %a /dev/fuse 2>/dev/null || true)
if [ "$(id -u)" = 0 ] && [ -n "$fuse" ]; then chmod 666 /dev/fuse; else fuse=; fi
close_fuse() { [ -z "$fuse" ] || chmod "$fuse" /dev/fuse; }
