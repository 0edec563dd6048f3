# SPDX-License-Identifier: Apache-2.0
"""A bare MCP client over the stdio of `clara-sandbox stdio`: lines out, lines in, nothing hidden.

    with Server("--user", "alice") as server:
        server.initialize()
        result = server.call("run_shell", {"command": "id"})
"""
import json
import os
import pathlib
import queue
import select
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
import harness  # noqa: E402

PATIENCE = 120


class Folders:
    """Folders of a host of its own; leaving the context destroys the sandboxes of `users` with their files."""

    def __init__(self, *users):
        self.users = users

    def __enter__(self):
        self.service = harness.Service()
        self.root = self.service.root
        return self

    def __exit__(self, *exc):
        with self.service as service:
            service.users.update(self.users)

    def options(self):
        return ["--sandbox.mode=" + harness.BACKEND, *harness.folders(self.root)]


class Server:
    def __init__(self, folders, *options, stderr=None):
        self.command = [str(harness.BINARY), "stdio", *folders.options(), *options]
        self.stderr = stderr

    def __enter__(self):
        self.errors = self.stderr or tempfile.TemporaryFile()
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)
        self.lines = queue.Queue()
        self.left = os.pipe()
        self.waiting = {}  # answers that came before they were asked for
        self.others = []  # notifications, answers without an id
        self.next_id = 1
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        return self

    def __exit__(self, *exc):
        if not self.process.stdin.closed:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.reader.join()
            self.process.stdout.close()
            self.errors.close()
            for fd in self.left:
                os.close(fd)

    def _read(self):
        # Without Python's own buffer, so that leave() can end it between two lines.
        stdout, rest = self.process.stdout.fileno(), b""
        while select.select([stdout, self.left[0]], [], [])[0] == [stdout]:
            data = os.read(stdout, 1 << 20)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self.lines.put(line + b"\n")
        if rest:
            self.lines.put(rest)
        self.lines.put(None)

    def leave(self):
        """Reads no more: closes this side of the server's stdout."""
        os.write(self.left[1], b"x")
        self.reader.join()
        self.process.stdout.close()

    def log(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def send_text(self, text):
        data = text if isinstance(text, bytes) else text.encode()
        self.process.stdin.write(data + b"\n")
        self.process.stdin.flush()

    def send(self, message):
        self.send_text(json.dumps(message))

    def receive(self, timeout=PATIENCE):
        """The next message, decoded; every line must be one. None at the end or when none comes."""
        try:
            line = self.lines.get(timeout=timeout)
        except queue.Empty:
            return None
        if line is None:
            return None
        message = json.loads(line)
        assert line.endswith(b"\n") and message["jsonrpc"] == "2.0", line
        return message

    def start(self, method, params=None, id=None):
        if id is None:
            id, self.next_id = self.next_id, self.next_id + 1
        self.send({"jsonrpc": "2.0", "id": id, "method": method, **({"params": params} if params is not None else {})})
        return id

    def wait(self, id, timeout=PATIENCE):
        """The answer to this request."""
        while id not in self.waiting:
            message = self.receive(timeout)
            if message is None:
                raise AssertionError(f"no answer to {id}\n{self.log()[-4000:]}")
            if "id" in message:
                self.waiting[message["id"]] = message
            else:
                self.others.append(message)
        return self.waiting.pop(id)

    def request(self, method, params=None):
        return self.wait(self.start(method, params))

    def initialize(self, version="2025-11-25"):
        answer = self.request("initialize", {"protocolVersion": version, "capabilities": {},
                                             "clientInfo": {"name": "raw", "version": "1"}})
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer["result"]

    def start_call(self, tool, arguments, token=None):
        meta = {"_meta": {"progressToken": token}} if token is not None else {}
        return self.start("tools/call", {"name": tool, "arguments": arguments, **meta})

    def call(self, tool, arguments):
        """The result of a tool that must be known."""
        answer = self.wait(self.start_call(tool, arguments))
        if "result" not in answer:
            raise AssertionError(answer)
        return answer["result"]


def text_of(result):
    return result["content"][0]["text"]
