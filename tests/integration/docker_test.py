# SPDX-License-Identifier: Apache-2.0
# timeout: 400
"""Sandboxes of the Docker backend as the engine, the code inside and the operator see them."""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import harness
from docker_engine import OWN, Engine
from engine_checks import FileChecks, SandboxChecks, Shared, StreamChecks
from harness import Service, explain


def setUpModule():
    harness.need("docker")


class Hardening(SandboxChecks, unittest.TestCase):
    mode = "docker"

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

    def test_labels(self):
        info = self.create("labels/ä")
        labels = self.inspect("labels/ä")["Config"]["Labels"]
        self.assertEqual(labels["clara-sandbox.user"], "labels/ä")
        self.assertEqual(labels["clara-sandbox.kind"], "sandbox")
        self.assertEqual(f"{OWN}={labels[OWN]}", self.engine.label(self.service.root))
        volume = json.loads(self.engine.run("volume", "inspect", info["container_id"]))[0]
        self.assertEqual((volume["Labels"]["clara-sandbox.user"], volume["Labels"][OWN]), ("labels/ä", labels[OWN]))


class ReadOnly(Shared, unittest.TestCase):
    mode = "docker"

    @classmethod
    def options(cls):
        return [*super().options(), "--docker.read_only=true", "--docker.tmp=16m"]

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


class ExecStream(StreamChecks, unittest.TestCase):
    """The agent is reached through a stream of the engine, as with one on another machine."""
    mode = "docker"


class Files(FileChecks, unittest.TestCase):
    mode = "docker"

    def test_a_data_folder_holds_the_files_when_it_is_asked_for(self):
        with self.service(f"--sandbox.data_dir={self.root}/data", root=self.root) as service:
            service.post("f", "shell", command="echo kept > file")
            self.assertEqual(self.engine.volumes(self.root), [])
            path, = pathlib.Path(self.root, "data/docker").glob("*/file")
            self.assertEqual((path.read_text(), path.stat().st_uid), ("kept\n", 1000))
            service.call("POST", "f", "/stop")
            self.assertEqual(service.post("f", "shell", command="cat file")["output"], "kept\n")
            service.call("DELETE", "f", "?purge=true")
            self.assertEqual(list(pathlib.Path(self.root, "data/docker").iterdir()), [])

    def test_a_container_in_the_way_is_not_taken(self):
        with self.service(root=self.root) as service:
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
