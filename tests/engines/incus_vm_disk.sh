# Shared by incus-vm.sh: sourced, never run. The emulated machine, made of Debian's packages once and then cached:
#   disk.raw   its root filesystem: incusd with a pool, profiles and the guest's image. Machines run on throw-away copies
#   vmlinux, initrd   its kernel, unpacked (an emulated processor takes seconds for that), and what mounts the disk
# The scripts that run inside are in tests/engines/incus-vm.
inside_scripts=$root/tests/engines/incus-vm
machine_modules="virtio_pci virtio_blk crc32c_generic ext4"
guest_modules="virtio_pci virtio_scsi sd_mod crc32c_generic ext4 virtio_console 9pnet_virtio 9p virtiofs
  vmw_vsock_virtio_transport virtio_net virtio_balloon virtio_rng button evdev"
# Without gdisk: where Incus finds it, it writes a partition table over the guest's filesystem, which has the whole disk.
machine_packages="busybox-static btrfs-progs cpio curl e2fsprogs iproute2 kmod python3-minimal"
backports_packages="incus-base incus-client incus-agent qemu-system-x86 qemu-system-modules-spice qemu-utils ovmf seabios"
mirror=${CSB_DEBIAN_MIRROR:-http://deb.debian.org/debian}

# Sets `made`, the cached folder of what is above; makes it where it is missing.
prepare_disk() {
  prepare_tar
  made_key=$({ cat "$inside_scripts"/* "$root/tests/engines/incus_vm_disk.sh" && echo "$key $mirror"; } |
    sha256sum | cut -c 1-16)
  made=$cache/incus-vm-image/$made_key
  if [ -e "$made" ]; then return 0; fi
  exec 8>"$cache/incus-vm-image.lock" # two engines at once make it once
  flock -w 1800 8 || die "another incus-vm.sh has been making the emulated machine for half an hour"
  if [ -e "$made" ]; then return 0; fi
  say "making the emulated machine from Debian packages: some minutes, once"
  mkdir -p "$cache/incus-vm-image"
  rm -rf --one-file-system "$cache/incus-vm-image"/* # a machine that runs on an older one has it open
  work=$(mktemp -d "$cache/incus-vm-image/making-XXXXXX")
  machine=$work/machine guest=$work/guest log=$cache/incus-vm-image.log
  : >"$log"
  umask 022
  mkdir "$work/made" "$guest"
  quietly debootstrap --variant=minbase bookworm "$machine" "$mirror"
  add_packages
  add_kernel
  make_guest
  make_machine
  seed_machine
  mv "$work/made" "$made"
  rm -rf --one-file-system "$work"
  exec 8>&-
}

quietly() { "$@" >>"$log" 2>&1 </dev/null || die "the machine cannot be made: this step failed: $*" "$(tail -n 20 "$log")"; }
in_machine() {
  quietly env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C HOME=/root DEBIAN_FRONTEND=noninteractive \
    ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} chroot "$machine" "$@"
}

# The kernel is unpacked, not installed: that would make an initrd which nothing here uses.
add_packages() {
  printf '#!/bin/sh\nexit 101\n' >"$machine/usr/sbin/policy-rc.d"
  chmod 755 "$machine/usr/sbin/policy-rc.d"
  printf 'path-exclude=/usr/share/%s/*\n' doc man locale info lintian >"$machine/etc/dpkg/dpkg.cfg.d/machine"
  echo force-unsafe-io >>"$machine/etc/dpkg/dpkg.cfg.d/machine"
  # shellcheck disable=SC2086 # lists of names
  in_machine apt-get install -y -q --no-install-recommends $machine_packages
  # shellcheck disable=SC2016 # for the inner shell
  in_machine sh -euc '
    mkdir /kernel && cd /kernel
    apt-get download "$(apt-cache depends linux-image-amd64 | sed -n "s/^ *Depends: //p")"
    dpkg-deb -x ./*.deb .
    version=$(ls lib/modules)
    cd lib/modules/*/kernel && rm -rf drivers/gpu drivers/media drivers/net/wireless drivers/net/ethernet \
      drivers/infiniband drivers/staging drivers/iio drivers/hwmon drivers/usb sound
    mv /kernel/lib/modules /lib/modules
    depmod "$version"'
  # Incus shares a volume with a machine through virtiofsd; what QEMU does without it may not read one. Debian 12 has
  # the program with its older QEMU only.
  # shellcheck disable=SC2016
  in_machine sh -euc '
    mkdir /older && cd /older
    apt-get download qemu-system-common
    dpkg-deb -x ./*.deb .
    mkdir -p /usr/libexec
    install usr/lib/qemu/virtiofsd /usr/libexec/virtiofsd.older
    cat >/usr/libexec/virtiofsd <<"END"
#!/bin/sh
# Says to the older one what the one that Incus knows is told.
for word; do
  shift
  case "$word" in
    --shared-dir=*) set -- "$@" -o "source=${word#*=}" ;;
    --cache=never) set -- "$@" -o cache=none ;;
    *) set -- "$@" "$word" ;;
  esac
done
exec /usr/libexec/virtiofsd.older "$@"
END
    chmod 755 /usr/libexec/virtiofsd
    rm -rf /older
    apt-get install -y -q --no-install-recommends libcap-ng0 libnuma1 libseccomp2 libglib2.0-0'
  echo "deb $mirror bookworm-backports main" >"$machine/etc/apt/sources.list.d/backports.list"
  in_machine apt-get update -q
  # shellcheck disable=SC2086
  in_machine apt-get install -y -q --no-install-recommends -t bookworm-backports $backports_packages
  in_machine apt-get clean
  : >"$machine/etc/resolv.conf" # this machine's own; the emulated one has nobody to ask
  rm -rf "$machine"/var/lib/apt/lists/*
}

add_kernel() {
  version=$(ls "$machine/lib/modules")
  # A compressed kernel is a small program and the real one, in xz.
  quietly python3 -c '
import lzma, sys
packed = open(sys.argv[1], "rb").read()
kernel = lzma.LZMADecompressor().decompress(packed[packed.index(b"\xfd7zXZ\0"):])
assert kernel[:4] == b"\x7fELF", "no ELF in " + sys.argv[1]
open(sys.argv[2], "wb").write(kernel)' "$machine/kernel/boot/vmlinuz-$version" "$work/made/vmlinux"
  rm -r "$machine/kernel"
}

make_initrd() { # DEVICE OUT MODULE…
  device=$1 out=$2 tree=$machine/root/initrd && shift 2
  mkdir -p "$tree/bin" "$tree/lib" "$tree/proc" "$tree/sys" "$tree/dev" "$tree/newroot"
  cp "$machine/bin/busybox" "$tree/bin/busybox"
  ln -s busybox "$tree/bin/sh"
  install -m 0755 "$inside_scripts/initrd.sh" "$tree/init"
  echo "$device" >"$tree/root-device"
  for module in "$@"; do
    chroot "$machine" modprobe -S "$version" --show-depends "$module" || die "the kernel $version has no module $module"
  done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' >"$work/modules"
  while read -r file; do
    cp "$machine$file" "$tree/lib/"
    echo "${file##*/}"
  done <"$work/modules" >"$tree/modules"
  in_machine sh -euc 'cd /root/initrd && find . | cpio -o -H newc -R 0:0 >/root/initrd.cpio'
  mv "$machine/root/initrd.cpio" "$out"
  rm -r "$tree"
}

# The test image of the other engines, with an init of few words: the whole guest is emulated twice.
make_guest() {
  quietly tar -C "$guest" -xf "$tar"
  cp "$machine/bin/busybox" "$guest/usr/bin/busybox"
  ln -sfn ../bin/busybox "$guest/usr/sbin/init"
  install -m 0755 "$inside_scripts/guest.sh" "$guest/usr/local/sbin/guest"
  install -D -m 0755 "$machine/usr/libexec/incus/incus-agent" "$guest/usr/libexec/incus/incus-agent"
  mkdir -p "$guest/etc/acpi/PWRF" "$guest/var/log"
  printf '#!/bin/sh\nexec /usr/bin/busybox poweroff\n' >"$guest/etc/acpi/PWRF/00000080" # the power button, to acpid
  chmod 0755 "$guest/etc/acpi/PWRF/00000080"
  cat >"$guest/etc/inittab" <<'END'
::sysinit:/usr/local/sbin/guest
::respawn:/usr/local/sbin/guest agent
::respawn:/usr/bin/busybox acpid -f -c /etc/acpi -l /dev/null
::shutdown:/usr/bin/busybox umount -a -r
END
  mkdir -p "$machine/srv/guest" "$machine/srv/seed"
  # shellcheck disable=SC2086 # a list of names
  make_initrd /dev/sda "$machine/srv/guest/initrd" $guest_modules
  cp "$work/made/vmlinux" "$machine/srv/guest/vmlinux"
  truncate -s 2G "$machine/srv/seed/rootfs.raw"
  quietly mkfs.ext4 -q -O ^has_journal -E lazy_itable_init=1 -d "$guest" "$machine/srv/seed/rootfs.raw"
  in_machine qemu-img convert -f raw -O qcow2 /srv/seed/rootfs.raw /srv/seed/rootfs.qcow2
  rm "$machine/srv/seed/rootfs.raw"
  printf 'architecture: x86_64\ncreation_date: 1\nproperties: { clara-sandbox.key: "%s" }\n' "$made_key" \
    >"$work/metadata.yaml"
  tar -C "$work" -cf "$machine/srv/seed/metadata.tar" metadata.yaml
}

make_machine() {
  # shellcheck disable=SC2086
  make_initrd /dev/vda "$work/made/initrd" $machine_modules
  ln -sfn ../bin/busybox "$machine/usr/sbin/init"
  install -m 0755 "$inside_scripts/machine.sh" "$machine/usr/local/sbin/machine"
  cat >"$machine/etc/inittab" <<'END'
::once:/usr/local/sbin/machine
ttyS1::respawn:/bin/bash --login
END
  truncate -s 16G "$work/made/disk.raw"
  quietly mkfs.ext4 -q -O ^has_journal -E lazy_itable_init=1 -d "$machine" "$work/made/disk.raw"
}

# Runs the machine once on the disk itself, where it does the rest. It ends by itself, having written all.
seed_machine() {
  say "starting the emulated machine once, to import the guest's image"
  TMPDIR=$work run_machine "$work/made" off clara.seed "file:$work/serial.log" >>"$log" 2>&1 </dev/null 8>&- &
  timeout 900 tail --pid=$! -s 0.2 -f /dev/null || { stop_process $! 10 && echo "no end after 900 s" >>"$log"; }
  grep -q '^machine: seeded' "$work/serial.log" ||
    die "the machine cannot be made: it did not take its guest's image" "$(tail -n 5 "$log")" "$(tail -n 20 "$work/serial.log")"
}

# The machine of the folder $1. $2: on for a throw-away copy of its disk, $3: for its kernel, $4: its serial port's output.
# An AMD processor as emulated has virtualization of its own. With two, a VM's own QEMU was seen to crash (aio_co_wake of
# nothing) in one boot of fifteen; with one, all takes half as long again.
run_machine() {
  of=$1 copy=$2 words=$3 serial=$4 && shift 4
  exec setsid nice -n 5 qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot -M q35,smm=off \
    -accel tcg,thread=multi,tb-size=1024 -cpu EPYC,+svm,+npt -smp "${cpus:-2}" -m 4G \
    -kernel "$of/vmlinux" -initrd "$of/initrd" \
    -append "console=ttyS0 quiet mitigations=off nokaslr tsc=reliable lpj=4000000 random.trust_cpu=on panic=-1 $words" \
    -serial "$serial" -device virtio-rng-pci \
    -drive "if=none,id=disk,file=$of/disk.raw,format=raw,cache=unsafe,snapshot=$copy" -device virtio-blk-pci,drive=disk "$@"
}
