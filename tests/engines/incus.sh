#!/bin/sh
# An Incus engine for tests: a private incusd with everything of its own, beside any that the machine runs.
#   incus.sh up [--pool SIZE] [--https PORT] [--init] [--no-image]   start it (a running one stays)
#   incus.sh down [--forget | --purge]   stop it and all that it started; --forget deletes all that it has stored,
#                               --purge its folder too
#   incus.sh env                shell lines that point at it: eval "$(tests/engines/incus.sh env)"
#   incus.sh pid                the process id of its incusd
# Each takes --dir DIR (default: CSB_ENGINE_DIR, else a folder in the user's cache); two folders are two engines.
# --pool is the size of its btrfs (8GiB, taken as it fills), to see a full one; --https serves 127.0.0.1 of the machine
# too; --init adds an image whose own init runs. The instances live on when incusd is killed, and `up` starts it again
# over them. Needs root, and asks sudo for it.
. "$(dirname "$0")/../../script/lib.sh"
root=$(cd "$root/.." && pwd)
. "$root/tests/engines/processes.sh"
. "$root/tests/engines/engine_folder.sh"
. "$root/tests/engines/test_image.sh"
. "$root/tests/engines/incus_member.sh"

cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/clara-sandbox-tests
dir=${CSB_ENGINE_DIR:-$cache/incus}
action=${1:-}
[ $# -eq 0 ] || shift
pool=8GiB listen='' init='' image=1 forget='' purge='' given="$*"
while [ $# -gt 0 ]; do
  case "$1" in
    --dir) dir=${2:?--dir needs a folder} && shift ;;
    --pool) pool=${2:?--pool needs a size} && shift ;;
    --https) listen=${2:?--https needs a port} && shift ;;
    --init) init=1 ;;
    --no-image) image='' ;;
    --forget) forget=1 ;;
    --purge) purge=1 ;;
    *) die "unknown option '$1'" "see the first lines of tests/engines/incus.sh" ;;
  esac
  shift
done
folder_check 60
case "$action" in up | down | env | pid) ;; *) die "unknown action '$action'" "use: incus.sh up|down|env|pid" ;; esac

# shellcheck disable=SC2086 # none of the options has a blank
folder_as_root "$action" $given
# shellcheck disable=SC2034 # both are for incus_member.sh
m=$dir group=${CSB_ENGINE_GROUP:-0}
reference=clara-sandbox-test

prepare_folder() {
  umask 022 # instances' users find a way through its folders
  folder_take
}

# The pool, and the profile that `incus launch` uses: a container without a network.
prepare_pool() {
  if ! member_api /1.0/storage-pools/default | grep -q '"name":"default"'; then
    member_do /1.0/storage-pools -X POST -d "{\"name\": \"default\", \"driver\": \"btrfs\", \"config\": {\"size\": \"$pool\"}}"
  fi
  member_do /1.0/profiles/default -X PATCH -d '{"devices": {"root": {"type": "disk", "path": "/", "pool": "default"}}}'
}

up() {
  prepare_folder
  options="pool=$pool https=$listen"
  if member_pid >/dev/null; then
    [ "$(stored "$dir/options")" = "$options" ] ||
      die "this engine runs with other options: $(stored "$dir/options")" "stop it first: incus.sh down --dir $dir"
    member_ready || die "the incusd of $dir does not answer" "stop it: incus.sh down --dir $dir"
  else
    echo "$options" >"$dir/options"
  fi
  member_start # what of it does not run
  member_await
  [ -z "$listen" ] || member_https "$listen" 127.0.0.1
  prepare_pool
  if [ -n "$image" ]; then
    prepare_tar
    member_image "$reference"
    if [ -n "$init" ]; then
      more_packages=systemd-sysv
      prepare_tar
      member_image "$reference-init"
    fi
  fi
}

down() {
  folder_ours || return 0
  prepare_folder
  member_quiesce || :
  member_stop
  rm -f "$dir/options"
  if [ -n "$forget" ]; then rm -rf --one-file-system "$dir/incus"; fi
  if [ -n "$purge" ]; then rm -rf --one-file-system "$dir"; fi
}

case "$action" in
  up) up ;;
  down) down ;;
  pid) member_pid || die "no engine runs in $dir" "start one: incus.sh up" ;;
  env)
    member_pid >/dev/null || die "no engine runs in $dir" "start one: incus.sh up"
    printf 'export INCUS_DIR=%s CSB_TEST_INCUS_SOCKET=%s\n' "$dir/incus" "$dir/incus/unix.socket"
    printf 'export CSB_TEST_INCUS_IMAGE=%s CSB_TEST_INCUS_POOL=default\n' "$reference"
    printf 'export CSB_TEST_INCUS_NETNS=%s\n' "$dir/ns/net"
    listen=$(sed -n 's/.* https=//p' "$dir/options")
    [ -z "$listen" ] || printf 'export CSB_TEST_INCUS_HTTPS=127.0.0.1:%s\n' "$listen"
    ;;
esac
