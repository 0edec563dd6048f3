# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""Raw bytes on the socket of `serve`: what a hostile or broken client sends, and that others are served on."""
import http.client
import json
import os
import pathlib
import signal
import socket
import threading
import time
import unittest

import harness

LIMITS = ("--http.header_timeout=0.5", "--http.body_timeout=0.5", "--http.idle_timeout=1", "--http.write_timeout=0.5",
          "--http.min_rate=1000000", "--http.max_connections=60", "--http.max_connections_per_address=50")


class Raw:
    def __init__(self, port, timeout=15):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # the server has closed: the answer tells why

    def read_all(self):
        data = b""
        try:
            while piece := self.socket.recv(65536):
                data += piece
        except ConnectionResetError:
            pass
        return data

    def status(self):
        """Status of the answer that follows, and whether the connection ended with it; 0 without an answer."""
        data = self.read_all()
        return int(data[9:12]) if data.startswith(b"HTTP/1.") else 0


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = harness.Service(*LIMITS).start()

    @classmethod
    def tearDownClass(cls):
        cls.service.__exit__()

    def tearDown(self):
        # Connections that a test has closed count until the service has seen it: then there is no room for others.
        deadline = time.monotonic() + 10
        while self.service.request("GET", "/health")[0] != 200:
            self.assertLess(time.monotonic(), deadline, "others are served on")
            time.sleep(0.05)
        self.assertIsNone(self.service.process.poll())

    def answered(self, data):
        with Raw(self.service.port) as raw:
            raw.send(data)
            return raw.status()

    def test_framing_that_two_parsers_read_in_two_ways_is_refused(self):
        head = b"POST /sandbox/a/stop HTTP/1.1\r\nHost: localhost\r\n"
        for name, data, status in (
                ("two lengths", head + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
                ("the same length twice", head + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
                ("a list of lengths", head + b"Content-Length: 2, 2\r\n\r\n{}", 400),
                ("a signed length", head + b"Content-Length: +2\r\n\r\n{}", 400),
                ("a negative length", head + b"Content-Length: -2\r\n\r\n{}", 400),
                ("a huge length", head + b"Content-Length: 99999999999999999999\r\n\r\n{}", 400),
                ("a large length", head + b"Content-Length: 9999999999\r\n\r\n", 413),
                ("length and chunked", head + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
                ("chunked and length", head + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", 400),
                ("chunked twice", head + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
                ("another coding", head + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
                ("a coding in disguise", head + b"Transfer-Encoding: \x0bchunked\r\n\r\n", 400),
                ("a space before the colon", head + b"Content-Length : 2\r\n\r\n{}", 400),
                ("a folded line", head + b"X: a\r\n b\r\n\r\n", 400),
                ("a bare LF", head.replace(b"\r\n", b"\n") + b"\n", 400),
                ("a bare CR", head + b"X: a\rb\r\n\r\n", 400),
                ("NUL", head + b"X: a\0b\r\n\r\n", 400),
                ("no Host", b"GET /health HTTP/1.1\r\n\r\n", 400),
                ("two Hosts", b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
                ("an absolute target", b"GET http://localhost/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
                ("a target with a space", b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
                ("a target with NUL", b"GET /a\0 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
                ("a bad escape", b"GET /sandbox/%zz/status HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
                ("a long target", b"GET /" + b"a" * 15000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
                ("HTTP/0.9", b"GET /health\r\n\r\n", 400),
                ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
                ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500, 400),
                ("noise", os.urandom(4096), 400),
                ("a large header", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20000 + b"\r\n\r\n", 431),
                ("an endless header", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20000, 431),
                ("many fields", b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
                ("another expectation", head + b"Expect: a-miracle\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", 417),
        ):
            with self.subTest(name):
                self.assertEqual(self.answered(data), status)

    def test_bad_chunks_are_refused(self):
        head = b"POST /sandbox/a/stop HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        for body in (b"x\r\n", b"-1\r\n", b"\r\n\r\n", b"2\r\nabXX\r\n", b"fffffffffffffffff\r\n", b"2 \r\n{}\r\n",
                     b"2;" + b"x" * 10000, b"0\r\n" + b"x" * 10000, b"2;\0\r\n"):
            with self.subTest(body[:20]):
                self.assertEqual(self.answered(head + body), 400)

    def test_a_refused_body_may_be_sent_to_its_end(self):
        # At once, and in chunks.
        for body in (b"x" * (40 << 20), iter([b"x" * (1 << 20)] * 40)):
            with self.subTest(type(body)):
                status, _, answer = self.service.request("POST", "/sandbox/a/shell", body)
                self.assertEqual((status, json.loads(answer)["error"]),
                                 (413, "the request body is larger than 33554432 bytes"))

    def test_nothing_is_smuggled_behind_a_refused_request(self):
        inner = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with Raw(self.service.port) as raw:
            raw.send(b"POST /sandbox/a/stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner)
            self.assertEqual(raw.read_all().count(b"HTTP/1.1 "), 1)

    def test_malformed_json_names_the_place(self):
        for body in (b"{", b"[]", b"null", b'{"command":', b'{"command":"\xff"}', b'{"command":1,}',
                     b"[" * 100000, b'{"a":' * 100000, b"{}" * 2):
            with self.subTest(body[:20]):
                status, _, answer = self.service.request("POST", "/sandbox/a/shell", body)
                self.assertEqual(status, 400, answer)
                self.assertIn("request body", json.loads(answer)["error"])

    def test_user_ids_are_checked(self):
        for user in ("", "%00", "a%0Ab", "%7F", "%C2%85", "%FF%FE", "%ED%A0%80", "a" * 257, "%C3%A4" * 129):
            with self.subTest(user):
                status, _, answer = self.service.request("GET", f"/sandbox/{user}/status")
                self.assertEqual(status, 422, answer)
                self.assertIn("user_id", json.loads(answer)["error"])

    def test_a_silent_client_is_dropped(self):
        started = time.monotonic()
        with Raw(self.service.port) as raw:
            self.assertEqual(raw.read_all(), b"")
        self.assertLess(time.monotonic() - started, 5)

    def test_a_dripping_header_is_dropped(self):
        started = time.monotonic()
        with Raw(self.service.port) as raw:
            stop = threading.Event()

            def drip():
                for byte in b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 1000:
                    raw.send(bytes([byte]))
                    if stop.wait(0.05):
                        return

            dripper = threading.Thread(target=drip)
            dripper.start()
            self.assertEqual(raw.status(), 408)
            stop.set()
            dripper.join()
        self.assertLess(time.monotonic() - started, 5)

    def test_a_dripping_body_is_dropped(self):
        with Raw(self.service.port) as raw:
            raw.send(b"POST /sandbox/a/shell HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
            stop = threading.Event()

            def drip():
                while not stop.wait(0.1):
                    raw.send(b" ")

            dripper = threading.Thread(target=drip)
            dripper.start()
            self.assertEqual(raw.status(), 408)
            stop.set()
            dripper.join()

    def test_an_idle_connection_is_closed(self):
        with Raw(self.service.port) as raw:
            raw.send(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
            started = time.monotonic()
            self.assertEqual(raw.status(), 404)
            self.assertLess(time.monotonic() - started, 10)

    def test_a_client_that_never_reads_is_dropped(self):
        with Raw(self.service.port) as raw:
            raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
            raw.socket.settimeout(10)
            with self.assertRaises(OSError):  # a full buffer first, then the reset
                for _ in range(100000):
                    raw.socket.sendall(request)
                raise TimeoutError

    def test_a_flood_of_connections_leaves_room_when_it_ends(self):
        flood = []
        refused = 0
        try:
            for _ in range(80):
                raw = Raw(self.service.port)
                flood.append(raw)
            for raw in flood:
                raw.socket.settimeout(3)
                refused += raw.read_all().startswith(b"HTTP/1.1 503")
        finally:
            for raw in flood:
                raw.socket.close()
        self.assertGreater(refused, 0)
        deadline = time.monotonic() + 10
        while True:
            try:
                if self.service.request("GET", "/health")[0] != 503:
                    break
            except OSError:
                pass
            self.assertLess(time.monotonic(), deadline)

    def test_a_long_pipeline_is_answered_in_order_and_bounded(self):
        with Raw(self.service.port) as raw:
            n = 300
            requests = b"".join(b"GET /nothing/%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % i for i in range(n))
            sender = threading.Thread(target=raw.send, args=(requests + b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n"
                                                             b"Connection: close\r\n\r\n",))
            sender.start()
            data = raw.read_all()
            sender.join()
        self.assertEqual(data.count(b"HTTP/1.1 404"), n + 1)

    def test_descriptors_are_given_back(self):
        fds = pathlib.Path(f"/proc/{self.service.process.pid}/fd")
        before = len(list(fds.iterdir()))
        for _ in range(100):
            with Raw(self.service.port) as raw:
                raw.send(b"GET /health HTTP/1.1\r\nHo")
        deadline = time.monotonic() + 10
        while len(list(fds.iterdir())) > before + 5:
            self.assertLess(time.monotonic(), deadline, "connections stay open")
            time.sleep(0.05)


class Door(unittest.TestCase):
    """Who may come in."""

    def test_without_a_key_only_loopback_is_served(self):
        with harness.Service() as service:
            log = service.log_text()
            self.assertIn(f"127.0.0.1:{service.port}", log)
            for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"},
                            {"Sec-Fetch-Site": "cross-site"}):
                self.assertEqual(service.request("GET", "/info", headers=headers)[0], 403, headers)
        service = harness.Service("--http.host=0.0.0.0")
        with self.assertRaises(AssertionError) as refused:
            service.start()
        self.assertIn("without an API key", str(refused.exception))
        service.__exit__()

    def test_keys_are_asked_for_and_never_logged(self):
        with harness.Service(env={"SANDBOX_API_KEY": "the-secret-key"}) as service:
            self.assertEqual(service.request("GET", "/info")[0], 401)
            self.assertEqual(service.request("GET", "/info", headers={"X-API-Key": "the-wrong-secret-key"})[0], 401)
            self.assertEqual(service.request("GET", "/info", headers={"X-API-Key": "the-secret-key"})[0], 200)
            self.assertEqual(service.request("GET", "/info", headers={"Authorization": "Bearer the-secret-key"})[0], 200)
            self.assertIn(service.request("GET", "/health")[0], (200, 503))
            self.assertNotIn("secret-key", service.log_text())
            self.assertIn(f"0.0.0.0:{service.port}", service.log_text())

    def test_a_keys_file_is_read_again_on_hangup(self):
        with harness.Service() as outer:  # for its folder
            keys = pathlib.Path(outer.root, "keys")
            keys.write_text("bob:the-key-of-bob:bob\n")
            keys.chmod(0o600)
            with harness.Service(f"--http.keys_file={keys}", "--http.host=127.0.0.1") as service:
                def status(key, user="bob"):
                    return service.request("GET", f"/sandbox/{user}/status", headers={"X-API-Key": key})[0]

                self.assertEqual(status("the-key-of-bob"), 404)
                self.assertEqual(status("the-key-of-bob", "eve"), 403)
                keys.write_text("bob:another-key-of-bob:bob,eve\n")
                service.process.send_signal(signal.SIGHUP)
                deadline = time.monotonic() + 10
                while status("another-key-of-bob", "eve") != 404:
                    self.assertLess(time.monotonic(), deadline)
                    time.sleep(0.02)
                self.assertEqual(status("the-key-of-bob"), 401)
            keys.chmod(0o644)
            service = harness.Service(f"--http.keys_file={keys}")
            with self.assertRaises(AssertionError) as refused:
                service.start()
            self.assertIn("chmod 600", str(refused.exception))
            service.__exit__()

    def test_the_rate_of_a_user_is_limited(self):
        with harness.Service("--http.rate_limit=3") as service:
            answers = [service.request("GET", "/sandbox/a/status") for _ in range(4)]
            self.assertEqual([status for status, _, _ in answers], [404, 404, 404, 429])
            self.assertGreaterEqual(int(answers[-1][1]["Retry-After"]), 1)
            self.assertEqual(service.request("GET", "/sandbox/b/status")[0], 404)


if __name__ == "__main__":
    unittest.main()
