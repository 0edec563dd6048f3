# SPDX-License-Identifier: Apache-2.0
# timeout: 400
# backends: remote-bubblewrap
"""The service behind is killed, hangs, or is cut off amid calls: typed causes, nothing runs twice, nobody gets an empty
sandbox elsewhere, and all is well again by itself."""
import contextlib
import json
import os
import signal
import subprocess
import threading
import time
import unittest

import harness
from harness import Service
from remote_peer import KEY, health, to, wait_for

TYPED = {429, 500, 503, 504}
QUICK = ["--remote.request_timeout=3", "--remote.connect_timeout=3"]


def setUpModule():
    harness.need("remote")


class Clients:
    """Three users who each append a number a call, and one who is new each time; what they were answered."""

    def __init__(self, test, near, names=("one", "two", "three")):
        self.test, self.near, self.names = test, near, names
        self.done, self.said = {name: set() for name in names}, {name: set() for name in names}
        self.wrong, self.statuses, self.longest = [], {}, 0.0
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(name,)) for name in names]

    def __enter__(self):
        for name in self.names:
            self.near.post(name, "file", path="mark", content=name)
        for t in self.threads:
            t.start()
        return self

    def work(self, name):
        n = 0
        while not self.stop.is_set():
            n += 1
            began = time.monotonic()
            try:
                status, answer = self.near.call("POST", name, "/shell",
                                                {"command": f"cat mark; echo {n} >> log", "timeout": 3})
            except (OSError, ValueError) as error:
                self.wrong.append(f"{name} {n}: {error!r}")
                continue
            self.longest = max(self.longest, time.monotonic() - began)
            self.statuses[status] = self.statuses.get(status, 0) + 1
            self.said[name].add(n)
            if status == 200:
                self.done[name].add(n)
                if answer["output"] != name:
                    self.wrong.append(f"{name} {n}: an empty sandbox: {answer}")
            elif status not in TYPED or not answer.get("error") or not answer.get("code"):
                self.wrong.append(f"{name} {n}: {status} {answer}")
            else:
                self.stop.wait(0.05)

    def __exit__(self, *_):
        self.stop.set()
        for t in self.threads:
            t.join()

    def check(self):
        """Every call that was answered well ran once; the others once at most."""
        self.test.assertEqual(self.wrong, [])
        for name in self.names:
            log = wait_for(lambda name=name: self.near.call("GET", name, "/file?path=log")[1].get("content"), 30, name)
            ran = [int(line) for line in log.splitlines()]
            self.test.assertEqual(len(ran), len(set(ran)), f"{name}: run twice")
            self.test.assertLessEqual(self.done[name], set(ran), "what was answered has run")
            self.test.assertLessEqual(set(ran), self.said[name])
            self.test.assertEqual(self.near.call("GET", name, "/file?path=mark")[1]["content"], name)


class Trouble(unittest.TestCase):
    def setUp(self):
        self.far = Service(mode=harness.OVER, key=KEY)
        self.addCleanup(self.far.__exit__)
        self.far.start()

    def near(self, *options, mode="remote", **more):
        """`folders` says where remote is only to a host that has nothing else."""
        leads = {"remote": to(self.far.url)} if mode == "remote" else {}
        near = Service(*QUICK, *options, *(to(self.far.url) if mode != "remote" else []), mode=mode, **leads, **more)
        self.addCleanup(near.__exit__)
        return near.start()

    def back(self, near, seconds=30):
        wait_for(lambda: health(near)[0] == 200, seconds, "the breaker closes")

    def test_killed_and_back_amid_calls(self):
        near = self.near()
        with Clients(self, near) as clients:
            for _ in range(2):
                time.sleep(1)
                self.far.stop(signal.SIGKILL)
                wait_for(lambda: near.call("POST", "one", "/shell", {"command": "true"})[0] == 503, 20, "it is said")
                self.far.start()
                wait_for(lambda: near.call("POST", "one", "/shell", {"command": "true"})[0] == 200, 30, "it is back")
        clients.check()
        self.assertIn(503, clients.statuses)
        self.assertLess(clients.longest, 20)

    def test_stopped_in_its_tracks(self):
        near = self.near()
        with Clients(self, near) as clients:
            time.sleep(0.5)
            self.far.process.send_signal(signal.SIGSTOP)
            try:
                wait_for(lambda: health(near)[0] == 503, 40, "health says so, and at once")
                began = time.monotonic()
                self.assertEqual(near.call("POST", "one", "/shell", {"command": "true"})[0], 503)
                self.assertLess(time.monotonic() - began, harness.AT_ONCE, "the breaker is open")
            finally:
                self.far.process.send_signal(signal.SIGCONT)
            self.back(near)
            wait_for(lambda: near.call("POST", "one", "/shell", {"command": "true"})[0] == 200, 30, "it is back")
        clients.check()
        self.assertLess(clients.longest, 30)

    def test_health_and_the_end_do_not_wait_for_a_hung_peer(self):
        near = self.near()
        near.post("a", "shell", command="true")
        self.far.process.send_signal(signal.SIGSTOP)
        try:
            thread = threading.Thread(target=near.call, args=("POST", "a", "/shell", {"command": "sleep 1"}))
            thread.start()
            for _ in range(20):
                began = time.monotonic()
                near.request("GET", "/health")
                self.assertLess(time.monotonic() - began, harness.AT_ONCE)
            thread.join()
            began = time.monotonic()
            self.assertEqual(near.stop(), 0)
            self.assertLess(time.monotonic() - began, 15)
        finally:
            self.far.process.send_signal(signal.SIGCONT)

    def test_auto_keeps_who_has_files_there(self):
        harness.need("bubblewrap")
        near = self.near("--sandbox.order=bubblewrap", mode="auto")
        near.post("pinned", "file", path="f", content="kept")
        self.assertEqual(near.call("GET", "pinned", "/status")[1]["backend"], "remote")
        self.far.stop(signal.SIGKILL)
        for _ in range(10):
            for call in (("POST", "/shell", {"command": "ls -A"}), ("GET", "/file?path=f", None), ("GET", "/files", None),
                         ("POST", "/create", {}), ("GET", "/status", None)):
                status, answer = near.call(call[0], "pinned", *call[1:])
                self.assertIn(status, {500, 503}, (call, answer))
            time.sleep(0.2)
        # Somebody new has nothing to lose.
        wait_for(lambda: near.call("POST", "new", "/file", {"path": "f", "content": "here"})[0] == 200, 20, "a new user is served")
        self.assertEqual(near.call("GET", "new", "/status")[1]["backend"], "bubblewrap")
        self.far.start()
        wait_for(lambda: near.call("GET", "pinned", "/file?path=f")[1].get("content") == "kept", 30, "it is back, files and all")
        self.assertEqual(near.call("GET", "pinned", "/status")[1]["backend"], "remote")
        self.assertEqual(near.call("GET", "new", "/file?path=f")[1].get("content"), "here", "that one stays, too")
        self.assertEqual(near.call("GET", "new", "/status")[1]["backend"], "bubblewrap")

    def test_a_host_that_starts_while_its_peer_is_down(self):
        self.far.post("early", "file", path="f", content="kept")
        root = self.far.root + "/near"
        os.mkdir(root)
        near = self.near(root=root)
        self.assertEqual(near.call("GET", "early", "/file?path=f")[1].get("content"), "kept")
        near.stop()
        self.far.stop(signal.SIGKILL)
        near.log = open(os.path.join(root, "log"), "ab")
        near.process = subprocess.Popen([*near.program, "serve", *near.options], env=near.env, stdin=subprocess.DEVNULL,
                                        stdout=near.log, stderr=near.log)

        def refused():
            with contextlib.suppress(ConnectionRefusedError):
                return near.call("GET", "early", "/file?path=f")[0] == 503
        wait_for(refused, 20, "it starts and says so")
        self.far.start()
        wait_for(lambda: near.call("GET", "early", "/file?path=f")[1].get("content") == "kept", 30, "found by itself")


class Cut(unittest.TestCase):
    """The link to the service behind goes down: no reset, no answer, nothing."""

    def setUp(self):
        harness.need_root("needs root, to make a network namespace")
        name = f"csb{os.getpid() % 100000}"
        self.ours, self.theirs, self.space = name + "a", name + "b", name
        net = f"10.{211 + os.getpid() % 40}.{os.getpid() // 40 % 256}"
        self.address = net + ".2"
        self.ip("netns", "add", self.space)
        self.addCleanup(self.ip, "netns", "del", self.space)
        self.ip("link", "add", self.ours, "type", "veth", "peer", "name", self.theirs, "netns", self.space)
        self.ip("addr", "add", net + ".1/24", "dev", self.ours)
        self.ip("link", "set", self.ours, "up")
        self.ip("-n", self.space, "addr", "add", self.address + "/24", "dev", self.theirs)
        self.ip("-n", self.space, "link", "set", self.theirs, "up")
        self.ip("-n", self.space, "link", "set", "lo", "up")

    @staticmethod
    def ip(*words):
        subprocess.run(["ip", *words], check=True, capture_output=True)

    def far(self):
        test = self

        class Elsewhere(Service):
            """Listens in the namespace; mounts stay those of this machine, whose control groups it needs."""

            def connection(self, timeout=120):
                connection = super().connection(timeout)
                connection.host = test.address
                return connection
        unenforced = "memory,cpu,pids,disk,network,seccomp,userns,no_new_privs"
        far = Elsewhere(f"--sandbox.allow_unenforced={unenforced}", mode=harness.OVER, key=KEY,
                        program=("nsenter", f"--net=/run/netns/{self.space}", harness.BINARY))
        far.options = [f"--http.host={self.address}" if o.startswith("--http.host=") else o for o in far.options]
        far.url = f"http://{self.address}:{far.port}"
        self.addCleanup(far.__exit__)
        return far.start()

    def test_ten_seconds_without_a_network(self):
        far = self.far()
        near = Service(*QUICK, *to(far.url), "--sandbox.order=bubblewrap", mode="auto").start()
        self.addCleanup(near.__exit__)
        with Clients(self, near) as clients:
            time.sleep(1)
            self.assertEqual(near.call("GET", "one", "/status")[1]["backend"], "remote")
            self.ip("-n", self.space, "link", "set", self.theirs, "down")
            try:
                cut, opened = time.monotonic(), 0
                while time.monotonic() - cut < 10 or not opened:
                    began = time.monotonic()
                    opened = opened or (0 if health(near)[1]["available"] else began)
                    self.assertLess(time.monotonic() - began, harness.AT_ONCE)
                    self.assertLess(began - cut, 20, "the breaker opens\n" + near.log_text()[-5000:])
                    time.sleep(0.1)
                wait_for(lambda: near.call("POST", "new", "/shell", {"command": "true"})[0] == 200, 10, "new users go elsewhere")
                self.assertEqual(near.call("GET", "new", "/status")[1]["backend"], "bubblewrap")
                self.assertEqual(near.call("POST", "one", "/shell", {"command": "true"})[0], 503)
            finally:
                self.ip("-n", self.space, "link", "set", self.theirs, "up")
            wait_for(lambda: health(near)[1]["available"], 30, "it closes again")
            wait_for(lambda: near.call("POST", "one", "/shell", {"command": "true"})[0] == 200, 30, "and serves")
        clients.check()
        self.assertTrue(set(clients.statuses) - {200}, "the cut was seen")
        self.assertLess(clients.longest, 30)
        self.assertEqual(json.loads(near.request("GET", "/health")[2])["status"], "healthy")


if __name__ == "__main__":
    unittest.main()
