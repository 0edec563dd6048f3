# SPDX-License-Identifier: Apache-2.0
"""What holds of sandboxes on every engine, as the engine and the code inside see them. Each backend's test has what is so
of it alone, and takes these:

    class Sandboxes(SandboxChecks, unittest.TestCase):
        mode = "docker"
"""
import os
import pathlib
import shutil
import signal
import tempfile
import threading
import time

import harness
from harness import Service


class Shared:
    """One service for all tests of a class."""
    mode = ""

    @classmethod
    def options(cls):
        return [f"--{cls.mode}.memory=256m", f"--{cls.mode}.pids=100", f"--{cls.mode}.cpu=0.5"]

    @classmethod
    def setUpClass(cls):
        harness.need(cls.mode)
        cls.service = cls.another().start()
        cls.engine = cls.service.engine

    @classmethod
    def tearDownClass(cls):
        cls.service.__exit__()

    @classmethod
    def another(cls, **more):
        return Service(*cls.options(), mode=cls.mode, **more)

    def create(self, user, **fields):
        status, info = self.service.call("POST", user, "/create", fields)
        self.assertEqual(status, 200, info)
        return info

    def name_of(self, user):
        return self.service.call("GET", user, "/status")[1]["container_id"]

    def inspect(self, user):
        return self.engine.inspect(self.name_of(user))


class SandboxChecks(Shared):
    def test_what_the_code_inside_finds(self):
        status = self.service.post("inside", "shell", command="cat /proc/self/status")["output"]
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        self.assertEqual({name: int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")},
                         {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": 0, "CapAmb": 0})
        self.assertEqual((fields["NoNewPrivs"], fields["Seccomp"]), ("1", "2"))
        self.assertEqual((fields["Uid"], fields["Gid"]), ("1000\t1000\t1000\t1000",) * 2)
        self.assertEqual(fields["Groups"].strip(), "")
        agent = self.service.post("inside", "shell", command="grep CapEff /proc/1/status")["output"]
        # The agent itself: KILL, SETGID and SETUID.
        self.assertEqual(int(agent.split()[1], 16) & ~0b11100000, 0, agent)

    def test_limits_of_a_request_reach_the_engine_and_others_conflict(self):
        self.create("limits", memory_limit="128m", cpu_limit=0.25)
        self.assertEqual(self.engine.told(self.name_of("limits")), {"memory": 128 << 20, "cpu": 0.25})
        for fields, named in (({"memory_limit": "200m"}, "128 MiB"), ({"cpu_limit": 1}, "0.25 cores")):
            status, answer = self.service.call("POST", "limits", "/create", fields)
            self.assertEqual(status, 409, answer)
            self.assertIn(named, answer["error"])
        self.create("limits", memory_limit="128m")

    def test_an_image_that_is_not_offered_is_refused_and_makes_nothing(self):
        status, answer = self.service.call("POST", "image", "/create", {"image": "alpine:latest"})
        self.assertEqual(status, 422, answer)
        self.assertIn("alpine:latest", answer["error"])
        self.assertEqual(self.service.call("GET", "image", "/status")[0], 404)
        self.create("image", image=self.engine.image)

    def test_status_shows_what_is_used_now(self):
        self.create("use")
        idle = self.service.call("GET", "use", "/status")[1]
        done = []
        thread = threading.Thread(target=lambda: done.append(self.service.post(
            "use", "execute", code="b = bytearray(100 << 20)\nwhile True: pass", timeout=5)))
        thread.start()
        memory, cpu = [0.0], []
        while thread.is_alive():
            status = self.service.call("GET", "use", "/status")[1]
            memory.append(status["memory_usage_mb"])
            cpu.append(status["cpu_percent"])
            time.sleep(0.5)
        self.assertGreater(max(memory), idle["memory_usage_mb"] + 90)
        # One answer of a busy engine that is late makes the next one's interval short: the middle one counts.
        middle = sorted(cpu)[len(cpu) // 2]
        self.assertTrue(20 < middle < 90, f"half a core is allowed: {cpu}")

    def test_a_child_that_runs_out_of_memory_is_told_and_the_sandbox_goes_on(self):
        before = self.create("oom")["container_id"]
        pid = self.engine.pid(before)
        answer = self.service.post("oom", "execute", code="b = bytearray(1 << 30)")
        self.assertEqual((answer["success"], answer["oom_killed"], answer["exit_code"]), (False, True, 137), answer)
        self.assertIn("OOM killed", answer["error"])
        self.assertIn("256 MiB", answer["error"])
        self.assertIn(f"{self.mode.upper()}_SANDBOX_MEMORY", answer["error"])
        self.assertEqual(self.engine.pid(before), pid, "the same container")

    def test_a_sandbox_that_runs_out_as_a_whole_is_started_again_with_its_files(self):
        harness.need_root()
        name = self.create("whole")["container_id"]
        self.service.post("whole", "shell", command="echo kept > file")
        first = self.engine.identity(name)
        pathlib.Path(f"/proc/{self.engine.pid(name)}/oom_score_adj").write_text("1000")
        status, answer = self.service.call("POST", "whole", "/execute", {"code": "import os,time\n"
                                           "for _ in range(40):\n  if os.fork() == 0: b = bytearray(os.urandom(1 << 20)) * 16; time.sleep(99)\n"
                                           "time.sleep(99)", "timeout": 60})
        self.assertGreaterEqual(status, 500, answer)
        self.assertIn("OOM killed", answer["error"])
        self.assertEqual(self.service.post("whole", "shell", command="cat file")["output"], "kept\n")
        self.assertNotEqual(self.engine.identity(self.name_of("whole")), first)


class StreamChecks(Shared):
    """The agent is reached through a stream of the engine, as with one on another machine."""

    @classmethod
    def options(cls):
        return [*super().options(), f"--{cls.mode}.channel=exec"]

    def test_everything_goes_through_it(self):
        name = self.create("x")["container_id"]
        self.assertEqual(self.engine.channel(name), "exec")
        self.assertEqual(self.engine.folders_of_this_machine(name), [])
        self.assertEqual(self.service.post("x", "execute", code="print(1)")["output"], "1\n")
        self.assertEqual(self.service.post("x", "shell", command="cat", stdin="in\n")["output"], "in\n")
        data = os.urandom(5_000_000)
        octets = {"Content-Type": "application/octet-stream"}
        status, _, answer = self.service.request("POST", "/sandbox/x/file?path=big", data, octets)
        self.assertEqual(status, 200, answer)
        status, _, back = self.service.request("GET", "/sandbox/x/file?path=big", headers={"Accept": "application/octet-stream"})
        self.assertEqual((status, back == data), (200, True))
        answer = self.service.post("x", "shell", command="head -c 30000000 /dev/zero | tr '\\0' x")
        self.assertEqual(answer["stdout_bytes"], 30_000_000)
        answer = self.service.post("x", "shell", command="echo part; sleep 60", timeout=1)
        self.assertEqual((answer["timed_out"], answer["output"]), (True, "part\n"))
        answer = self.service.post("x", "execute", code="b = bytearray(1 << 30)")
        self.assertTrue(answer["oom_killed"], answer)

    def test_many_at_once(self):
        self.create("many")
        answers = []
        threads = [threading.Thread(target=lambda i=i: answers.append(
            self.service.post("many", "shell", command=f"echo {i}")["output"])) for i in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(answers), sorted(f"{i}\n" for i in range(20)))

    def test_the_first_users_come_at_once(self):
        with self.another() as service:  # nothing is prepared yet
            answers = []
            threads = [threading.Thread(target=lambda i=i: answers.append(service.call("POST", f"first{i}", "/shell", {"command": "true"})))
                       for i in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual([(status, answer.get("error")) for status, answer in answers], [(200, None)] * 6)

    def test_a_killed_host_is_followed_by_one_that_finds_it(self):
        root = tempfile.mkdtemp(prefix="csb-test-")
        self.addCleanup(shutil.rmtree, root, ignore_errors=True)
        first = self.another(root=root).start()
        first.post("again", "shell", command="echo kept > file; echo here > /tmp/mark")
        first.stop(signal.SIGKILL)
        with self.another(root=root) as second:
            self.assertEqual(second.post("again", "shell", command="cat file /tmp/mark")["output"], "kept\nhere\n")


class FileChecks:
    mode = ""

    def setUp(self):
        harness.need(self.mode)
        self.root = tempfile.mkdtemp(prefix="csb-test-")
        os.chmod(self.root, 0o711)
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        self.engine = harness.engine_of(self.mode)

    def service(self, *options, **more):
        return Service(*options, mode=self.mode, **more)

    def test_a_volume_stays_at_destroy_and_goes_at_purge(self):
        with self.service(root=self.root) as service:
            service.post("v", "shell", command="echo kept > file")
            volumes = self.engine.volumes(self.root)
            self.assertEqual(len(volumes), 1)
            self.assertEqual(service.call("DELETE", "v", "/destroy")[1], {"status": "deleted", "files_preserved": True})
            self.gone(self.root)
            self.assertEqual(self.engine.volumes(self.root), volumes)
            self.assertEqual(service.post("v", "shell", command="cat file")["output"], "kept\n")
            service.call("DELETE", "v", "?purge=true")
            self.gone(self.root)
            self.assertEqual(self.engine.left(self.root), [])

    def gone(self, root):
        """What an engine takes long for is done in the background."""
        deadline = time.monotonic() + 30
        while left := self.engine.containers(root):
            self.assertLess(time.monotonic(), deadline, left)
            time.sleep(0.1)

    def test_an_idle_one_is_stopped_and_keeps_its_files(self):
        with self.service(f"--{self.mode}.timeout=1", root=self.root) as service:
            service.post("idle", "shell", command="echo kept > file")
            self.gone(self.root)
            self.assertEqual(service.post("idle", "shell", command="cat file")["output"], "kept\n")

    def test_one_that_no_host_comes_back_to_ends_itself_and_is_swept(self):
        first = self.service(f"--{self.mode}.timeout=2", root=self.root).start()
        first.post("alone", "shell", command="echo kept > file")
        name, = self.engine.containers(self.root)
        first.stop(signal.SIGKILL)
        deadline = time.monotonic() + 30
        while self.engine.alive(name):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        with self.service(root=self.root) as second:
            self.gone(self.root)  # nobody asked for it
            self.assertEqual(second.post("alone", "shell", command="cat file")["output"], "kept\n")

    def test_two_hosts_side_by_side_share_a_sandbox(self):
        with self.service(root=self.root) as one, self.service(root=self.root) as two:
            one.post("both", "shell", command="echo one > file; echo $$ > /tmp/mark")
            self.assertEqual(two.post("both", "shell", command="cat file; test -e /tmp/mark && echo same")["output"], "one\nsame\n")
            self.assertEqual(len(self.engine.containers(self.root)), 1)
            self.assertEqual(one.call("DELETE", "both", "/destroy")[1]["status"], "deleted")
            self.assertEqual(two.post("both", "shell", command="cat file; ls /tmp")["output"], "one\n", "a new one, the same files")
            one.users.clear()  # the second one purges; the first has nothing to answer for
            two.call("DELETE", "both", "?purge=true")

    def test_another_installation_is_left_alone(self):
        # Beside hosts of another state folder, a container with a name like ours, and one without labels.
        with self.service() as other:
            other.post("same-name", "shell", command="echo others > file")
            theirs = self.engine.containers(other.root), self.engine.volumes(other.root)
            self.engine.stranger("clara-stranger")
            self.addCleanup(self.engine.remove, "clara-stranger")
            with self.service(root=self.root) as service:
                service.post("same-name", "shell", command="echo ours > file")
                service.call("DELETE", "same-name", "?purge=true")
            self.assertEqual((self.engine.containers(other.root), self.engine.volumes(other.root)), theirs)
            self.assertEqual(other.post("same-name", "shell", command="cat file")["output"], "others\n")
            self.assertTrue(self.engine.alive("clara-stranger"))
