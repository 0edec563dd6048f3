#!/bin/sh
# What the VM's guest does at its start, run by busybox's init: prepares itself, and runs the agent that Incus hands it.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
b=/usr/bin/busybox # quicker to start than what else could do this
say() { echo "guest: $* ($($b cut -d ' ' -f 1 /proc/uptime) s)"; }
if [ "${1:-}" = agent ]; then
  /usr/libexec/incus/incus-agent-setup && cd /run/incus_agent && say "agent starts" && exec ./incus-agent
  say "no agent" && $b sleep 1 # and init tries again
  exit 1
fi
$b mount -t tmpfs -o mode=0755 tmpfs /run
$b mount -t tmpfs -o mode=1777 tmpfs /tmp
$b mkdir -p /dev/pts /dev/shm /dev/virtio-ports /run/lock
$b ln -sfn /proc/self/fd /dev/fd
$b mount -t devpts -o mode=0620,ptmxmode=0666 devpts /dev/pts
$b mount -t tmpfs -o mode=1777 tmpfs /dev/shm
$b mount -t cgroup2 cgroup2 /sys/fs/cgroup
for port in /sys/class/virtio-ports/*; do # udev's names: the agent reports by one
  read -r name <"$port/name" && $b ln -sfn "../${port##*/}" "/dev/virtio-ports/$name"
done
$b hostname clara
$b ip link set lo up
say "prepared"
