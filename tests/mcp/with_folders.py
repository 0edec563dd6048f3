# SPDX-License-Identifier: Apache-2.0
"""Runs a command with the words of a server of its own behind it:

    with_folders.py COMMAND ARGUMENT…    ->  COMMAND ARGUMENT… clara-sandbox stdio --sandbox.…

The exit code is the command's, 77 where no sandbox can be had. The sandboxes made are destroyed.
"""
import subprocess
import sys
import unittest

from raw_client import Folders, harness

try:
    harness.need(harness.BACKEND)
except unittest.SkipTest as skip:
    print(f"SKIPPED: {skip}", file=sys.stderr)
    sys.exit(77)
with Folders("default") as folders:
    code = subprocess.run([*sys.argv[1:], str(harness.BINARY), "stdio", *folders.options()]).returncode
sys.exit(code)
