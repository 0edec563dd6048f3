# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""An engine on another machine: TCP with TLS and certificates of both sides; files and processes are not shared.

The engine is one of its own, on loopback; what makes it far away is that only its API is used.
"""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import harness
from docker_engine import OwnEngine
from harness import Service, explain, free_port


def setUpModule():
    harness.need("docker")
    harness.need_root("an engine of one's own needs root")


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        port = free_port()
        cls.engine = OwnEngine("--tls", str(port))
        cls.addClassCleanup(cls.engine.close)
        cls.engine.up()
        cls.address = f"tcp://127.0.0.1:{port}"
        cls.certificates = pathlib.Path(cls.engine.dir, "tls")
        cls.environment = {"DOCKER_HOST": cls.address, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(cls.certificates),
                           "DOCKER_SANDBOX_IMAGE": cls.engine.image}

    def test_everything_works_through_the_stream(self):
        with Service("--docker.pool_size=1", mode="docker", engine=self.engine, env=self.environment) as service:
            answer = service.post("far", "execute", code="open('kept', 'w').write('x'); print(6 * 7)")
            self.assertEqual(answer["output"], "42\n", answer)
            status, _, body = service.request("POST", "/sandbox/far/file?path=big", body=os.urandom(3_000_000),
                                              headers={"Content-Type": "application/octet-stream"})
            self.assertEqual(status, 200, body)
            status, _, body = service.request("GET", "/sandbox/far/file?path=big",
                                              headers={"Accept": "application/octet-stream"})
            self.assertEqual((status, len(body)), (200, 3_000_000))
            info = service.call("GET", "far", "/status")[1]
            self.assertTrue(info["enforced"]["memory"]["enforced"], info)
            found = self.engine.inspect(info["container_id"])
            self.assertEqual(found["Config"]["Labels"]["clara-sandbox.channel"], "exec")
            self.assertFalse([m for m in found["Mounts"] if m["Type"] == "bind"], "nothing of the host's is mounted")
            service.call("POST", "far", "/stop")
            self.assertEqual(service.post("far", "shell", command="cat kept")["output"], "x")

    def test_a_host_that_was_killed_is_followed_by_one_that_finds_it(self):
        root = tempfile.mkdtemp(prefix="csb-test-")
        self.addCleanup(shutil.rmtree, root, ignore_errors=True)
        with Service(mode="docker", engine=self.engine, env=self.environment, root=root) as service:
            name = service.call("POST", "far", "/create", {})[1]["container_id"]
            service.process.kill()
            service.process.wait()
            service.process = None
            service.log.close()
            service.start()
            self.assertEqual(service.post("far", "shell", command="echo again")["output"], "again\n")
            self.assertEqual(service.call("GET", "far", "/status")[1]["container_id"], name)

    def test_a_client_without_certificates_is_told_what_to_set(self):
        empty = tempfile.mkdtemp(prefix="csb-test-")
        self.addCleanup(os.rmdir, empty)
        answer = subprocess.run([harness.BINARY, "explain", "--sandbox.mode=docker", *harness.folders(empty, "docker")],
                                env={**os.environ, **self.environment, "DOCKER_CERT_PATH": empty}, capture_output=True,
                                text=True, timeout=60)
        self.assertIn("DOCKER_CERT_PATH", answer.stdout + answer.stderr)

    def test_an_engine_that_wants_tls_is_told_of_without_it(self):
        plain = {**os.environ, **self.environment, "DOCKER_TLS_VERIFY": ""}
        found = explain("docker", env=plain)
        self.assertFalse(found["available"])
        self.assertIn("DOCKER_TLS_VERIFY", found["hint"], found)


if __name__ == "__main__":
    unittest.main()
