# Shared by the scripts of engines: sourced, never run. The folder `dir` that an engine has for itself.
# The first thing in it is a lock with the name of the script in it. A folder with other things and no such lock is
# somebody's, and left alone: /var, too, with its link of that name.

# Makes the folder what findmnt prints, and refuses one that is longer than $1: sockets in it need room for their names.
folder_check() {
  dir=$(realpath -m -- "$dir")
  case "$dir" in *[!A-Za-z0-9/._-]*) die "the engine's folder '$dir' must be plain letters and digits" ;; esac
  [ ${#dir} -le "$1" ] || die "the engine's folder '$dir' is too long for the sockets in it" "use --dir with a shorter one"
}

# Runs this script again, with these words, as root and for the group of who runs it now.
folder_as_root() {
  [ "$(id -u)" -ne 0 ] || return 0
  mkdir -p "$(dirname "$dir")" "$cache" # the user's own folders stay the user's
  as_root env "HOME=${HOME:-/root}" "XDG_CACHE_HOME=${XDG_CACHE_HOME:-}" "CSB_ENGINE_DIR=$dir" \
    "CSB_ENGINE_GROUP=$(id -g)" "$0" "$@"
  exit
}

folder_ours() { [ -f "$dir/lock" ] && [ ! -L "$dir/lock" ]; }

# Makes the folder where it is missing and holds its lock, as descriptor 9, until the script ends. Who is in the group
# `group`, and nobody else, may look for what is in there.
folder_take() {
  folder_ours || [ ! -e "$dir" ] || [ -z "$(ls -A "$dir")" ] ||
    die "the folder $dir holds other things than an engine" "use --dir with a new one"
  mkdir -p "$dir"
  [ "$(stat -c %u "$dir")" -eq 0 ] || die "the engine's folder $dir is not root's" "delete it, or use --dir"
  exec 9>>"$dir/lock"
  flock -w 300 9 || die "another ${0##*/} holds $dir/lock"
  maker=$(cat "$dir/lock")
  [ -n "$maker" ] || echo "${0##*/}" >&9
  [ "${maker:-${0##*/}}" = "${0##*/}" ] || die "the folder $dir is an engine of $maker" "use --dir with another one"
  chown "0:$group" "$dir"
  chmod 0710 "$dir"
}
