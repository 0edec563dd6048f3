# SPDX-License-Identifier: Apache-2.0
# timeout: 900
# backends: incus
"""Sandboxes of the Incus backend as the engine, the code inside and the operator see them."""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import harness
from engine_checks import FileChecks, SandboxChecks, StreamChecks
from harness import Service, explain
from incus_engine import OWN, Engine, bytes_of


def setUpModule():
    harness.need("incus")


def uid_range(pid):
    """Of the machine's uids, those that root and all others of a process's user namespace are."""
    inside, outside, count = map(int, pathlib.Path(f"/proc/{pid}/uid_map").read_text().split())
    assert inside == 0
    return range(outside, outside + count)


class Group:
    """The control groups of a process, as the machine has them: version 1, 2, or some of each."""

    def __init__(self, pid):
        self.paths = {}
        for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for name in controllers.split(","):
                self.paths[name] = path

    def read(self, controller, *files):
        """The first of these files that is there, the group's own or the nearest above it that has one."""
        for root, path in ((f"/sys/fs/cgroup/{controller}", self.paths.get(controller)), ("/sys/fs/cgroup", self.paths.get(""))):
            while path and path != "/":
                for name in files:
                    file = pathlib.Path(root + path, name)
                    if file.exists() and (text := file.read_text().strip()) != "max":
                        return text
                path = os.path.dirname(path)
        return None


class ClosedChecks:
    def test_what_lxc_lets_in_of_the_machine_is_closed(self):
        """lxcfs writes to the machine's own files, as its root, what anybody inside writes to its own."""
        found = json.loads(self.service.post("closed", "execute", code="""
import json, os
def opens(path, flags):
    try:
        os.close(os.open(path, flags))
    except OSError:
        return False
    return True
paths = [os.path.join(folder, name) for folder, _, names in os.walk("/sys/devices/system/cpu") for name in names]
paths += ["/proc/" + name for name in ("cpuinfo", "meminfo", "stat", "uptime", "loadavg", "swaps", "diskstats")]
print(json.dumps({"tried": len(paths), "open": [path for path in paths if opens(path, os.O_WRONLY)],
                  "devices": [path for path in ("/dev/fuse", "/dev/net/tun") if os.path.exists(path)
                              and os.stat(path).st_rdev != os.makedev(1, 3)],
                  "keys": open("/proc/keys").read() if os.path.exists("/proc/keys") else "",
                  "lxcfs": [line.split()[5].split(",")[0] for line in open("/proc/self/mountinfo") if " fuse.lxcfs " in line]}))
""")["output"])
        self.assertGreater(found["tried"], 10)
        self.assertEqual((found["open"], found["devices"], found["keys"]), ([], [], ""))
        self.assertEqual(set(found["lxcfs"]), {"ro"}, "the engine has no lxcfs, or it is open")


class Hardening(ClosedChecks, SandboxChecks, unittest.TestCase):
    mode = "incus"

    def test_what_the_engine_was_told(self):
        self.create("told")
        found = self.inspect("told")
        config, devices = found["config"], found["expanded_devices"]
        self.assertEqual((found["type"], found["ephemeral"], found["profiles"]), ("container", False, []))
        self.assertEqual(bytes_of(config["limits.memory"]), 256 << 20)
        self.assertEqual(config["limits.memory.enforce"], "hard")
        self.assertEqual(config["limits.cpu.allowance"], "50ms/100ms", "a quota, not shares")
        self.assertTrue(100 <= int(config["limits.processes"]) < 120, config["limits.processes"])
        for key, value in {"security.privileged": "false", "security.nesting": "false", "security.idmap.isolated": "true",
                           "security.guestapi": "false", "limits.memory.swap": "false", "boot.autostart": "false"}.items():
            self.assertEqual(config[key], value, key)
        self.assertEqual({d["type"] for d in devices.values()}, {"disk"}, "no interface, no device of the machine")
        writable = {d["path"]: d for d in devices.values() if d.get("readonly") != "true"}
        self.assertEqual(set(writable), {"/", "/workspace"})
        self.assertEqual({d["pool"] for d in writable.values()}, {self.engine.pool}, "what can be written is the pool's")
        # Nothing of the host's environment goes in.
        self.assertEqual([key for key in config if key.startswith("environment.")], [])

    def test_what_the_machine_holds(self):
        self.create("outside")
        pid = self.engine.pid(self.name_of("outside"))
        group = Group(pid)
        self.assertEqual(int(group.read("memory", "memory.max", "memory.limit_in_bytes")), 256 << 20)
        both = group.read("memory", "memory.memsw.limit_in_bytes")  # where the kernel counts swap
        self.assertIn(both, (None, str(256 << 20)))
        quota = group.read("cpu", "cpu.max") or \
            f"{group.read('cpu', 'cpu.cfs_quota_us')} {group.read('cpu', 'cpu.cfs_period_us')}"
        used, period = map(int, quota.split())
        self.assertEqual(used / period, 0.5)
        self.assertTrue(100 <= int(group.read("pids", "pids.max")) < 120)

    def test_users_are_nobody_on_the_machine_and_apart_from_each_other(self):
        ranges = {}
        for user in ("ids-a", "ids-b"):
            self.create(user)
            ranges[user] = uid_range(self.engine.pid(self.name_of(user)))
            self.assertGreaterEqual(ranges[user].start, 65536, "nobody that the machine knows")
            inside = self.service.post(user, "shell", command="cat /proc/self/uid_map")["output"].split()
            self.assertEqual(inside[:2], ["0", str(ranges[user].start)])
        a, b = ranges.values()
        self.assertTrue(a.stop <= b.start or b.stop <= a.start, f"{a} and {b} share uids")
        for host in pathlib.Path("/proc").glob("[0-9]*"):
            if self.service.process.pid == int(host.name):
                self.assertEqual(uid_range(host.name).start, 0)

    def test_nothing_of_the_machine_is_seen(self):
        marker = os.path.join(self.service.root, "secret-of-the-host")
        pathlib.Path(marker).write_text("secret")
        seen = self.service.post("blind", "execute", code=f"""
import os
print(os.path.exists({self.service.root!r}), os.path.exists('/dev/incus'), os.path.exists({self.engine.socket!r}))
print([line.split()[4] for line in open('/proc/self/mountinfo') if {os.path.basename(self.service.root)!r} in line
       and not line.split()[4].startswith('/.clara/')])
print(sorted(name for name in os.listdir('/sys/class/net') if name != 'lo'))
print(os.uname().nodename == {os.uname().nodename!r})
print(any(name.startswith('CSB_') or name.startswith('INCUS') for name in os.environ))
""")["output"].splitlines()
        self.assertEqual(seen, ["False False False", "[]", "[]", "False", "False"])
        devices = self.service.post("blind", "shell", command="ls /dev")["output"].split()
        self.assertEqual(set(devices) & {"kmsg", "mem", "sda", "vda", "kvm", "loop0", "loop-control", "btrfs-control"}, set())

    def test_labels(self):
        name = self.create("labels/ä")["container_id"]
        config = self.engine.inspect(name)["config"]
        self.assertEqual((config[OWN + "user"], config[OWN + "kind"]), ("labels/ä", "sandbox"))
        self.assertEqual(config[OWN + "installation"], self.engine.installation(self.service.root))
        users = {each["config"].get(OWN + "user") for each in self.engine.all_volumes(self.service.root)}
        self.assertIn("labels/ä", users)
        self.assertTrue(name.startswith("clara-"), name)
        self.assertNotIn("labels", name, "names tell neighbours nothing")

    def test_a_disk_limit_is_held_by_the_pool(self):
        with Service("--incus.disk=64m", mode="incus") as service:
            service.post("disk", "shell", command="head -c 200000000 /dev/zero > big; true", timeout=60)
            self.assertLess(int(service.post("disk", "shell", command="stat -c %s big")["output"]), 70 << 20)
            said = service.call("GET", "disk", "/status")[1]["enforced"]["disk"]
            self.assertTrue(said["enforced"], said)
            self.assertEqual(service.post("disk", "shell", command="rm big; echo fine > x; cat x")["output"], "fine\n")
            # Outside of the workspace it is bounded too; the image counts there, as what it may grow to.
            wrote = service.post("disk", "shell", timeout=100,
                                 command="head -c 4000000000 /dev/zero > /var/tmp/big; stat -c %s /var/tmp/big")
            root = service.engine.inspect(service.call("GET", "disk", "/status")[1]["container_id"])["expanded_devices"]["root"]
            self.assertLess(int(wrote["output"].split()[-1]), int(root["size"]), wrote)


class ImageInit(ClosedChecks, SandboxChecks, unittest.TestCase):
    """The image's own process 1, and the agent beside it."""
    mode = "incus"

    @classmethod
    def options(cls):
        return [*super().options(), "--incus.boot=image", f"--incus.image={cls.image}"]

    @classmethod
    def setUpClass(cls):
        engine = Engine()
        cls.image = engine.image + "-init"
        if engine.image + "-init" not in {each["name"] for each in engine.do("GET", "/1.0/images/aliases?recursion=1")}:
            raise unittest.SkipTest(f"the engine has no image {cls.image} (tests/engines/incus.sh up --init)")
        super().setUpClass()

    # Of the image's init nobody takes its rights away.
    test_what_the_code_inside_finds = None
    test_an_image_that_is_not_offered_is_refused_and_makes_nothing = None
    test_a_sandbox_that_runs_out_as_a_whole_is_started_again_with_its_files = None

    def test_its_init_is_process_1(self):
        self.assertIn("systemd", self.service.post("init", "shell", command="cat /proc/1/comm")["output"])
        inside = self.service.post("init", "shell", command="grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status")["output"]
        self.assertEqual(inside.split(), ["CapEff:", "0000000000000000", "NoNewPrivs:", "1", "Seccomp:", "2"])


class ExecStream(StreamChecks, unittest.TestCase):
    """The agent is reached through a websocket of the engine, as with one on another machine."""
    mode = "incus"


class Files(FileChecks, unittest.TestCase):
    mode = "incus"

    def test_the_volume_is_given_to_the_next_instance(self):
        with self.service(root=self.root) as service:
            service.post("v", "shell", command="echo kept > file")
            first = service.call("GET", "v", "/status")[1]["container_id"]
            volume, = self.engine.volumes(self.root)
            service.call("POST", "v", "/restart", {})
            self.assertEqual(service.post("v", "shell", command="cat file")["output"], "kept\n")
            self.engine.delete(service.call("GET", "v", "/status")[1]["container_id"])
            self.assertEqual(service.post("v", "shell", command="cat file; stat -c %u:%g file")["output"], "kept\n1000:1000\n")
            self.assertEqual(self.engine.volumes(self.root), [volume], first)

    def test_an_instance_in_the_way_is_not_taken(self):
        with self.service(root=self.root) as service:
            name = service.call("POST", "way", "/create", {})[1]["container_id"]
            service.call("DELETE", "way", "?purge=true")
            self.gone(self.root)  # in the background
            self.engine.create(name)
            try:
                status, answer = service.call("POST", "way", "/shell", {"command": "cat /proc/1/comm"})
                if status == 200:
                    self.assertNotEqual(answer["output"], "sleep\n")
                    self.assertNotEqual(service.call("GET", "way", "/status")[1]["container_id"], name)
                else:
                    self.assertEqual(status, 409, answer)
                    self.assertIn("in the way", answer["error"])
                self.assertTrue(self.engine.alive(name))
            finally:
                self.engine.delete(name)
            service.post("way", "shell", command="true")

    def test_hosts_of_one_installation_serve_the_same_users(self):
        options = ("--incus.installation=sharedtests1",)
        other = tempfile.mkdtemp(prefix="csb-test-")
        os.chmod(other, 0o711)
        self.addCleanup(subprocess.run, ["rm", "-rf", other], check=True)
        for root in (self.root, other):
            self.engine.known[root] = "sharedtests1"
        self.addCleanup(self.engine.remove_all, self.root)
        with self.service(*options, root=self.root, engine=self.engine) as one, \
                self.service(*options, root=other, engine=self.engine) as two:
            one.post("both", "shell", command="echo one > file; echo here > /tmp/mark")
            self.assertEqual(two.post("both", "shell", command="cat file /tmp/mark")["output"], "one\nhere\n")
            self.assertEqual(len(self.engine.running(self.root, "both")), 1)
            one.users.clear()
            two.call("DELETE", "both", "?purge=true")
        self.assertEqual(self.engine.left(self.root), [])


class Choice(unittest.TestCase):
    def found(self, *options, **more):
        return explain("incus", *options, env={**os.environ, **Engine().environment(), **more})

    def test_an_image_that_is_missing_is_said_and_auto_takes_the_next(self):
        harness.need("bubblewrap")
        options = ("--incus.image=no-such-image",)
        found = self.found(*options)
        self.assertFalse(found["available"])
        self.assertIn("no-such-image", found["reason"])
        self.assertIn("INCUS_SANDBOX_IMAGE", found["hint"])
        with tempfile.TemporaryDirectory() as root:  # a backend that is named is the only one
            ran = subprocess.run([harness.BINARY, "run", "--backend", "incus", *options, *harness.folders(root, "incus"), "-c",
                                  "print(1)"], capture_output=True, text=True, timeout=60,
                                 env={**os.environ, **Engine().environment()})
        self.assertEqual((ran.returncode, ran.stdout), (1, ""))
        self.assertIn("no-such-image", ran.stderr)
        with Service(*options, "--sandbox.order=incus bubblewrap", mode="auto", env=Engine().environment()) as service:
            status, info = service.call("POST", "auto", "/create", {})
            self.assertEqual((status, info["backend"]), (200, "bubblewrap"), info)
            health = json.loads(service.request("GET", "/health")[2])
            self.assertIn("no-such-image", health["backends"]["incus"]["reason"])

    def test_auto_takes_it_where_it_can_serve(self):
        with Service("--sandbox.order=incus bubblewrap", mode="auto", env=Engine().environment()) as service:
            service.engine = Engine()
            status, info = service.call("POST", "auto", "/create", {})
            self.assertEqual((status, info["backend"]), (200, "incus"), info)

    def test_a_pool_that_is_missing_is_said(self):
        found = self.found("--incus.pool=no-such-pool")
        self.assertFalse(found["available"], found)
        self.assertIn("no-such-pool", found["reason"])
        self.assertTrue(found["hint"])

    def test_a_project_that_is_missing_is_said(self):
        found = self.found(INCUS_PROJECT="no-such-project")
        self.assertFalse(found["available"], found)
        self.assertIn("no-such-project", found["reason"])

    def test_a_pool_that_holds_no_limit_is_told_honestly(self):
        engine = Engine()
        engine.do("POST", "/1.0/storage-pools", {"name": "csbdir", "driver": "dir"})
        self.addCleanup(engine.do, "DELETE", "/1.0/storage-pools/csbdir")
        found = self.found("--incus.pool=csbdir")
        self.assertTrue(found["available"], found)
        self.assertFalse(found["enforces"]["disk"]["enforced"], found["enforces"])
        self.assertIn("dir", str(found), "slow, and without limits: the operator is told")
        found = self.found("--incus.pool=csbdir", "--incus.disk=64m")
        self.assertFalse(found["available"], found)
        self.assertIn("incus.disk", found["reason"] + found["hint"])
        self.assertIn("btrfs", found["hint"])
        with Service("--incus.pool=csbdir", mode="incus", engine=Engine(pool="csbdir")) as service:
            info = service.call("POST", "dir", "/create", {})[1]
            self.assertFalse(info["enforced"]["disk"]["enforced"], info)
            self.assertEqual(service.post("dir", "shell", command="echo works")["output"], "works\n")

    def test_explain_names_channel_and_pool(self):
        found = self.found()
        self.assertTrue(found["available"], found)
        self.assertEqual(found["details"]["channel"], "socket")
        self.assertIn(Engine().pool, str(found["details"]))
        self.assertEqual(self.found("--incus.channel=exec")["details"]["channel"], "exec")
        self.assertRegex(found["version"], r"^Incus \d")


if __name__ == "__main__":
    unittest.main()
