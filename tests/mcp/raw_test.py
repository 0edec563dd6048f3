# SPDX-License-Identifier: Apache-2.0
"""`clara-sandbox stdio` with a real sandbox, spoken to without any library."""
import base64
import io
import json
import re
import subprocess
import time
import unittest
import zipfile


from raw_client import Folders, Server, harness, text_of


def setUpModule():
    harness.need(harness.BACKEND)
    global folders
    folders = Folders("default", "alice", "bob").__enter__()


def tearDownModule():
    folders.__exit__()


class Conversation(unittest.TestCase):
    """What needs no sandbox, and makes none."""

    def test_starting_is_cheap_and_makes_no_sandbox(self):
        with Folders() as own, Server(own) as one, Server(own) as two:
            for server in (one, two):
                self.assertEqual(server.initialize()["serverInfo"]["name"], "clara-sandbox")
                self.assertEqual(len(server.request("tools/list")["result"]["tools"]), 15)
                # The backend's probe is one for a moment; a sandbox would stay.
                deadline = time.monotonic() + 5
                while left := harness.sandbox_processes(own.root):
                    self.assertLess(time.monotonic(), deadline, left)
                    time.sleep(0.02)

    def test_versions(self):
        for version in ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"):
            with Server(folders) as server:
                self.assertEqual(server.initialize(version)["protocolVersion"], version)
        with Server(folders) as server:
            self.assertEqual(server.initialize("1999-01-01")["protocolVersion"], "2025-11-25")

    def test_end_of_input_ends_it_at_once_with_zero(self):
        with Server(folders) as server:
            server.initialize()
            server.process.stdin.close()
            self.assertEqual(server.process.wait(timeout=5), 0)

    def test_nothing_but_messages_on_stdout(self):
        script = "".join(json.dumps(m) + "\n" for m in (
            {"jsonrpc": "2.0", "id": 1, "method": "ping"}, {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}))
        ran = subprocess.run([harness.BINARY, "stdio", *folders.options()], input=script.encode(), capture_output=True,
                             timeout=60)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertEqual([json.loads(line)["id"] for line in ran.stdout.splitlines()], [1, 2])

    def test_bad_lines_are_answered_and_the_next_is_served(self):
        with Server(folders) as server:
            server.initialize()
            for line, code in ((b"nonsense", -32700), (b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', -32700),
                               (b"[" * 100_000, -32700), (b"[" * 100_000 + b"]" * 100_000, -32700),
                               (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600),
                               (b"[]", -32600), (b"17 MiB".ljust(17 << 20, b"x"), -32700)):
                server.send_text(line)
                message = server.receive()
                self.assertEqual(message["error"]["code"], code, line[:80])
                self.assertNotIn("id", message)
                self.assertEqual(server.request("ping")["result"], {})
            for method, params, code in (("none", None, -32601), ("tools/call", {"name": "none"}, -32602),
                                         ("tools/call", {}, -32602), ("tools/list", {"cursor": "x"}, -32602)):
                self.assertEqual(server.request(method, params)["error"]["code"], code)


class Tools(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(folders).__enter__()
        cls.server.initialize()

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def call(self, tool, **arguments):
        return self.server.call(tool, arguments)

    def good(self, tool, **arguments):
        """Of a call that must not fail."""
        result = self.call(tool, **arguments)
        self.assertFalse(result["isError"], text_of(result) + self.server.log()[-2000:])
        return result

    def test_python_keeps_its_variables_until_it_is_reset(self):
        result = self.call("execute_python", code="x = 6 * 7\nprint(x)")
        self.assertEqual(text_of(result), "42\n")
        self.assertEqual(result["structuredContent"]["exit_code"], 0)
        self.assertEqual(text_of(self.call("execute_python", code="x + 1")), "43")
        self.assertTrue(self.call("execute_python", code="x", context="other")["isError"])
        self.assertEqual(self.call("reset_python")["structuredContent"]["status"], "deleted")
        self.assertEqual(self.call("reset_python")["structuredContent"]["status"], "not_found")
        failed = self.call("execute_python", python_code="print(x)")
        self.assertTrue(failed["isError"])
        self.assertIn("NameError", text_of(failed))
        self.assertIn("NameError", failed["structuredContent"]["output"])

    def test_images_are_images(self):
        code = ("import base64\nclass Picture:\n  def _repr_png_(self): return b'\\x89PNG\\r\\n\\x1a\\n' + b'x' * 99\n"
                "print('before')\nPicture()")
        result = self.call("execute_python", code=code)
        self.assertEqual([block["type"] for block in result["content"]], ["text", "image"], result)
        self.assertEqual(result["content"][0]["text"], "before\n")
        self.assertTrue(base64.b64decode(result["content"][1]["data"]).startswith(b"\x89PNG"))
        self.assertNotIn("structuredContent", result)

    def test_shell_reports_exit_code_and_stderr(self):
        result = self.call("run_shell", cmd="echo out; echo err >&2; exit 3")
        self.assertTrue(result["isError"])
        self.assertEqual(sorted(result["structuredContent"]["output"].splitlines()), ["err", "out"])
        self.assertEqual(result["structuredContent"]["exit_code"], 3)

    def test_a_watched_file_is_told_of(self):
        uri = "sandbox:///workspace/watched.txt"
        with Server(folders) as server:
            self.assertTrue(server.initialize()["capabilities"]["resources"]["subscribe"])
            self.assertEqual(server.request("resources/subscribe", {"uri": uri})["result"], {})
            for command in ("echo one > watched.txt", "echo more >> watched.txt", "rm watched.txt"):
                self.assertFalse(server.call("run_shell", {"command": command})["isError"])
                while (message := server.receive()).get("method") != "notifications/resources/updated":
                    pass
                self.assertEqual(message["params"], {"uri": uri})

    def test_listening_does_not_hold_up_the_end(self):
        with Server(folders) as server:
            server.send({"jsonrpc": "2.0", "id": "l", "method": "subscriptions/listen", "params": {
                "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                          "io.modelcontextprotocol/clientCapabilities": {}},
                "notifications": {"resourceSubscriptions": ["sandbox:///workspace/x"]}}})
            acknowledged = server.receive()
            self.assertEqual(acknowledged["method"], "notifications/subscriptions/acknowledged")
            self.assertEqual(acknowledged["params"]["notifications"], {"resourceSubscriptions": ["sandbox:///workspace/x"]})
            server.process.stdin.close()
            self.assertEqual(server.process.wait(timeout=10), 0)

    def test_timeout_is_a_failed_result_that_says_so(self):
        start = time.monotonic()
        result = self.call("run_shell", command="echo early; sleep 60", timeout=1)
        self.assertLess(time.monotonic() - start, 20)
        self.assertTrue(result["isError"])
        self.assertIn("Execution timed out", text_of(result))
        self.assertTrue(result["structuredContent"]["timed_out"])
        self.assertEqual(result["structuredContent"]["output"], "early\n")

    def test_files_there_and_back(self):
        text = "line 1\nümläut €\n"
        self.good("write_file", path="a/b.txt", content=text)
        self.assertEqual(text_of(self.good("read_file", file_path="a/b.txt")), text)
        listed = self.call("list_files", directory="a")
        self.assertIn("b.txt", text_of(listed))
        self.assertEqual([e["name"] for e in listed["structuredContent"]["entries"]], ["b.txt"])
        missing = self.call("read_file", path="none.txt")
        self.assertTrue(missing["isError"])
        self.assertIn("File not found", text_of(missing))

    def test_empty_and_large_files(self):
        self.good("write_file", path="empty", content="")
        self.assertEqual(text_of(self.good("read_file", path="empty")), "")
        self.good("write_file", path="large", content="0123456789" * 300_000)
        start = text_of(self.good("read_file", path="large"))
        self.assertTrue(start.startswith("0123456789"))
        self.assertLess(len(start), 31_000)
        self.assertIn("read on with offset 30000", start)
        self.assertEqual(text_of(self.good("read_file", path="large", offset=-4)), "6789")

    def test_an_image_is_an_image(self):
        png = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
        self.call("execute_python", code=f"open('dot.png','wb').write({png!r})")
        content = self.call("read_file", path="dot.png")["content"][0]
        self.assertEqual((content["type"], content["mimeType"]), ("image", "image/png"))
        self.assertEqual(base64.b64decode(content["data"]), png)

    def test_archives_are_unpacked_and_what_would_escape_is_refused(self):
        def archive(name, member):
            data = io.BytesIO()
            with zipfile.ZipFile(data, "w") as z:
                z.writestr(member, "inside")
            self.call("execute_python", code=f"open({name!r},'wb').write({data.getvalue()!r})")
        archive("good.zip", "d/f.txt")
        self.good("unzip_file", archive="good.zip", dest="out")
        self.assertEqual(text_of(self.call("read_file", path="out/d/f.txt")), "inside")
        archive("bad.zip", "../../evil.txt")
        self.assertTrue(self.call("unzip_file", path="bad.zip", destination="out")["isError"])

    def test_package_arguments_are_no_options(self):
        for package in ("--index-url=http://x", "-r /etc/passwd", "a; touch /tmp/x"):
            self.assertTrue(self.call("install_package", package=package)["isError"], package)

    def test_flood_is_cut_and_counted(self):
        result = self.call("run_shell", command="echo first; head -c 5000000 /dev/zero | tr '\\0' x; echo; echo last")
        output = result["structuredContent"]["output"]
        self.assertTrue(output.startswith("first\n") and output.endswith("last\n"))
        self.assertLess(len(output), 31_000)
        self.assertRegex(output, "\n… 4,970,0.. bytes omitted")
        self.assertTrue(result["structuredContent"]["truncated"])
        self.assertGreater(result["structuredContent"]["bytes"], 5_000_000)

    def test_bad_arguments_are_error_results_that_name_them(self):
        for arguments, name in (({}, "command"), ({"command": 5}, "command"), ({"command": "x" * 200_000}, "command"),
                                ({"command": "id", "timeout": 0}, "timeout"), ({"command": "id", "timeout": -1}, "timeout"),
                                ({"command": "id", "timeout": 1e9}, "timeout"), ({"command": "id", "user_id": ""}, "user_id"),
                                ({"command": "id", "user_id": "a\u0000b"}, "user_id")):
            result = self.call("run_shell", **arguments)
            self.assertTrue(result["isError"], arguments)
            self.assertIn(name, text_of(result))

    def test_users_are_apart(self):
        self.call("write_file", path="secret", content="s", user_id="alice")
        self.assertTrue(self.call("read_file", path="secret", user_id="bob")["isError"])
        self.assertEqual(text_of(self.call("read_file", path="secret", user_id="alice")), "s")

    def test_calls_run_side_by_side(self):
        self.call("run_shell", command="true")
        start = time.monotonic()
        slow = self.server.start_call("run_shell", {"command": "sleep 6; echo slow"})
        fast = [self.server.start_call("run_shell", {"command": f"echo {i}"}) for i in range(10)]
        for i, id in enumerate(fast):
            self.assertEqual(text_of(self.server.wait(id)["result"]), f"{i}\n")
        self.assertLess(time.monotonic() - start, 6)
        self.assertEqual(text_of(self.server.wait(slow)["result"]), "slow\n")

    def test_cancelled_call_ends_and_is_not_answered(self):
        self.call("run_shell", command="rm -f alive")
        id = self.server.start_call("run_shell", {"command": "touch alive; while sleep 0.05; do touch alive; done"}, token="t")
        while self.call("list_files")["structuredContent"]["entries"] == [] or not any(
                e["name"] == "alive" for e in self.call("list_files")["structuredContent"]["entries"]):
            time.sleep(0.02)
        self.server.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}})
        # Gone inside, too: the file stays as old as it is now.
        aged = self.call("run_shell", command="sleep 0.5; find . -name alive -newermt '-0.3 seconds'")
        self.assertEqual(text_of(aged), "(no output)")
        self.server.request("ping")
        self.assertNotIn(id, self.server.waiting)
        late = [m for m in self.server.others if m.get("params", {}).get("progressToken") == "t"]
        self.server.call("run_shell", {"command": "sleep 0.5"})
        self.assertEqual(late, [m for m in self.server.others if m.get("params", {}).get("progressToken") == "t"])

    def test_progress_rises_for_a_token(self):
        id = self.server.start_call("run_shell", {"command": "for i in 1 2 3 4; do echo step $i; sleep 0.4; done"}, token="p")
        self.server.wait(id)
        steps = [m["params"] for m in self.server.others if m.get("method") == "notifications/progress"
                 and m["params"]["progressToken"] == "p"]
        self.assertGreaterEqual(len(steps), 2)
        values = [s["progress"] for s in steps]
        self.assertEqual(values, sorted(set(values)))
        self.assertTrue(any("step" in s["message"] for s in steps))


class Binding(unittest.TestCase):
    def test_a_bound_server_serves_its_user_only(self):
        with Server(folders, "--user", "alice", "--only") as server:
            server.initialize()
            self.assertFalse(server.call("run_shell", {"command": "true", "user_id": "alice"})["isError"])
            self.assertFalse(server.call("run_shell", {"command": "true"})["isError"])
            refused = server.call("run_shell", {"command": "true", "user_id": "bob"})
            self.assertTrue(refused["isError"])
            self.assertIn("alice only", text_of(refused))


class End(unittest.TestCase):
    def test_what_is_piped_in_is_answered(self):
        messages = [{"jsonrpc": "2.0", "id": 1, "method": "initialize",
                     "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "sh", "version": "1"}}},
                    {"jsonrpc": "2.0", "method": "notifications/initialized"},
                    {"jsonrpc": "2.0", "id": 2, "method": "tools/call",
                     "params": {"name": "run_shell", "arguments": {"command": "sleep 1; echo late"}}},
                    {"jsonrpc": "2.0", "id": 3, "method": "tools/call",
                     "params": {"name": "run_shell", "arguments": {"command": "echo early"}}}]
        ran = subprocess.run([harness.BINARY, "stdio", *folders.options()], capture_output=True, timeout=60,
                             input="\n".join(map(json.dumps, messages)).encode())
        self.assertEqual(ran.returncode, 0, ran.stderr)
        answers = {a["id"]: a["result"] for a in map(json.loads, ran.stdout.splitlines())}
        self.assertEqual((text_of(answers[3]), text_of(answers[2])), ("early\n", "late\n"))

    def ends_what_runs(self, end):
        with Server(folders) as server:
            server.initialize()
            server.call("run_shell", {"command": "rm -f beat"})
            server.start_call("run_shell", {"command": "while sleep 0.05; do touch beat; done"})
            while "beat" not in text_of(server.call("list_files", {})):
                time.sleep(0.02)
            start = time.monotonic()
            end(server)
            self.assertEqual(server.process.wait(timeout=20), 0)
            self.assertLess(time.monotonic() - start, 5)
        with Server(folders) as server:
            server.initialize()
            self.assertEqual(text_of(server.call("run_shell", {"command": "sleep 0.5; find . -name beat -newermt '-0.3 seconds'"})),
                             "(no output)")

    def test_sigterm_ends_what_runs_at_once(self):
        self.ends_what_runs(lambda server: server.process.terminate())

    def test_a_client_that_is_killed_ends_what_runs_at_once(self):
        self.ends_what_runs(lambda server: (server.process.stdin.close(), server.leave()))

    def test_a_reader_that_leaves_ends_what_runs_at_once(self):
        self.ends_what_runs(lambda server: server.leave())


class Processes(unittest.TestCase):
    """What goes on in the background, and what an answer leaves out."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server(folders, "--mcp.yield_after=1", "--stdio.max_output=2000").__enter__()
        cls.server.initialize()

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__(None, None, None)

    def good(self, tool, **arguments):
        result = self.server.call(tool, arguments)
        self.assertFalse(result["isError"], text_of(result))
        return result["structuredContent"]

    def test_what_takes_long_goes_on(self):
        start = time.monotonic()
        run = self.good("run_shell", command="echo early; sleep 4; echo late")
        self.assertLess(time.monotonic() - start, 3.5)
        self.assertTrue(run["running"])
        self.assertIn(run["handle"], run["message"])
        self.assertEqual(self.good("wait", handle=run["handle"], timeout=20)["exit_code"], 0)
        rest = self.good("process_output", handle=run["handle"], offset=run["bytes"])
        self.assertEqual((run["output"], rest["output"]), ("early\n", "late\n"))

    def test_python_that_takes_long_is_interrupted_and_keeps_its_variables(self):
        self.good("execute_python", code="kept = 5", context="long")
        run = self.good("execute_python", code="import time\nprint('on', flush=True)\ntime.sleep(60)", context="long")
        self.assertTrue(run["running"])
        self.good("signal", handle=run["handle"], signal="INT")
        self.assertEqual(self.good("wait", handle=run["handle"], timeout=20)["state"], "exited")
        self.assertIn("KeyboardInterrupt", self.good("process_output", handle=run["handle"])["output"])
        self.assertEqual(self.good("execute_python", code="kept", context="long")["output"], "5")

    def test_the_middle_is_read_by_its_handle(self):
        run = self.good("run_shell", command="seq 1 2000")
        self.assertTrue(run["truncated"])
        call = re.search(r'read_output\("(p_[0-9a-f]{24})", offset=(\d+)\)', run["output"])
        self.assertEqual(call[1], run["handle"])
        offset, everything = 0, ""
        while offset < run["bytes"]:
            part = self.good("read_output", handle=run["handle"], offset=offset, limit=1500)
            everything += part["output"]
            offset = part["next_offset"]
        self.assertEqual(everything, "".join(f"{i}\n" for i in range(1, 2001)))
        self.assertTrue(run["output"].startswith(everything[: int(call[2])]))

    def test_a_process_is_written_to_listed_and_ended(self):
        handle = self.good("start_process", command="while read line; do echo got $line; done; echo end")["handle"]
        self.assertEqual(self.good("write_stdin", handle=handle, text="one\n")["written"], 4)
        self.assertEqual(self.good("process_output", handle=handle, wait=20)["output"], "got one\n")
        self.good("write_stdin", handle=handle, text="two\n", eof=True)
        self.assertEqual(self.good("wait", handle=handle, timeout=20)["exit_code"], 0)
        self.assertEqual(self.good("process_output", handle=handle, offset=8)["output"], "got two\nend\n")
        sleeper = self.good("start_process", command="sleep 60")["handle"]
        states = {p["handle"]: p["state"] for p in self.good("list_processes")["processes"]}
        self.assertEqual((states[handle], states[sleeper]), ("exited", "running"))
        self.good("signal", handle=sleeper, signal="KILL")
        self.assertEqual(self.good("wait", handle=sleeper, timeout=20)["state"], "exited")

    def test_handles_of_nobody_are_results_that_say_what_to_do(self):
        for tool, more in (("wait", {}), ("process_output", {}), ("signal", {"signal": "INT"}), ("write_stdin", {"text": "x"})):
            result = self.server.call(tool, {"handle": "p_" + "0" * 24, **more})
            self.assertTrue(result["isError"])
            self.assertIn("no process p_", text_of(result))


if __name__ == "__main__":
    unittest.main()
