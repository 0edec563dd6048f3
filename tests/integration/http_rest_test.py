# SPDX-License-Identifier: Apache-2.0
# timeout: 300
# backends: bubblewrap docker docker-exec incus incus-exec incus-cluster remote-bubblewrap remote-docker remote-incus remote-plain
"""The REST API against a real sandbox, as Clara's client uses it: every call of the interface."""
import base64
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
import zipfile

import harness

EXECUTION = {"success", "output", "error", "exit_code", "execution_time", "timed_out", "oom_killed", "truncated",
             "stdout_bytes", "stderr_bytes"}
INFO = {"user_id", "container_id", "status", "created_at", "last_used", "execution_count", "memory_usage_mb", "cpu_percent",
        "backend", "enforced"}
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")  # the second as Python writes it


class Rest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        harness.need(harness.BACKEND)
        cls.service = harness.Service().start()

    @classmethod
    def tearDownClass(cls):
        cls.service.__exit__()

    def ran(self, answer):
        self.assertLessEqual(EXECUTION, answer.keys())
        self.assertIsInstance(answer["execution_time"], float)
        self.assertEqual(answer["success"], answer["exit_code"] == 0)
        return answer

    def raw(self, method, user, path, body=None, headers=None):
        self.service.users.add(user)
        return self.service.request(method, f"/sandbox/{user}/{path}", body, headers)

    def test_code_runs_and_tells_how(self):
        answer = self.ran(self.service.post("run", "execute", code="import sys; print(1); print(2, file=sys.stderr)"))
        self.assertEqual((answer["success"], answer["output"], answer["error"]), (True, "1\n", "2\n"))
        answer = self.ran(self.service.post("run", "execute", code="print('x')", description="prints"))
        self.assertIsNone(answer["error"])
        answer = self.ran(self.service.post("run", "shell", command="echo no >&2; exit 3"))
        self.assertEqual((answer["success"], answer["exit_code"], answer["error"]), (False, 3, "no\n"))
        answer = self.ran(self.service.post("run", "shell", command="pwd; echo $HOME"))
        self.assertEqual(answer["output"].splitlines()[0], "/workspace")
        if not harness.PLAIN:
            answer = self.ran(self.service.post("run", "shell", command="cat", stdin="in\n"))
            self.assertEqual(answer["output"], "in\n")
        answer = self.ran(self.service.post("run", "shell", command="sleep 30", timeout=1))
        self.assertTrue(answer["timed_out"])
        self.assertIn("Execution timed out", answer["error"])

    def test_a_field_that_is_wrong_is_named(self):
        for path, body, field in (("execute", {}, "code"), ("execute", {"code": 1}, "code"),
                                  ("execute", {"code": "1", "timeout": 0}, "timeout"),
                                  ("execute", {"code": "1", "timeout": -1}, "timeout"),
                                  ("execute", {"code": "1", "timeout": 1e9}, "timeout"),
                                  ("execute", {"code": "1", "timeout": "x"}, "timeout"),
                                  ("shell", {}, "command"), ("shell", {"command": "a\0b"}, "command"),
                                  ("pip/install", {}, "package"), ("pip/install", {"package": "--help"}, "package"),
                                  ("unzip", {}, "path"), ("file", {"content": "x"}, "path"),
                                  ("file", {"path": "x"}, "content"),
                                  ("file", {"path": "x", "content": "x", "encoding": "rot13"}, "encoding"),
                                  ("file", {"path": "x", "content": "%", "encoding": "base64"}, "content"),
                                  ("file", {"path": "a\0b", "content": "x"}, "path"),
                                  ("file", {"path": "a" * 5000, "content": "x"}, "path")):
            with self.subTest(f"{path} {str(body)[:60]}"):
                status, answer = self.service.call("POST", "wrong", "/" + path, body)
                self.assertEqual(status, 422, answer)
                self.assertIn(field, answer["error"])
        for number in ("NaN", "Infinity", "-Infinity", "1e999"):
            status, _, answer = self.raw("POST", "wrong", "execute", f'{{"code": "1", "timeout": {number}}}')
            self.assertEqual((status, json.loads(answer)["error"]), (422, "timeout: must be a finite number"), number)
        for path in ("a" * 5000, "a" * 13000, "%C3%A4" * 2049):
            status, _, answer = self.raw("GET", "wrong", "file?path=" + path)
            self.assertEqual((status, json.loads(answer)["error"]), (422, "path: is longer than 4096 bytes"))
        self.assertEqual(self.raw("GET", "wrong", "file?path=" + "%C3%A4" * 100)[0], 404)
        self.assertEqual(self.service.call("POST", "wrong", "/shell", {"command": "true", "unknown": 1})[0], 200)

    def test_output_is_bounded_by_head_and_tail(self):
        answer = self.ran(self.service.post("flood", "shell", command="seq 1000000"))
        self.assertTrue(answer["truncated"])
        self.assertEqual(answer["stdout_bytes"], 6888896)
        self.assertLess(len(answer["output"]), 1 << 21)
        self.assertTrue(answer["output"].startswith("1\n2\n") and answer["output"].endswith("\n1000000\n"))

    def test_files_in_all_forms(self):
        user = "files"
        answer = self.ran(self.service.post(user, "file", path="d/e/text", content="hä\n"))
        self.assertTrue(answer["success"])
        status, answer = self.service.call("GET", user, "/file?path=d/e/text")
        self.assertEqual((status, answer), (200, {"path": answer["path"], "content": "hä\n", "encoding": "utf-8", "size": 4}))
        binary = bytes(range(256))
        self.service.post(user, "file", path="binary", content=base64.b64encode(binary).decode(), encoding="base64")
        status, answer = self.service.call("GET", user, "/file?path=/workspace/binary")
        self.assertEqual((answer["encoding"], base64.b64decode(answer["content"]), answer["size"]), ("base64", binary, 256))
        status, answer = self.service.call("GET", user, "/files?path=/workspace")
        self.ran(answer)
        self.assertEqual({e["name"]: e["type"] for e in answer["entries"] if not e["name"].startswith(".")},
                         {"d": "dir", "binary": "file"})
        self.assertIn("binary", answer["output"])
        self.assertEqual(self.service.call("GET", user, "/files")[0], 200)
        status, answer = self.service.call("DELETE", user, "/file?path=binary")
        self.assertEqual(status, 200)
        self.ran(answer)
        status, answer = self.service.call("GET", user, "/file?path=binary")
        self.assertEqual(status, 404)
        self.assertIn("File not found", answer["error"])
        self.assertEqual(self.service.call("DELETE", user, "/file?path=binary")[0], 404)
        self.assertEqual(self.service.call("GET", user, "/file")[0], 422)

    @harness.not_plain("it has no ranges: each reads the whole file")
    def test_raw_bytes_both_ways(self):
        user, data = "raw", os.urandom(3_000_000)
        headers = {"Content-Type": "application/octet-stream"}
        status, _, body = self.raw("POST", user, "file?path=blob", data, headers)
        self.assertEqual(status, 200, body)
        self.ran(json.loads(body))
        octets = {"Accept": "application/octet-stream"}
        status, fields, body = self.raw("GET", user, "file?path=blob", headers=octets)
        self.assertEqual((status, body == data), (200, True))
        self.assertEqual(fields["Content-Type"], "application/octet-stream")
        for spec, expected in (("0-9", data[:10]), ("2999990-", data[-10:]), ("-10", data[-10:]), ("5-5", data[5:6]),
                               ("1000000-1999999", data[1000000:2000000]), ("0-99999999", data),
                               ("1-9223372036854775807", data[1:]), ("-99999999999999999999", data)):
            status, fields, body = self.raw("GET", user, "file?path=blob", headers={**octets, "Range": "bytes=" + spec})
            self.assertEqual((status, body == expected), (206, True), spec)
            self.assertTrue(fields["Content-Range"].endswith("/3000000"))
        for spec in ("3000000-", "9007199254740992-", "99999999999999999999-", "-0"):
            status, fields, _ = self.raw("GET", user, "file?path=blob", headers={**octets, "Range": "bytes=" + spec})
            self.assertEqual((status, fields.get("Content-Range")), (416, "bytes */3000000"), spec)
        status, fields, body = self.raw("HEAD", user, "file?path=blob", headers=octets)
        self.assertEqual((status, fields["Content-Length"], body), (200, "3000000", b""))
        status, _, body = self.raw("POST", user, "file?path=empty", b"", headers)
        self.assertEqual(status, 200, body)
        self.assertEqual(self.raw("GET", user, "file?path=empty", headers=octets)[2], b"")
        status, _, body = self.raw("GET", user, "file?path=nothing", headers=octets)
        self.assertEqual((status, json.loads(body)["code"]), (404, "not_found"))

    def test_an_upload_that_breaks_leaves_nothing(self):
        user = "broken"
        self.service.post(user, "shell", command="mkdir up; echo old > up/file")
        connection = self.service.connection()
        connection.putrequest("POST", f"/sandbox/{user}/file?path=up/file")
        connection.putheader("Content-Type", "application/octet-stream")
        connection.putheader("Content-Length", "1000000")
        connection.endheaders()
        connection.send(b"x" * 500000)
        connection.close()
        deadline = time.monotonic() + 10
        while True:
            listing = self.service.post(user, "shell", command="ls -A up; cat up/file")["output"]
            if listing == "file\nold\n":
                break
            self.assertLess(time.monotonic(), deadline, listing)

    @harness.not_plain("files go whole, as JSON")
    def test_large_files_flow_through(self):
        user, size = "large", 100 << 20
        self.service.post(user, "shell", command="true")
        before = self.service.rss_kib()
        with tempfile.NamedTemporaryFile() as file:
            file.truncate(size)
            file.seek(size // 2)
            file.write(b"middle")
            file.flush()
            file.seek(0)
            status, _, body = self.raw("POST", user, "file?path=blob", file, {
                "Content-Type": "application/octet-stream", "Content-Length": str(size)})
            self.assertEqual(status, 200, body)
        connection = self.service.connection()
        connection.request("GET", f"/sandbox/{user}/file?path=blob", headers={"Accept": "application/octet-stream"})
        answer, got = connection.getresponse(), 0
        while piece := answer.read(1 << 20):
            got += len(piece)
        connection.close()
        self.assertEqual(got, size)
        # The sanitizers' build keeps freed memory for a while.
        if "asan" not in pathlib.Path(f"/proc/{self.service.process.pid}/maps").read_text():
            self.assertLess(self.service.rss_kib() - before, 16 << 10)

    def test_archives_are_unpacked(self):
        user = "zip"
        with tempfile.NamedTemporaryFile(suffix=".zip") as file:
            with zipfile.ZipFile(file.name, "w") as archive:
                archive.writestr("a/b", "content")
            self.raw("POST", user, "file?path=x.zip", pathlib.Path(file.name).read_bytes(),
                     {"Content-Type": "application/zip"})
        answer = self.ran(self.service.post(user, "unzip", path="x.zip", destination="out/deep"))
        self.assertTrue(answer["success"], answer)
        self.assertEqual(self.service.post(user, "shell", command="cat out/deep/a/b")["output"], "content")

    @harness.not_plain("it takes no folder, variables or input")
    def test_programs_run_without_a_shell(self):
        answer = self.ran(self.service.post("exec", "exec", argv=["printf", "%s|", "$HOME", "a b", ""], cwd="/tmp"))
        self.assertEqual(answer["output"], "$HOME|a b||")
        answer = self.ran(self.service.post("exec", "exec", argv=["sh", "-c", "kill -TERM $$"]))
        self.assertEqual((answer["exit_code"], answer["cause"], answer["signal"]), (143, "signal", 15), answer)
        answer = self.ran(self.service.post("exec", "exec", argv=["sleep", "30"], timeout=1))
        self.assertIn("Execution timed out", answer["message"])
        self.assertNotEqual(answer["hint"], "")
        self.assertEqual(self.service.call("POST", "exec", "/exec", {"argv": []})[0], 422)

    @harness.not_plain("its output is text")
    def test_bytes_both_ways(self):
        every = bytes(range(256)) * 300
        body = {"argv": ["sh", "-c", "cat; printf '\\303' >&2"], "stdin": base64.b64encode(every).decode(),
                "stdin_encoding": "base64", "encoding": "base64"}
        connection, answer = self.stream("bytes", "exec", "application/x-ndjson", body)
        events = [json.loads(line) for line in answer]
        connection.close()
        got = {name: b"".join(base64.b64decode(e["data"]) for e in events if e["event"] == name)
               for name in ("stdout", "stderr")}
        self.assertEqual(got, {"stdout": every, "stderr": b"\xc3"})
        self.assertEqual({e["encoding"] for e in events[:-1]}, {"base64"})
        self.assertEqual((events[-1]["event"], events[-1]["message"]), ("exit", ""))
        status, answer = self.service.call("POST", "bytes", "/exec", body)
        self.assertEqual((status, answer["error"]), (422, "encoding: base64 comes only in a streamed answer"))

    @harness.not_plain("it tells nothing of a file but its size")
    def test_stat_and_the_headers_of_a_file_agree(self):
        self.service.post("stat", "shell", command="umask 022; echo hi > f; chmod 640 f; ln -s f l; mkdir d")
        status, answer = self.service.call("GET", "stat", "/stat?path=f")
        self.assertEqual((status, answer["type"], answer["size"], answer["mode"]), (200, "file", 3, "0640"), answer)
        octets = {"Accept": "application/octet-stream"}
        for method in ("GET", "HEAD"):
            fields = self.raw(method, "stat", "file?path=f", headers=octets)[1]
            self.assertEqual((fields["X-File-Mode"], fields["X-File-Mtime"]), ("0640", answer["mtime"]), method)
        self.assertEqual(self.service.call("GET", "stat", "/stat?path=l")[1]["target"], "f")
        self.assertEqual(self.service.call("GET", "stat", "/stat?path=/workspace/d")[1]["type"], "dir")
        self.assertEqual(self.service.call("GET", "stat", "/stat?path=none")[0], 404)
        self.assertEqual(self.service.call("GET", "stat", "/stat")[0], 422)

    @unittest.skipIf(harness.REMOTE, "it lists none of the service behind")
    def test_the_operator_sees_all_sandboxes(self):
        for user in ("seen/1", "seen/2"):
            self.service.post(user, "shell", command="true")
        status, _, body = self.service.request("GET", "/sandboxes")
        answer = json.loads(body)
        self.assertEqual((status, answer["unavailable"]), (200, []))
        live = {info["user_id"]: info for info in answer["sandboxes"]}
        self.assertLessEqual({"seen/1", "seen/2"}, live.keys())
        self.assertEqual((live["seen/1"]["status"], live["seen/1"]["backend"]), ("running", harness.BACKEND))

    def test_pip(self):
        status, answer = self.service.call("GET", "pip", "/pip/list")
        self.assertEqual(status, 200)
        self.assertTrue(self.ran(answer)["success"])
        answer = self.ran(self.service.post("pip", "pip/install", package="no-such-package-anywhere", timeout=60))
        self.assertFalse(answer["success"])

    def test_life_of_a_sandbox(self):
        user = "life/a b" if not harness.PLAIN else "life a b"
        self.assertEqual(self.service.call("GET", user, "/status")[0], 404)
        self.assertEqual(self.service.call("POST", user, "/stop")[1]["status"], "not_found")
        status, info = self.service.call("POST", user, "/create", {})
        self.assertEqual(status, 200, info)
        self.assertLessEqual(INFO, info.keys())
        self.assertEqual((info["user_id"], info["status"], info["backend"]), (user, "running", harness.BACKEND))
        self.assertRegex(info["created_at"], RFC3339)
        self.service.post(user, "shell", command="echo kept > file")
        status, info = self.service.call("GET", user, "/status")
        self.assertEqual((status, info["execution_count"]), (200, 1))
        status, info = self.service.call("POST", user, "/restart")
        self.assertEqual((status, info["status"]), (200, "running"))
        self.assertEqual(self.service.call("POST", user, "/stop"), (200, {"status": "stopped"}))
        self.assertEqual(self.service.post(user, "shell", command="cat file")["output"], "kept\n")
        status, answer = self.service.call("DELETE", user, "/destroy")
        self.assertEqual((status, answer), (200, {"status": "deleted", "files_preserved": True}))
        self.assertEqual(self.service.call("GET", user, "/status")[0], 404)
        status, answer = self.service.call("DELETE", user, "/destroy")
        self.assertEqual((status, answer), (200, {"status": "not_found", "files_preserved": True}))
        self.assertEqual(self.service.post(user, "shell", command="cat file")["output"], "kept\n")
        status, answer = self.service.call("DELETE", user, "?purge=true")
        self.assertEqual((status, answer["status"]), (200, "deleted"))
        status, answer = self.service.call("DELETE", user, "")
        self.assertEqual((status, answer["status"]), (200, "not_found"))
        self.assertEqual(self.service.call("DELETE", user, "?purge=maybe")[0], 422)
        self.assertEqual(self.service.call("DELETE", user, "?purge=True")[1]["status"], "not_found")

    @harness.not_plain("it does not compare them")
    def test_other_limits_of_a_live_sandbox_are_a_conflict(self):
        user = "limits"
        status, info = self.service.call("POST", user, "/create", {"memory_limit": "256m"})
        self.assertEqual(status, 200, info)
        self.assertEqual(self.service.call("POST", user, "/create", {"memory_limit": "256MiB"})[0], 200)
        self.assertEqual(self.service.call("POST", user, "/create", {"memory_limit": "300m"})[0], 409)

    @harness.not_plain("it routes after decoding: no id may have a slash")
    def test_users_whose_ids_look_alike_share_nothing(self):
        users = ["..", "a.b", "a-b", "A-b", "a%b", "a/b", "a%2Fb"]
        for user in users:
            self.service.post(user, "file", path="who", content=user)
        for user in users:
            self.assertEqual(self.service.call("GET", user, "/file?path=who")[1]["content"], user)

    def test_service_pages(self):
        status, fields, body = self.service.request("GET", "/health")
        health = json.loads(body)
        self.assertEqual((status, health["status"], health["docker"]), (200, "healthy", harness.BACKEND == "docker"))
        self.assertTrue(health["backends"][harness.BACKEND]["available"])
        info = json.loads(self.service.request("GET", "/info")[2])
        self.assertLessEqual({"version", "available", "docker_version", "active_sandboxes", "max_sandboxes", "host_info"},
                             info.keys())
        status, fields, body = self.service.request("GET", "/metrics")
        self.assertEqual(status, 200)
        self.assertIn(b"# TYPE", body)
        self.assertTrue(fields["Content-Type"].startswith("text/plain"))
        status, fields, body = self.service.request("GET", "/docs")
        self.assertEqual((status, fields["Content-Type"]), (200, "text/html; charset=utf-8"))
        self.assertNotRegex(body, rb"(src|href)=\"(https?:)?//")

    def stream(self, user, path, accept, body):
        self.service.users.add(user)
        connection = self.service.connection()
        connection.request("POST", f"/sandbox/{user}/{path}", json.dumps(body), {"Accept": accept})
        return connection, connection.getresponse()

    def test_lines_of_json_come_as_they_happen(self):
        self.service.post("stream", "shell", command="true")
        connection, answer = self.stream("stream", "shell", "application/x-ndjson",
                                         {"command": "echo ä; echo no >&2; sleep 2; echo end; exit 4"})
        self.assertEqual(answer.headers["Content-Type"], "application/x-ndjson")
        started = time.monotonic()
        events = []
        for line in answer:
            events.append((time.monotonic() - started, json.loads(line)))
        connection.close()
        text = {name: "".join(e["data"] for _, e in events if e["event"] == name) for name in ("stdout", "stderr")}
        self.assertEqual(text, {"stdout": "ä\nend\n", "stderr": "no\n"})
        self.assertLess(events[0][0], 1.5, "before the program ends")
        last = events[-1][1]
        self.assertEqual((last["event"], last["exit_code"], last["success"]), ("exit", 4, False))
        self.assertLessEqual(EXECUTION, last.keys())

    def test_server_sent_events(self):
        connection, answer = self.stream("stream", "execute", "text/event-stream", {"code": "print('x')"})
        text = answer.read().decode()
        connection.close()
        self.assertEqual(answer.headers["Content-Type"], "text/event-stream")
        blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]
        self.assertEqual([b["event"] for b in blocks], ["stdout", "exit"])
        self.assertEqual(json.loads(blocks[0]["data"])["data"], "x\n")

    @harness.not_plain("it runs to the end")
    def test_a_disconnect_ends_what_it_started(self):
        user = "gone"
        self.service.post(user, "shell", command="true")
        for accept in ("application/json", "application/x-ndjson"):
            with self.subTest(accept):
                connection = self.service.connection()
                connection.request("POST", f"/sandbox/{user}/shell", json.dumps({"command": "exec sleep 4321"}),
                                   {"Accept": accept})

                def running():
                    return "sleep\x004321" in self.cmdlines(user)

                deadline = time.monotonic() + 10
                while not running():
                    self.assertLess(time.monotonic(), deadline, "it never ran")
                connection.close()
                deadline = time.monotonic() + 10
                while running():
                    self.assertLess(time.monotonic(), deadline, "it still runs")

    def cmdlines(self, user):
        return self.service.post(user, "execute", code="""
import glob
for path in glob.glob('/proc/[0-9]*/cmdline'):
    try: print(open(path).read())
    except OSError: pass
""")["output"]

    @harness.not_plain("output comes as a whole")
    def test_a_stream_that_nobody_reads_holds_the_program_back(self):
        user = "slow"
        self.service.post(user, "shell", command="true")
        before = self.service.rss_kib()
        connection, answer = self.stream(user, "shell", "application/x-ndjson", {"command": "yes | head -c 300000000"})
        time.sleep(1)
        # What a stream's pieces are made into on their way to a service behind is freed late under ASan.
        self.assertLess(self.service.rss_kib() - before, (64 if harness.REMOTE else 32) << 10)
        self.assertEqual(self.service.post(user, "shell", command="echo on")["output"], "on\n")
        connection.close()

    def test_many_clients_at_once(self):
        failures = []

        def client(i):
            user = f"many{i % 4}"
            connection = self.service.connection()
            for n in range(10):
                connection.request("POST", f"/sandbox/{user}/shell", json.dumps({"command": f"echo {i}.{n}"}))
                answer = json.loads(connection.getresponse().read())
                if answer.get("output") != f"{i}.{n}\n":
                    failures.append(answer)
            connection.close()

        self.service.users.update(f"many{i}" for i in range(4))
        threads = [threading.Thread(target=client, args=(i,)) for i in range(16)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(failures, [])


class Slow(unittest.TestCase):
    def test_the_longest_run_does_not_bound_an_upload(self):
        harness.need(harness.BACKEND)
        with harness.Service(env={"SANDBOX_MAX_EXECUTION_TIMEOUT": "1"}) as service:
            service.post("slow", "shell", command="true")

            def pieces():
                for _ in range(4):
                    yield b"x" * 100000
                    time.sleep(0.5)

            status, _, answer = service.request("POST", "/sandbox/slow/file?path=f", pieces())
            self.assertEqual(status, 200, answer)
            self.assertEqual(service.call("POST", "slow", "/shell", {"command": "sleep 5"})[1]["exit_code"], 124)


@unittest.skipUnless(harness.BACKEND == "bubblewrap", "docker_test.py has its own engine that hangs")
class Hang(unittest.TestCase):
    def test_health_stays_fast_while_a_backend_hangs_and_tells_when_it_is_back(self):
        harness.need("bubblewrap")
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            hang, bwrap = pathlib.Path(folder, "hang"), pathlib.Path(folder, "bwrap")
            bwrap.write_text(f'#!/bin/sh\n[ -e {hang} ] && exec sleep 600\nexec {shutil.which("bwrap")} "$@"\n')
            bwrap.chmod(0o755)
            with harness.Service(f"--bubblewrap.bwrap={bwrap}") as service:
                service.process.send_signal(signal.SIGTERM)
                self.assertEqual(service.process.wait(30), 0)
                hang.touch()
                service.process = subprocess.Popen([harness.BINARY, "serve", *service.options], stdin=subprocess.DEVNULL,
                                                   stdout=service.log, stderr=service.log)

                def health():
                    started = time.monotonic()
                    with contextlib.suppress(ConnectionRefusedError):
                        answer = service.request("GET", "/health")
                        self.assertLess(time.monotonic() - started, harness.AT_ONCE)
                        return answer[0], json.loads(answer[2])["backends"]["bubblewrap"]["reason"]
                    return None

                self.wait(lambda: health() == (503, "has not answered its probe yet"), health)
                status, fields, answer = service.request("POST", "/sandbox/a/shell", '{"command":"true"}')
                self.assertEqual((status, fields["Retry-After"]), (503, "5"), answer)
                self.assertEqual(health()[0], 503)
                hang.unlink()
                self.wait(lambda: health()[0] == 200, health)
                self.assertTrue(service.post("a", "shell", command="true")["success"])

    def wait(self, done, what):
        deadline = time.monotonic() + 60
        while not done():
            self.assertLess(time.monotonic(), deadline, what())
            time.sleep(0.1)


class Tls(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.cert, self.key = f"{folder.name}/cert.pem", f"{folder.name}/key.pem"

    def make(self, name):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", self.key, "-out", self.cert, "-days", "2", "-subj", f"/CN={name}",
                        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)

    class Service(harness.Service):
        cafile = None

        def connection(self, timeout=120):
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.set_alpn_protocols(["h2", "http/1.1"])
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=context)

        def peer(self):
            connection = self.connection()
            connection.connect()
            self.protocol = connection.sock.selected_alpn_protocol()
            self.version = connection.sock.version()
            certificate = connection.sock.getpeercert(binary_form=True)
            connection.close()
            return certificate

    def test_https(self):
        self.make("first")
        with self.Service(f"--http.tls_cert={self.cert}", f"--http.tls_key={self.key}") as service:
            self.assertEqual(service.request("GET", "/health")[0], 200)
            first = service.peer()
            self.assertEqual(service.protocol, "http/1.1")
            self.assertIn(service.version, ("TLSv1.2", "TLSv1.3"))
            answer = service.request("GET", "/openapi.json")
            self.assertEqual(len(answer[2]), int(answer[1]["Content-Length"]))
            # A client that sends all before it reads is told why, over TLS as well.
            self.assertEqual(service.request("POST", "/sandbox/a/shell", b"x" * (40 << 20))[0], 413)
            self.make("second")
            service.process.send_signal(1)
            deadline = time.monotonic() + 10
            while service.peer() == first:
                self.assertLess(time.monotonic(), deadline, "the certificate is read again on SIGHUP")
                time.sleep(0.02)
            # A plain client, and one that speaks nothing newer than TLS 1.1, get no answer.
            with contextlib.suppress(OSError, http.client.HTTPException):
                plain = http.client.HTTPConnection("127.0.0.1", service.port, timeout=5)
                plain.request("GET", "/health")
                self.assertNotEqual(plain.getresponse().status, 200)
            old = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{service.port}", "-tls1_1", "-cipher",
                                  "ALL@SECLEVEL=0"], input=b"", capture_output=True, timeout=20)
            self.assertNotEqual(old.returncode, 0)

    def test_a_certificate_without_its_key_is_refused(self):
        self.make("first")
        service = self.Service(f"--http.tls_cert={self.cert}")
        with self.assertRaises(AssertionError) as refused:
            service.start()
        self.assertIn("http.tls_key", str(refused.exception))
        service.__exit__()


if __name__ == "__main__":
    unittest.main()
