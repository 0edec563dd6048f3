# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""A Docker engine that is down, shut, hung or far away: what is said, and that nothing else waits for it."""
import unittest

import harness
from docker_engine import Engine
from trouble_checks import TroubleChecks


class Trouble(TroubleChecks, unittest.TestCase):
    mode, option, variable, group, no_daemon = "docker", "docker.host", "DOCKER_HOST", "docker", "no Docker daemon answers"

    def engine_at(self, path):
        return Engine(host=f"unix://{path}", image="any")

    def test_no_daemon(self):
        found = self.on(f"unix://{self.path}")
        self.assertFalse(found["available"])
        self.assertIn("Docker daemon not running", found["reason"])
        self.assertIn("sudo systemctl start docker", found["hint"])
        found = self.on(f"tcp://127.0.0.1:{harness.free_port()}")
        self.assertIn("Docker daemon not running at http://127.0.0.1", found["reason"])
        self.assertIn("DOCKER_HOST", found["hint"])

    def test_ssh_is_refused_with_a_way_to_do_it(self):
        found = self.on("ssh://user@far.example")
        self.assertFalse(found["available"])
        self.assertIn("ssh:// is not supported", found["reason"])
        self.assertIn("ssh -NL", found["hint"])

    def test_an_address_that_is_none(self):
        for host in ("nonsense", "unix://relative", "ftp://x", "tcp://"):
            with self.subTest(host):
                found = self.on(host)
                self.assertFalse(found["available"])
                self.assertIn("docker.host", found["reason"])


if __name__ == "__main__":
    unittest.main()
