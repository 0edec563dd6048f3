# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/rest.md run as they stand there, one after the other."""
import os
import pathlib
import re
import subprocess
import unittest

import harness

DOCUMENT = pathlib.Path(os.environ.get("CSB_SOURCE_DIR", harness.BUILD.parent.parent)) / "docs" / "rest.md"


class Docs(unittest.TestCase):
    def test_examples_work(self):
        harness.need("bubblewrap")
        blocks = re.findall(r"^```sh\n(.*?)^```$", DOCUMENT.read_text(), re.S | re.M)
        self.assertGreater(len(blocks), 5)
        with harness.Service() as service:
            service.users.update(("alice", "bob"))
            done = subprocess.run(["sh", "-euxc", "\n".join(blocks)], capture_output=True, text=True, timeout=120,
                                  env={**os.environ, "URL": f"http://127.0.0.1:{service.port}"})
            self.assertEqual(done.returncode, 0, done.stdout[-3000:] + done.stderr[-3000:])
            for expected in ("3.141592653589793", '"output":"a\\nb\\n"', '"exit_code":4', "event: exit", '"content":"hello"',
                             "/workspace", "running", '"status":"stopped"', '"files_preserved":false', "healthy", "# HELP"):
                self.assertIn(expected, done.stdout)


if __name__ == "__main__":
    unittest.main()
