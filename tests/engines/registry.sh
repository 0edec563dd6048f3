#!/bin/sh
# A registry of images for the engine of docker.sh, to test what is pulled. It listens on 127.0.0.1 of the engine's
# network namespace, where nobody else is; `docker.sh down` ends it with the engine.
#   registry.sh up      start it, with an image in it that the engine has not: its pull downloads some 16 MB
#   registry.sh down    stop it and forget its images
#   registry.sh env     CSB_TEST_DOCKER_PULL_IMAGE, that image's name
# Each takes --dir DIR, as docker.sh does. Needs root, and asks sudo for it.
. "$(dirname "$0")/../../script/lib.sh"
root=$(cd "$root/.." && pwd)
. "$root/tests/engines/processes.sh"

action=${1:-} dir=${CSB_ENGINE_DIR:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/clara-sandbox-tests/docker}
case "$action" in up | down | env) shift ;; *) die "unknown action '$action'" "use: registry.sh up|down|env" ;; esac
if [ "${1:-}" = --dir ]; then dir=${2:?--dir needs a folder} && shift 2; fi
[ $# -eq 0 ] || die "unknown option '$1'" "see the first lines of tests/engines/registry.sh"
dir=$(realpath -m -- "$dir") # as docker.sh calls it
if [ "$(id -u)" -ne 0 ]; then
  as_root env "HOME=${HOME:-/root}" "CSB_ENGINE_DIR=$dir" "CSB_ENGINE_GROUP=$(id -g)" "$0" "$action"
  exit
fi
socket=$dir/run/docker.sock address=127.0.0.1:5000 source=clara-sandbox-test:latest
repository=$address/clara-sandbox-pulled
api() { path=$1 && shift && curl -sSf --max-time 120 --unix-socket "$socket" "$@" "http://docker$path"; }
running() { with_words "$dir/registry.yml" serve; }

start() {
  have docker-registry || "$root/script/deps" registry
  umask 077
  cat >"$dir/registry.yml" <<END
version: 0.1
storage: { filesystem: { rootdirectory: $dir/registry } }
http: { addr: $address }
END
  setsid nsenter --net="$dir/netns" docker-registry serve "$dir/registry.yml" </dev/null >"$dir/registry.log" 2>&1 &
  started=$!
  until nsenter --net="$dir/netns" curl -sf --max-time 5 -o "$dir/registry.out" "http://$address/v2/"; do
    kill -0 "$started" 2>/dev/null || die "the registry ended at its start" "$(tail -n 5 "$dir/registry.log")"
    sleep 0.05
    waited=$((${waited:-0} + 1))
    [ $waited -lt 400 ] || die "the registry does not answer" "$(tail -n 5 "$dir/registry.log")"
  done
}

# The test image and a layer that no disk can shrink, so that a pull of it takes a while and tells its progress.
push() {
  id=$(api /containers/create -X POST -H 'Content-Type: application/json' -d "{\"Image\":\"$source\"}" | grep -oE '[0-9a-f]{64}')
  mkdir -p "$dir/layer"
  head -c 16777216 /dev/urandom >"$dir/layer/pulled"
  tar -C "$dir/layer" -cf "$dir/layer.tar" pulled
  api "/containers/$id/archive?path=/usr/share" -X PUT -T "$dir/layer.tar"
  api "/commit?container=$id&repo=$repository&tag=latest" -X POST >/dev/null
  api "/containers/$id" -X DELETE
  rm -rf "$dir/layer" "$dir/layer.tar"
  api "/images/$repository/push?tag=latest" -X POST -H 'X-Registry-Auth: e30=' >"$dir/push.log"
  api "/images/$repository:latest" -X DELETE >/dev/null
  ! grep -q errorDetail "$dir/push.log" || die "the engine could not push to the registry" "$(tail -n 1 "$dir/push.log")"
}

case "$action" in
  up)
    [ "$(api /_ping 2>/dev/null)" = OK ] || die "no engine runs in $dir" "start one: docker.sh up"
    [ -n "$(running)" ] || start
    pushed=$(nsenter --net="$dir/netns" curl -s --max-time 5 "http://$address/v2/_catalog")
    case "$pushed" in *clara-sandbox-pulled*) ;; *) push ;; esac
    ;;
  down)
    for pid in $(running); do stop_process "$pid" 10; done
    rm -rf "$dir/registry" "$dir/registry.yml" "$dir/registry.log" "$dir/registry.out" "$dir/push.log"
    ;;
  env)
    [ -n "$(running)" ] || die "no registry runs in $dir" "start one: registry.sh up"
    echo "export CSB_TEST_DOCKER_PULL_IMAGE=$repository:latest"
    ;;
esac
