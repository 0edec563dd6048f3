#!/bin/sh
# An Incus engine for tests in which virtual machines run: an emulated machine, as the real one may have no KVM, nor the
# kernel's vhost_vsock. In it, a kernel of its own, incusd, and its VMs; all that is slow, and nothing of it is faked.
#   incus-vm.sh up [--https PORT] [--cpus 1]   start it (a running one stays), in half a minute; minutes the first time
#   incus-vm.sh down [--purge]      stop it, and forget what it has stored; --purge its folder too
#   incus-vm.sh env                 shell lines that point at it: eval "$(tests/engines/incus-vm.sh env)"
#   incus-vm.sh pid                 the process id of the emulator
# Each takes --dir DIR (default: CSB_ENGINE_DIR, else a folder in the user's cache); two folders are two engines.
# The API is served over HTTPS on 127.0.0.1 (--https says where, else at any free port) to the client whose certificate is
# in CSB_TEST_INCUS_VM_CERTS, which the incus client takes for its configuration: INCUS_CONF=… incus list vm:
# A VM needs the profile CSB_TEST_INCUS_VM_PROFILE, with which it boots without UEFI.
# The machine runs on a throw-away copy of its disk: killed, it leaves nothing. A root shell in it is behind the socket
# shell.sock in its folder (socat -,rawer,escape=0x1d UNIX-CONNECT:…). Needs root, and asks sudo for it.
. "$(dirname "$0")/../../script/lib.sh"
root=$(cd "$root/.." && pwd)
. "$root/tests/engines/processes.sh"
. "$root/tests/engines/engine_folder.sh"
. "$root/tests/engines/test_image.sh"
. "$root/tests/engines/incus_vm_disk.sh"

cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/clara-sandbox-tests
dir=${CSB_ENGINE_DIR:-$cache/incus-vm}
action=${1:-}
[ $# -eq 0 ] || shift
listen='' cpus=2 purge='' given="$*"
while [ $# -gt 0 ]; do
  case "$1" in
    --dir) dir=${2:?--dir needs a folder} && shift ;;
    --https) listen=${2:?--https needs a port} && shift ;;
    --cpus) cpus=${2:?--cpus needs a number} && shift ;;
    --purge) purge=1 ;;
    *) die "unknown option '$1'" "see the first lines of tests/engines/incus-vm.sh" ;;
  esac
  shift
done
folder_check 90
case "$listen" in *[!0-9]*) die "--https takes a port, not '$listen'" ;; esac
case "$cpus" in [1-8]) ;; *) die "--cpus takes a number from 1 to 8, not '$cpus'" ;; esac
case "$action" in up | down | env | pid) ;; *) die "unknown action '$action'" "use: incus-vm.sh up|down|env|pid" ;; esac

# shellcheck disable=SC2086 # none of the options has a blank
folder_as_root "$action" $given
# shellcheck disable=SC2034 # for engine_folder.sh
group=${CSB_ENGINE_GROUP:-0}

machine_pid() { pid=$(stored "$dir/qemu.pid") && is "$pid" "$dir/qemu.pid" && echo "$pid"; }
port() { sed -n 's/^https=//p' "$dir/options"; }
machine_ready() {
  curl -sS --max-time 20 --cacert "$dir/certs/server.crt" --cert "$dir/certs/client.crt" --key "$dir/certs/client.key" \
    "https://127.0.0.1:$(port)/1.0" 2>"$dir/curl.err" | grep -q '"auth":"trusted"'
}

prepare_folder() {
  umask 022
  folder_take
}

# Who the machine is and whom it trusts; it is handed both at its start.
prepare_certificates() {
  [ ! -e "$dir/certs" ] || return 0
  rm -rf "$dir/certs.new" && mkdir "$dir/certs.new"
  for who in server client; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -days 3650 -subj "/CN=clara-sandbox-test-$who" \
      -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" -addext "extendedKeyUsage=${who}Auth" \
      -keyout "$dir/certs.new/$who.key" -out "$dir/certs.new/$who.crt" 2>"$dir/openssl.log" </dev/null ||
      die "no certificate for the $who" "$(tail -n 5 "$dir/openssl.log")"
  done
  mkdir "$dir/certs.new/servercerts"
  cp "$dir/certs.new/server.crt" "$dir/certs.new/servercerts/vm.crt"
  mv "$dir/certs.new" "$dir/certs"
}

# What the incus client, and who reads its configuration, must know besides.
prepare_client() {
  printf 'remotes:\n  vm: { addr: "https://127.0.0.1:%s", protocol: incus, auth_type: tls, public: false }\n' "$(port)" \
    >"$dir/certs/config.yml"
  chgrp -R "$group" "$dir/certs"
  chmod -R u=rwX,g=rX,o= "$dir/certs"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

start() {
  prepare_disk 9>&-
  prepare_certificates
  echo "https=${listen:-$(free_port)}" >"$dir/options"
  prepare_client
  rm -f "$dir/qemu.pid" "$dir/serial.log"
  handed=name=opt/clara-sandbox
  (
    export TMPDIR="$dir" # of the copy, which has no name there
    run_machine "$made" on '' "file:$dir/serial.log" -pidfile "$dir/qemu.pid" \
      -serial "unix:$dir/shell.sock,server=on,wait=off" \
      -netdev "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:$(port)-10.0.2.15:8443" -device virtio-net-pci,netdev=net \
      -fw_cfg "$handed/server.crt,file=$dir/certs/server.crt" -fw_cfg "$handed/server.key,file=$dir/certs/server.key" \
      -fw_cfg "$handed/client.crt,file=$dir/certs/client.crt"
  ) </dev/null >"$dir/qemu.log" 2>&1 9>&- &
  started=$! tries=0
  until machine_ready; do
    kill -0 "$started" 2>/dev/null ||
      die "the emulated machine ended at its start" "$(tail -n 5 "$dir/qemu.log")" "$(tail -n 15 "$dir/serial.log")"
    tries=$((tries + 1))
    [ $tries -lt 600 ] || die "incusd in the emulated machine does not answer" "$(tail -n 15 "$dir/serial.log")" \
      "$(stored "$dir/curl.err")"
    sleep 0.5
  done
}

up() {
  prepare_folder
  if ! have qemu-system-x86_64 || ! have debootstrap || ! have curl || ! have openssl || ! have mkfs.ext4; then
    "$root/script/deps" vm
  fi
  if ! machine_pid >/dev/null; then
    start
    return
  fi
  [ -z "$listen" ] || [ "$listen" = "$(port)" ] ||
    die "this engine listens on 127.0.0.1:$(port)" "stop it first: incus-vm.sh down --dir $dir"
  machine_ready || die "the engine of $dir does not answer" "stop it: incus-vm.sh down --dir $dir"
}

down() {
  folder_ours || return 0
  prepare_folder
  # Not by the pid file: one that was interrupted at its start has none yet.
  for pid in $(with_words "$dir/qemu.pid" -pidfile); do stop_process "$pid" 20; done
  rm -f "$dir/options" "$dir/qemu.pid"
  if [ -n "$purge" ]; then rm -rf --one-file-system "$dir"; fi
}

case "$action" in
  up) up ;;
  down) down ;;
  pid) machine_pid || die "no engine runs in $dir" "start one: incus-vm.sh up" ;;
  env)
    machine_pid >/dev/null || die "no engine runs in $dir" "start one: incus-vm.sh up"
    printf 'export CSB_TEST_INCUS_VM_URL=https://127.0.0.1:%s\n' "$(port)"
    printf 'export CSB_TEST_INCUS_VM_CERTS=%s CSB_TEST_INCUS_VM_REMOTE=vm\n' "$dir/certs"
    printf 'export CSB_TEST_INCUS_VM_IMAGE=clara-sandbox-test-vm CSB_TEST_INCUS_VM_PROFILE=clara-vm\n'
    printf 'export CSB_TEST_INCUS_VM_POOL=default\n'
    ;;
esac
