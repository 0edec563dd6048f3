#!/bin/sh
# A Docker engine for tests: a private dockerd with everything of its own, beside any that the machine runs.
#   docker.sh up [--live-restore] [--data-on SIZE] [--tls PORT] [--no-image]   start it (a running one stays)
#   docker.sh down [--forget | --purge]   stop it and all that it started; --forget deletes its containers, volumes and
#                                networks too, --purge also its images
#   docker.sh env                shell lines that point at it: eval "$(tests/engines/docker.sh env)"
#   docker.sh pid                the process id of its dockerd
# Each takes --dir DIR (default: CSB_ENGINE_DIR, else a folder in the user's cache); two folders are two engines.
# --data-on keeps images and containers on a small ext4 of that size (400m), to see a full disk.
# After a dockerd was killed, `up` starts it again over what is there. Needs root, and asks sudo for it.
. "$(dirname "$0")/../../script/lib.sh"
root=$(cd "$root/.." && pwd)
. "$root/tests/engines/processes.sh"
. "$root/tests/engines/engine_folder.sh"
. "$root/tests/engines/test_image.sh"

cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/clara-sandbox-tests
dir=${CSB_ENGINE_DIR:-$cache/docker}
action=${1:-}
[ $# -eq 0 ] || shift
live='' data_on='' tls='' image=1 forget='' purge='' given="$*"
while [ $# -gt 0 ]; do
  case "$1" in
    --dir) dir=${2:?--dir needs a folder} && shift ;;
    --live-restore) live=1 ;;
    --data-on) data_on=${2:?--data-on needs a size} && shift ;;
    --tls) tls=${2:?--tls needs a port} && shift ;;
    --no-image) image='' ;;
    --forget) forget=1 ;;
    --purge) purge=1 ;;
    *) die "unknown option '$1'" "see the first lines of tests/engines/docker.sh" ;;
  esac
  shift
done
folder_check 60
case "$action" in up | down | env | pid) ;; *) die "unknown action '$action'" "use: docker.sh up|down|env|pid" ;; esac

# shellcheck disable=SC2086 # none of the options has a blank
folder_as_root "$action" $given
group=${CSB_ENGINE_GROUP:-0} # who may use the socket, beside root
run=$dir/run socket=$dir/run/docker.sock containerd=$dir/run/exec/containerd/containerd.sock
reference=clara-sandbox-test:latest
cgroup=clara-sandbox-$(printf %s "$dir" | sha256sum | cut -c 1-12)

dockerd_pid() { pid=$(stored "$run/dockerd.pid") && is "$pid" "--exec-root=$run/exec" && echo "$pid"; }
containerd_pid() {
  pid=$(stored "$run/exec/containerd/containerd.pid") && is "$pid" "$run/exec/containerd/containerd.toml" && echo "$pid"
}
api() { path=$1 && shift && curl -sS --max-time 10 --unix-socket "$socket" "$@" "http://docker$path"; }

prepare_folder() {
  umask 077
  folder_take
  mkdir -p "$run"
  chown "0:$group" "$run"
  chmod 0710 "$run"
}

prepare_data() {
  mkdir -p "$dir/data"
  attached=$([ ! -e "$dir/data.img" ] || losetup -nO NAME -j "$dir/data.img")
  if [ -z "$data_on" ]; then
    [ -z "$attached" ] || die "the data of this engine is on a filesystem of its own" "docker.sh down --dir $dir"
  elif [ -z "$attached" ]; then
    if [ ! -e "$dir/data.img" ]; then
      truncate -s "$data_on" "$dir/data.img"
      mkfs.ext4 -q -m 0 "$dir/data.img"
    fi
    mount -o loop "$dir/data.img" "$dir/data"
  fi
}

# The network namespace outlives a dockerd, as the containers of --live-restore do.
prepare_network() {
  findmnt -M "$dir/netns" >/dev/null && return 0
  : >"$dir/netns"
  unshare --net="$dir/netns" ip link set lo up
}

# A certificate authority of this engine's own; $dir/tls is what DOCKER_CERT_PATH wants (ca.pem cert.pem key.pem).
prepare_tls() {
  [ -n "$tls" ] && [ ! -e "$dir/tls/ready" ] || return 0
  mkdir -p "$dir/tls"
  (
    cd "$dir/tls"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=$cgroup authority" \
      -keyout ca-key.pem -out ca.pem
    sign() { # NAME-PREFIX SUBJECT EXTENSION…
      openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" -keyout "$1key.pem" -out "$1csr.pem"
      printf '%s\n' "$3" ${4:+"$4"} >"$1ext"
      openssl x509 -req -in "$1csr.pem" -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 3650 -extfile "$1ext" \
        -out "$1cert.pem"
    }
    sign server- localhost extendedKeyUsage=serverAuth subjectAltName=DNS:localhost,IP:127.0.0.1
    sign '' client extendedKeyUsage=clientAuth
  ) >"$dir/tls.log" 2>&1 </dev/null || die "no certificates for --tls" "$(tail -n 5 "$dir/tls.log")"
  chgrp -R "$group" "$dir/tls"
  chmod -R u=rwX,g=rX,o= "$dir/tls"
  : >"$dir/tls/ready"
}

start() {
  if ! have dockerd || ! have debootstrap || ! have iptables || ! have curl; then "$root/script/deps" docker; fi
  prepare_data
  prepare_network
  prepare_tls
  dockerd_pid >/dev/null || rm -f "$run/dockerd.pid"
  containerd_pid >/dev/null || rm -f "$run/exec/containerd/containerd.pid"
  # The machine's own configuration is for the machine's own engine. Of other runtimes, those that are installed;
  # gVisor on ptrace, which needs no KVM, and with its loopback only: older ones misjudge newer kernels' namespaces.
  # With `-sockets`, its sandboxes may connect to unix sockets of the host, which they otherwise may not.
  runtimes=$(
    ! have crun || echo '"crun": {"path": "crun"}'
    gvisor='"--platform=ptrace", "--network=none"'
    ! have runsc || echo "\"runsc\": {\"path\": \"runsc\", \"runtimeArgs\": [$gvisor]}"
    ! have runsc || echo "\"runsc-sockets\": {\"path\": \"runsc\", \"runtimeArgs\": [$gvisor, \"--host-uds=open\"]}"
  )
  printf '{"runtimes": {%s}}\n' "$(printf %s "$runtimes" | tr '\n' ,)" >"$dir/daemon.json"
  set -- dockerd "--config-file=$dir/daemon.json" "--data-root=$dir/data" "--exec-root=$run/exec" \
    "--pidfile=$run/dockerd.pid" "--group=$group" "--host=unix://$socket" ${live:+--live-restore}
  # With systemd's driver, which dockerd chooses by itself where it fits, a parent would have to be a slice.
  [ -d /run/systemd/system ] || set -- "$@" "--cgroup-parent=/$cgroup"
  [ -z "$tls" ] || set -- "$@" --host=fd:// --tlsverify "--tlscacert=$dir/tls/ca.pem" \
    "--tlscert=$dir/tls/server-cert.pem" "--tlskey=$dir/tls/server-key.pem"
  set -- nsenter "--net=$dir/netns" "$@"
  [ -z "$tls" ] || set -- python3 "$root/tests/engines/listen_fd.py" "$tls" "$@"
  setsid "$@" </dev/null >>"$dir/dockerd.log" 2>&1 9>&- &
  started=$!
  until [ "$(api /_ping 2>/dev/null)" = OK ]; do
    kill -0 "$started" 2>/dev/null || die "dockerd ended at its start" "$(tail -n 15 "$dir/dockerd.log")"
    sleep 0.05
    waited=$((${waited:-0} + 1))
    [ $waited -lt 1200 ] || die "dockerd does not answer" "$(tail -n 15 "$dir/dockerd.log")"
  done
}

prepare_image() {
  prepare_tar
  if api "/images/$reference/json" | grep -qF "\"clara-sandbox.key\":\"$key\""; then return 0; fi
  say "importing the test image"
  query="fromSrc=-&repo=${reference%:*}&tag=${reference#*:}&changes=LABEL%20clara-sandbox.key=$key"
  query="$query&changes=ENV%20PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
  query="$query&changes=WORKDIR%20/workspace&changes=CMD%20%5B%22python3%22%5D"
  api "/images/create?$query" --max-time 300 -X POST -T "$tar" >"$dir/import.log"
  api "/images/$reference/json" | grep -qF "\"clara-sandbox.key\":\"$key\"" ||
    die "the engine did not take the test image" "$(tail -n 3 "$dir/import.log")"
}

up() {
  prepare_folder
  options="live=$live data_on=$data_on tls=$tls"
  if dockerd_pid >/dev/null; then
    [ "$(stored "$dir/options")" = "$options" ] ||
      die "this engine runs with other options: $(stored "$dir/options")" "stop it first: docker.sh down --dir $dir"
    [ "$(api /_ping)" = OK ] || die "the dockerd of $dir does not answer" "stop it: docker.sh down --dir $dir"
  else
    echo "$options" >"$dir/options"
    start
  fi
  [ -z "$image" ] || prepare_image
}

containers() { api "/containers/json$1" 2>/dev/null | grep -oE '(^\[|,)\{"Id":"[0-9a-f]{64}' | grep -oE '[0-9a-f]{64}'; }

down() {
  folder_ours || return 0
  prepare_folder
  # Not by the pid file: a start that was interrupted has not written it yet.
  for pid in $(with_words "--exec-root=$run/exec" "--config-file=$dir/daemon.json"); do
    kill -CONT "$pid" 2>/dev/null || :
    # Killed first, or dockerd waits ten seconds for each that does not heed SIGTERM.
    for id in $(containers ''); do api "/containers/$id/kill" -X POST; done >/dev/null 2>&1 || :
    if [ -n "$forget" ]; then
      for id in $(containers '?all=1'); do api "/containers/$id?force=1&v=1" -X DELETE; done
      # From API 1.42 on only anonymous volumes go unless `all` is asked for, which those before refuse.
      api '/volumes/prune' -X POST
      api '/volumes/prune?filters=%7B%22all%22:%5B%22true%22%5D%7D' -X POST
      api '/networks/prune' -X POST
      api '/images/prune' -X POST # those without a name
    fi >/dev/null 2>&1 || :
    stop_process "$pid" 20
  done
  "$root/tests/engines/registry.sh" down --dir "$dir" 9>&-
  stop_process "$(containerd_pid || :)" 10
  for shim in $(with_words "$containerd" -namespace); do # those of --live-restore, and of a dockerd that was killed
    id=$(tr '\0' '\n' <"/proc/$shim/cmdline" | grep -xE '[0-9a-f]{64}' || :)
    for child in $(ps -o pid= --ppid "$shim"); do kill -KILL "$child" 2>/dev/null || :; done
    kill -KILL "$shim" 2>/dev/null || :
    gone "$shim" 10
    rm -f "/run/containerd/s/$(printf %s "$containerd/moby/$id" | sha256sum | cut -d ' ' -f 1)"
  done
  # Deepest first: containers' overlays lie on the data folder, which may be a mount too.
  findmnt -rno TARGET | awk -v "d=$dir/" 'index($0, d) == 1' | sort -r |
    while read -r target; do umount "$target" || umount -l "$target"; done
  for parent in /sys/fs/cgroup/"$cgroup" /sys/fs/cgroup/*/"$cgroup"; do
    [ ! -d "$parent" ] || find "$parent" -depth -type d -exec rmdir {} + || :
  done
  rm -rf --one-file-system "$run" "$dir/netns" "$dir/options"
  if [ -n "$purge" ]; then rm -rf --one-file-system "$dir"; fi
}

case "$action" in
  up) up ;;
  down) down ;;
  pid) dockerd_pid || die "no engine runs in $dir" "start one: docker.sh up" ;;
  env)
    dockerd_pid >/dev/null || die "no engine runs in $dir" "start one: docker.sh up"
    printf 'export DOCKER_HOST=unix://%s\n' "$socket"
    printf 'export CSB_TEST_DOCKER_HOST=unix://%s CSB_TEST_DOCKER_IMAGE=%s\n' "$socket" "$reference"
    printf 'export CSB_TEST_DOCKER_NETNS=%s\n' "$dir/netns"
    tls=$(sed -n 's/.* tls=//p' "$dir/options")
    [ -z "$tls" ] ||
      printf 'export CSB_TEST_DOCKER_TLS_HOST=tcp://127.0.0.1:%s CSB_TEST_DOCKER_TLS_CERTS=%s\n' "$tls" "$dir/tls"
    ;;
esac
