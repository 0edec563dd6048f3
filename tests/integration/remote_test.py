# SPDX-License-Identifier: Apache-2.0
# timeout: 300
# backends: remote-bubblewrap
"""The backend remote: what it says of its peer, what it sends, what it repeats, and how long it waits."""
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import time
import unittest

import harness
from harness import Service, explain
from remote_peer import KEY, PlainService, health, to, wait_for

from bad_peer import Recorder  # noqa: E402  (remote_peer knows where these are)
from certificates import Authority, pin
from relay import Proxy, Relay

IDS = ["a b", "a/b", "a%2Fb", "a%252Fb", "..", ".", "a?b", "a#b", "a+b", "a;b=c", "a\\b", "%", "&=", "ü/é", "日本語", "a\u00a0b",
       "https://x/y", "~", "'\"<>", "x" * 256]


def setUpModule():
    harness.need("remote")


class Far(unittest.TestCase):
    """With a service of our own as peer, and one in front that each test starts."""

    @classmethod
    def setUpClass(cls):
        cls.far = Service(mode=harness.OVER, key=KEY).start()
        cls.addClassCleanup(cls.far.__exit__)

    def near(self, *options, urls=None, key=KEY, **more):
        near = Service(*options, remote=to(*(urls or [self.far.url]), key=key), **more)
        self.addCleanup(near.__exit__)
        return near.start()


class Explained(Far):
    def test_what_a_peer_offers_is_told(self):
        found = explain("remote", remote=to(self.far.url))
        self.assertTrue(found["available"], found)
        told = json.dumps(found)
        self.assertIn(self.far.url, told)
        self.assertNotIn(KEY, told)
        with PlainService(key=KEY) as peer:
            plain = explain("remote", remote=to(peer.url))
            self.assertTrue(plain["available"], plain)
            targets = {seen.target for seen in peer.requests}
            self.assertLessEqual({"/openapi.json", "/info"}, targets)
            self.assertLessEqual(targets, {"/openapi.json", "/info", "/health"}, "nothing else is asked to know it")

        own, other = (each["details"]["addresses"][0] for each in (found, plain))
        self.assertEqual((own["url"], own["described"], own["lacks"]), (self.far.url, True, []))
        self.assertLessEqual({"live output", "exact bytes of output", "raw downloads", "raw uploads", "standard input",
                              "requests that are done once"}, set(own["offers"]))
        lacks = {each.partition(":")[0] for each in other["lacks"]}
        self.assertLessEqual({"live output", "raw downloads", "raw uploads", "standard input", "requests that are done once"}, lacks)
        self.assertIn("removal of files", other["offers"], "it takes purge")
        self.assertTrue(found["enforces"]["memory"]["enforced"], "as the peer tells it")

    def test_the_variables_of_claras_service(self):
        env = {**os.environ, "SANDBOX_API_URL": self.far.url, "SANDBOX_API_KEY": KEY, "SANDBOX_TIMEOUT": "7"}
        self.assertTrue(explain("remote", remote=[], env=env)["available"])
        found = explain("remote", remote=[], env={**env, "SANDBOX_API_KEY": "wrong"})
        self.assertFalse(found["available"])
        self.assertIn("key", found["reason"])
        self.assertIn("SANDBOX_API_KEY", found["hint"])
        self.assertNotIn("wrong", found["reason"] + found["hint"])

    def test_without_an_address_it_is_not_used(self):
        with Service(mode="auto", remote=[], env={"SANDBOX_API_URL": ""}) as service:
            service.post("a", "shell", command="true")
            self.assertNotEqual(service.call("GET", "a", "/status")[1]["backend"], "remote")

    def test_auto_takes_it_where_it_answers(self):
        with Service(*to(self.far.url), mode="auto") as service:
            service.post("auto", "shell", command="true")
            self.assertEqual(service.call("GET", "auto", "/status")[1]["backend"], "remote")

    def test_addresses_that_are_none(self):
        for url, word in (("ftp://x", "ftp"), ("x:8080", "scheme"), ("http://", "remote.url"), ("http://a b", "remote.url"),
                          ("http://u:secret@x", "password"), ("http://x/?q=1", "remote.url"), (f"{self.far.url},{self.far.url}/", "twice")):
            with self.subTest(url):
                with tempfile.TemporaryDirectory() as folder:
                    ran = subprocess.run([harness.BINARY, "explain", *harness.folders(folder, "remote", None, to(url))],
                                         capture_output=True, text=True, timeout=60)
                self.assertIn(word, ran.stdout + ran.stderr)
                self.assertNotIn("secret", ran.stdout + ran.stderr)


class Exact(Far):
    def test_user_ids_arrive_exactly(self):
        near = self.near()
        for user in IDS:
            with self.subTest(user):
                near.post(user, "file", path="who", content=user)
                self.assertEqual(self.far.call("GET", user, "/file?path=who")[1].get("content"), user)
        status, _, body = self.far.request("GET", "/sandboxes")
        self.assertEqual(status, 200)
        self.assertLessEqual(set(IDS), {info["user_id"] for info in json.loads(body)["sandboxes"]})

    def test_a_base_path_stays_in_front(self):
        with PlainService(key=KEY) as peer:
            explain("remote", remote=to(peer.url + "/under/here/"))
            self.assertTrue(all(seen.target.startswith("/under/here/") for seen in peer.requests), peer.requests)

    def test_bytes_paths_and_members_arrive_exactly(self):
        near, user = self.near(), "bytes"
        answer = near.post(user, "execute", code="import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())",
                           stdin="\x00ä\r\n\x7f", cwd="/tmp", env={"A": "ü b"}, args=["-x", ""])
        self.assertEqual(answer["output"], "\x00ä\r\n\x7f")
        answer = near.post(user, "execute", code="import os, sys; print(os.getcwd(), os.environ['A'], sys.argv[1:])", cwd="/tmp",
                           env={"A": "ü b"}, args=["-x", ""])
        self.assertEqual(answer["output"], "/tmp ü b ['-x', '']\n")
        for path in ("a b/ü?#&+%41", "-rf", "a\nb"):
            near.post(user, "file", path=path, content=path)
            quoted = Service.quote(path)
            self.assertEqual(near.call("GET", user, "/file?path=" + quoted)[1]["content"], path)
            self.assertEqual(self.far.call("GET", user, "/file?path=" + quoted)[1]["content"], path)
            self.assertEqual(near.call("DELETE", user, "/file?path=" + quoted)[0], 200)

    def test_bytes_that_are_no_text_pass_run(self):
        data = bytes(range(256)) * 300
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o711)
            ran = subprocess.run([harness.BINARY, "run", "--backend", "remote", "--user", "run",
                                  *harness.folders(folder, "remote", None, to(self.far.url)), "-c",
                                  "import sys; d = bytes(range(256)) * 300; sys.stdout.buffer.write(d); sys.stderr.buffer.write(d[::-1])"],
                                 capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
        self.assertEqual((ran.returncode, ran.stdout == data, ran.stderr == data[::-1]), (0, True, True), ran.stderr[:300])

    def test_errors_are_those_of_the_peer(self):
        near, user = self.near(), "errors"
        self.assertEqual(near.call("GET", user, "/status")[0], 404)
        self.assertEqual(near.call("POST", user, "/create", {"memory_limit": "128m"})[0], 200)
        for call in (("POST", user, "/create", {"memory_limit": "256m"}), ("GET", user, "/file?path=none"),
                     ("GET", user, "/file?path=/tmp"), ("DELETE", user, "/file?path=none"), ("POST", user, "/unzip", {"path": "none"}),
                     ("GET", user, "/files?path=none"), ("POST", user, "/file", {"path": "/proc/x", "content": ""})):
            with self.subTest(call):
                direct, through = self.far.call(*call), near.call(*call)
                self.assertEqual(through[0], direct[0], (through, direct))
                if direct[0] != 200:
                    self.assertIn(direct[1]["error"], through[1]["error"])
                    self.assertEqual(through[1].get("code"), direct[1].get("code"))
        answer = near.post(user, "shell", command="sleep 30", timeout=1)
        self.assertTrue(answer["timed_out"])
        self.assertIn("Execution timed out", answer["error"])
        info = near.call("GET", user, "/status")[1]
        self.assertTrue(info["enforced"]["memory"]["enforced"], info)


class Secret(Far):
    def test_the_key_is_in_the_header_and_nowhere_else(self):
        with PlainService(key=KEY) as peer:
            near = Service("--log.level=trace" if self.knows_trace() else "--log.level=debug", remote=[],
                           env={"SANDBOX_API_URL": peer.url, "SANDBOX_API_KEY": KEY}, key=KEY)
            with near:
                near.post("a", "shell", command="true")
                peer.key = "another"
                near.call("POST", "a", "/shell", {"command": "true"})
                peer.key = KEY
                pages = [near.request("GET", path)[2].decode() for path in ("/health", "/info", "/metrics", "/openapi.json")]
                log = near.log_text()
                shown = subprocess.run([harness.BINARY, "config", "show"], env=near.env, capture_output=True, text=True, timeout=60)
            for text in (log, *pages, shown.stdout, shown.stderr):
                self.assertNotIn(KEY, text)
            self.assertIn("op=shell", log)
            for seen in peer.requests:
                self.assertEqual(seen.headers.get("X-API-Key"), KEY, seen)
                self.assertNotIn(KEY, seen.target + seen.body.decode(errors="replace"))

    @staticmethod
    def knows_trace():
        ran = subprocess.run([harness.BINARY, "config", "check", "--log.level=trace"], capture_output=True, timeout=60)
        return ran.returncode == 0


class Repeated(Far):
    """A relay cuts the connection when the request has arrived and its answer begins."""

    def through(self, peer, cut_at, command):
        """What a user is told of three runs whose connection is cut, and what then stands in the file."""
        user = "repeat"
        with Relay(peer.port) as relay:
            near = self.near(urls=[relay.url])
            near.post(user, "shell", command="rm -f count")  # a connection that is there may be used again
            answers = []
            for n in range(3):
                relay.cut_at, relay.cut_answers = cut_at, 1
                answers.append(near.call("POST", user, "/shell", {"command": command.replace("N", str(n))}))
                self.assertEqual(relay.cuts, n + 1)
            near.stop()
        return answers, self.far.post(user, "shell", command="cat count 2>/dev/null; true")["output"]

    def test_an_answer_that_is_lost_is_asked_for_again(self):
        answers, ran = self.through(self.far, b"exit", "echo N >> count")
        self.assertEqual([status for status, _ in answers], [200] * 3, answers)
        self.assertEqual(ran, "0\n1\n2\n")

    def test_what_is_cut_amid_its_run_is_not_run_again(self):
        answers, ran = self.through(self.far, b"stdout", "echo N >> count; echo begun; sleep 5; echo N >> count")
        for status, answer in answers:
            self.assertGreaterEqual(status, 500, answer)
            self.assertTrue(answer["code"] in ("gone", "unavailable"), answer)
        self.assertEqual(ran, "0\n1\n2\n", "each began once, and none went on unseen")

    def test_a_sandbox_whose_creation_was_cut_is_there(self):
        with Relay(self.far.port) as relay:
            near = self.near(urls=[relay.url])
            relay.cut_answers = 1
            status, info = near.call("POST", "created", "/create", {"memory_limit": "128m"})
            self.assertEqual((status, relay.cuts), (200, 1), info)
            self.assertEqual(self.far.call("GET", "created", "/status")[1]["container_id"], info["container_id"])
            near.stop()

    def test_a_plain_peer_is_not_asked_twice(self):
        with PlainService(key=KEY) as peer:
            user = "repeat"
            with Relay(peer.port) as relay:
                near = self.near(urls=[relay.url])
                near.post(user, "shell", command="rm -f count")
                for n in range(1, 4):
                    relay.cut_answers = 1
                    status, answer = near.call("POST", user, "/shell", {"command": "echo x >> count"})
                    self.assertGreaterEqual(status, 500, answer)
                    self.assertRegex(answer["error"] + answer["detail"], "may have run|is not known")
                    wait_for(lambda n=n: near.post(user, "shell", command="cat count")["output"] == "x\n" * n, 10, f"count {n}")
                sent = [s for s in peer.requests if s.target.endswith("/shell") and b">> count" in s.body]
                self.assertEqual(len(sent), 3)

    def test_reads_are_repeated_with_any_peer(self):
        with PlainService(key=KEY) as peer, Relay(peer.port) as relay:
            near = self.near(urls=[relay.url])
            near.post("read", "file", path="f", content="x")
            relay.cut_answers = 1
            self.assertEqual(near.call("GET", "read", "/file?path=f")[1].get("content"), "x")
            relay.cut_answers = 1
            self.assertEqual(near.call("GET", "read", "/status")[0], 200)

    def test_a_connection_that_the_peer_has_closed_is_no_trouble(self):
        with PlainService(key=KEY) as peer, Relay(peer.port) as relay:
            near = self.near(urls=[relay.url])
            near.post("idle", "shell", command="true")
            relay.drop()
            time.sleep(0.2)  # until the host's side knows
            self.assertTrue(near.post("idle", "shell", command="true")["success"])

    def test_connections_are_kept(self):
        with Relay(self.far.port) as relay:
            near = self.near(urls=[relay.url])
            near.post("keep", "shell", command="true")
            before = relay.connections
            for _ in range(20):
                near.post("keep", "shell", command="true")
            self.assertLessEqual(relay.connections - before, 2)
            near.stop()  # before the relay


class Waiting(Far):
    def test_the_timeout_is_never_shorter_than_what_was_asked_for(self):
        near = self.near("--remote.request_timeout=1")
        answer = near.post("wait", "shell", command="sleep 3; echo done", timeout=20)
        self.assertEqual(answer["output"], "done\n")
        with PlainService(key=KEY) as peer:
            near = self.near("--remote.request_timeout=1", urls=[peer.url])
            self.assertEqual(near.post("wait", "shell", command="sleep 3; echo done", timeout=20)["output"], "done\n")

    def test_a_peer_that_takes_no_connection(self):
        # Nobody accepts, and the queue is full: the next SYN gets no answer.
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            held = []
            for _ in range(4):
                s = socket.socket()
                s.setblocking(False)
                s.connect_ex(full.getsockname())
                held.append(s)
            began = time.monotonic()
            found = explain("remote", "--remote.connect_timeout=1", remote=to(f"http://127.0.0.1:{full.getsockname()[1]}"))
            self.assertLess(time.monotonic() - began, 20)
            self.assertFalse(found["available"])
            self.assertRegex(found["reason"], "connect|connection")
            for s in held:
                s.close()

    def test_a_deadline_of_parts_of_a_second_reaches_a_plain_peer(self):
        with PlainService(key=KEY) as peer:
            near = self.near(urls=[peer.url])
            near.post("parts", "shell", command="true")
            began = time.monotonic()
            status, answer = near.call("POST", "parts", "/shell", {"command": "sleep 20", "timeout": 0.5})
            self.assertLess(time.monotonic() - began, 10)
            self.assertTrue(status == 504 or (status == 200 and answer["timed_out"]), answer)

    def test_a_client_that_leaves_ends_it_there(self):
        near = self.near()
        near.post("gone", "shell", command="true")
        connection = near.connection()
        connection.request("POST", "/sandbox/gone/shell", json.dumps({"command": "exec sleep 4321"}))

        def running():
            return any(b"sleep\x004321" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
                       for pid in harness.processes_of(self.far.root) if os.path.exists(f"/proc/{pid}"))
        wait_for(running, 10, "it never ran")
        connection.close()
        wait_for(lambda: not running(), 10, "it still runs")


class Tls(Far):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.ca = Authority(folder.name)
        cls.other_ca = Authority(folder.name, "other")
        cls.good = cls.ca.issue("good", "IP:127.0.0.1")
        cls.expired = cls.ca.issue("expired", "IP:127.0.0.1", days=-1)
        cls.other = cls.ca.issue("other", "DNS:elsewhere.example,IP:127.0.0.2")

    def found(self, certificate, *options):
        with PlainService(key=KEY, tls=certificate) as peer:
            found = explain("remote", *options, remote=to(peer.url))
            return found, peer.requests

    def test_a_certificate_of_the_authority_is_taken(self):
        found, _ = self.found(self.good, f"--remote.ca={self.ca.file}")
        self.assertTrue(found["available"], found)
        found, _ = self.found(self.good, f"--remote.ca={self.ca.file}", f"--remote.pinned_key={pin(self.good[0])}")
        self.assertTrue(found["available"], found)

    def test_all_others_are_refused_and_nothing_is_sent_to_them(self):
        for name, certificate, options, word in (
                ("unknown authority", self.good, [], "certificate"),
                ("another authority", self.good, [f"--remote.ca={self.other_ca.file}"], "certificate"),
                ("expired", self.expired, [f"--remote.ca={self.ca.file}"], "expired"),
                ("another name", self.other, [f"--remote.ca={self.ca.file}"], "name"),
                ("another key", self.good, [f"--remote.ca={self.ca.file}", f"--remote.pinned_key={pin(self.other[0])}"], "pinned|key")):
            with self.subTest(name):
                found, requests = self.found(certificate, *options)
                self.assertFalse(found["available"], found)
                self.assertRegex(found["reason"], word)
                self.assertTrue(found["hint"], found)
                self.assertEqual(requests, [])

    def test_files_and_pins_that_are_none(self):
        found, _ = self.found(self.good, "--remote.ca=/no/such/file")
        self.assertIn("/no/such/file", found["reason"] + found["hint"])
        self.assertFalse(found["available"])
        found, _ = self.found(self.good, "--remote.pinned_key=sha256//short")
        self.assertIn("remote.pinned_key", found["reason"])

    def test_our_own_service_over_tls(self):
        class Https(Service):
            def connection(self, timeout=120):
                import http.client
                import ssl
                context = ssl.create_default_context(cafile=Tls.ca.file)
                return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=context)
        with Https(f"--http.tls_cert={self.good[0]}", f"--http.tls_key={self.good[1]}", mode=harness.OVER, key=KEY) as far:
            near = self.near(f"--remote.ca={self.ca.file}", urls=[far.url.replace("http:", "https:")])
            self.assertEqual(near.post("tls", "shell", command="echo over TLS")["output"], "over TLS\n")
            data = os.urandom(5_000_000)
            octets = {"Content-Type": "application/octet-stream", "Accept": "application/octet-stream"}
            self.assertEqual(near.request("POST", "/sandbox/tls/file?path=f", data, octets)[0], 200)
            self.assertEqual(near.request("GET", "/sandbox/tls/file?path=f", headers=octets)[2], data)
            near.call("DELETE", "tls", "?purge=true")


class Proxies(Far):
    def test_proxies_of_the_environment(self):
        with Proxy() as proxy:
            found = explain("remote", remote=to(self.far.url), env={**os.environ, "http_proxy": proxy.url})
            self.assertTrue(found["available"], found)
            self.assertTrue(proxy.seen)
            seen = len(proxy.seen)
            found = explain("remote", remote=to(self.far.url), env={**os.environ, "http_proxy": proxy.url, "no_proxy": "127.0.0.1"})
            self.assertTrue(found["available"], found)
            self.assertEqual(len(proxy.seen), seen)

    def test_tls_goes_through_as_it_is(self):
        with tempfile.TemporaryDirectory() as folder, Proxy() as proxy:
            ca = Authority(folder)
            with PlainService(key=KEY, tls=ca.issue("good", "IP:127.0.0.1")) as peer:
                found = explain("remote", f"--remote.ca={ca.file}", remote=to(peer.url), env={**os.environ, "https_proxy": proxy.url})
                self.assertTrue(found["available"], found)
                self.assertIn(f"CONNECT 127.0.0.1:{peer.port}", proxy.seen)

    def test_a_proxy_that_is_none_is_told(self):
        dead = f"http://127.0.0.1:{harness.free_port()}"
        found = explain("remote", remote=to(self.far.url), env={**os.environ, "http_proxy": dead})
        self.assertFalse(found["available"], found)
        self.assertRegex(found["reason"], "connect|proxy")


class Breaker(Far):
    def test_it_opens_for_a_peer_that_is_gone_and_closes_when_it_is_back(self):
        with Relay(self.far.port) as relay:
            near = self.near(urls=[relay.url])
            near.post("breaker", "file", path="f", content="kept")
            relay.refuse()
            relay.drop()
            wait_for(lambda: health(near)[0] == 503 or near.call("GET", "breaker", "/file?path=f")[0] == 0, 30, "health says so")
            status, told = health(near)
            self.assertIn(relay.url, told["reason"])
            began = time.monotonic()
            for _ in range(20):
                status, answer = near.call("GET", "breaker", "/file?path=f")
                self.assertEqual(status, 503, answer)
            self.assertLess(time.monotonic() - began, 5, "an open breaker costs no timeout")
            relay.listen()
            wait_for(lambda: health(near)[0] == 200, 30, "it closes")
            self.assertEqual(near.call("GET", "breaker", "/file?path=f")[1]["content"], "kept")
            near.stop()


class Plain(Far):
    """What is done with plain calls, and what is refused in words that say why."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.peer = PlainService(key=KEY).start()
        cls.addClassCleanup(cls.peer.close)
        cls.plain = Service(remote=to(cls.peer.url)).start()
        cls.addClassCleanup(cls.plain.__exit__)

    def sent(self, word):
        return [seen for seen in self.peer.requests if word in seen.target]

    def test_what_it_cannot_do_is_refused_before_anything_runs(self):
        self.plain.post("refused", "shell", command="true")
        before = len(self.sent("refused/execute"))
        for fields, word in (({"stdin": "x"}, "standard input"), ({"args": ["x"]}, "arguments"), ({"cwd": "/tmp"}, "cwd"),
                             ({"env": {"A": "b"}}, "env")):
            with self.subTest(word):
                status, answer = self.plain.call("POST", "refused", "/execute", {"code": "print(1)", **fields})
                self.assertEqual((status, answer["code"]), (501, "unsupported"), answer)
                self.assertIn(word, answer["error"])
        self.assertEqual(len(self.sent("refused/execute")), before)
        status, _, body = self.plain.request("POST", "/sandbox/refused/file?path=big", b"x" * (17 << 20),
                                             {"Content-Type": "application/octet-stream"})
        self.assertEqual(status, 413, body)
        self.assertIn("16 MiB", json.loads(body)["error"])

    def test_a_stream_has_the_output_when_it_is_there(self):
        connection = self.plain.connection()
        connection.request("POST", "/sandbox/stream/shell", json.dumps({"command": "echo out; echo err >&2; exit 3"}),
                           {"Accept": "application/x-ndjson"})
        events = [json.loads(line) for line in connection.getresponse()]
        connection.close()
        text = {name: "".join(e["data"] for e in events if e["event"] == name) for name in ("stdout", "stderr")}
        self.assertEqual((text, events[-1]["exit_code"]), ({"stdout": "out\n", "stderr": "err\n"}, 3))

    def test_bytes_go_as_base64_and_listings_are_read(self):
        data = bytes(range(256)) * 20
        octets = {"Content-Type": "application/octet-stream", "Accept": "application/octet-stream"}
        self.assertEqual(self.plain.request("POST", "/sandbox/files/file?path=d/b.bin", data, octets)[0], 200)
        self.assertEqual(self.plain.request("GET", "/sandbox/files/file?path=d/b.bin", headers=octets)[2], data)
        self.plain.post("files", "shell", command="cd d; mkdir 'a folder'; ln -s b.bin link; touch 'two  blanks'")
        listed = {e["name"]: e["type"] for e in self.plain.call("GET", "files", "/files?path=d")[1]["entries"]}
        self.assertEqual(listed, {"b.bin": "file", "a folder": "dir", "link": "link", "two  blanks": "file"})
        for seen in self.sent("files/file"):
            self.assertIn(seen.headers.get("Content-Type", "application/json"), ("application/json", "application/json; charset=utf-8"))

    def test_missing_files_are_that(self):
        self.plain.post("missing", "shell", command="true")
        for method in ("GET", "DELETE"):
            status, answer = self.plain.call(method, "missing", "/file?path=none")
            self.assertEqual((status, answer["code"]), (404, "not_found"), answer)
            self.assertIn("none", answer["error"])

    def test_users_whom_it_cannot_name_are_refused_with_the_reason(self):
        for user in ("a/b", "..", "."):
            with self.subTest(user):
                status, answer = self.plain.call("POST", user, "/shell", {"command": "true"})
                self.assertTrue(status == 200 or (status in (501, 503) and self.peer.url in answer["error"]), answer)
                if status == 200:
                    self.assertIn(user, self.peer.sandboxes.all)

    def test_life(self):
        self.plain.post("life", "file", path="f", content="kept")
        info = self.plain.call("GET", "life", "/status")[1]
        self.assertEqual((info["user_id"], info["backend"], info["status"]), ("life", "remote", "running"))
        self.assertEqual(self.plain.call("POST", "life", "/stop"), (200, {"status": "stopped"}))
        self.assertEqual(self.plain.call("GET", "life", "/file?path=f")[1]["content"], "kept")
        self.assertEqual(self.plain.call("DELETE", "life", "/destroy")[1]["status"], "deleted")
        self.assertEqual(self.plain.call("GET", "life", "/status")[0], 404)
        self.assertEqual(self.plain.call("GET", "life", "/file?path=f")[1]["content"], "kept")
        self.plain.call("DELETE", "life", "?purge=true")
        self.assertEqual(self.plain.call("GET", "life", "/file?path=f")[0], 404)

    def test_mcp_as_claras_model_uses_it(self):
        with tempfile.TemporaryDirectory() as folder:
            lines = [{"id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {},
                                                                  "clientInfo": {"name": "x", "version": "1"}}},
                     {"id": 2, "method": "tools/call", "params": {"name": "execute_python", "arguments": {"code": "print(6 * 7)"}}},
                     {"id": 3, "method": "tools/call", "params": {"name": "read_file", "arguments": {"path": "none"}}}]
            ran = subprocess.run([harness.BINARY, "stdio", "--sandbox.mode=remote", *harness.folders(folder, "remote", None, to(self.peer.url))],
                                 input="".join(json.dumps({"jsonrpc": "2.0", **line}) + "\n" for line in lines), text=True,
                                 capture_output=True, timeout=60)
        answers = {a["id"]: a["result"] for a in map(json.loads, ran.stdout.splitlines())}
        self.assertEqual(answers[2]["structuredContent"]["output"], "42\n")
        self.assertTrue(answers[3]["isError"])
        self.assertIn("File not found", answers[3]["content"][0]["text"])


class Redirected(unittest.TestCase):
    def test_a_redirect_is_not_followed(self):
        from bad_peer import BadPeer
        with Recorder() as elsewhere, BadPeer(key=KEY, elsewhere=elsewhere.url) as peer:
            for name in ("redirect", "redirect-307", "redirect-308"):
                peer.always = name
                found = explain("remote", remote=to(peer.url))
                self.assertFalse(found["available"], found)
                self.assertIn("redirect", found["reason"] + found["hint"])
            self.assertEqual(elsewhere.requests, [])


if __name__ == "__main__":
    unittest.main()
