#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# consumer_test.sh WAY CMAKE BUILD WORK SOURCE API CC CXX: builds tests/consumer/project as somebody would who has
# nothing but the plugin API, from an installed package (find_package) or its sources (add_subdirectory).
set -eu
way=$1 cmake=$2 build=$3 work=$4 source=$5 api=$6 cc=$7 cxx=$8

rm -rf "$work"
mkdir -p "$work"
cp -r "$source/project" "$work/project"
case $way in
  find_package)
    "$cmake" --install "$build" --prefix "$work/prefix" --component plugin-api > "$work/install.log"
    set -- "-DCMAKE_PREFIX_PATH=$work/prefix"
    ;;
  add_subdirectory)
    cp -r "$api" "$work/api" # alone: nothing else of the repository is there
    set -- "-DPLUGIN_API_SOURCE=$work/api"
    ;;
esac
"$cmake" -S "$work/project" -B "$work/build" -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx" \
  -DCMAKE_BUILD_TYPE=Debug "$@" > "$work/configure.log" 2>&1 || { cat "$work/configure.log"; exit 1; }
"$cmake" --build "$work/build" > "$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
for plugin in mini-c mini-cpp; do
  exports=$(nm -D --defined-only "$work/build/$plugin.so" | awk '{print $NF}' | sed 's/@.*//' | sort | tr '\n' ' ')
  [ "$exports" = "csb_plugin_entry " ] || { echo "$plugin.so exports: $exports"; exit 1; }
done
echo "built mini-c.so and mini-cpp.so by $way"
