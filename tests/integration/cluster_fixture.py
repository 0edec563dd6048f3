#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Starts the Incus cluster of the tests that need one, and stops it after the last of them; ctest runs it.

    cluster_fixture.py up|down

Exit code 77: none is wanted here, and those tests skip. One that runs already is somebody's and stays.
"""
import os
import pathlib
import sys

import harness
from incus_engine import Cluster

SKIP = 77
# Not in the cluster's folder, which is gone with it.
STARTED = pathlib.Path(harness.BUILD, "incus-cluster-started")


def up(cluster):
    if cluster.socket:
        try:
            cluster.daemon("1")
            return 0
        except AssertionError:
            pass  # it does not run
    if os.geteuid() != 0 or not (harness.must_run("incus") or os.environ.get("CSB_TEST_INCUS_SOCKET")):
        print("needs root, and incus in CSB_MUST_RUN or CSB_TEST_INCUS_SOCKET")
        return SKIP
    STARTED.write_text(cluster.dir)
    cluster.do_script("up", "3")
    return 0


def down(cluster):
    if not STARTED.exists() or STARTED.read_text() != cluster.dir:
        return SKIP
    cluster.do_script("down", "--purge")
    STARTED.unlink()
    return 0


if __name__ == "__main__":
    sys.exit({"up": up, "down": down}[sys.argv[1]](Cluster()))
