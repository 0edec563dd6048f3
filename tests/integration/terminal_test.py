# SPDX-License-Identifier: Apache-2.0
# backends: bubblewrap docker remote-bubblewrap
"""A terminal over a WebSocket (RFC 6455), spoken here by hand, and `clara-sandbox shell` in a terminal of its own."""
import base64
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import time
import unittest
from urllib.parse import urlencode

import harness

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class WebSocket:
    """A client that sees each message: (opcode, payload)."""

    def __init__(self, service, user, fields=(), **query):
        self.socket = socket.create_connection(("127.0.0.1", service.port), timeout=60)
        service.users.add(user)
        head = [f"GET /sandbox/{service.quote(user)}/terminal?{urlencode(query)} HTTP/1.1", f"Host: 127.0.0.1:{service.port}",
                "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}",
                *(f"{name}: {value}" for name, value in service.keys().items()), *fields]
        self.socket.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
        self.rest = b""
        while b"\r\n\r\n" not in self.rest:
            self.rest += self.socket.recv(65536) or self.fail()
        answer, self.rest = self.rest.split(b"\r\n\r\n", 1)
        self.status = int(answer.split()[1])
        self.fields = {name.lower(): value for name, value in
                       (line.split(": ", 1) for line in answer.decode().split("\r\n")[1:])}

    def fail(self):
        raise AssertionError(f"the connection ended: {self.rest[-2000:]}")

    def send(self, opcode, payload):
        mask = b"\1\2\3\4"
        size = bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0x80 | 126]) + struct.pack(">H", len(payload))
        self.socket.sendall(bytes([0x80 | opcode]) + size + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload)))

    def type(self, text):
        self.send(2, text.encode())

    def tell(self, **message):
        self.send(1, json.dumps(message).encode())

    def need(self, count):
        while len(self.rest) < count:
            self.rest += self.socket.recv(65536) or self.fail()

    def receive(self):
        self.need(2)
        opcode, size, head = self.rest[0] & 15, self.rest[1] & 127, 2
        if size >= 126:
            head += 2 if size == 126 else 8
            self.need(head)
            size = int.from_bytes(self.rest[2:head], "big")
        self.need(head + size)
        payload, self.rest = self.rest[head:head + size], self.rest[head + size:]
        return opcode, payload

    def until(self, text):
        shown = b""
        while text.encode() not in shown:
            opcode, payload = self.receive()
            if opcode == 2:
                shown += payload
            elif opcode != 9:
                raise AssertionError(f"{text!r} does not come: {opcode} {payload} after {shown}")
        return shown.decode(errors="replace")

    def end(self):
        """The last words, and the code of the close."""
        while True:
            opcode, payload = self.receive()
            if opcode == 1:
                words = json.loads(payload)
            if opcode == 8:
                self.socket.close()
                return words, int.from_bytes(payload[:2], "big")


class Terminal(unittest.TestCase):
    def setUp(self):
        harness.need(harness.BACKEND)
        self.root = tempfile.mkdtemp(prefix="csb-test-")
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)

    def open(self, *arguments, **query):
        web = WebSocket(*arguments, **query)
        self.addCleanup(web.socket.close)
        return web

    def processes(self, service, user):
        return service.call("GET", user, "/processes")[1]["processes"]

    def test_a_shell_with_sizes_signals_and_an_end(self):
        with harness.Service(root=self.root) as service:
            web = self.open(service, "t", rows=30, cols=90)
            self.assertEqual((web.status, web.fields["sec-websocket-accept"]), (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
            web.type("stty size; tty\n")
            self.assertIn("/dev/pts/", web.until("/dev/pts/"))
            web.tell(type="resize", rows=40, cols=100)
            web.type("sleep 0.1; stty size\n")
            web.until("40 100")
            web.type("sh -c 'echo now=$((1 + 1)); exec sleep 60'\n")
            web.until("now=2")  # it runs: before that, the shell itself would take the signal
            web.type("\x03")  # the terminal makes a signal of it
            web.type("echo on=$((40 + 2))\n")
            web.until("on=42")
            web.send(9, b"are you there")
            web.type("exit 7\n")
            words, code = web.end()
            self.assertEqual((words["type"], words["exit_code"], code), ("exit", 7, 1000))

    def test_a_connection_that_is_lost_ends_what_it_started_or_leaves_it(self):
        with harness.Service(root=self.root) as service:
            lost = self.open(service, "l", command="echo begun; sleep 1000")
            lost.until("begun")
            lost.socket.close()
            deadline = time.monotonic() + 20
            while self.processes(service, "l"):
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.05)
            kept = self.open(service, "l", command="echo begun; read x; echo got $x", keep="true")
            kept.until("begun")
            handle = kept.fields["x-process-handle"]
            kept.socket.close()
            again = self.open(service, "l", handle=handle)
            again.until("begun")
            again.type("word\n")
            again.until("got word")
            self.assertEqual(again.end()[0]["exit_code"], 0)

    def test_a_client_that_does_not_read_costs_no_memory(self):
        # Freed memory is to be given back, in a build with AddressSanitizer too.
        with harness.Service(root=self.root, env={**os.environ, "ASAN_OPTIONS": "quarantine_size_mb=4"}) as service:
            web = self.open(service, "f", command="head -c 300000000 /dev/zero")
            before = service.rss_kib()
            time.sleep(2)  # as long as it floods
            self.assertLess(service.rss_kib() - before, 32 << 10)

    def test_what_is_no_good_handshake_is_told(self):
        with harness.Service(root=self.root) as service:
            service.post("b", "shell", command="true")
            status, answer = service.call("GET", "b", "/terminal")
            self.assertEqual(status, 426, answer)
            self.assertEqual(self.open(service, "b", ("Origin: http://evil.example",)).status, 403)
            self.assertEqual(self.open(service, "b", rows=0).status, 422)
            self.assertEqual(self.open(service, "b", handle="p_none").status, 404)
            web = self.open(service, "b", command="sleep 60")
            web.tell(type="nonsense")
            while (got := web.receive())[0] != 8:
                pass
            self.assertEqual(int.from_bytes(got[1][:2], "big"), 1008)

    def test_a_browser_sends_its_key_as_a_protocol(self):
        with harness.Service(root=self.root, key="secret") as service:
            service.post("k", "shell", command="true")
            keys, service.keys = service.keys, lambda: {}
            self.assertEqual(self.open(service, "k").status, 401)
            name = base64.urlsafe_b64encode(b"secret").decode().rstrip("=")
            web = self.open(service, "k", (f"Sec-WebSocket-Protocol: clara-sandbox, key.{name}",), command="echo in")
            self.assertEqual((web.status, web.fields["sec-websocket-protocol"]), (101, "clara-sandbox"))
            web.until("in")
            service.keys = keys

    def shell(self, *words, input=None):
        return subprocess.run([harness.BINARY, "shell", "--backend", harness.BACKEND, *harness.folders(self.root), *words, "s"],
                              input=input, capture_output=True, text=True, timeout=120)

    def test_the_command_without_a_terminal_is_a_pipe(self):
        done = self.shell("--command", "cat; echo err >&2; exit 5", input="piped\n")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (5, "piped\n", "err\n"))

    def test_the_command_in_a_terminal(self):
        ours, theirs = pty.openpty()
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
        before = termios.tcgetattr(theirs)
        process = subprocess.Popen([harness.BINARY, "shell", "--backend", harness.BACKEND,
                                    *harness.folders(self.root), "s"], stdin=theirs, stdout=theirs, stderr=theirs,
                                   start_new_session=True)
        shown = b""

        def until(text):
            nonlocal shown
            deadline = time.monotonic() + 60
            while text not in shown:
                self.assertLess(time.monotonic(), deadline, shown)
                if select.select([ours], [], [], 1)[0]:
                    shown += os.read(ours, 65536)
            shown = shown[shown.index(text) + len(text):]
        os.write(ours, b"stty size; echo ready=$((1 + 1))\n")
        until(b"33 77")
        until(b"ready=2")
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 99, 0, 0))
        process.send_signal(signal.SIGWINCH)
        os.write(ours, b"sleep 0.3; stty size\n")
        until(b"44 99")
        os.write(ours, b"sh -c 'echo now=$((1 + 1)); exec sleep 100'\n")
        until(b"now=2")
        os.write(ours, b"\x03echo on=$((3 + 4))\n")
        until(b"on=7")
        os.write(ours, b"exit 3\n")
        self.assertEqual(process.wait(60), 3)
        self.assertEqual(termios.tcgetattr(theirs)[:4], before[:4], "the terminal is as it was")
        os.close(ours)
        os.close(theirs)


if __name__ == "__main__":
    unittest.main()
