#!/bin/sh
# Process 1 of the User-Mode Linux bed. The root is the host's, read-only; what tests write to is laid over it.
# The kernel hands ROOTLING_* of its command line on as environment.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run/home LC_ALL=C.UTF-8
run() {
  "$@" || echo "uml: failed: $*"
}

run mount -t proc proc /proc
run mount -t sysfs sys /sys
mountpoint -q /dev || run mount -t devtmpfs dev /dev
run mkdir -p /dev/pts /dev/shm
run mount -t devpts -o ptmxmode=0666,gid=5,mode=0620 devpts /dev/pts
run mount -t tmpfs -o mode=1777 tmpfs /dev/shm
run mount -t tmpfs -o mode=0755 tmpfs /run
run mkdir -p /run/lock /run/share /run/etc /run/home
run mount -t tmpfs -o mode=1777 tmpfs /tmp
case $ROOTLING_CHECKOUT in
  /tmp/*)
    # What was just covered; by a symlink, since tests want a /tmp that holds no mounts.
    run mkdir -p "$(dirname "$ROOTLING_CHECKOUT")"
    run mount -t hostfs -o "$ROOTLING_CHECKOUT" none /opt
    run ln -s /opt "$ROOTLING_CHECKOUT"
    ;;
esac
run mount -t hostfs -o "$ROOTLING_SHARE" none /run/share
run mount -t cgroup2 cgroup /sys/fs/cgroup
run busybox ip link set lo up

# Accounts are made in a copy of /etc.
run cp -a /etc/. /run/etc
run mount --bind /run/etc /etc

# hostfs has no xattrs and cannot be the upper layer of an overlay: homes lie on ext4.
run mount -t ext4 /dev/ubda /mnt
run chmod 755 /mnt

for module in fs/overlayfs/overlay fs/squashfs/squashfs fs/fuse/fuse drivers/block/loop drivers/net/tun drivers/net/veth \
  net/llc/llc net/802/stp net/802/garp net/802/mrp net/8021q/8021q; do
  run busybox insmod "/usr/lib/uml/modules/$(uname -r)/kernel/$module.ko"
done
run chmod 0666 /dev/fuse
if [ ! -e /dev/net/tun ]; then
  run mkdir -p /dev/net
  run mknod /dev/net/tun c 10 200
fi

echo "uml: Linux $(uname -r) is up after $(cut -d' ' -f1 /proc/uptime) s"
sh /run/share/payload.sh
echo $? >/run/share/status
sync
echo o >/proc/sysrq-trigger
sleep 60
