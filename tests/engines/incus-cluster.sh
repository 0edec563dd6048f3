#!/bin/sh
# An Incus cluster for tests: members that are engines as incus.sh makes them, each with a network namespace for its
# machine, on one bridge. The members' addresses are 10.210.0.1, .2, …, port 8443; their names m1, m2, ….
#   incus-cluster.sh up [N]     start it with N members (3), or those that do not run
#   incus-cluster.sh down [--purge]   stop all; --purge deletes the folder too
#   incus-cluster.sh env        shell lines that point at it
#   incus-cluster.sh pid I      the process id of member I's incusd, to kill or stop it
#   incus-cluster.sh cut I, mend I    take member I's network away, and give it back
# Each takes --dir DIR (default: CSB_ENGINE_DIR, else a folder in the user's cache). Needs root, and asks sudo for it.
# A program that is to reach the addresses runs by `nsenter --net=$CSB_TEST_INCUS_CLUSTER_NETNS`, where the bridge is.
. "$(dirname "$0")/../../script/lib.sh"
root=$(cd "$root/.." && pwd)
. "$root/tests/engines/processes.sh"
. "$root/tests/engines/engine_folder.sh"
. "$root/tests/engines/test_image.sh"
. "$root/tests/engines/incus_member.sh"

cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/clara-sandbox-tests
dir=${CSB_ENGINE_DIR:-$cache/cluster}
action=${1:-} given="$*" number='' purge=''
case "$action" in up | down | env | pid | cut | mend) shift ;; *)
  die "unknown action '$action'" "use: incus-cluster.sh up|down|env|pid|cut|mend" ;; esac
while [ $# -gt 0 ]; do
  case "$1" in
    --dir) dir=${2:?--dir needs a folder} && shift ;;
    --purge) purge=1 ;;
    [1-9]) number=$1 ;;
    *) die "unknown option '$1'" "see the first lines of tests/engines/incus-cluster.sh" ;;
  esac
  shift
done
folder_check 58
# shellcheck disable=SC2086 # none of the words has a blank
folder_as_root $given
# shellcheck disable=SC2034 # for incus_member.sh
group=${CSB_ENGINE_GROUP:-0}
switch=$dir/switch/net
member() { m=$dir/$1; }
numbers() { seq 1 "$(grep -x '[1-9]' "$dir/members" 2>/dev/null || echo 0)"; }
in_switch() { nsenter "--net=$switch" "$@"; }

# The bridge is in a namespace of its own, where no rule that the machine has for what it forwards can be in the way.
prepare_switch() {
  mkdir -p "$dir/switch"
  if findmnt -M "$switch" >/dev/null; then return 0; fi
  : >"$switch"
  unshare "--net=$switch" ip link set lo up
  in_switch ip link add br0 type bridge
  in_switch ip address add 10.210.0.254/24 dev br0
  in_switch ip link set br0 up
}

connect() {
  if nsenter "--net=$m/ns/net" ip link show eth0 >/dev/null 2>&1; then return 0; fi
  ! in_switch ip link show "p$1" >/dev/null 2>&1 || in_switch ip link delete "p$1"
  in_switch ip link add "p$1" master br0 type veth peer name eth0 netns "$m/ns/net"
  in_switch ip link set "p$1" up
  nsenter "--net=$m/ns/net" ip address add "10.210.0.$1/24" dev eth0
  nsenter "--net=$m/ns/net" ip link set eth0 up
}

cli() { inside_member env "INCUS_DIR=/var/lib/incus/$(member_name)" "INCUS_CONF=$m/client" "HOME=$m" incus "$@"; }

# The first member makes the pool, the others join with one of their own. $m/joined tells of the end of either.
found() {
  member_api /1.0/storage-pools/default | grep -q '"name":"default"' ||
    member_do /1.0/storage-pools -X POST -d '{"name": "default", "driver": "btrfs", "config": {"size": "6GiB"}}'
  member_do /1.0/profiles/default -X PATCH -d '{"devices": {"root": {"type": "disk", "path": "/", "pool": "default"}}}'
  member_do /1.0 -X PATCH -d '{"config": {"core.https_address": "10.210.0.1:8443"}}'
  member_do /1.0/cluster -X PUT -d '{"server_name": "m1", "enabled": true}'
  prepare_tar
  member_image clara-sandbox-test
  : >"$m/joined"
}
join() {
  token=$(member 1 && cli cluster add "m$1" --quiet </dev/null | tail -n 1)
  cli admin init --preseed <<END >"$m/join.log" 2>&1 || die "m$1 cannot join the cluster" "$(tail -n 5 "$m/join.log")"
cluster:
  enabled: true
  server_name: m$1
  server_address: 10.210.0.$1:8443
  cluster_token: $token
  member_config: [{ entity: storage-pool, name: default, key: size, value: 6GiB }]
END
  : >"$m/joined"
}

prepare_folder() {
  umask 022 # instances' users find a way through its folders
  folder_take
}

# One that was never made to its end, as not all of its members have joined, is made anew.
drop_half_made() {
  for i in $(numbers); do
    if [ -e "$dir/$i/joined" ]; then continue; fi
    stop_all
    for half in $(numbers); do rm -rf --one-file-system "${dir:?}/$half"; done
    return 0
  done
}

up() {
  prepare_folder
  stored=$(stored "$dir/members")
  [ -n "$stored" ] || { stored=${number:-3} && echo "$stored" >"$dir/members"; }
  [ "${number:-$stored}" = "$stored" ] ||
    die "this cluster has $stored members" "delete it first: incus-cluster.sh down --purge --dir $dir"
  drop_half_made
  prepare_switch
  for i in $(numbers); do
    member "$i"
    mkdir -p "$m"
    member_namespaces
    connect "$i"
    member_start
  done
  for i in $(numbers); do member "$i" && member_await; done
  for i in $(numbers); do
    member "$i"
    if [ ! -e "$m/joined" ]; then if [ "$i" = 1 ]; then found; else join "$i"; fi; fi
  done
}

stop_all() {
  for i in $(numbers); do in_switch ip link set "p$i" up 2>/dev/null || :; done # of those that were cut off
  for i in $(numbers); do # any that answers asks all others
    member "$i"
    if member_quiesce; then break; fi
  done
  for i in $(numbers); do # together, as one that is left alone waits for the others
    member "$i"
    pid=$(member_pid) && kill -CONT "$pid" && kill -TERM "$pid" || :
  done
  for i in $(numbers); do member "$i" && member_stop; done
  ! findmnt -M "$switch" >/dev/null || umount "$switch"
  rm -rf --one-file-system "$dir/switch"
}

down() {
  folder_ours || return 0
  prepare_folder
  stop_all
  [ -z "$purge" ] || rm -rf --one-file-system "$dir"
}

of_member() {
  [ -d "$dir/${number:-none}" ] || die "no member '$number' in $dir" "use: incus-cluster.sh $action I"
  member "$number"
}
case "$action" in
  up) up ;;
  down) down ;;
  pid) of_member && { member_pid || die "the member $number does not run" "start it: incus-cluster.sh up"; } ;;
  cut) of_member && in_switch ip link set "p$number" down ;;
  mend) of_member && in_switch ip link set "p$number" up ;;
  env)
    [ -e "$switch" ] || die "no cluster runs in $dir" "start one: incus-cluster.sh up"
    sockets=$(for i in $(numbers); do printf '%s ' "$dir/$i/incus/unix.socket"; done)
    printf "export CSB_TEST_INCUS_CLUSTER_SOCKETS='%s'\n" "${sockets% }"
    printf 'export CSB_TEST_INCUS_CLUSTER_NETNS=%s CSB_TEST_INCUS_CLUSTER_ADDRESS=10.210.0.1:8443\n' "$switch"
    ;;
esac
