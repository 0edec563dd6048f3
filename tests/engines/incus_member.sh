# Shared by incus.sh and incus-cluster.sh: sourced, never run. One incusd in a folder `m` of its own:
#   $m/incus   its INCUS_DIR, which has another path in its namespace: to there, containers' users must find a way
#   $m/ns/net, $m/ns/mnt   its network and mount namespace, held by these files
#   $m/incusd.log, $m/lxcfs.log  what they said          `group`  a number: who may use its socket, beside root
# All that runs in that mount namespace is the engine's: incusd, its lxcfs, the monitors of its containers and what they
# start. So it can be found after any kind of end, and its mounts and loop devices go with the last of it.
incusd=$(command -v incusd || echo /usr/libexec/incus/incusd)
lxcfs_at=/var/lib/lxcfs # where the hooks of LXC look; in the namespace it is the engine's own

member_name() { printf 'clara-sandbox-%s' "$(printf %s "$m" | sha256sum | cut -c 1-12)"; }
member_api() { path=$1 && shift && curl -sS --max-time 30 --unix-socket "$m/incus/unix.socket" "$@" "http://incus$path"; }
member_pid() { pid=$(stored "$m/incusd.pid") && is "$pid" "--logfile=$m/incusd.log" && echo "$pid"; }
member_ready() { member_api /1.0 2>/dev/null | grep -q '"auth":"trusted"'; }
inside_member() { nsenter "--net=$m/ns/net" "--mount=$m/ns/mnt" "$@"; }

# Is the process $1 in the member's mount namespace, and which are?
in_member() { [ "$(readlink "/proc/$1/ns/mnt" 2>/dev/null || :)" = "mnt:[$(stat -Lc %i "$m/ns/mnt")]" ]; }
member_processes() {
  if ! findmnt -M "$m/ns/mnt" >/dev/null; then return 0; fi
  find /proc -maxdepth 3 -path '/proc/[0-9]*/ns/mnt' -lname "mnt:\[$(stat -Lc %i "$m/ns/mnt")\]" 2>/dev/null | cut -d / -f 3
}

# The namespaces outlive an incusd, as its containers do. Other mounts of the machine keep reaching them.
member_namespaces() {
  if findmnt -M "$m/ns/mnt" >/dev/null; then
    if inside_member mountpoint -q "/var/lib/incus/$(member_name)"; then return 0; fi
    umount "$m/ns/mnt" # its maker was killed before the last of its steps, which is this mount
  fi
  mkdir -p "$m/ns" "$m/incus"
  chmod 0711 "$m/incus"
  findmnt -M "$m/ns" >/dev/null || { mount --bind "$m/ns" "$m/ns" && mount --make-private "$m/ns"; }
  [ -e "$m/ns/net" ] || : >"$m/ns/net"
  findmnt -M "$m/ns/net" >/dev/null || unshare "--net=$m/ns/net" ip link set lo up
  # A sysfs that shows the network namespace's devices. Of the control groups, a branch of each, so that what is left
  # of containers in them is known to be this engine's.
  mkdir -p "$m/sys"
  for branch in $(member_branches); do
    mkdir -p "$branch"
    [ ! -e "$branch/cgroup.clone_children" ] || echo 1 >"$branch/cgroup.clone_children"
    for file in cpuset.cpus cpuset.mems; do # a group without these takes no process
      [ ! -e "$branch/cgroup.clone_children" ] || [ ! -e "$branch/$file" ] || cat "$branch/../$file" >"$branch/$file"
    done
    for controller in $(stored "$branch/cgroup.controllers"); do echo "+$controller" >"$branch/cgroup.subtree_control"; done
  done
  : >"$m/ns/mnt"
  # shellcheck disable=SC2016 # for the inner shell
  nsenter "--net=$m/ns/net" unshare "--mount=$m/ns/mnt" --propagation slave sh -euc '
    sys=$1 lxcfs_at=$2 name=$3 data=$4
    mount -t sysfs sysfs "$sys"
    for tree in fs/cgroup kernel/security; do
      ! mountpoint -q "/sys/$tree" || mount --rbind "/sys/$tree" "$sys/$tree"
    done
    for branch in "/sys/fs/cgroup/$name" /sys/fs/cgroup/*/"$name"; do
      [ ! -d "$branch" ] || { at=$sys${branch#/sys} && mount --bind "$branch" "${at%/*}"; }
    done
    mount --move "$sys" /sys
    mkdir -p "$lxcfs_at" /var/lib/incus
    mount -t tmpfs -o mode=0755,size=64k tmpfs /var/lib/incus
    mkdir "/var/lib/incus/$name"
    mount --bind "$data" "/var/lib/incus/$name"
  ' sh "$m/sys" "$lxcfs_at" "$(member_name)" "$m/incus" ||
    { umount "$m/ns/mnt" && die "no namespace for the engine of $m"; }
}

# The folders that are the roots of this member's control groups: one with version 2, one a hierarchy with version 1.
member_branches() {
  name=$(member_name)
  if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
    echo "/sys/fs/cgroup/$name"
  else
    for hierarchy in /sys/fs/cgroup/*/; do echo "$hierarchy$name"; done
  fi
}

# Starts lxcfs and incusd unless they run; member_await waits until the API answers, which in a cluster is not before
# most of its members run.
member_start() {
  if ! [ -x "$incusd" ] || ! have lxcfs || ! have mkfs.btrfs || ! have debootstrap || ! have curl; then
    "$root/script/deps" incus
  fi
  member_namespaces
  if ! is "$(stored "$m/lxcfs.pid")" "--pidfile=$m/lxcfs.pid"; then
    inside_member umount -l "$lxcfs_at" 2>/dev/null || : # what is left of one that was killed
    rm -f "$m/lxcfs.pid"
    setsid nsenter "--mount=$m/ns/mnt" lxcfs -f "--pidfile=$m/lxcfs.pid" "$lxcfs_at" </dev/null >"$m/lxcfs.log" 2>&1 9>&- &
    await $! 10 lxcfs inside_member test -d "$lxcfs_at/proc"
  fi
  if member_pid >/dev/null; then return 0; fi
  users=$(getent group "$group" | cut -d : -f 1)
  setsid nsenter "--net=$m/ns/net" "--mount=$m/ns/mnt" env "INCUS_DIR=/var/lib/incus/$(member_name)" "HOME=$m" \
    "$incusd" "--group=${users:-root}" "--logfile=$m/incusd.log" </dev/null >/dev/null 2>"$m/incusd.err" 9>&- &
  echo $! >"$m/incusd.pid" # it stays the same process, whatever it executes
}
member_await() { await "$(stored "$m/incusd.pid")" 60 incusd member_ready; }

# Has 127.0.0.1:$1 of the machine lead to the API at $2:$1 in the member's network: what incusd calls its address has
# to be that, for it to issue tokens, and one that it was given with a socket is not.
member_https() {
  member_api /1.0 -X PATCH -d "{\"config\": {\"core.https_address\": \"$2:$1\"}}" | grep -q '"type":"sync"' ||
    die "incusd cannot serve $2:$1" "$(tail -n 3 "$m/incusd.log")"
  relay=$root/tests/engines/relay.py
  for pid in $(with_words "$relay" "$1"); do ! in_member "$pid" || return 0; done
  setsid python3 "$root/tests/engines/listen_fd.py" "$1" nsenter "--net=$m/ns/net" "--mount=$m/ns/mnt" \
    python3 "$relay" "$2" "$1" </dev/null >>"$m/relay.log" 2>&1 9>&- &
  await $! 10 relay curl -sk -o /dev/null --max-time 5 "https://127.0.0.1:$1/"
}

await() { # PID SECONDS NAME COMMAND…: until the command succeeds, while the process lives
  waited_for=$1 ticks=$(($2 * 20)) name=$3 && shift 3
  until "$@" 2>/dev/null; do
    kill -0 "$waited_for" 2>/dev/null || die "$name ended at its start" "$(tail -n 15 "$m/$name.log")"
    sleep 0.05
    ticks=$((ticks - 1))
    [ $ticks -gt 0 ] || die "$name does not answer" "$(tail -n 15 "$m/$name.log")"
  done
}

# Does what the arguments of member_api ask for and waits until it is done; fails with the engine's words.
member_do() {
  answer=$(member_api "$@" --max-time "${patience:-300}")
  id=$(printf %s "$answer" | grep -oE '"operation":"/1.0/operations/[0-9a-f-]{36}' | grep -oE '[0-9a-f-]{36}$' || :)
  [ -z "$id" ] || answer=$(member_api "/1.0/operations/$id/wait" --max-time "${patience:-300}")
  case "$answer" in
    *'"type":"error"'* | *'"status_code":400'* | *'"status":"Failure"'*) die "incusd refused $1" "$answer" ;;
  esac
}

# Imports the root filesystem $tar (of the key $key) under the name $1, unless it is there.
member_image() {
  old=$(member_api "/1.0/images/aliases/$1" | grep -oE '"target":"[0-9a-f]{64}' | grep -oE '[0-9a-f]{64}' || :)
  if [ -n "$old" ]; then
    if member_api "/1.0/images/$old" | grep -qF "\"clara-sandbox.key\":\"$key\""; then return 0; fi
    member_do "/1.0/images/$old" -X DELETE
  fi
  made=$(member_image_made)
  if [ -z "$made" ]; then member_import; fi
  member_do /1.0/images/aliases -X POST -d "{\"name\": \"$1\", \"target\": \"$made\"}"
}

# The fingerprint of an image of the key that is there already: of an `up` that was stopped before it gave it a name.
member_image_made() {
  for found in $(member_api /1.0/images | grep -oE '[0-9a-f]{64}'); do
    ! member_api "/1.0/images/$found" | grep -qF "\"clara-sandbox.key\":\"$key\"" || { echo "$found" && return 0; }
  done
}

member_import() {
  say "importing the test image"
  mkdir -p "$m/image"
  printf '{"architecture": "%s", "creation_date": 1, "properties": {"clara-sandbox.key": "%s"}}\n' \
    "$(uname -m)" "$key" >"$m/image/metadata.yaml"
  tar -C "$m/image" -cf "$m/image/metadata.tar" metadata.yaml
  member_do /1.0/images -F "metadata=@$m/image/metadata.tar" -F "rootfs=@$tar"
  made=$(printf %s "$answer" | grep -oE '"fingerprint":"[0-9a-f]{64}' | grep -oE '[0-9a-f]{64}')
  rm -r "$m/image"
}

# Stops the instances, all together, while incusd runs: it would start again at its next start what ran at its end.
member_quiesce() {
  pid=$(member_pid) || return 1
  kill -CONT "$pid" 2>/dev/null || :
  (patience=20 && member_do '/1.0/instances?all-projects=true' -X PUT -d '{"state": {"action": "stop", "force": true}}') \
    >/dev/null 2>&1
}

# Stops incusd, and then the rest. What incusd did not stop, or what outlives it, is killed.
member_stop() {
  stop_process "$(member_pid || :)" 5 # an open session to a container keeps it from ending
  tries=0
  while left=$(member_processes && cat_all cgroup.procs) && [ -n "$left" ]; do
    for pid in $left; do
      for child in $(ps -o pid= --ppid "$pid"); do kill -KILL "$child" 2>/dev/null || :; done
      kill -KILL "$pid" 2>/dev/null || :
    done
    tries=$((tries + 1))
    [ $tries -lt 200 ] || die "these processes of the engine do not end: $(echo "$left" | tr '\n' ' ')"
    sleep 0.05
  done
  for target in "$m/ns/mnt" "$m/ns/net" "$m/ns"; do ! findmnt -M "$target" >/dev/null || umount "$target"; done
  for branch in $(member_branches); do
    [ ! -d "$branch" ] || find "$branch" -depth -type d -exec rmdir {} + || :
  done
  rm -rf --one-file-system "$m/ns" "$m/sys" "$m/incusd.pid" "$m/lxcfs.pid" \
    "/run/lxc/lock/var/lib/incus/$(member_name)" # LXC leaves a file for each container there
  [ ! -d /sys/kernel/security/apparmor ] || for profile in "$m"/incus/security/apparmor/profiles/*; do
    [ ! -e "$profile" ] || apparmor_parser -R "$profile" 2>/dev/null || : # of those that incusd did not see end
  done
}

# What the files of that name in the member's control groups say.
cat_all() {
  for branch in $(member_branches); do
    [ ! -d "$branch" ] || find "$branch" -name "$1" -exec cat {} +
  done
}
