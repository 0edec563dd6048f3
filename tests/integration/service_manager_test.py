# SPDX-License-Identifier: Apache-2.0
"""`serve` under a service manager, which this test plays: what it hears (sd_notify), the watchdog, sockets that it opens
(LISTEN_FDS). Needs no systemd."""
import contextlib
import http.client
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from harness import BINARY, BUILD, free_port

SECOND = 1_000_000  # in the unit of WATCHDOG_USEC
BAD = BUILD / "tests" / "bad_plugins"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Manager:
    """A service manager with one service: the program, started as systemd starts it."""

    def __init__(self, *options, abstract=False, watchdog=None, sockets=(), names="", env=None, plugins=()):
        self.folder = tempfile.mkdtemp(prefix="csb-test-")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = f"\0csb-test-{os.getpid()}-{id(self)}" if abstract else f"{self.folder}/notify"
        self.notify.bind(name)
        self.env = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": name.replace("\0", "@"), **(env or {})}
        self.env.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
        self.arguments = [str(BINARY), "serve", f"--sandbox.data_dir={self.folder}/data",
                          f"--sandbox.state_dir={self.folder}/state", f"--sandbox.runtime_dir={self.folder}/run",
                          f"--sandbox.plugin_dirs={self.folder}/plugins", *options]
        os.mkdir(f"{self.folder}/plugins")
        for plugin in (BUILD / "lib/clara-sandbox/plugins/http.so", *plugins):  # no backend, unless it is named
            os.symlink(plugin, f"{self.folder}/plugins/{plugin.name}")
        self.watchdog = watchdog
        self.sockets = sockets
        self.names = names
        self.pid = None

    def start(self):
        self.log = open(f"{self.folder}/log", "wb")
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.dup2(self.log.fileno(), 1)
                os.dup2(self.log.fileno(), 2)
                kept = [os.dup2(s.fileno(), 100 + i) for i, s in enumerate(self.sockets)]
                for i, fd in enumerate(kept):
                    os.dup2(fd, 3 + i, inheritable=True)
                if self.sockets:
                    self.env |= {"LISTEN_FDS": str(len(kept)), "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": self.names}
                if self.watchdog:
                    self.env |= {"WATCHDOG_USEC": str(self.watchdog), "WATCHDOG_PID": str(os.getpid())}
                os.execve(self.arguments[0], self.arguments, self.env)
            finally:
                os._exit(127)
        return self

    def log_text(self):
        return pathlib.Path(self.folder, "log").read_text(errors="replace")

    def heard(self, seconds=60):
        """The next message as {name: value}; nothing within the time: None."""
        if not select.select([self.notify], [], [], seconds)[0]:
            return None
        lines = self.notify.recv(4096).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)

    def wait_for(self, key, seconds=60):
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            message = self.heard(left)
            if message and key in message:
                return message
        raise AssertionError(f"{key} was not heard\n{self.log_text()}")

    def hear_all(self):
        while select.select([self.notify], [], [], 0)[0]:
            self.notify.recv(4096)

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self):
        pid, self.pid = self.pid, None
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)
                os.kill(self.pid, signal.SIGKILL)
            self.wait()
        self.notify.close()
        self.log.close()
        subprocess.run(["rm", "-rf", "--one-file-system", self.folder], check=True)


def listener(address="127.0.0.1", family=socket.AF_INET, kind=socket.SOCK_STREAM):
    s = socket.socket(family, kind)
    s.bind((address, 0) if family != socket.AF_UNIX else address)
    if kind == socket.SOCK_STREAM:
        s.listen()
    return s


def health(connection):
    with contextlib.closing(connection):
        connection.request("GET", "/health")
        answer = connection.getresponse()
        return json.loads(answer.read())["status"]


class Notify(unittest.TestCase):
    def test_ready_reloading_and_stopping_in_this_order(self):
        for abstract in (False, True):
            port = free_port()
            with Manager(f"--http.port={port}", abstract=abstract) as manager:
                self.assertEqual(manager.heard(), {"READY": "1", "STATUS": "serving"}, manager.log_text())
                # Who hears READY may send requests.
                health(http.client.HTTPConnection("127.0.0.1", port, timeout=30))
                before = time.clock_gettime(time.CLOCK_MONOTONIC)
                manager.signal(signal.SIGHUP)
                reloading = manager.heard()
                self.assertEqual(reloading["RELOADING"], "1")
                at = int(reloading["MONOTONIC_USEC"]) / SECOND
                self.assertLessEqual(before, at)
                self.assertLessEqual(at, time.clock_gettime(time.CLOCK_MONOTONIC))
                self.assertEqual(manager.heard(), {"READY": "1"})
                manager.signal(signal.SIGTERM)
                stopping = manager.heard()
                self.assertEqual(stopping["STOPPING"], "1")
                # The grace of 10 s and what a plugin may take: the manager is not to kill it before.
                self.assertGreaterEqual(int(stopping["EXTEND_TIMEOUT_USEC"]), 40 * SECOND)
                self.assertEqual(manager.wait(), 0)

    def test_a_service_that_cannot_start_is_never_ready(self):
        with listener() as taken:
            with Manager(f"--http.port={taken.getsockname()[1]}") as manager:
                self.assertEqual(manager.wait(), 1)
                self.assertIsNone(manager.heard(0))

    def test_other_commands_say_nothing(self):
        with Manager() as manager:
            self.assertIn("READY", manager.heard())
            told = subprocess.run([BINARY, "config", "check"], env=manager.env, capture_output=True, timeout=60)
            self.assertEqual(told.returncode, 0)
            self.assertIsNone(manager.heard(0))


class WatchdogOfTheService(unittest.TestCase):
    def test_it_is_fed_at_half_of_the_interval(self):
        with Manager(f"--http.port={free_port()}", watchdog=2 * SECOND) as manager:
            manager.wait_for("READY")
            times = []
            for _ in range(4):
                message = manager.wait_for("WATCHDOG", 10)
                self.assertRegex(message["STATUS"], "^(un)?healthy")
                times.append(time.monotonic())
            for earlier, later in zip(times, times[1:]):
                self.assertLess(later - earlier, 1.9)  # within the interval, or systemd would end it
                self.assertGreater(later - earlier, 0.5)

    def test_nobody_wants_it(self):
        with Manager(f"--http.port={free_port()}") as manager:
            manager.wait_for("READY")
            self.assertIsNone(manager.heard(1))

    def test_it_is_silent_while_requests_hang(self):
        port = free_port()
        manager = Manager(f"--http.port={port}", "--sandbox.frontends=http stuck", watchdog=SECOND // 2,
                          plugins=[BAD / "stuck" / "stuck.so"])
        fifo = f"{manager.folder}/fifo"
        os.mkfifo(fifo)
        manager.arguments.append(f"--stuck.fifo={fifo}")
        with manager:
            manager.wait_for("READY")
            manager.wait_for("WATCHDOG")
            with open(fifo, "wb"):  # the service's thread hangs from soon after
                more = 0
                while manager.heard(1.5) is not None and more < 20:  # three intervals
                    more += 1
                self.assertLess(more, 20, "it speaks though requests hang")
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
                with contextlib.closing(connection), self.assertRaises(TimeoutError):
                    connection.request("GET", "/health")
                    connection.getresponse()
                self.assertIsNone(manager.heard(0))
            self.assertRegex(manager.wait_for("WATCHDOG")["STATUS"], "healthy")

    def test_a_backend_that_hangs_does_not_silence_it(self):
        manager = Manager(f"--http.port={free_port()}", watchdog=SECOND // 2, plugins=[BAD / "operations" / "bad-hangs-in-submit.so"])
        with manager:
            manager.wait_for("READY")
            for _ in range(6):
                manager.wait_for("WATCHDOG", 10)

    def test_a_stopped_process_is_silent(self):
        with Manager(f"--http.port={free_port()}", watchdog=SECOND // 2) as manager:
            manager.wait_for("WATCHDOG")
            manager.signal(signal.SIGSTOP)
            os.waitpid(manager.pid, os.WUNTRACED)
            manager.hear_all()
            self.assertIsNone(manager.heard(1))
            manager.signal(signal.SIGCONT)
            manager.wait_for("WATCHDOG")


class SocketActivation(unittest.TestCase):
    def test_it_serves_the_sockets_and_opens_none(self):
        with listener() as tcp, tempfile.TemporaryDirectory() as folder:
            with listener(f"{folder}/socket", socket.AF_UNIX) as local:
                port = tcp.getsockname()[1]
                own = free_port()
                with Manager(f"--http.port={own}", sockets=(tcp, local), names="http:clara-sandbox.socket") as manager:
                    # Who came before the service waits in the socket's queue.
                    self.assertRegex(health(http.client.HTTPConnection("127.0.0.1", port, timeout=60)), "healthy")
                    self.assertRegex(health(UnixConnection(f"{folder}/socket")), "healthy")
                    with self.assertRaises(ConnectionRefusedError):
                        health(http.client.HTTPConnection("127.0.0.1", own, timeout=5))
                    self.assertIn(f"listening on unix:{folder}/socket", manager.log_text())
                    manager.signal(signal.SIGTERM)
                    self.assertEqual(manager.wait(), 0)
                # The manager's sockets go on: the next start serves who comes meanwhile.
                waiting = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                waiting.request("GET", "/health")
                with Manager(sockets=(tcp, local), names="http:http"):
                    self.assertIn(waiting.getresponse().status, (200, 503))
                    waiting.close()

    def test_the_address_of_the_socket_decides_on_the_key(self):
        with listener("0.0.0.0") as everywhere:
            # What the options say of an address does not count.
            with Manager("--http.host=127.0.0.1", sockets=(everywhere,)) as manager:
                self.assertEqual(manager.wait(), 2)
                self.assertIn("without an API key", manager.log_text())
                self.assertIsNone(manager.heard(0))
            with Manager("--http.host=127.0.0.1", sockets=(everywhere,), env={"SANDBOX_API_KEY": "k" * 32}) as manager:
                manager.wait_for("READY")
                port = everywhere.getsockname()[1]
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                with contextlib.closing(connection):
                    connection.request("GET", "/info")
                    self.assertEqual(connection.getresponse().status, 401)

    def test_a_socket_of_a_wrong_kind_is_named(self):
        with listener(kind=socket.SOCK_DGRAM) as datagrams:
            with Manager(sockets=(datagrams,)) as manager:
                self.assertEqual(manager.wait(), 2)
                self.assertIn("http.listen_fds: 3 is no listening stream socket", manager.log_text())

    def test_sockets_for_another_process_are_left_alone(self):
        port = free_port()
        env = {"LISTEN_FDS": "1", "LISTEN_PID": "1"}
        with Manager(f"--http.port={port}", env=env) as manager:
            manager.wait_for("READY")
            health(http.client.HTTPConnection("127.0.0.1", port, timeout=30))

    def test_the_configuration_shows_the_key(self):
        shown = subprocess.run([BINARY, "config", "show", "--json"], capture_output=True, text=True, timeout=60)
        self.assertIn("http.listen_fds", {option["key"] for option in json.loads(shown.stdout)["options"]})


if __name__ == "__main__":
    unittest.main()
