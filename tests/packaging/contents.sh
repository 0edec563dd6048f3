#!/bin/sh
# contents.sh UNPACKED SOURCE: what is in the packages, and what is not.
set -eu
unpacked=$1 source=$2
fail() { echo "packaging: $*" >&2 && exit 1; }
for file in usr/bin/clara-sandbox usr/lib/clara-sandbox/clara-sandbox-agent usr/lib/clara-sandbox/clara-sandbox-launch \
  usr/lib/clara-sandbox/plugins/bubblewrap.so usr/lib/clara-sandbox/plugins/docker.so usr/lib/clara-sandbox/plugins/http.so \
  usr/lib/clara-sandbox/plugins/stdio.so etc/clara-sandbox/clara-sandbox.conf etc/clara-sandbox/environment \
  lib/systemd/system/clara-sandbox.service lib/systemd/system/clara-sandbox.socket usr/lib/tmpfiles.d/clara-sandbox.conf \
  usr/share/man/man1/clara-sandbox.1.gz usr/share/man/man5/clara-sandbox.conf.5.gz usr/share/doc/clara-sandbox/copyright \
  usr/share/bash-completion/completions/clara-sandbox usr/share/doc/clara-sandbox/changelog.gz \
  usr/include/clara_sandbox/plugin.h usr/include/clara_sandbox/cpp/backend.h; do
  [ -s "$unpacked/$file" ] || fail "$file is missing"
done
[ "$(stat -c %a "$unpacked/etc/clara-sandbox/environment")" = 600 ] || fail "the file for keys is open to others"
[ -z "$(find "$unpacked" -perm /6022 ! -type l)" ] || fail "setuid, or writable by others: $(find "$unpacked" -perm /6022 ! -type l)"
[ -z "$(find "$unpacked" -name '*_test*' -o -name '*.a')" ] || fail "tests or archives are in it"
# Nothing of the machine that built it.
left=$(grep -rlF -e "$source" -e "$(cd "$source/.." && pwd)/" "$unpacked" || :)
[ -z "$left" ] || fail "the path of the source is in $left"
for file in "$unpacked"/usr/bin/clara-sandbox "$unpacked"/usr/lib/clara-sandbox/plugins/*.so; do
  readelf -d "$file" | grep -qE 'RPATH|RUNPATH' && fail "$file looks for libraries in a folder of its own"
  readelf -d "$file" | grep -q BIND_NOW || fail "$file is not linked with -z now"
done
# The manual has every command and every key, and groff nothing to say about it.
for page in 1/clara-sandbox.1 5/clara-sandbox.conf.5; do
  gzip -dc "$unpacked/usr/share/man/man$page.gz" >"$unpacked/page"
  if command -v groff >/dev/null; then
    said=$(groff -man -Tutf8 -z -ww "$unpacked/page" 2>&1 | grep -v "can't break line" || :)
    [ -z "$said" ] || fail "groff says of $page: $said"
  fi
  sed 's/\\-/-/g' "$unpacked/page" >"$unpacked/$(basename "$page")"
done
for word in serve stdio run doctor explain plugins config --backend --keep --defaults --config; do
  grep -q -e "[^a-z]$word\\b" "$unpacked/clara-sandbox.1" || fail "clara-sandbox(1) says nothing of $word"
done
section=''
while read -r line; do
  case "$line" in
    \[*\]) section=$(echo "$line" | tr -d '[]') ;;
    '#'[a-z]*' ='*)
      key=$section.$(echo "$line" | sed 's/^#\([a-z_]*\).*/\1/')
      grep -qF "fB$key\\fR" "$unpacked/clara-sandbox.conf.5" || fail "clara-sandbox.conf(5) says nothing of $key" ;;
  esac
done <"$unpacked/etc/clara-sandbox/clara-sandbox.conf"
# A plugin's author needs the headers alone.
if command -v c++ >/dev/null; then
  printf '#include "clara_sandbox/cpp/backend.h"\n#include "clara_sandbox/cpp/frontend.h"\n' |
    c++ -std=c++20 -Wall -Werror -fsyntax-only -isystem "$unpacked/usr/include" -x c++ - || fail "the headers do not compile"
fi
rm "$unpacked/page" "$unpacked/clara-sandbox.1" "$unpacked/clara-sandbox.conf.5"
