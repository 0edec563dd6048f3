# SPDX-License-Identifier: Apache-2.0
# backends: incus
# timeout: 3600
"""Real virtual machines, on the engine of tests/engines/incus-vm.sh (script/test-vm): code runs in them, files come and
go, and what outlives a stop and a new host does. A guest is emulated twice, so all of it is slow; prints how slow."""
import http.client
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse

import harness
import incus_engine
from harness import Service

PATIENCE = 600  # seconds, for one request
MODE = "incus-vm"


class Machine(incus_engine.Engine):
    """The emulated machine's engine, over HTTPS."""

    def __init__(self):
        self.url = os.environ.get("CSB_TEST_INCUS_VM_URL", "")
        self.folder = os.environ.get("CSB_TEST_INCUS_VM_CERTS", "")
        # The base takes a socket that is no file for an engine that is gone.
        super().__init__(self.folder, os.environ.get("CSB_TEST_INCUS_VM_IMAGE", ""), os.environ.get("CSB_TEST_INCUS_VM_POOL", ""))

    @property
    def host(self):
        return self.url

    def environment(self):
        return {"INCUS_CONF": self.folder, "INCUS_REMOTE": self.url, "INCUS_SANDBOX_IMAGE": self.image,
                "SANDBOX_CREATE_TIMEOUT": str(PATIENCE)}  # an emulated one boots for minutes

    def options(self):
        return [f"--incus.pool={self.pool}", f"--incus.profiles={os.environ.get('CSB_TEST_INCUS_VM_PROFILE', '')}",
                "--incus.secureboot=false"]

    def raw(self, method, path, body=None, timeout=PATIENCE):
        context = ssl.create_default_context(cafile=f"{self.folder}/server.crt")
        context.load_cert_chain(f"{self.folder}/client.crt", f"{self.folder}/client.key")
        address = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPSConnection(address.hostname, address.port, timeout=PATIENCE, context=context)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


class Clock:
    """Says on the terminal what has just ended, and how long that was."""

    def __init__(self):
        self.start = time.monotonic()

    def __call__(self, what):
        now = time.monotonic()
        print(f"  {now - self.start:6.1f} s  {what}", file=sys.stderr, flush=True)
        self.start = now


class Machines(unittest.TestCase):
    def setUp(self):
        self.engine = Machine()
        if not self.engine.host:
            message = "no machine for VMs: CSB_TEST_INCUS_VM_URL is not set (script/test-vm)"
            if harness.must_run(MODE):
                raise AssertionError(message)
            self.skipTest(message)

    def service(self, root=None):
        return Service("--incus.timeout=3600", mode=MODE, engine=self.engine, root=root)

    def post(self, service, user, what, **fields):
        status, answer = service.call("POST", user, "/" + what, fields, timeout=PATIENCE)
        self.assertEqual(status, 200, f"{what}: {answer}\n{service.log_text()[-3000:]}")
        return answer

    def test_code_files_and_what_outlives_a_stop(self):
        clock = Clock()
        with tempfile.TemporaryDirectory() as root:
            os.chmod(root, 0o711)
            with self.service(root) as service:
                info = self.post(service, "a", "create")
                clock("created")
                name = info["container_id"]
                self.assertEqual((info["backend"], info["type"]), ("incus", "vm"), info)
                self.assertEqual(self.engine.inspect(name)["type"], "virtual-machine")
                with self.subTest("code"):
                    done = self.post(service, "a", "execute", code="import os, platform\nprint(os.getuid(), platform.node())\n"
                                     "open('kept', 'w').write('kept')", timeout=300)
                    clock("execute")
                    self.assertEqual((done["success"], done["output"]), (True, "1000 clara\n"), done)
                    done = self.post(service, "a", "shell", command="cat /proc/1/comm; exit 3", timeout=300)
                    clock("shell")
                    self.assertEqual((done["exit_code"], done["output"]), (3, "init\n"), done)
                with self.subTest("a deadline"):
                    done = self.post(service, "a", "shell", command="echo begun; sleep 1000", timeout=5)
                    clock("a shell command that is ended after 5 s")
                    self.assertTrue(done["timed_out"], done)
                with self.subTest("another host takes over what runs"):
                    service.stop()
                    service.start()
                    self.assertEqual(self.post(service, "a", "shell", command="cat kept", timeout=300)["output"], "kept")
                    clock("a new host and a shell command")
                    self.assertEqual(self.engine.running(root, "a"), [name])
                with self.subTest("a stop, and files after it"):
                    self.post(service, "a", "stop")
                    clock("stopped")
                    self.assertEqual(self.engine.running(root, "a"), [])
                    self.assertEqual(self.post(service, "a", "shell", command="cat kept", timeout=300)["output"], "kept")
                    clock("started anew by a shell command")

    def test_run_from_the_command_line(self):
        clock = Clock()
        with tempfile.TemporaryDirectory() as root:
            ran = subprocess.run([harness.BINARY, "run", "--backend", MODE, *harness.folders(root, MODE, self.engine), "-c",
                                  "print(6 * 7)"], capture_output=True, text=True, timeout=PATIENCE,
                                 env={**os.environ, **self.engine.environment()})
            clock("run")
            self.assertEqual((ran.returncode, ran.stdout), (0, "42\n"), ran.stderr)
            self.assertEqual(self.engine.running(root), [])


if __name__ == "__main__":
    unittest.main()
