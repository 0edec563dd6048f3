# SPDX-License-Identifier: Apache-2.0
# backends: bubblewrap docker docker-exec incus incus-exec
"""What a host leaves behind, the next one adopts or removes; hosts side by side share sandboxes."""
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import harness
from faults import Call


def kill_sandboxes(root):
    for pid in harness.sandbox_processes(root):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Recovery(unittest.TestCase):
    def setUp(self):
        harness.need(harness.BACKEND)
        self.root = tempfile.mkdtemp(prefix="csb-test-")
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)

    def service(self, *options):
        return harness.Service(*options, root=self.root)

    def test_a_killed_host_leaves_a_sandbox_that_the_next_one_adopts(self):
        first = self.service().start()
        first.post("alice", "shell", command="echo kept > file; hostname > /tmp/mark; date +%s%N > /tmp/boot")
        boot = first.post("alice", "shell", command="cat /tmp/boot")["output"]
        first.stop(signal.SIGKILL)
        with self.service() as second:
            answer = second.post("alice", "shell", command="cat file /tmp/boot")
            self.assertEqual(answer["output"], "kept\n" + boot, "the same sandbox, its /tmp too")

    def test_a_killed_host_with_dead_sandbox_leaves_files_only(self):
        first = self.service().start()
        first.post("bob", "shell", command="echo kept > file")
        first.stop(signal.SIGKILL)
        self.assertTrue(harness.sandbox_processes(self.root))
        kill_sandboxes(self.root)
        with self.service() as second:
            self.assertEqual(second.post("bob", "shell", command="cat file")["output"], "kept\n")

    def test_stop_keeps_files_and_purge_removes_them(self):
        with self.service() as service:
            service.post("carol", "shell", command="echo kept > file")
            self.assertEqual(service.call("POST", "carol", "/stop")[1], {"status": "stopped"})
            # An engine that takes long for it is asked in the background; user code has ended before.
            deadline = time.monotonic() + (5 if harness.BACKEND == "incus" else 0)
            while (left := harness.sandbox_processes(self.root)) and time.monotonic() < deadline:
                time.sleep(0.05)
            self.assertEqual(left, [])
            self.assertEqual(service.post("carol", "shell", command="cat file")["output"], "kept\n")
            self.assertEqual(service.call("DELETE", "carol", "/destroy")[1]["files_preserved"], True)
            self.assertEqual(service.post("carol", "shell", command="cat file")["output"], "kept\n")
            service.call("DELETE", "carol", "?purge=true")
            self.assertEqual(service.post("carol", "shell", command="cat file 2>&1; true")["output"],
                             "cat: file: No such file or directory\n")

    def test_run_beside_serve_reaches_the_same_sandbox(self):
        with self.service() as service:
            service.post("dave", "shell", command="echo from-serve > file")
            beside = subprocess.run([harness.BINARY, "run", "--backend", harness.BACKEND, "--user", "dave",
                                     *harness.folders(self.root), "--", "cat", "file"],
                                    capture_output=True, text=True, timeout=60)
            self.assertEqual((beside.returncode, beside.stdout), (0, "from-serve\n"), beside.stderr)
            self.assertEqual(service.post("dave", "shell", command="cat file")["output"], "from-serve\n")

    def test_an_init_that_is_killed_is_said_and_replaced(self):
        with self.service() as service:
            service.post("erin", "shell", command="echo kept > file")
            running = Call(service, "erin", "sleep 60").started()
            self.assertTrue(harness.sandbox_processes(self.root))
            kill_sandboxes(self.root)
            status, answer = running.end(30)  # a request on a dead sandbox ends
            self.assertGreaterEqual(status, 500, answer)
            self.assertEqual(service.post("erin", "shell", command="cat file")["output"], "kept\n")

    def test_graceful_shutdown_lets_the_running_end_and_cancels_the_rest(self):
        service = self.service("--sandbox.shutdown_grace=3").start()
        service.post("frank", "shell", command="true")
        long = Call(service, "frank", "sleep 60").started()
        short = Call(service, "frank", "sleep 1.5; echo done").started()
        started = time.monotonic()
        code = service.stop(signal.SIGTERM)
        took = time.monotonic() - started
        self.assertEqual(code, 0)
        self.assertLess(took, 8)
        status, answer = short.end(10)
        self.assertEqual((status, answer.get("output")), (200, "done\n"), answer)
        self.assertNotEqual(long.end(10)[1].get("success"), True)
        with self.service() as again:  # cleans up
            again.users.add("frank")


if __name__ == "__main__":
    unittest.main()
