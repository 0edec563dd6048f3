# SPDX-License-Identifier: Apache-2.0
# timeout: 300
# backends: incus
"""An Incus server that is down, shut, hung or far away: what is said, and that nothing else waits for it."""
import unittest

import harness
from incus_engine import Engine
from trouble_checks import TroubleChecks


class Trouble(TroubleChecks, unittest.TestCase):
    mode, option, variable, group, no_daemon = "incus", "incus.remote", "INCUS_REMOTE", "incus-admin", "Incus"

    def engine_at(self, path):
        return Engine(path=path, image="any")

    def test_no_daemon(self):
        found = self.on(f"unix://{self.path}")
        self.assertFalse(found["available"])
        self.assertIn("Incus", found["reason"])
        self.assertIn(self.path, found["reason"])
        self.assertIn("sudo systemctl start incus", found["hint"])
        found = self.on(f"https://127.0.0.1:{harness.free_port()}")
        self.assertFalse(found["available"])
        self.assertIn("127.0.0.1", found["reason"])

    def test_an_address_that_is_none(self):
        for host in ("unix://relative", "ftp://x", "https://", "no-such-remote"):
            with self.subTest(host):
                found = self.on(host, INCUS_CONF=self.folder, HOME=self.folder)
                self.assertFalse(found["available"])
                self.assertRegex(found["reason"] + found["hint"], f'incus.remote|"{host}"')
                self.assertTrue(found["hint"])


if __name__ == "__main__":
    unittest.main()
