#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run_test.sh HOST PLUGINS: the plugins of tests/consumer/project, used by the program as their author would.
set -eu
host=$1 plugins=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for name in mini-c mini-cpp; do
  set -- "--sandbox.plugin_dirs=$plugins" "--sandbox.data_dir=$work/data" "--sandbox.state_dir=$work/state-$name" \
    "--sandbox.runtime_dir=$work/run"
  "$host" plugins "$@" | grep -q "^$name .*$plugins/$name.so" || { echo "plugins does not list $name"; exit 1; }
  "$host" explain "$@" --sandbox.mode="$name" | grep -q "^$name: chosen" || { echo "$name is not chosen"; exit 1; }
  said=$("$host" run "$@" --backend "$name" -c 'print(1)' 2>"$work/log") || { cat "$work/log"; exit 1; }
  [ "$said" = hello ] || { echo "$name said: $said"; exit 1; }
done
