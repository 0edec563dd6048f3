#!/bin/sh
# What the emulated machine does at its start, run by busybox's init: prepares itself and runs incusd.
# With `clara.seed` on the kernel's command line, once, while its disk is made: gives incusd its pool, its profiles and
# the guest's image, says `machine: seeded`, and ends. Without: takes the certificates that it was handed.
export PATH=/usr/libexec/incus:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
handed=/sys/firmware/qemu_fw_cfg/by_name/opt/clara-sandbox
say() { echo "machine: $* ($(cut -d ' ' -f 1 /proc/uptime) s)"; }
api() { path=$1 && shift && curl -sS --unix-socket /var/lib/incus/unix.socket "$@" "http://incus$path"; }
finish() {
  say "$1"
  busybox poweroff -f
}

mount -o remount,rw /
mkdir -p /dev/pts /dev/shm /run/lock
ln -sfn /proc/self/fd /dev/fd
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs -o mode=0755 tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/lock /run/incus
for module in kvm_amd vhost_vsock loop btrfs tun virtio_net virtio_rng qemu_fw_cfg; do
  modprobe "$module" || say "no module $module"
done
hostname machine
ip link set lo up
for device in /sys/class/net/e*; do
  [ -e "$device" ] || continue # while the disk is made there is none
  ip link set "${device##*/}" up
  ip address add 10.0.2.15/24 dev "${device##*/}" # where QEMU's user network sends what is forwarded
done
[ -e /dev/kvm ] || finish "failed: no /dev/kvm, so the emulated processor has no SVM"
[ -e /dev/vhost-vsock ] || finish "failed: no /dev/vhost-vsock"
say "prepared"

for file in server.crt server.key; do
  [ ! -e "$handed/$file" ] || install -m 0600 "$handed/$file/raw" "/var/lib/incus/$file"
done
setsid incusd --group=root --logfile=/var/log/incusd.log </dev/null &
tries=0
until api /1.0 2>/dev/null | grep -q '"auth":"trusted"'; do
  kill -0 $! 2>/dev/null || finish "failed: incusd ended at its start"
  tries=$((tries + 1))
  [ $tries -lt 1200 ] || finish "failed: incusd does not answer"
  sleep 0.25
done
say "incusd answers"

if ! grep -qw clara.seed /proc/cmdline; then
  certificate=$(grep -v CERTIFICATE "$handed/client.crt/raw" | tr -d '\n')
  api /1.0/certificates -X POST -d "{\"type\": \"client\", \"name\": \"test\", \"certificate\": \"$certificate\"}"
  say "ready"
  exit
fi

seed() {
  # The guest's kernel is handed over by QEMU, as UEFI does not start under this emulation; and devices that no test has
  # a use for are left out, as the guest looks at each one's registers, at a millisecond a look.
  useless="qemu_gpu qemu_usb qemu_spice-usb1 qemu_spice-usb2 qemu_spice-usb3 qemu_keyboard qemu_tablet qemu_pcie6
    qemu_pcie7 qemu_pcie8 qemu_pcie9 qemu_pcie10 qemu_pcie11"
  incus admin init --preseed <<END || return 1
config: { core.https_address: ":8443" }
storage_pools: [{ name: default, driver: btrfs, config: { size: 8GiB } }]
profiles:
- name: default
  devices: { root: { type: disk, path: /, pool: default } }
- name: clara-vm
  config:
    security.secureboot: "false"
    raw.qemu: >-
      -kernel /srv/guest/vmlinux -initrd /srv/guest/initrd -append "console=ttyS0 quiet mitigations=off nokaslr
      tsc=reliable noxsave audit=0 rcupdate.rcu_expedited=1 random.trust_cpu=on panic=-1"
    raw.qemu.conf: |
$(for device in $useless; do printf '      [device "%s"]\n' "$device"; done)
  devices: { root: { type: disk, path: /, pool: default } }
END
  say "importing the guest's image"
  incus image import /srv/seed/metadata.tar /srv/seed/rootfs.qcow2 --alias clara-sandbox-test-vm </dev/null >/dev/null &&
    say "unpacking it" &&
    # The first instance has the pool unpack the image, once for all.
    incus init clara-sandbox-test-vm first --vm --profile clara-vm </dev/null >/dev/null &&
    incus delete first && incus admin shutdown
}
seed || finish "failed: incusd did not take what it needs"
rm -r /srv/seed
umount -a -r 2>/dev/null
mount -o remount,ro / || finish "failed: the disk cannot be left clean"
finish seeded
