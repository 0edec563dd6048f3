#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The private Docker engine: it comes back after each kind of end, and leaves the machine as it was."""
import hashlib
import os
import pathlib
import signal
import ssl
import subprocess
import sys
import unittest
import urllib.error
import urllib.request

import engine as engines
from engine import Engine
from folder_checks import FolderChecks

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
from ports import free_port

SLEEP = {"Image": Engine.image, "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none"}}


def setUpModule():
    engines.need()


def running(engine):
    status, containers = engine.api("GET", "/containers/json")
    assert status == 200, containers
    return [c["Id"] for c in containers]


def start(engine, config=SLEEP):
    status, made = engine.api("POST", "/containers/create", config)
    assert status == 201, made
    status, answer = engine.api("POST", f"/containers/{made['Id']}/start")
    assert status == 204, answer
    return made["Id"]


def traces(folder):
    """What of an engine in `folder` a machine still has: processes, mounts, loop devices, control groups."""
    found = [line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if folder in line]
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if folder in words:
            found.append(words)
    found += [p.parent.name for p in pathlib.Path("/sys/block").glob("loop*/loop/backing_file") if folder in p.read_text()]
    group = "clara-sandbox-" + hashlib.sha256(folder.encode()).hexdigest()[:12]
    return found + [str(p) for pattern in (group, f"*/{group}") for p in pathlib.Path("/sys/fs/cgroup").glob(pattern)]


def bridges():
    """What an engine in the machine's own network namespace would make or delete there."""
    return sorted(name for name in os.listdir("/sys/class/net") if name.startswith(("docker", "br-")))


class EngineTest(FolderChecks, unittest.TestCase):
    kind = Engine

    def test_started_twice_it_is_the_same(self):
        with Engine("--no-image") as engine:
            first = engine.pid()
            engine.up()
            self.assertEqual(engine.pid(), first)

    def test_other_options_are_refused_while_it_runs(self):
        with Engine("--no-image") as engine:
            engine.options.append("--live-restore")
            with self.assertRaisesRegex(RuntimeError, "runs with other options"):
                engine.up()

    def test_a_pid_file_that_names_somebody_else_is_not_believed(self):
        with Engine("--no-image") as engine, subprocess.Popen(["sleep", "600"]) as other:
            try:
                engine.kill()
                for name in ("run/dockerd.pid", "run/exec/containerd/containerd.pid"):
                    pathlib.Path(engine.dir, name).write_text(str(other.pid))
                with self.assertRaisesRegex(RuntimeError, "no engine runs"):
                    engine.pid()
                engine.up()
                self.assertNotEqual(engine.pid(), other.pid)
                engine.kill()
                pathlib.Path(engine.dir, "run/dockerd.pid").write_text(str(other.pid))
                engine.script("down")
                self.assertIsNone(other.poll(), "down ended a process that is not its own")
            finally:
                other.kill()

    def test_containers_survive_a_killed_engine_with_live_restore_only(self):
        for options, sig, survives in ((["--live-restore"], signal.SIGKILL, True), (["--live-restore"], signal.SIGTERM, True),
                                       ([], signal.SIGKILL, False)):
            with self.subTest(options=options, signal=sig), Engine(*options) as engine:
                container = start(engine)
                engine.kill(sig)
                engine.up()
                self.assertEqual(running(engine), [container] if survives else [])

    def test_nothing_is_left_of_one_that_hangs_with_containers(self):
        before = bridges()
        with Engine("--live-restore") as engine:
            start(engine)
            start(engine, {**SLEEP, "HostConfig": {"NetworkMode": "bridge", "RestartPolicy": {"Name": "always"}}})
            os.kill(engine.pid(), signal.SIGSTOP)
        self.assertEqual(traces(engine.dir), [])
        self.assertEqual(bridges(), before)

    def test_nothing_is_left_of_one_that_was_killed_with_containers(self):
        before = bridges()
        with Engine("--live-restore") as engine:
            start(engine)
            engine.kill()
        self.assertEqual(traces(engine.dir), [])
        self.assertEqual(bridges(), before)

    def test_its_disk_can_be_full(self):
        with Engine(disk="400m") as engine:
            # The words are kept in memory: the full disk has no room for them.
            command = ["sh", "-c", "(head -c 400m /dev/zero >/full) 2>&1 | grep -q 'No space left'"]
            container = start(engine, {**SLEEP, "Cmd": command})
            status, end = engine.api("POST", f"/containers/{container}/wait")
            self.assertEqual((status, end["StatusCode"]), (200, 0))

    def test_tls_is_for_clients_with_its_certificate(self):
        port = free_port()
        with Engine("--tls", str(port), "--no-image") as engine:
            context = ssl.create_default_context(cafile=f"{engine.dir}/tls/ca.pem")
            with self.assertRaises((ssl.SSLError, urllib.error.URLError, ConnectionError)):
                urllib.request.urlopen(f"https://127.0.0.1:{port}/_ping", context=context, timeout=30)
            context.load_cert_chain(f"{engine.dir}/tls/cert.pem", f"{engine.dir}/tls/key.pem")
            with urllib.request.urlopen(f"https://127.0.0.1:{port}/_ping", context=context, timeout=30) as answer:
                self.assertEqual(answer.read(), b"OK")


if __name__ == "__main__":
    sys.exit(unittest.main())
