#!/bin/sh
# /init of both initrds: loads the modules that /modules names, in their order, and goes on with the disk /root-device.
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
while read -r module; do $b insmod "/lib/$module" || $b echo "initrd: no $module"; done </modules
read -r device </root-device
fail() {
  $b echo "initrd: $1"
  $b dmesg | $b tail -n 5
  $b poweroff -f
}
# The kernel finds disks on its own time; it makes the node when it has found this one.
tries=0
until [ -b "$device" ]; do
  tries=$((tries + 1))
  [ $tries -lt 600 ] || fail "no disk $device"
  $b usleep 50000
done
$b mount -t ext4 "$device" /newroot || fail "$device cannot be mounted"
for folder in dev proc sys; do $b mount --move /$folder /newroot/$folder; done
exec $b switch_root /newroot /sbin/init
