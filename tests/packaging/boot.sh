#!/bin/sh
# boot.sh WORK SOURCE: makes of WORK/root a machine that boots systemd, emulates it (QEMU without KVM, the kernel of
# tests/engines/incus-vm.sh), and has booted.py use the package there.
work=$1 source=$2
. "$source/script/lib.sh"
root=$source
cache=$(dirname "$(dirname "$work")")
machine_work=$work
. "$source/tests/engines/processes.sh"
. "$source/tests/engines/test_image.sh"
. "$source/tests/engines/incus_vm_disk.sh"
for tool in qemu-system-x86_64 mkfs.ext4; do have $tool || die "$tool is missing" "run script/deps vm"; done
prepare_disk # sets `made`: a kernel, its modules on a disk, and an initrd
work=$machine_work

say "making it a machine with systemd"
"$source/tests/packaging/enter.sh" "$work" "$source" boot_setup.py
mkdir "$work/disk"
# shellcheck disable=SC2016 # for the inner shell
unshare --mount sh -euc 'mount -o loop,ro,noload "$1/disk.raw" "$2/disk" && cp -a "$2/disk/usr/lib/modules" "$2/root/usr/lib/"' \
  sh "$made" "$work"
chroot "$work/root" depmod "$(ls "$work/root/usr/lib/modules")"
truncate -s 3G "$work/disk.raw"
mkfs.ext4 -q -O ^has_journal -E lazy_itable_init=1 -d "$work/root" "$work/disk.raw" 2>"$work/log" || die "no disk" "$(cat "$work/log")"
ln -s "$made/vmlinux" "$made/initrd" "$work/"

say "booting it: minutes"
serial=$work/serial.log
(
  dir=$work
  TMPDIR=$dir run_machine "$dir" off "systemd.show_status=0 systemd.log_level=warning" "file:$serial"
) >"$work/log" 2>&1 </dev/null &
machine=$!
timeout 1200 tail --pid=$machine -s 0.5 -f /dev/null || stop_process $machine 10
sed -n 's/\r$//; s/^.*booted: //p' "$serial"
grep -q 'booted: all is well' "$serial" || die "the package does not work under systemd" "$(tail -n 60 "$serial")" "$(tail -n 5 "$work/log")"
