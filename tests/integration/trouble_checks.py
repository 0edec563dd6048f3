# SPDX-License-Identifier: Apache-2.0
"""An engine that is shut, hung or none: what is said, and that nothing else waits for it. A part of each backend's test:

    class Trouble(TroubleChecks, unittest.TestCase):
        mode, option, variable, group, no_daemon = "docker", "docker.host", "DOCKER_HOST", "docker", "no Docker daemon answers"
"""
import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import harness
from harness import Service, explain

NOBODY = 65534


class Hung:
    """A unix socket that takes every connection and never answers; or, with `answer`, only what that returns."""

    def __init__(self, path, answer=None):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen(64)
        self.answer, self.held = answer, []
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection = self.socket.accept()[0]
                self.held.append(connection)
                if self.answer:
                    connection.recv(65536)
                    connection.sendall(self.answer)
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        for s in [self.socket, *self.held]:
            s.close()


class TroubleChecks:
    mode = ""       # the backend
    option = ""     # its option for the engine's address, and that one's environment name
    variable = ""
    group = ""      # who may use the engine
    no_daemon = ""  # what is said of a program that is none

    def engine_at(self, path):
        """The engine at a socket, as a service takes it."""
        raise NotImplementedError

    def on(self, host, *options, **more):
        return explain(self.mode, f"--{self.option}={host}", *options, env={**os.environ, **more})

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="csb-trouble-")
        os.chmod(self.folder, 0o755)
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.path = f"{self.folder}/engine.sock"

    def hang(self, answer=None):
        hung = Hung(self.path, answer)
        self.addCleanup(hung.close)
        return hung

    def test_no_permission(self):
        harness.need_root("needs root, to become somebody who may not")
        self.hang()
        os.chmod(self.path, 0o600)
        for name in ("bin", "lib"):  # the build folder may lie where nobody else can look
            shutil.copytree(harness.BUILD / name, f"{self.folder}/{name}", ignore=shutil.ignore_patterns("*.a", "cmake", "pkgconfig"))
        os.mkdir(f"{self.folder}/own")
        os.chown(f"{self.folder}/own", NOBODY, NOBODY)
        ran = subprocess.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                              f"{self.folder}/bin/clara-sandbox", "explain", "--json", f"--{self.option}=unix://{self.path}",
                              *harness.folders(f"{self.folder}/own", self.mode)], capture_output=True, text=True, timeout=60)
        found, = (c for c in json.loads(ran.stdout)["candidates"] if c["name"] == self.mode)
        self.assertIn("Permission denied", found["reason"])
        self.assertIn(f"usermod -aG {self.group}", found["hint"])

    def test_something_else_that_answers(self):
        self.hang(b"SSH-2.0-OpenSSH_9.2\r\n")
        found = self.on(f"unix://{self.path}")
        self.assertFalse(found["available"])
        self.assertIn(self.no_daemon, found["reason"])

    def test_a_hung_daemon_is_said_in_time(self):
        self.hang()
        began = time.monotonic()
        found = self.on(f"unix://{self.path}")
        self.assertLess(time.monotonic() - began, 30)
        self.assertFalse(found["available"])
        self.assertRegex(found["reason"], "did not answer|not answered")
        self.assertTrue(found["hint"])

    def test_a_hung_daemon_holds_up_neither_health_nor_other_backends(self):
        harness.need("bubblewrap")
        self.hang()
        began = time.monotonic()
        with Service(mode="auto", env={self.variable: f"unix://{self.path}"}) as service:
            self.assertLess(time.monotonic() - began, 5, "it starts at once")
            service.post("a", "shell", command="true")
            self.assertEqual(service.call("GET", "a", "/status")[1]["backend"], "bubblewrap")
            slowest = {"health": 0.0, "shell": 0.0, "create": 0.0}

            def timed(name, call):
                began = time.monotonic()
                call()
                slowest[name] = max(slowest[name], time.monotonic() - began)
            for i in range(10):
                timed("health", lambda: self.assertEqual(service.request("GET", "/health")[0], 200))
                timed("shell", lambda: service.post("a", "shell", command="true"))
                timed("create", lambda i=i: service.post(f"new{i}", "shell", command="true"))
            self.assertLess(slowest["health"], 1)
            self.assertLess(slowest["shell"], 2)
            self.assertLess(slowest["create"], 5)
            began = time.monotonic()
            self.assertEqual(service.stop(), 0)
            self.assertLess(time.monotonic() - began, 10, "it ends at once, too")
            service.start()  # to purge

    def test_alone_a_hung_daemon_is_answered_with_503(self):
        self.hang()
        service = Service(mode=self.mode, engine=self.engine_at(self.path))
        service.log = open(os.path.join(service.root, "log"), "ab")
        service.process = subprocess.Popen([*service.program, "serve", *service.options], env=service.env,
                                           stdin=subprocess.DEVNULL, stdout=service.log, stderr=service.log)
        try:
            deadline = time.monotonic() + 10
            while True:
                with contextlib.suppress(ConnectionRefusedError):
                    status, _, answer = service.request("GET", "/health", timeout=2)
                    break
                self.assertLess(time.monotonic(), deadline)
            self.assertEqual(status, 503, answer)
            began = time.monotonic()
            status, answer = service.call("POST", "a", "/shell", {"command": "true"})
            self.assertEqual(status, 503, answer)
            self.assertLess(time.monotonic() - began, 30)
            self.assertIn(self.mode, answer["error"].lower())
            self.assertEqual(service.stop(), 0)
        finally:
            if service.process is not None:
                service.process.kill()
                service.process.wait()
            service.log.close()
            shutil.rmtree(service.root, ignore_errors=True)
