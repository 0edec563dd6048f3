# Shared by the scripts: sourced, never run. Sets `root` and offers say, die, have, as_root.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
export CCACHE_NOHASHDIR=1 CCACHE_BASEDIR="$root" # build folders, and clones, share what is compiled
say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
[ -t 2 ] || say() { printf '==> %s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$1" >&2
  shift
  for line in "$@"; do printf '  %s\n' "$line" >&2; done
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif have sudo; then
    sudo "$@"
  else
    die "this step needs root: $*" "run it as root, or install sudo"
  fi
}
