# SPDX-License-Identifier: Apache-2.0
# timeout: 400
"""What breaks under a running service: the daemon, containers, volumes, the disk. Each test has an engine of its own to break.

Every request has to be answered or to fail with a cause, and nobody's files may go or get mixed.
"""
import os
import signal
import time
import unittest

from docker_engine import OwnEngine
from faults import Call, Faults


class Broken(Faults):
    mode, make = "docker", OwnEngine


class Restart(Broken, unittest.TestCase):
    """A dockerd without live-restore: its containers end with it, or at the next start."""

    def restart(self, sig):
        with self.service() as service:
            for user in ("a", "b"):
                service.post(user, "shell", command=f"echo {user} > file")
            calls = [Call(service, user, "sleep 90").started() for user in ("a", "b")]
            self.engine.stop(sig)
            self.health(service)
            down = service.call("POST", "new", "/shell", {"command": "true"})
            self.assertEqual(down[0], 503, down)
            self.assertIn("Docker daemon", down[1]["error"])
            self.engine.up()
            for call in calls:
                self.ended_with_a_cause(call, "ended", "gone")
            for user in ("a", "b"):
                self.works_again(service, user, f"{user}\n")
            service.post("new", "shell", command="true")

    def test_term(self):
        self.restart(signal.SIGTERM)

    def test_kill(self):
        self.restart(signal.SIGKILL)

    def test_what_is_live_goes_on_while_a_killed_daemon_is_away(self):
        with self.service() as service:
            service.post("a", "shell", command="echo a > file")
            running = Call(service, "a", "while [ ! -e go ]; do sleep 0.02; done; echo through").started()
            self.engine.stop(signal.SIGKILL)
            try:
                service.post("a", "shell", command="touch go")
                self.assertEqual(running.end()[1]["output"], "through\n")
                self.assertEqual(service.post("a", "execute", code="print(open('file').read())")["output"], "a\n\n")
                self.health(service)
            finally:
                self.engine.up()
            self.works_again(service, "a", "a\n")


class LiveRestore(Broken, unittest.TestCase):
    """A dockerd that keeps its containers while it is away: commands and their output are still there afterwards."""
    options = ("--live-restore",)

    def restart(self, sig):
        with self.service() as service:
            service.post("a", "shell", command="echo a > file; echo here > /tmp/mark")
            before = self.engine.containers(service.root)
            running = Call(service, "a", "echo one; while [ ! -e go ]; do sleep 0.05; done; echo two").started()
            self.engine.stop(sig)
            self.assertEqual(service.post("a", "shell", command="cat /tmp/mark")["output"], "here\n")
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

    def test_streams_of_the_engine_come_back_with_it(self):
        with self.service("--docker.channel=exec") as service:
            service.post("a", "shell", command="echo a > file; echo here > /tmp/mark")
            running = Call(service, "a", "sleep 90").started()
            self.engine.stop(signal.SIGKILL)
            self.ended_with_a_cause(running, "ended", "gone", "lost")
            self.engine.up()
            self.works_again(service, "a", "a\n")
            self.assertEqual(service.post("a", "shell", command="cat /tmp/mark")["output"], "here\n", "the same container")

    def test_both_killed_and_both_back(self):
        first = self.service().start()
        first.post("a", "shell", command="echo a > file; echo here > /tmp/mark")
        self.engine.stop(signal.SIGKILL)
        first.stop(signal.SIGKILL)
        self.engine.up()
        with self.service(root=first.root) as second:
            self.assertEqual(second.post("a", "shell", command="cat /tmp/mark file")["output"], "here\na\n")

    def test_a_daemon_that_hangs_is_said_and_what_is_live_goes_on(self):
        with self.service() as service:
            service.post("a", "shell", command="echo a > file")
            pid = int(self.engine.do_script("pid"))
            os.kill(pid, signal.SIGSTOP)
            try:
                began = time.monotonic()
                status, answer = service.call("POST", "new", "/shell", {"command": "true"})
                self.assertEqual(status, 503, answer)
                self.assertLess(time.monotonic() - began, 40)
                self.health(service)
                self.assertEqual(service.post("a", "shell", command="cat file")["output"], "a\n")
                self.left_alone(service)
                self.assertEqual(service.post("a", "shell", command="cat file")["output"], "a\n")
            finally:
                os.kill(pid, signal.SIGCONT)
            self.assertEqual(self.wait_for_create(service, "new"), 200)


class ByHand(Broken, unittest.TestCase):
    """Somebody uses the docker command on a sandbox's container."""

    def setUp(self):
        self.service_ = self.service().start()
        self.addCleanup(self.service_.__exit__)
        self.service_.post("a", "shell", command="echo a > file")
        self.name, = self.engine.containers(self.service_.root)

    def ends(self, *words):
        running = Call(self.service_, "a", "sleep 90").started()
        self.engine.run(*words)
        self.ended_with_a_cause(running, "ended", "gone", "removed")
        self.assertEqual(self.service_.post("a", "shell", command="cat file")["output"], "a\n")
        self.assertEqual(self.engine.containers(self.service_.root, "status=running"), [self.name])

    def test_kill(self):
        self.ends("kill", self.name)

    def test_stop(self):
        self.ends("stop", "-t", "1", self.name)

    def test_remove(self):
        self.ends("rm", "-f", self.name)

    def test_restart(self):
        self.ends("restart", "-t", "0", self.name)

    def test_removed_while_nothing_runs(self):
        self.engine.run("rm", "-f", self.name)
        self.assertEqual(self.service_.post("a", "shell", command="cat file")["output"], "a\n")

    def test_pause(self):
        running = Call(self.service_, "a", "while [ ! -e go ]; do sleep 0.02; done; echo through").started()
        self.engine.run("pause", self.name)
        try:
            deadline = time.monotonic() + 10
            while self.service_.call("GET", "a", "/status")[1].get("status") != "paused":
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.05)
            began = time.monotonic()
            status, answer = self.service_.call("POST", "a", "/shell", {"command": "true"})
            self.assertEqual(status, 409, answer)
            self.assertIn("paused", answer["error"])
            self.assertIn("docker unpause", str(answer))
            self.assertLess(time.monotonic() - began, 10)
            for _ in range(10):
                self.service_.call("POST", "a", "/execute", {"code": "1"})
            self.service_.post("b", "shell", command="true")  # nobody else is kept away for it
        finally:
            self.engine.run("unpause", self.name)
        self.service_.post("a", "shell", command="touch go")
        self.assertEqual(running.end()[1]["output"], "through\n")
        self.works_again(self.service_, "a", "a\n")

    def test_a_paused_one_can_be_purged(self):
        self.engine.run("pause", self.name)
        self.assertEqual(self.service_.call("DELETE", "a", "?purge=true")[1]["status"], "deleted")
        self.assertEqual(self.engine.left(self.service_.root), [])

    def test_a_volume_that_was_deleted_is_replaced_by_an_empty_one(self):
        self.service_.post("b", "shell", command="echo b > file")
        self.assertEqual(self.service_.call("POST", "a", "/stop")[0], 200)
        self.engine.run("volume", "rm", self.name)
        self.assertEqual(self.service_.post("a", "shell", command="ls; echo new > file; cat file")["output"], "new\n")
        self.assertEqual(self.service_.post("b", "shell", command="cat file")["output"], "b\n")


class FullDisk(Broken, unittest.TestCase):
    options = ("--data-on", "700m")

    def test_it_is_told_and_passes(self):
        with self.service() as service:
            service.post("b", "shell", command="echo b > file")
            answer = service.post("a", "shell", command="echo a > file; cat /dev/zero > big", timeout=60)
            self.assertFalse(answer["success"])
            self.assertIn("No space left on device", answer["error"])
            status, answer = service.call("POST", "a", "/file", {"path": "more", "content": "x" * 100000})
            self.assertNotEqual(status, 200, answer)
            self.assertRegex(answer["error"].lower(), "space|full")
            # Who comes now is served, or told that the disk is full; who was there still is.
            status, answer = service.call("POST", "new", "/shell", {"command": "echo new > file && cat file"})
            if status != 200:
                self.assertIn(status, (503, 507), answer)
                self.assertIn("no space left on device", answer["error"].lower())
                self.assertIn("docker system df", str(answer))
            self.assertEqual(service.post("b", "shell", command="cat file")["output"], "b\n")
            self.assertEqual(service.post("a", "shell", command="rm big; cat file")["output"], "a\n")
            self.works_again(service, "a", "a\n")
            self.assertEqual(service.post("new2", "shell", command="echo fine")["output"], "fine\n")


if __name__ == "__main__":
    unittest.main()
