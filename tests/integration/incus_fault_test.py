# SPDX-License-Identifier: Apache-2.0
# timeout: 900
# backends: incus
"""What breaks under a running service: incusd, instances, volumes, the pool. Each test has an engine of its own to break.

Every request has to be answered or to fail with a cause, and nobody's files may go or get mixed.
"""
import os
import signal
import threading
import time
import unittest

from faults import Call, Faults
from incus_engine import OwnEngine

DOWN = "Incus"  # what is said of one that is away names it


class Broken(Faults):
    mode, make = "incus", OwnEngine


class Restart(Broken, unittest.TestCase):
    """Instances live on while incusd is away: commands and their output are still there afterwards."""

    def restart(self, sig):
        with self.service() as service:
            service.post("a", "shell", command="echo a > file; echo here > /tmp/mark")
            before = self.engine.containers(service.root)
            running = Call(service, "a", "echo one; while [ ! -e go ]; do sleep 0.05; done; echo two").started()
            self.engine.stop(sig)
            try:
                self.health(service)
                self.assertEqual(service.post("a", "shell", command="cat /tmp/mark")["output"], "here\n")
                self.assertEqual(service.post("a", "execute", code="print(open('file').read())")["output"], "a\n\n")
                status, answer = service.call("POST", "new", "/shell", {"command": "true"})
                self.assertEqual(status, 503, answer)
                self.assertIn(DOWN, answer["error"])
                self.assertTrue(answer.get("hint") or "systemctl" in str(answer), answer)
            finally:
                self.engine.up()
            service.post("a", "shell", command="touch go")
            self.assertEqual(running.end()[1]["output"], "one\ntwo\n")
            self.assertEqual(service.post("a", "shell", command="cat /tmp/mark file")["output"], "here\na\n")
            self.assertEqual(self.engine.containers(service.root), before)
            self.works_again(service, "a", "a\n")
            self.assertEqual(self.wait_for_create(service, "b"), 200)

    def test_term(self):
        self.restart(signal.SIGTERM)

    def test_kill(self):
        self.restart(signal.SIGKILL)

    def streams(self, sig):
        with self.service("--incus.channel=exec") as service:
            service.post("a", "shell", command="echo a > file; echo here > /tmp/mark")
            running = Call(service, "a", "sleep 90").started()
            self.engine.stop(sig)
            self.ended_with_a_cause(running, "ended", "gone", "lost", "shutting down")
            self.engine.up()
            self.works_again(service, "a", "a\n")
            self.assertEqual(service.post("a", "shell", command="cat /tmp/mark")["output"], "here\n", "the same instance")

    def test_streams_of_a_killed_one_come_back_with_it(self):
        self.streams(signal.SIGKILL)

    def test_streams_of_one_that_ends_come_back_with_it(self):
        self.streams(signal.SIGTERM)

    def test_open_streams_do_not_keep_it_from_ending(self):
        took = {}
        for users in (0, 8):
            with self.service("--incus.channel=exec") as service:
                for i in range(users):
                    service.post(f"u{i}", "shell", command="true")
                calls = [Call(service, f"u{i}", "sleep 60").started() for i in range(users)]
                began = time.monotonic()
                self.engine.stop(signal.SIGTERM)
                took[users] = time.monotonic() - began
                for call in calls:
                    self.ended_with_a_cause(call, "ended", "gone", "lost", "shutting down")
                self.engine.up()
                for i in range(users):
                    self.assertEqual(self.wait_for_create(service, f"u{i}"), 200)
        print(f"seconds to incusd's end, by open streams: {took}")
        self.assertLess(took[8] - took[0], 3)

    def test_both_killed_and_both_back(self):
        first = self.service().start()
        first.post("a", "shell", command="echo a > file; echo here > /tmp/mark")
        self.engine.stop(signal.SIGKILL)
        first.stop(signal.SIGKILL)
        self.engine.up()
        with self.service(root=first.root) as second:
            self.assertEqual(second.post("a", "shell", command="cat /tmp/mark file")["output"], "here\na\n")

    def test_ended_again_and_again_amid_executions(self):
        users, wrong, over = [f"u{i}" for i in range(4)], [], threading.Event()
        with self.service() as service:
            for user in users:
                service.post(user, "shell", command="true")

            def work(user):
                n = 0
                while not over.is_set():
                    n += 1
                    status, answer = service.call("POST", user, "/execute", {
                        "code": f"open('file', 'a').write('{n}\\n')\nprint(open('file').read().split())"})
                    if status != 200 or answer["output"] != f"{[str(i + 1) for i in range(n)]}\n":
                        wrong.append((user, n, status, answer))
                        return
            threads = [threading.Thread(target=work, args=(user,)) for user in users]
            for thread in threads:
                thread.start()
            for sig in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
                self.engine.stop(sig)
                self.engine.up()
            over.set()
            for thread in threads:
                thread.join()
            self.assertEqual(wrong, [], "what is live needs no engine")

    def test_a_daemon_that_hangs_is_said_and_what_is_live_goes_on(self):
        with self.service() as service:
            service.post("a", "shell", command="echo a > file")
            pid = self.engine.daemon()
            os.kill(pid, signal.SIGSTOP)
            try:
                began = time.monotonic()
                status, answer = service.call("POST", "new", "/shell", {"command": "true", "timeout": 20})
                self.assertIn(status, (503, 504), answer)
                self.assertIn(DOWN, answer["error"])
                self.assertLess(time.monotonic() - began, 40)
                self.health(service)
                self.assertEqual(service.post("a", "shell", command="cat file")["output"], "a\n")
                self.left_alone(service)
                self.assertEqual(service.post("a", "shell", command="cat file")["output"], "a\n")
            finally:
                os.kill(pid, signal.SIGCONT)
            self.assertEqual(self.wait_for_create(service, "new"), 200)

    def test_one_whose_stream_hangs_ends_at_its_deadline(self):
        with self.service("--incus.channel=exec") as service:
            service.post("a", "shell", command="echo a > file")
            pid = self.engine.daemon()
            running = Call(service, "a", "sleep 90", timeout=5).started()
            os.kill(pid, signal.SIGSTOP)
            try:
                began = time.monotonic()
                status, answer = running.end(40)
                self.assertLess(time.monotonic() - began, 30)
                self.assertTrue(status >= 500 or answer["timed_out"], answer)
                self.health(service)
            finally:
                os.kill(pid, signal.SIGCONT)
            self.works_again(service, "a", "a\n", 60)


class ByHand(Broken, unittest.TestCase):
    """Somebody uses the incus command on a sandbox's instance."""
    options_of_host = ()

    def setUp(self):
        self.service_ = self.service(*self.options_of_host).start()
        self.addCleanup(self.service_.__exit__)
        self.service_.post("a", "shell", command="echo a > file")
        self.name, = self.engine.containers(self.service_.root)
        self.volume, = self.engine.volumes(self.service_.root)

    def ends(self, by_hand):
        running = Call(self.service_, "a", "sleep 90").started()
        by_hand()
        self.ended_with_a_cause(running, "ended", "gone", "removed", "stopped")
        self.assertEqual(self.service_.post("a", "shell", command="cat file")["output"], "a\n")
        self.only(1)

    def only(self, count):
        """What is dead goes in the background."""
        deadline = time.monotonic() + 20
        while len(found := self.engine.containers(self.service_.root)) != count:
            self.assertLess(time.monotonic(), deadline, found)
            time.sleep(0.1)

    def test_kill(self):
        self.ends(lambda: os.kill(self.engine.pid(self.name), signal.SIGKILL))

    def test_stop(self):
        self.ends(lambda: self.engine.change(self.name, "stop", force=True))

    def test_remove(self):
        self.ends(lambda: self.engine.delete(self.name))

    def test_restart(self):
        self.ends(lambda: self.engine.change(self.name, "restart", force=True))

    def test_removed_while_nothing_runs(self):
        self.engine.delete(self.name)
        self.assertEqual(self.service_.post("a", "shell", command="cat file")["output"], "a\n")

    def test_freeze(self):
        running = Call(self.service_, "a", "while [ ! -e go ]; do sleep 0.02; done; echo through").started()
        self.engine.change(self.name, "freeze")
        try:
            deadline = time.monotonic() + 10
            while self.service_.call("GET", "a", "/status")[1].get("status") != "paused":
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.05)
            began = time.monotonic()
            status, answer = self.service_.call("POST", "a", "/shell", {"command": "true"})
            self.assertEqual(status, 409, answer)
            self.assertRegex(answer["error"], "paused|frozen")
            self.assertIn("incus resume", str(answer))
            self.assertLess(time.monotonic() - began, 10)
            for _ in range(10):
                self.service_.call("POST", "a", "/execute", {"code": "1"})
            self.service_.post("b", "shell", command="true")  # nobody else is kept away for it
        finally:
            self.engine.change(self.name, "unfreeze")
        self.service_.post("a", "shell", command="touch go")
        self.assertEqual(running.end()[1]["output"], "through\n")
        self.works_again(self.service_, "a", "a\n")

    def test_a_frozen_one_can_be_purged(self):
        self.engine.change(self.name, "freeze")
        self.assertEqual(self.service_.call("DELETE", "a", "?purge=true")[1]["status"], "deleted")
        self.assertEqual(self.engine.left(self.service_.root), [])

    def test_a_volume_that_was_deleted_is_replaced_by_an_empty_one(self):
        self.service_.post("b", "shell", command="echo b > file")
        self.assertEqual(self.service_.call("POST", "a", "/stop")[0], 200)
        self.only(1)  # b's: the engine deletes no volume that an instance uses
        self.engine.do("DELETE", self.engine.volume_path(self.volume))
        self.assertEqual(self.service_.post("a", "shell", command="ls; echo new > file; cat file")["output"], "new\n")
        self.assertEqual(self.service_.post("b", "shell", command="cat file")["output"], "b\n")

    def test_a_record_that_was_deleted_costs_no_files(self):
        profiles = self.engine.profiles(self.service_.root)
        self.assertEqual(len(profiles), 1)
        self.service_.call("POST", "a", "/stop")
        if self.name in self.engine.containers(self.service_.root):
            self.engine.delete(self.name)
        self.engine.do("DELETE", f"/1.0/profiles/{profiles[0]}")
        self.assertEqual(self.service_.post("a", "shell", command="cat file")["output"], "a\n")


class ByHandOverStreams(ByHand):
    options_of_host = ("--incus.channel=exec",)


class FullPool(Broken, unittest.TestCase):
    options = ("--pool", "700MiB")

    def test_it_is_told_and_passes(self):
        with self.service("--incus.disk=unlimited") as service:
            service.post("b", "shell", command="echo b > file")
            answer = service.post("a", "shell", command="echo a > file; cat /dev/zero > big", timeout=60)
            self.assertFalse(answer["success"])
            self.assertIn("No space left on device", answer["error"])
            status, answer = service.call("POST", "a", "/file", {"path": "more", "content": "x" * 1000000})
            self.assertNotEqual(status, 200, answer)
            self.assertRegex(answer["error"].lower(), "space|full")
            # Who comes now is served, or told that the pool is full; who was there still is.
            status, answer = service.call("POST", "new", "/shell", {"command": "echo new > file && cat file"})
            if status != 200:
                self.assertIn(status, (503, 507), answer)
                self.assertIn("no space left on device", answer["error"].lower())
                self.assertIn("incus storage", str(answer))
            self.assertEqual(service.post("b", "shell", command="cat file")["output"], "b\n")
            self.assertEqual(service.post("a", "shell", command="rm big; cat file")["output"], "a\n")
            self.works_again(service, "a", "a\n")
            self.assertEqual(service.post("new2", "shell", command="echo fine")["output"], "fine\n")


if __name__ == "__main__":
    unittest.main()
