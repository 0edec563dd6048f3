# SPDX-License-Identifier: Apache-2.0
"""Runs a command with the words of a server of its own behind it, while another one serves HTTP from the same folders:

    with_folders.py COMMAND ARGUMENT…    ->  COMMAND ARGUMENT… clara-sandbox stdio --sandbox.…

CSB_MCP_URL is the other one's. The exit code is the command's, 77 where no sandbox can be had. The sandboxes made are
destroyed.
"""
import os
import subprocess
import sys
import unittest

from raw_client import Folders, harness

try:
    harness.need(harness.BACKEND)
except unittest.SkipTest as skip:
    print(f"SKIPPED: {skip}", file=sys.stderr)
    sys.exit(77)
with Folders("default", "http") as folders:
    folders.service.start()
    # A user of its own, so that what one transport does is not seen by the other.
    environment = {**os.environ, "CSB_MCP_URL": folders.service.url + "/mcp", "CSB_MCP_USER": "http"}
    code = subprocess.run([*sys.argv[1:], str(harness.BINARY), "stdio", *folders.options()], env=environment).returncode
    folders.service.stop()
sys.exit(code)
