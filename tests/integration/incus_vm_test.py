# SPDX-License-Identifier: Apache-2.0
# backends: incus
"""Virtual machines where the server can run none: said at once, with its reason and what to do; auto takes another."""
import json
import os
import subprocess
import tempfile
import unittest

import harness
from harness import Service, explain
from incus_engine import Engine


class NoMachines(unittest.TestCase):
    def setUp(self):
        harness.need("incus")
        self.engine = Engine()
        server = self.engine.do("GET", "/1.0")["environment"]
        if "qemu" in server["driver"]:
            self.skipTest("this server can run virtual machines")
        self.environment = {**os.environ, **self.engine.environment()}

    def told(self, text):
        """The engine's words, and a way on."""
        self.assertRegex(text, "virtual.machine")
        self.assertRegex(text, "vhost_vsock|kvm|qemu|QEMU")

    def test_a_type_that_can_not_be_had_is_said(self):
        found = explain("incus", env={**self.environment, "INCUS_SANDBOX_TYPE": "vm"})
        self.assertFalse(found["available"], found)
        self.told(found["reason"] + " " + found["hint"])
        self.assertTrue(found["hint"])

    def test_auto_never_takes_it(self):
        harness.need("bubblewrap")
        with Service("--incus.type=vm", "--sandbox.order=incus bubblewrap", mode="auto", env=self.environment) as service:
            info = service.call("POST", "a", "/create", {})[1]
            self.assertEqual(info["backend"], "bubblewrap", info)
            health = json.loads(service.request("GET", "/health")[2])
            self.told(health["backends"]["incus"]["reason"])

    def test_a_mode_that_asks_for_it_fails_clearly_and_makes_nothing(self):
        with tempfile.TemporaryDirectory() as root:
            ran = subprocess.run([harness.BINARY, "run", "--backend", "incus-vm", *harness.folders(root, "incus-vm"), "-c",
                                  "print(1)"], capture_output=True, text=True, timeout=60, env=self.environment)
            self.assertEqual((ran.returncode, ran.stdout), (1, ""))
            self.told(ran.stderr)
            self.assertEqual(self.engine.left(root), [])


if __name__ == "__main__":
    unittest.main()
