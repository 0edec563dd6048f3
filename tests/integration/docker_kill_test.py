# SPDX-License-Identifier: Apache-2.0
# timeout: 600
"""A host on Docker that is killed under load, again and again: kills.py says what must hold."""
import unittest

from docker_engine import OwnEngine
from kills import KillChecks


class Kills(KillChecks, unittest.TestCase):
    mode, make = "docker", OwnEngine

    def pools(self, root):
        return {name.split("-pool-")[1].split("-")[0] for name in self.engine.containers(root) if "-pool-" in name}


if __name__ == "__main__":
    unittest.main()
