#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The private Incus engine: it comes back after each kind of end, and leaves the machine as it was."""
import hashlib
import json
import os
import pathlib
import signal
import ssl
import subprocess
import sys
import time
import unittest
import urllib.request

import engine as engines
import incus_engine
from engine_test import free_port
from folder_checks import FolderChecks
from incus_engine import IncusEngine


def setUpModule():
    incus_engine.need()


def traces(*folders):
    """What of the engines in the folders a machine still has: processes, mounts, loop devices, control groups, locks."""
    names = ["clara-sandbox-" + hashlib.sha256(folder.encode()).hexdigest()[:12] for folder in folders]
    marks = [*folders, *names]
    found = [line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if any(m in line for m in marks)]
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            groups = (process / "cgroup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if words and any(m in words + groups for m in marks):  # without words it has ended, and waits for its parent
            found.append(words)
    found += [p.parent.name for p in pathlib.Path("/sys/block").glob("loop*/loop/backing_file")
              if any(m in p.read_text() for m in marks)]
    for name in names:
        found += [str(p) for pattern in (name, f"*/{name}") for p in pathlib.Path("/sys/fs/cgroup").glob(pattern)]
        found += [str(p) for p in pathlib.Path("/run/lxc/lock").rglob(name)]
    return found


def own_network():
    """What an engine in the machine's own network namespace would make or delete there."""
    return sorted(os.listdir("/sys/class/net"))


class IncusEngineTest(FolderChecks, unittest.TestCase):
    kind = IncusEngine

    def test_what_an_up_that_was_stopped_has_left_is_made_whole(self):
        engine = IncusEngine()
        self.addCleanup(engine.__exit__)
        up = [engines.HERE / engine.program, "up", "--dir", engine.dir, *engine.options]
        # Until there is a namespace, a process, an image's upload: each a little later.
        for sign in ("ns/mnt", "incusd.pid", "image"):
            begun = subprocess.Popen(up, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
            while not pathlib.Path(engine.dir, sign).exists() and begun.poll() is None:
                time.sleep(0.001)
            os.killpg(begun.pid, signal.SIGKILL)
            begun.wait()
        engine.up()
        engine.do("POST", "/1.0/instances", engine.container("one"))
        os.kill(int(pathlib.Path(engine.dir, "lxcfs.pid").read_text()), signal.SIGKILL)
        engine.up()  # brings back what is missing of one that runs
        engine.do("POST", "/1.0/instances", engine.container("two", **{"limits.memory": "64MiB"}))
        self.assertEqual(sorted(engine.running()), ["one", "two"])

    def test_started_twice_it_is_the_same_and_other_options_are_refused(self):
        with IncusEngine("--no-image") as engine:
            first = engine.pid()
            engine.up()
            self.assertEqual(engine.pid(), first)
            engine.options = ["--no-image", "--pool", "3GiB"]
            with self.assertRaisesRegex(RuntimeError, "runs with other options"):
                engine.up()

    def test_a_pid_file_that_names_somebody_else_is_not_believed(self):
        with IncusEngine("--no-image") as engine, subprocess.Popen(["sleep", "600"]) as other:
            try:
                engine.kill()
                for name in ("incusd.pid", "lxcfs.pid"):
                    pathlib.Path(engine.dir, name).write_text(str(other.pid))
                with self.assertRaisesRegex(RuntimeError, "no engine runs"):
                    engine.pid()
                engine.script("down")
                self.assertIsNone(other.poll(), "down ended a process that is not its own")
            finally:
                other.kill()

    def test_instances_live_on_when_it_is_killed_and_two_engines_do_not_meet(self):
        with IncusEngine() as engine, IncusEngine() as other:
            for each in (engine, other):
                each.do("POST", "/1.0/instances", each.container("same", **{"limits.memory": "64MiB"}))
            before = [engine.running(), other.running()]
            for sig in (signal.SIGKILL, signal.SIGTERM):
                engine.kill(sig)
                engine.up()
                self.assertEqual([engine.running(), other.running()], before)
            engine.script("down")
            self.assertEqual(other.running(), before[1])
            engine.up()
            self.assertEqual(engine.running(), {}, "what down has stopped does not start by itself")
            engine.do("PUT", "/1.0/instances/same/state", {"action": "start"})

    def test_nothing_is_left_of_one_that_hangs_or_was_killed_with_instances(self):
        network = own_network()
        hanging, killed = IncusEngine(), IncusEngine()
        with hanging, killed:
            for engine in (hanging, killed):
                engine.do("POST", "/1.0/networks", {"name": "csbtestbr", "config": {"ipv4.address": "10.211.0.1/24",
                                                                                     "ipv6.address": "none"}})
                body = engine.container("one", **{"limits.memory": "64MiB"})
                body["devices"]["eth0"] = {"type": "nic", "network": "csbtestbr"}
                engine.do("POST", "/1.0/instances", body)
            os.kill(hanging.pid(), signal.SIGSTOP)
            self.assertTrue(traces(hanging.dir))
            killed.kill()
            os.kill(int(pathlib.Path(killed.dir, "lxcfs.pid").read_text()), signal.SIGKILL)
        self.assertEqual(traces(hanging.dir, killed.dir), [])
        self.assertEqual(own_network(), network)

    def test_its_pool_can_be_full(self):
        with IncusEngine(pool="700MiB") as engine:
            engine.do("POST", "/1.0/instances", engine.container("one"))
            command = ["sh", "-c", "(cat /dev/zero >/full) 2>&1 | grep -q 'No space left'"]
            done = engine.do("POST", "/1.0/instances/one/exec", {"command": command})
            self.assertEqual(done["metadata"]["return"], 0)

    def test_https_is_for_clients_it_trusts(self):
        port = free_port()
        with IncusEngine("--no-image", "--https", str(port)) as engine:
            context = ssl.create_default_context(cafile=f"{engine.dir}/incus/server.crt")
            context.check_hostname = False  # the certificate is pinned; it names the machine, not its loopback
            self.assertEqual(self.auth(port, context), "untrusted")
            key, certificate = f"{engine.folder.name}/client.key", f"{engine.folder.name}/client.crt"
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-subj", "/CN=test", "-days", "2", "-keyout", key, "-out", certificate], check=True,
                           capture_output=True)
            pem = pathlib.Path(certificate).read_text()
            engine.do("POST", "/1.0/certificates", {"type": "client", "name": "test", "certificate": "".join(
                line for line in pem.splitlines() if "CERTIFICATE" not in line)})
            context.load_cert_chain(certificate, key)
            self.assertEqual(self.auth(port, context), "trusted")

    def auth(self, port, context):
        with urllib.request.urlopen(f"https://127.0.0.1:{port}/1.0", context=context, timeout=30) as answer:
            return json.load(answer)["metadata"]["auth"]


if __name__ == "__main__":
    sys.exit(unittest.main())
