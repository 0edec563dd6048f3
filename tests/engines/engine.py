# SPDX-License-Identifier: Apache-2.0
"""A Docker engine of a test's own, to kill, fill and restart; tests/engines/docker.sh does the work.

    with Engine("--live-restore") as engine:
        engine.api("POST", "/containers/create", {"Image": engine.image, ...})
        engine.kill()
        engine.up()

Its data lie on a small filesystem of their own (`disk`, mkfs's and truncate's words), which also makes it quick to
delete. Needs root. need() skips a test where script/test started no engine. Folders are made in CSB_TEST_ENGINES, where
script/test stops what a killed test has left."""
import http.client
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent


def need():
    """Skips the test where no private engine can run; fails instead where CSB_MUST_RUN names docker."""
    if os.geteuid() == 0 and os.environ.get("CSB_TEST_DOCKER_NETNS"):
        return
    message = "needs root and the engine that script/test starts"
    if "docker" in os.environ.get("CSB_MUST_RUN", "").replace(" ", "").split(","):
        raise AssertionError(message)
    raise unittest.SkipTest(message)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("docker", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Engine:
    image = "clara-sandbox-test:latest"
    program = "docker.sh"

    def __init__(self, *options, disk="500m"):
        self.make_folder()
        self.options = [*options, *(["--data-on", disk] if disk else [])]
        self.socket = f"{self.dir}/run/docker.sock"

    def make_folder(self):
        self.folder = tempfile.TemporaryDirectory(prefix="csb-engine-", dir=os.environ.get("CSB_TEST_ENGINES") or None)
        self.dir = os.path.join(self.folder.name, "e")

    @property
    def host(self):
        return f"unix://{self.socket}"

    def script(self, action, *options):
        done = subprocess.run([HERE / self.program, action, "--dir", self.dir, *options], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=300)
        if done.returncode != 0:
            raise RuntimeError(f"{self.program} {action}: {done.stderr}")
        return done.stdout.strip()

    def up(self):
        self.script("up", *self.options)

    def pid(self):
        return int(self.script("pid"))

    def kill(self, sig=signal.SIGKILL):
        """Ends dockerd, and returns when it has ended. Its containers go on, or end, as the engine decides."""
        with open_pidfd(self.pid()) as process:
            signal.pidfd_send_signal(process.fileno(), sig)
            process.wait()

    def api(self, method, path, body=None, timeout=60):
        """The answer's status and its JSON (or its text)."""
        connection = UnixConnection(self.socket, timeout)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        return answer.status, json.loads(text) if text[:1] in ("{", "[") else text

    def __enter__(self):
        try:
            self.up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.script("down", "--purge")
        self.folder.cleanup()


class open_pidfd:
    """A process that is no child of ours, held by what cannot come to mean another."""

    def __init__(self, pid):
        self.fd = os.pidfd_open(pid)

    def fileno(self):
        return self.fd

    def wait(self, seconds=60):
        if not select.select([self.fd], [], [], seconds)[0]:
            raise RuntimeError("the process did not end")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)
