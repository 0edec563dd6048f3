# SPDX-License-Identifier: Apache-2.0
# timeout: 400
"""Sandboxes of the Docker backend as the engine, the code inside and the operator see them."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import harness
from docker_engine import OWN, Engine
from harness import Service, explain

SMALL = ("--docker.memory=256m", "--docker.pids=100", "--docker.cpu=0.5")


def setUpModule():
    harness.need("docker")


def docker_service(*options, **more):
    return Service(*options, mode="docker", **more)


class Shared(unittest.TestCase):
    options = SMALL

    @classmethod
    def setUpClass(cls):
        cls.service = docker_service(*cls.options).start()
        cls.engine = cls.service.engine

    @classmethod
    def tearDownClass(cls):
        cls.service.__exit__()

    def create(self, user, **fields):
        status, info = self.service.call("POST", user, "/create", fields)
        self.assertEqual(status, 200, info)
        return info

    def inspect(self, user):
        return self.engine.inspect(self.service.call("GET", user, "/status")[1]["container_id"])


class Hardening(Shared):
    def test_what_the_engine_was_told(self):
        self.create("told")
        found = self.inspect("told")
        host = found["HostConfig"]
        self.assertEqual((host["Memory"], host["MemorySwap"], host["NanoCpus"]), (256 << 20, 256 << 20, 500_000_000))
        self.assertLessEqual(100, host["PidsLimit"])
        self.assertLess(host["PidsLimit"], 120)
        self.assertEqual((host["NetworkMode"], host["IpcMode"], host["CgroupnsMode"], host["PidMode"], host["UTSMode"]),
                         ("none", "private", "private", "", ""))
        self.assertEqual((host["Privileged"], host["CapDrop"], host["Devices"] or [], host["Binds"] or []), (False, ["ALL"], [], []))
        self.assertLessEqual({c.removeprefix("CAP_") for c in host["CapAdd"]}, {"SETUID", "SETGID", "KILL", "SETPCAP", "CHOWN"})
        self.assertIn("no-new-privileges:true", host["SecurityOpt"])
        self.assertTrue([o for o in host["SecurityOpt"] if o.startswith("seccomp=") and "unconfined" not in o])
        self.assertIn("size=", host["Tmpfs"]["/tmp"])
        mounts = {m["Destination"]: m for m in found["Mounts"]}
        self.assertEqual(set(mounts), {"/workspace", "/run/clara/agent", "/run/clara/ctl"})
        self.assertEqual([path for path, m in mounts.items() if m["RW"]], ["/workspace"])
        self.assertEqual(mounts["/workspace"]["Type"], "volume")
        # Nothing of the host's environment goes in; what is there is the image's.
        self.assertEqual([e for e in found["Config"]["Env"] if not e.startswith("PATH=")], [])

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

    def test_labels(self):
        info = self.create("labels/ä")
        labels = self.inspect("labels/ä")["Config"]["Labels"]
        self.assertEqual(labels["clara-sandbox.user"], "labels/ä")
        self.assertEqual(labels["clara-sandbox.kind"], "sandbox")
        self.assertEqual(f"{OWN}={labels[OWN]}", self.engine.label(self.service.root))
        volume = json.loads(self.engine.run("volume", "inspect", info["container_id"]))[0]
        self.assertEqual((volume["Labels"]["clara-sandbox.user"], volume["Labels"][OWN]), ("labels/ä", labels[OWN]))

    def test_limits_of_a_request_reach_the_engine_and_others_conflict(self):
        self.create("limits", memory_limit="128m", cpu_limit=0.25)
        host = self.inspect("limits")["HostConfig"]
        self.assertEqual((host["Memory"], host["NanoCpus"]), (128 << 20, 250_000_000))
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
        seen = {"memory": 0.0, "cpu": 0.0}
        while thread.is_alive():
            status = self.service.call("GET", "use", "/status")[1]
            seen = {"memory": max(seen["memory"], status["memory_usage_mb"]), "cpu": max(seen["cpu"], status["cpu_percent"])}
            time.sleep(0.5)
        self.assertGreater(seen["memory"], idle["memory_usage_mb"] + 90)
        self.assertTrue(20 < seen["cpu"] < 90, f"half a core is allowed: {seen}")

    def test_a_child_that_runs_out_of_memory_is_told_and_the_sandbox_goes_on(self):
        before = self.create("oom")["container_id"]
        pid = self.engine.pid(before)
        answer = self.service.post("oom", "execute", code="b = bytearray(1 << 30)")
        self.assertEqual((answer["success"], answer["oom_killed"], answer["exit_code"]), (False, True, 137), answer)
        self.assertIn("OOM killed", answer["error"])
        self.assertIn("256 MiB", answer["error"])
        self.assertIn("DOCKER_SANDBOX_MEMORY", answer["error"])
        self.assertEqual(self.engine.pid(before), pid, "the same container")

    def test_a_sandbox_that_runs_out_as_a_whole_is_started_again_with_its_files(self):
        harness.need_root()
        name = self.create("whole")["container_id"]
        self.service.post("whole", "shell", command="echo kept > file")
        first = self.engine.inspect(name)
        pathlib.Path(f"/proc/{first['State']['Pid']}/oom_score_adj").write_text("1000")
        status, answer = self.service.call("POST", "whole", "/execute", {"code": "import os,time\n"
                                           "for _ in range(40):\n  if os.fork() == 0: b = bytearray(os.urandom(1 << 20)) * 16; time.sleep(99)\n"
                                           "time.sleep(99)", "timeout": 60})
        self.assertGreaterEqual(status, 500, answer)
        self.assertIn("OOM killed", answer["error"])
        self.assertEqual(self.service.post("whole", "shell", command="cat file")["output"], "kept\n")
        self.assertNotEqual(self.engine.inspect(name)["Id"], first["Id"])


class ReadOnly(Shared):
    options = SMALL + ("--docker.read_only=true", "--docker.tmp=16m")

    def test_only_the_workspace_and_small_tmpfs_can_be_written(self):
        found = self.service.post("ro", "execute", code="""
import os
found = []
for line in open('/proc/self/mounts'):
    _, where, kind, options, *_ = line.split()
    if kind not in ('proc', 'sysfs', 'cgroup', 'cgroup2', 'devpts', 'mqueue') and options.split(',')[0] == 'rw' and os.access(where, os.W_OK):
        found.append(where)
print(sorted(set(w for w in found if os.path.isdir(w))))
for w in ('/tmp', '/var/tmp'): print(os.statvfs(w).f_blocks * os.statvfs(w).f_bsize)
""")
        self.assertEqual(found["output"].splitlines(), ["['/dev/shm', '/tmp', '/var/tmp', '/workspace']", "16777216", "16777216"],
                         found)
        self.assertTrue(self.engine.inspect(self.create("ro")["container_id"])["HostConfig"]["ReadonlyRootfs"])


class ExecStream(Shared):
    """The agent is reached through a stream of the engine, as with one on another machine."""
    options = SMALL + ("--docker.channel=exec",)

    def test_everything_goes_through_it(self):
        name = self.create("x")["container_id"]
        found = self.engine.inspect(name)
        self.assertEqual(found["Config"]["Labels"]["clara-sandbox.channel"], "exec")
        self.assertEqual([m["Destination"] for m in found["Mounts"] if m["Type"] == "bind"], [], "no folder of this machine")
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
        with docker_service(*self.options) as service:  # nothing is prepared yet
            answers = []
            threads = [threading.Thread(target=lambda i=i: answers.append(service.call("POST", f"first{i}", "/shell", {"command": "true"})))
                       for i in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual([(status, answer.get("error")) for status, answer in answers], [(200, None)] * 6)

    def test_a_killed_host_is_followed_by_one_that_finds_it(self):
        root = tempfile.mkdtemp(prefix="csb-docker-")
        self.addCleanup(shutil.rmtree, root, ignore_errors=True)
        first = docker_service(*self.options, root=root).start()
        first.post("again", "shell", command="echo kept > file; echo here > /tmp/mark")
        first.stop(signal.SIGKILL)
        with docker_service(*self.options, root=root) as second:
            self.assertEqual(second.post("again", "shell", command="cat file /tmp/mark")["output"], "kept\nhere\n")


class Files(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="csb-docker-")
        os.chmod(self.root, 0o711)
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        self.engine = Engine()

    def test_a_volume_stays_at_destroy_and_goes_at_purge(self):
        with docker_service(root=self.root) as service:
            service.post("v", "shell", command="echo kept > file")
            volumes = self.engine.volumes(self.root)
            self.assertEqual(len(volumes), 1)
            self.assertEqual(service.call("DELETE", "v", "/destroy")[1], {"status": "deleted", "files_preserved": True})
            self.assertEqual((self.engine.containers(self.root), self.engine.volumes(self.root)), ([], volumes))
            self.assertEqual(service.post("v", "shell", command="cat file")["output"], "kept\n")
            service.call("DELETE", "v", "?purge=true")
            self.assertEqual(self.engine.left(self.root), [])

    def test_a_data_folder_holds_the_files_when_it_is_asked_for(self):
        with docker_service(f"--sandbox.data_dir={self.root}/data", root=self.root) as service:
            service.post("f", "shell", command="echo kept > file")
            self.assertEqual(self.engine.volumes(self.root), [])
            path, = pathlib.Path(self.root, "data/docker").glob("*/file")
            self.assertEqual((path.read_text(), path.stat().st_uid), ("kept\n", 1000))
            service.call("POST", "f", "/stop")
            self.assertEqual(service.post("f", "shell", command="cat file")["output"], "kept\n")
            service.call("DELETE", "f", "?purge=true")
            self.assertEqual(list(pathlib.Path(self.root, "data/docker").iterdir()), [])

    def gone(self, root):
        deadline = time.monotonic() + 30
        while left := self.engine.containers(root):
            self.assertLess(time.monotonic(), deadline, left)
            time.sleep(0.1)

    def test_an_idle_one_is_stopped_and_keeps_its_files(self):
        with docker_service("--docker.timeout=1", root=self.root) as service:
            service.post("idle", "shell", command="echo kept > file")
            self.gone(self.root)
            self.assertEqual(service.post("idle", "shell", command="cat file")["output"], "kept\n")

    def test_one_that_no_host_comes_back_to_ends_itself_and_is_swept(self):
        first = docker_service("--docker.timeout=2", root=self.root).start()
        first.post("alone", "shell", command="echo kept > file")
        name, = self.engine.containers(self.root)
        first.stop(signal.SIGKILL)
        deadline = time.monotonic() + 30
        while self.engine.inspect(name)["State"]["Running"]:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        with docker_service(root=self.root) as second:
            self.gone(self.root)  # nobody asked for it
            self.assertEqual(second.post("alone", "shell", command="cat file")["output"], "kept\n")

    def test_two_hosts_side_by_side_share_a_sandbox(self):
        with docker_service(root=self.root) as one, docker_service(root=self.root) as two:
            one.post("both", "shell", command="echo one > file; echo $$ > /tmp/mark")
            self.assertEqual(two.post("both", "shell", command="cat file; test -e /tmp/mark && echo same")["output"], "one\nsame\n")
            self.assertEqual(len(self.engine.containers(self.root)), 1)
            self.assertEqual(one.call("DELETE", "both", "/destroy")[1]["status"], "deleted")
            self.assertEqual(two.post("both", "shell", command="cat file; ls /tmp")["output"], "one\n", "a new one, the same files")
            one.users.clear()  # the second one purges; the first has nothing to answer for
            two.call("DELETE", "both", "?purge=true")

    def test_another_installation_is_left_alone(self):
        # Beside hosts of another state folder, a container with a name like ours, and one without labels.
        with docker_service() as other:
            other.post("same-name", "shell", command="echo others > file")
            theirs = self.engine.containers(other.root), self.engine.volumes(other.root)
            self.engine.run("run", "-d", "--name", "clara-stranger", "--label", "clara-sandbox.kind=sandbox", self.engine.image,
                            "sleep", "300")
            self.addCleanup(self.engine.run, "rm", "-f", "clara-stranger")
            with docker_service(root=self.root) as service:
                service.post("same-name", "shell", command="echo ours > file")
                service.call("DELETE", "same-name", "?purge=true")
            self.assertEqual((self.engine.containers(other.root), self.engine.volumes(other.root)), theirs)
            self.assertEqual(other.post("same-name", "shell", command="cat file")["output"], "others\n")
            self.assertTrue(self.engine.inspect("clara-stranger")["State"]["Running"])

    def test_a_container_in_the_way_is_not_taken(self):
        with docker_service(root=self.root) as service:
            name = service.call("POST", "way", "/create", {})[1]["container_id"]
            service.call("DELETE", "way", "?purge=true")
            self.engine.run("run", "-d", "--name", name, self.engine.image, "sleep", "300")
            try:
                status, answer = service.call("POST", "way", "/create", {})
                self.assertEqual(status, 409, answer)
                self.assertIn("in the way", answer["error"])
                self.assertTrue(self.engine.inspect(name)["State"]["Running"])
            finally:
                self.engine.run("rm", "-f", name)
            service.post("way", "shell", command="true")


class Choice(unittest.TestCase):
    def engine_options(self, **more):
        return {"env": {**os.environ, **Engine().environment(), **more}}

    def test_an_image_that_is_missing_is_said_and_auto_takes_the_next(self):
        harness.need("bubblewrap")
        options = ("--docker.image=no-such-image:here", "--docker.pull=never")
        found = explain("docker", *options, **self.engine_options())
        self.assertFalse(found["available"])
        self.assertIn("no image no-such-image:here", found["reason"])
        self.assertIn("DOCKER_SANDBOX_IMAGE", found["hint"])
        self.assertTrue(explain("bubblewrap", *options, **self.engine_options())["chosen"])
        with tempfile.TemporaryDirectory() as root:  # a backend that is named is the only one
            ran = subprocess.run([harness.BINARY, "run", "--backend", "docker", *options, *harness.folders(root, "docker"), "-c",
                                  "print(1)"], capture_output=True, text=True, timeout=60, **self.engine_options())
        self.assertEqual((ran.returncode, ran.stdout), (1, ""))
        self.assertIn("no image no-such-image:here", ran.stderr)
        with Service(*options, mode="auto", env=Engine().environment()) as service:
            status, info = service.call("POST", "auto", "/create", {})
            self.assertEqual((status, info["backend"]), (200, "bubblewrap"), info)
            health = json.loads(service.request("GET", "/health")[2])
            self.assertIn("no image", health["backends"]["docker"]["reason"])

    def test_a_runtime_that_is_unknown_is_said(self):
        found = explain("docker", "--docker.runtime=no-such-runtime", **self.engine_options())
        self.assertFalse(found["available"])
        self.assertRegex(found["reason"], "no runtime no-such-runtime .*runc")
        self.assertIn("docker.runtime", found["hint"])
        found = explain("docker", "--docker.runtime=runc", **self.engine_options())
        self.assertTrue(found["available"], found)
        self.assertIn("runc", found["isolation"])

    def test_a_disk_limit_that_the_storage_can_not_hold_is_refused(self):
        driver = json.loads(Engine().run("info", "--format", "{{json .}}"))
        if ["Backing Filesystem", "xfs"] in driver["DriverStatus"]:
            self.skipTest("this engine's storage may be able to")
        found = explain("docker", "--docker.disk=1g", **self.engine_options())
        self.assertFalse(found["available"], found)
        self.assertIn("docker.disk", found["reason"])
        self.assertIn("pquota", found["hint"])

    def test_explain_names_the_channel(self):
        found = explain("docker", **self.engine_options())
        self.assertEqual((found["details"]["channel"], found["details"]["workspaces"]), ("socket", "volumes"))
        self.assertEqual(explain("docker", "--docker.channel=exec", **self.engine_options())["details"]["channel"], "exec")
        self.assertRegex(found["version"], r"^Docker \d")


if __name__ == "__main__":
    unittest.main()
