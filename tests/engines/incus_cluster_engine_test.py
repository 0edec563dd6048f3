#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The private Incus cluster: its members lose each other and come back, and nothing of it is left on the machine."""
import os
import pathlib
import signal
import subprocess
import sys
import time
import unittest

import engine as engines
import incus_engine
from folder_checks import FolderChecks
from incus_engine import IncusCluster
from incus_engine_test import own_network, traces

ONLINE = {"m1": "Online", "m2": "Online", "m3": "Online"}


def setUpModule():
    incus_engine.need()


def until(condition, seconds=60):
    """The engine has no event for what other members think of one: asked again until it is so."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it did not come about")
        time.sleep(0.2)


class IncusClusterEngineTest(FolderChecks, unittest.TestCase):
    kind = IncusCluster

    def test_one_whose_making_was_stopped_is_made_anew(self):
        cluster = IncusCluster(2)
        self.addCleanup(cluster.__exit__)
        begun = subprocess.Popen([engines.HERE / cluster.program, "up", "--dir", cluster.dir, "2"], stdin=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, start_new_session=True)
        while not pathlib.Path(cluster.dir, "1/joined").exists() and begun.poll() is None:
            time.sleep(0.01)
        os.killpg(begun.pid, signal.SIGKILL)  # while the second joins
        begun.wait()
        cluster.up()
        self.assertEqual(cluster.members(), {"m1": "Online", "m2": "Online"})
        cluster.do("POST", "/1.0/instances?target=m2", cluster.container("there"))

    def test_members_are_lost_and_return_and_nothing_is_left(self):
        network, cluster = own_network(), IncusCluster()
        folders = [f"{cluster.dir}/{i}" for i in (1, 2, 3)]
        with cluster:
            self.assertEqual(cluster.members(), ONLINE)
            for member in ("m1", "m2", "m3"):
                cluster.do("POST", f"/1.0/instances?target={member}", cluster.container(f"on-{member}"))
            running = cluster.running()
            self.assertEqual(sorted(running), ["on-m1", "on-m2", "on-m3"])
            self.assertEqual(cluster.do("GET", "/1.0/instances/on-m2")["location"], "m2")

            with self.subTest("cut off, a member is out of reach, and then no longer"):
                cluster.script("cut", "2")
                with self.assertRaises((RuntimeError, OSError)):
                    cluster.do("GET", "/1.0/instances/on-m2/state")
                cluster.script("mend", "2")
                until(lambda: cluster.members() == ONLINE and cluster.running() == running)

            with self.subTest("killed, members come back over what ran on them"):
                for member in (3, 1):
                    cluster.kill(member)
                cluster.up()
                until(lambda: cluster.members() == ONLINE and cluster.running() == running)
            cluster.kill(3)
            self.assertTrue(traces(cluster.dir, *folders))
        self.assertEqual(traces(cluster.dir, *folders), [])
        self.assertEqual(own_network(), network)


if __name__ == "__main__":
    sys.exit(unittest.main())
