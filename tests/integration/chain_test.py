# SPDX-License-Identifier: Apache-2.0
# timeout: 300
# backends: remote-docker remote-bubblewrap
"""A chain as it is used: an MCP client, `stdio` with the backend remote on its machine, and a service on another one."""
import json
import os
import pathlib
import signal
import sys
import tempfile
import time
import unittest

import harness
from remote_peer import close, far_of, wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "mcp"))
from raw_client import Server, text_of  # noqa: E402


class OneHost:
    """Folders of the host in front, as Server takes them."""

    def __init__(self, root):
        self.root = root

    def options(self):
        return ["--sandbox.mode=remote", *harness.folders(self.root, "remote")]


class Chain(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        harness.need("remote")
        cls.root = tempfile.mkdtemp(prefix="csb-test-")
        os.chmod(cls.root, 0o711)
        cls.far = far_of(cls.root)
        cls.folders = OneHost(cls.root)

    @classmethod
    def tearDownClass(cls):
        for user in ("alice", "bob", "default"):
            cls.far.call("DELETE", user, "?purge=true")
        close(cls.root)

    def client(self, *options):
        server = Server(self.folders, "--user", "alice", *options)
        server.__enter__()
        self.addCleanup(lambda: server.process.poll() is None and server.__exit__())
        server.initialize()
        return server

    def running(self, *words):
        """Is there a process with these words, in a sandbox of the service behind?"""
        wanted = b"\0".join(w.encode() for w in words) + b"\0"
        for pid in harness.processes_of(self.far.root):
            try:
                if pathlib.Path(f"/proc/{pid}/cmdline").read_bytes() == wanted:
                    return True
            except OSError:
                pass
        return False

    def test_tools_reach_the_service_behind(self):
        client = self.client()
        result = client.call("execute_python", {"code": "import sys\nprint(6 * 7)\nprint('no', file=sys.stderr)"})
        # Both streams, in the order in which they came.
        self.assertEqual(sorted(result["structuredContent"]["output"].split()), ["42", "no"])
        client.call("write_file", {"path": "d/text", "content": "häuser\n"})
        self.assertEqual(self.far.call("GET", "alice", "/file?path=d/text")[1]["content"], "häuser\n")
        self.far.post("alice", "shell", command="echo from behind > d/other")
        self.assertEqual(text_of(client.call("read_file", {"path": "d/other"})), "from behind\n")
        listed = client.call("list_files", {"path": "d"})["structuredContent"]["entries"]
        self.assertEqual({e["name"] for e in listed}, {"text", "other"})
        status = self.far.call("GET", "alice", "/status")[1]
        self.assertEqual((status["user_id"], status["backend"]), ("alice", harness.OVER))

    def test_two_clients_share_a_users_files(self):
        one, two = self.client(), self.client()
        one.call("write_file", {"path": "shared", "content": "1"})
        self.assertEqual(text_of(two.call("read_file", {"path": "shared"})), "1")
        self.assertTrue(two.call("read_file", {"path": "shared", "user_id": "bob"})["isError"])

    def test_errors_are_told_in_words_that_help(self):
        client = self.client()
        for tool, arguments, word in (("read_file", {"path": "none"}, "File not found"), ("run_shell", {"command": "sleep 60", "timeout": 1},
                                      "Execution timed out"), ("unzip_file", {"path": "none.zip"}, "none.zip"),
                                      ("execute_python", {"code": "1/0"}, "ZeroDivisionError"),
                                      ("install_package", {"package": "--help"}, "package")):
            with self.subTest(tool):
                result = client.call(tool, arguments)
                self.assertTrue(result["isError"], result)
                self.assertIn(word, text_of(result))
        answer = client.call("run_shell", {"command": "head -c 5000000 /dev/zero | tr '\\0' x; echo; echo last"})["structuredContent"]
        self.assertTrue(answer["output"].endswith("last\n") and answer["truncated"])
        self.assertGreater(answer["bytes"], 5_000_000)

    def test_output_comes_as_it_happens(self):
        client = self.client()
        client.call("run_shell", {"command": "true"})
        began = time.monotonic()
        id = client.start_call("run_shell", {"command": "for i in 1 2 3 4 5; do echo step $i; sleep 0.8; done"}, token="live")
        first = client.receive()
        self.assertLess(time.monotonic() - began, 3, "before the end")
        self.assertEqual(first["method"], "notifications/progress")
        client.others.append(first)
        client.wait(id)
        steps = [m["params"] for m in client.others if m.get("params", {}).get("progressToken") == "live"]
        self.assertGreaterEqual(len(steps), 3)
        self.assertIn("step", json.dumps(steps))

    def begun(self, client, *words):
        id = client.start_call("run_shell", {"command": "exec " + " ".join(words)})
        wait_for(lambda: self.running(*words), 20, "it never ran")
        return id

    def test_a_cancelled_call_ends_there(self):
        client = self.client()
        id = self.begun(client, "sleep", "4321")
        client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}})
        wait_for(lambda: not self.running("sleep", "4321"), 10, "it still runs behind")
        client.request("ping")
        self.assertNotIn(id, client.waiting, "and is not answered")
        self.assertEqual(text_of(client.call("run_shell", {"command": "echo on"})), "on\n")

    def test_a_client_that_ends_takes_its_commands_along(self):
        client = self.client()
        self.begun(client, "sleep", "4322")
        client.process.terminate()
        self.assertEqual(client.process.wait(20), 0)
        wait_for(lambda: not self.running("sleep", "4322"), 10, "it still runs behind")

    def test_a_host_that_is_killed_takes_its_commands_along(self):
        client = self.client()
        self.begun(client, "sleep", "4323")
        client.process.send_signal(signal.SIGKILL)
        client.process.wait(20)
        wait_for(lambda: not self.running("sleep", "4323"), 15, "it still runs behind")


if __name__ == "__main__":
    unittest.main()
