#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# exports_test.sh FOLDER…: every plugin there exports csb_plugin_entry and nothing else, and no
# executable stack. 77 (skipped) when there is no plugin at all.
set -eu
found=0
failed=0
for folder in "$@"; do
  for plugin in "$folder"/*.so; do
    [ -e "$plugin" ] || continue
    found=$((found + 1))
    exports=$(nm -D --defined-only "$plugin" | awk '{print $NF}' | sed 's/@.*//' | sort | tr '\n' ' ')
    if [ "$exports" != "csb_plugin_entry " ]; then
      echo "$plugin exports: $exports"
      failed=1
    fi
    if readelf -lW "$plugin" | grep -q 'GNU_STACK.*RWE'; then
      echo "$plugin has an executable stack"
      failed=1
    fi
  done
done
echo "$found plugins looked at"
[ "$found" -gt 0 ] || exit 77
exit $failed
