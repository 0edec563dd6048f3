#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The emulated machine for VMs: real ones run in it, and nothing is left of it, however it ends. Prints what took how
long. CSB_TEST_INCUS_VM_DIR names the folder of one that runs already, which is then used and left running."""
import os
import pathlib
import signal
import ssl
import sys
import time
import unittest
import urllib.request

import incus_vm_engine
from folder_checks import FolderChecks
from incus_vm_engine import IncusVmEngine


def setUpModule():
    incus_vm_engine.need()


class Clock:
    """Says on the terminal what has just ended, and how long that was."""

    def __init__(self):
        self.start = time.monotonic()

    def __call__(self, what):
        now = time.monotonic()
        print(f"  {now - self.start:6.1f} s  {what}", file=sys.stderr, flush=True)
        self.start = now


class IncusVmEngineTest(FolderChecks, unittest.TestCase):
    kind = IncusVmEngine

    def test_a_vm_lives_and_dies_and_nothing_is_left_of_the_machine(self):
        clock = Clock()
        running = os.environ.get("CSB_TEST_INCUS_VM_DIR")
        engine = IncusVmEngine()
        if running:
            engine.dir = running
            self.drive(engine, clock)
            return
        with engine:
            clock("the machine is up")
            first = engine.pid()
            engine.up()
            self.assertEqual(engine.pid(), first, "a running one stays")
            self.drive(engine, clock)
            self.check_strangers(engine)
            with self.subTest("killed, it starts again, as new"):
                engine.do("POST", "/1.0/instances", {**engine.vm("lost"), "start": False})
                engine.kill(signal.SIGKILL)
                clock("killed")
                with self.assertRaisesRegex(RuntimeError, "no engine runs"):
                    engine.pid()
                engine.up()
                clock("the machine is up again")
                self.assertEqual(engine.do("GET", "/1.0/instances"), [])
        self.assertEqual(self.processes(engine.dir), [])
        self.assertFalse(os.path.exists(engine.dir))

    def drive(self, engine, clock):
        try:
            engine.do("POST", "/1.0/instances", {**engine.vm("one"), "start": False})
            clock("created")
            engine.do("PUT", "/1.0/instances/one/state", {"action": "start"})
            clock("started")
            engine.await_agent("one")
            clock("its agent answers")
            self.assertEqual(engine.run("one", "true"), (0, ""))
            clock("exec true")
            self.assertEqual(engine.run("one", "python3", "-c", "import os; print(os.getuid(), 6 * 7)"), (0, "0 42\n"))
            clock("exec python3")
            engine.push("one", "/root/pushed", b"#!/bin/sh\necho \"$1 from $(uname -s)\"\nexit 3\n", 0o755)
            clock("pushed a file")
            self.assertEqual(engine.run("one", "/root/pushed", "hello"), (3, "hello from Linux\n"))
            clock("exec of it")
            engine.do("PUT", "/1.0/instances/one/state", {"action": "stop", "timeout": engine.patience})
            self.assertEqual(engine.do("GET", "/1.0/instances/one")["status"], "Stopped")
            clock("stopped, as the guest does it")
        finally:
            if engine.api("GET", "/1.0/instances/one")[0] == 200:
                if engine.do("GET", "/1.0/instances/one")["status"] != "Stopped":
                    engine.do("PUT", "/1.0/instances/one/state", {"action": "stop", "force": True})
                engine.do("DELETE", "/1.0/instances/one")
                clock("deleted")

    def check_strangers(self, engine):
        environment = engine.environment()
        context = ssl.create_default_context(cafile=f"{environment['CSB_TEST_INCUS_VM_CERTS']}/server.crt")
        with urllib.request.urlopen(environment["CSB_TEST_INCUS_VM_URL"] + "/1.0", context=context, timeout=60) as answer:
            self.assertIn(b'"auth":"untrusted"', answer.read(), "without the client's certificate")

    def processes(self, folder):
        found = []
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if folder in words:
                found.append(words)
        return found


if __name__ == "__main__":
    sys.exit(unittest.main())
