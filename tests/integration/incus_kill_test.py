# SPDX-License-Identifier: Apache-2.0
# timeout: 900
# backends: incus
"""A host on Incus that is killed under load, again and again: kills.py says what must hold."""
import unittest

from incus_engine import OWN, OwnEngine
from kills import KillChecks


class Kills(KillChecks, unittest.TestCase):
    mode, make = "incus", OwnEngine

    def pools(self, root):
        return {each["config"].get(OWN + "host") for each in self.engine.instances(root)
                if each["config"].get(OWN + "kind") == "pool"}


if __name__ == "__main__":
    unittest.main()
