#!/bin/sh
# enter.sh WORK SOURCE PROGRAM: runs a program of tests/packaging in the machine WORK/root, as its init: with processes,
# mounts, control groups and host name of its own. Its root is the root of its mount namespace: in a plain chroot no user
# namespace can be made.
set -eu
work=$1 source=$2 program=$3
cache=$(dirname "$work")
mkdir -p "$work/root/packages" "$work/root/tests" "$work/root/old"
# shellcheck disable=SC2016 # for the inner shell
exec unshare --mount --pid --fork --kill-child --uts --ipc sh -euc '
  work=$1 source=$2 cache=$3 program=$4
  cd "$work/root"
  mount --make-rprivate /
  mount --bind . . && cd "$work/root"
  mount --bind "$work/debs" packages
  mount --bind "$source/tests/packaging" tests
  mount --bind "$cache/archives" var/cache/apt/archives
  mount -t proc proc proc
  mount --rbind /sys sys
  mount --rbind /dev dev
  mount -t tmpfs -o mode=755 run run
  mount -t tmpfs -o mode=1777 tmp tmp
  cat /etc/resolv.conf >etc/resolv.conf
  hostname fresh
  pivot_root . old
  umount -l /old
  exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C HOME=/root TERM=dumb DEBIAN_FRONTEND=noninteractive \
    ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} /bin/sh /tests/start.sh "$program"
' sh "$work" "$source" "$cache" "$program"
