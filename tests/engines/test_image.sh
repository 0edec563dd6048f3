# Shared by the scripts of engines: sourced, never run. The root filesystem of the test image, one for all engines.
image_packages="python3 python3-pip python3-venv python-is-python3 ca-certificates iproute2 procps unzip"

# Sets `key`, which names all that decides what is in the image, and `tar`, the cached file of that name; makes it where
# it is missing. `more_packages`, where it is set, come to the usual ones.
prepare_tar() {
  packages="$image_packages${more_packages:+ $more_packages}"
  key=$({ cat "$root/deploy/sandbox-image/rootfs" && echo "$packages ${CSB_DEBIAN_SUITE:-} $(uname -m)"; } | sha256sum | cut -c 1-16)
  tar=$cache/images/docker-$key.tar # the name is older than other engines, and what is cached is kept
  if [ -e "$tar" ]; then return 0; fi
  mkdir -p "$cache/images"
  say "making the test image from Debian packages: about a minute, once"
  # shellcheck disable=SC2086 # a list of names
  "$root/deploy/sandbox-image/rootfs" "$tar" $packages 9>&-
}
