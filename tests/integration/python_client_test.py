# SPDX-License-Identifier: Apache-2.0
"""The client of clients/python against the real service."""
import io
import os
import shutil
import sys
import tempfile
import threading
import unittest

import harness

sys.path.insert(0, os.path.join(os.environ["CSB_SOURCE_DIR"], "clients", "python"))
from clara_sandbox import Client, ConnectionFailed, SandboxError  # noqa: E402


class PythonClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        harness.need(harness.BACKEND)
        cls.root = tempfile.mkdtemp(prefix="csb-test-")
        cls.service = harness.Service(root=cls.root, key="secret")
        cls.service.__enter__()
        cls.client = Client(cls.service.url, api_key="secret")

    @classmethod
    def tearDownClass(cls):
        try:
            cls.client.close()
            cls.service.__exit__(None, None, None)
        finally:
            shutil.rmtree(cls.root, ignore_errors=True)

    def sandbox(self, user):
        self.service.users.add(user)
        return self.client.sandbox(user)

    def test_runs_contexts_and_results(self):
        box = self.sandbox("r/ü")
        run = box.execute("import sys\nprint(6 * 7, input(), sys.argv[1:])", stdin="in\n", args=["a"])
        self.assertEqual((run.success, run.output, run.error), (True, "42 in ['a']\n", None))
        failed = box.shell("cat; echo err >&2; exit 3", stdin=b"\xff\x00")
        self.assertEqual((failed.success, failed.exit_code), (False, 3))
        self.assertTrue(box.exec(["sleep", "60"], timeout=0.2).timed_out)
        box.execute("x = 20", context="work")
        value = box.execute("x + 1", context="work")
        self.assertEqual((value.results[0].kind, value.results[0].text), ("value", "21"))
        shown = box.execute("class P:\n  def _repr_png_(self): return b'png'\ndisplay(P())", results=True)
        self.assertEqual(shown.results[0].image(), b"png")
        self.assertEqual([one.name for one in box.contexts()], ["work"])
        self.assertEqual(box.context("work").executions, 2)
        self.assertEqual((box.delete_context("work"), box.delete_context("work")), (True, False))

    def test_streams_come_as_they_happen_and_end_with_the_loop(self):
        box = self.sandbox("s")
        events = list(box.stream_execute("import sys\nprint('a', flush=True)\nsys.stdout.buffer.write(b'\\xff')"))
        self.assertEqual(b"".join(e.data for e in events if e.kind == "stdout"), b"a\n\xff")
        self.assertTrue(events[-1].execution.success)
        for event in box.stream_shell("touch begun; echo first; sleep 60; touch over"):
            self.assertEqual(event.text, "first\n")
            break
        self.assertEqual([e.name for e in box.list_files()], ["begun"])

    def test_files(self):
        box = self.sandbox("f")
        box.write_file("d/text", "häuser\n")
        self.assertEqual(box.read_file("d/text").decode(), "häuser\n")
        big = os.urandom(3 << 20)
        box.write_file("big", io.BytesIO(big))
        with tempfile.TemporaryDirectory() as folder:
            box.download("big", folder + "/copy")
            with open(folder + "/copy", "rb") as file:
                self.assertEqual(file.read(), big)
            box.upload(folder + "/copy", "again")
        self.assertEqual((box.stat("again").size, box.stat("d").type), (len(big), "dir"))
        box.delete_file("d", recursive=True)
        self.assertEqual(sorted(e.name for e in box.list_files()), ["again", "big"])

    def test_processes(self):
        box = self.sandbox("p")
        started = box.start_process("while read x; do echo got $x; done; exit 4")
        self.assertEqual(box.write_process(started.handle, "one\n"), 4)
        output = box.process_output(started.handle, wait=20)
        self.assertEqual((output.text, output.process.running), ("got one\n", True))
        box.write_process(started.handle, b"two\n", eof=True)
        events = list(box.follow_process(started.handle, output.next_offset))
        self.assertEqual("".join(e.text for e in events), "got two\n")
        self.assertEqual(box.wait_process(started.handle).exit_code, 4)
        other = box.start_process(["sleep", "60"])
        box.signal_process(other.handle, "TERM")
        self.assertEqual(box.wait_process(other.handle).raw["signal"], 15)
        self.assertEqual([one.handle for one in box.processes()], [started.handle, other.handle])
        box.remove_process(other.handle)
        late = box.shell("echo a; sleep 1; echo b", yield_after=0.2)
        self.assertEqual((late.running, late.output), (True, "a\n"))
        self.assertEqual(box.wait_process(late.handle).exit_code, 0)

    def test_errors_say_what_and_what_to_do(self):
        box = self.sandbox("e")
        with self.assertRaises(SandboxError) as caught:
            box.read_file("none")
        self.assertEqual((caught.exception.status, caught.exception.code), (404, "not_found"))
        self.assertIn("File not found", caught.exception.message)
        with self.assertRaises(SandboxError) as caught:
            Client(self.service.url, api_key="wrong").info()
        self.assertEqual(caught.exception.status, 401)
        with self.assertRaises(SandboxError) as caught:
            list(box.stream_shell("x", timeout=-1))
        self.assertEqual(caught.exception.status, 422)
        with self.assertRaises(ConnectionFailed):
            Client(f"http://127.0.0.1:{harness.free_port()}", timeout=5).health()
        with self.assertRaises(ValueError):
            Client("localhost:8080")

    def test_many_threads_and_the_life_of_a_sandbox(self):
        box = self.sandbox("t")
        outputs = []
        threads = [threading.Thread(target=lambda i=i: outputs.append(box.execute(f"print({i})").output)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(outputs), [f"{i}\n" for i in range(8)])
        self.assertEqual(box.status()["status"], "running")
        self.assertEqual(box.stop(), "stopped")
        self.assertEqual(box.restart()["status"], "running")
        self.assertEqual(self.client.health()["status"], "healthy")
        self.assertIn("t", [one["user_id"] for one in self.client.sandboxes()])
        self.assertEqual(box.destroy(purge=True)["status"], "deleted")


if __name__ == "__main__":
    unittest.main()
