# SPDX-License-Identifier: Apache-2.0
"""What the integration tests share: a host of their own with folders of its own, and a REST client.

    with Service() as service:
        answer = service.post("alice", "shell", command="id")
        assert answer["success"], answer

The programs under test are those of CSB_BINARY_DIR (a build folder). CSB_TEST_BACKEND says on which backend (BACKEND):
a test of what every backend does calls need(BACKEND) and runs once on each (`# backends:` in its head). need() skips the
test where the engine cannot run, unless CSB_MUST_RUN names it. Docker's engine is that of CSB_TEST_DOCKER_HOST, Incus's
that of CSB_TEST_INCUS_SOCKET, or with CSB_TEST_INCUS_CLUSTER=1 a cluster; CSB_TEST_CHANNEL=exec has agents reached through
streams of the engine. The backend remote has a second service behind it, over that of CSB_TEST_REMOTE_OVER (OVER); or
`plain`, a scripted peer with the plain endpoints alone (remote_peer.py).
"""
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.parse

import docker_engine
import incus_engine
from ports import free_port

BUILD = pathlib.Path(os.environ.get("CSB_BINARY_DIR", "build/dev")).resolve()
BINARY = BUILD / "bin" / "clara-sandbox"
BACKEND = os.environ.get("CSB_TEST_BACKEND", "bubblewrap")
CHANNEL = os.environ.get("CSB_TEST_CHANNEL", "")
REMOTE = BACKEND == "remote"
OVER = os.environ.get("CSB_TEST_REMOTE_OVER", "bubblewrap") if REMOTE else BACKEND  # where code runs in the end
PLAIN = OVER == "plain"
# Seconds that an answer which waits for nobody may take on a busy machine. What waits for a hung engine or service takes
# its time limit, and no test that asks for this sets one under 3 s.
AT_ONCE = 2.5


def engine_of(backend):
    """The engine that tests of a backend use; None where it has none of its own."""
    if backend == "docker":
        return docker_engine.Engine()
    if backend in ("incus", "incus-vm"):
        return incus_engine.Cluster() if os.environ.get("CSB_TEST_INCUS_CLUSTER") else incus_engine.Engine()
    return None


ENGINE = engine_of(OVER)
if ENGINE:
    os.environ.update(ENGINE.environment())  # for all that a test starts


def not_plain(why):
    """Marks a test of what a peer with the plain endpoints cannot do."""
    return unittest.skipIf(PLAIN, why)


def must_run(name):
    return name in os.environ.get("CSB_MUST_RUN", "").replace(" ", "").split(",")


def need(name):
    """Skips the test where the engine cannot serve; fails instead where CSB_MUST_RUN names it."""
    if name == "remote":
        need("bubblewrap" if PLAIN else OVER)
    engine = engine_of(name)
    if engine and not engine.host:
        message = engine.none
    else:
        found = explain(name, env={**os.environ, **(engine.environment() if engine else {})})
        if found.get("available"):
            return
        message = f"{name} cannot run here: {found}"
    if must_run(name):
        raise AssertionError(message)
    raise unittest.SkipTest(message)


def need_root(why="needs root"):
    """Skips the test where it is not root's; fails instead where CSB_MUST_RUN names an engine."""
    if os.geteuid() == 0:
        return
    if must_run("docker") or must_run("incus"):
        raise AssertionError(why)
    raise unittest.SkipTest(why)


def explain(name, *options, env=None, remote=None):
    """What `explain` says of one backend. `remote`: options that lead to a peer other than the one of this folder."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        if name == "remote":
            stack.callback(lambda: remote_peer().close(folder))
        words = [BINARY, "explain", "--json", *folders(folder, name, None, remote), *options]
        found = subprocess.run(words, capture_output=True, text=True, timeout=60, env=env)
    with contextlib.suppress(ValueError, KeyError):
        told = json.loads(found.stdout)
        for candidate in told["candidates"] + told["failed"]:
            if candidate["name"] == name:
                return {"available": False, **candidate}
    return {"available": False, "reason": found.stdout + found.stderr, "hint": ""}


def remote_peer():
    import remote_peer as module  # pylint: disable=import-outside-toplevel  # it needs this one
    return module


def folders(root, backend=BACKEND, engine=None, remote=None):
    own = [f"--sandbox.state_dir={root}/state", f"--sandbox.runtime_dir={root}/run"]
    if backend == "remote":
        return [*own, *(remote_peer().options(root) if remote is None else remote)]
    engine = engine or engine_of(backend)
    if engine:  # files of its sandboxes are in volumes, unless a data folder is asked for
        return [*own, *engine.options(), *([f"--{backend}.channel={CHANNEL}"] if CHANNEL else [])]
    return [f"--sandbox.data_dir={root}/data", *own]


def limits(backend=OVER, **values):
    """limits(memory="256m") -> ["--bubblewrap.memory=256m"]; a disk limit only where the backend has one anywhere."""
    return [f"--{backend}.{name}={value}" for name, value in values.items() if backend != "docker" or name != "disk"]


def sandbox_processes(root):
    """Every process inside the sandboxes of `root`; with the backend remote, of the service behind."""
    return processes_of(root + "/far" if REMOTE else root)


def processes_of(root):
    if ENGINE:
        return ENGINE.processes(root)
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/mountinfo") as f:
                if any(root + "/run/" in line and " /run/clara/ctl " in line for line in f):
                    found.append(int(pid))
        except OSError:
            pass
    return found


class Service:
    """`clara-sandbox serve` on a free port. Leaving the context destroys every sandbox and ends the host.

    With the backend remote there is one more behind it (`far`), unless `remote` has the options that lead elsewhere;
    options of the backend there go to that one."""

    def __init__(self, *options, env=None, root=None, mode=BACKEND, program=(BINARY,), engine=None, key="",
                 remote=None):
        self.program = program
        self.key = key
        self.own_root = root is None
        self.root = root or tempfile.mkdtemp(prefix="csb-test-")
        os.chmod(self.root, 0o711)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        far = [o for o in options if mode == "remote" and o.startswith(f"--{OVER}.")]  # of the backend there
        shared = [o for o in options if o.startswith("--sandbox.")]  # of any
        self.far = remote_peer().far_of(self.root, far + shared) if mode == "remote" and remote is None else None
        self.options = [f"--http.port={self.port}", "--http.rate_limit=0", "--sandbox.max_sandboxes=200", f"--sandbox.mode={mode}",
                        *folders(self.root, mode, engine, remote), *(o for o in options if o not in far)]
        if key:
            self.options += ["--http.host=127.0.0.1", f"--http.api_key={key}"]
        self.engine = engine or engine_of(mode)
        self.env = {**os.environ, **(self.engine.environment() if self.engine else {}), **(env or {})}
        self.users = set()
        self.process = None

    def start(self):
        self.log = open(os.path.join(self.root, "log"), "ab")
        self.process = subprocess.Popen([*self.program, "serve", *self.options], env=self.env, stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if self.request("GET", "/health")[0] == 200:
                    return self
            except OSError:
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError("serve did not get healthy:\n" + self.log_text())

    def stop(self, sig=signal.SIGTERM):
        if self.process is None:
            return None
        self.process.send_signal(sig)
        code = self.process.wait(timeout=60)
        self.process = None
        self.log.close()
        return code

    def log_text(self):
        return pathlib.Path(self.root, "log").read_text(errors="replace")

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        try:
            lives = self.process is not None and self.process.poll() is None
            if lives:
                for user in self.users:
                    with contextlib.suppress(OSError, http.client.HTTPException):
                        self.request("DELETE", f"/sandbox/{self.quote(user)}?purge=true")
            self.stop()
            if lives and self.engine and not any(exc) and (left := self.engine.left(self.root)):
                raise AssertionError(f"left behind: {left}\n{self.log_text()[-4000:]}")
        finally:
            if self.far and self.own_root:  # those who share a root share it, too
                remote_peer().close(self.root, *exc)
            if self.engine:
                self.engine.remove_all(self.root)
            if self.own_root:
                shutil.rmtree(self.root, ignore_errors=True)

    @staticmethod
    def quote(user):
        return urllib.parse.quote(user, safe="")

    def keys(self):
        return {"X-API-Key": self.key} if self.key else {}

    def connection(self, timeout=120):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None, timeout=120):
        """(status, headers, bytes)"""
        connection = self.connection(timeout)
        try:
            connection.request(method, path, body=body, headers={**self.keys(), **(headers or {})})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def call(self, method, user, path, body=None, timeout=120):
        """(status, decoded JSON)"""
        self.users.add(user)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        text = None if body is None else json.dumps(body)
        status, _, data = self.request(method, f"/sandbox/{self.quote(user)}{path}", text, headers, timeout)
        return status, json.loads(data)

    def post(self, user, what, **fields):
        """The answer of an operation that has to be answered with 200."""
        status, answer = self.call("POST", user, "/" + what, fields)
        if status != 200:
            raise AssertionError(f"{what} for {user}: HTTP {status} {answer}\n{self.log_text()[-4000:]}")
        return answer

    def rss_kib(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS")
