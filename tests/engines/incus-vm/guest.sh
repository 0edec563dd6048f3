#!/usr/bin/busybox sh
# What the VM's guest does at its start, run by busybox's init: prepares itself, and with `agent` runs Incus's agent.
# To start a program takes a tenth of a second here: the tools are those of this shell.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
b=/usr/bin/busybox handed=/run/incus_agent.mnt
say() {
  read -r up _ </proc/uptime
  echo "guest: $* ($up s)" >/dev/console
}

# As Incus's own script does, but for the agent's program: of the same package as the server, it is in the image already.
agent() {
  $b mkdir -p $handed /run/incus_agent
  $b mount -t 9p config $handed -o ro,access=0,trans=virtio,msize=262144 || return 1
  $b mount -t tmpfs -o mode=0700,size=50M tmpfs /run/incus_agent
  for file in $handed/*; do
    [ "${file##*/}" = incus-agent ] || $b cp -R "$file" /run/incus_agent/ || return 1
  done
  $b umount $handed
  cd /run/incus_agent || return 1
  say "agent starts"
  exec /usr/libexec/incus/incus-agent
}
if [ "${1:-}" = agent ]; then
  agent
  say "no agent" # and init tries again
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
