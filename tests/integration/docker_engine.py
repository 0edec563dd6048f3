# SPDX-License-Identifier: Apache-2.0
"""A Docker engine as a test sees it: what is in it, and what a host has left there.

    engine = Engine()                                   # CSB_TEST_DOCKER_HOST, CSB_TEST_DOCKER_IMAGE
    engine.inspect(info["container_id"])["HostConfig"]["Memory"]
    engine.left(service.root)                           # [] is right after the last user was purged
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

OWN = "clara-sandbox.installation"


class Engine:
    def __init__(self, host=None, image=None):
        self.host = host or os.environ.get("CSB_TEST_DOCKER_HOST", "")
        self.image = image or os.environ.get("CSB_TEST_DOCKER_IMAGE", "")

    def environment(self):
        return {"DOCKER_HOST": self.host, "DOCKER_SANDBOX_IMAGE": self.image}

    def run(self, *words, check=True, timeout=60):
        done = subprocess.run(["docker", "--host", self.host, *words], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=timeout)
        if check and done.returncode != 0:
            raise AssertionError(f"docker {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def lines(self, *words):
        return self.run(*words).splitlines()

    def inspect(self, name):
        return json.loads(self.run("inspect", "--type", "container", name))[0]

    def pid(self, name):
        return self.inspect(name)["State"]["Pid"]

    @staticmethod
    def label(root):
        """The label of all that hosts with this state folder make; one that nothing has before the first."""
        path = pathlib.Path(root, "state/docker/installation")
        return f"{OWN}={path.read_text() if path.exists() else 'none'}"

    def containers(self, root, *filters):
        """Names."""
        more = [word for text in filters for word in ("--filter", text)]
        return self.lines("ps", "-a", "--filter", "label=" + self.label(root), *more, "--format", "{{.Names}}")

    def volumes(self, root):
        """Names of workspaces, and of those that were meant to be one."""
        rows = self.lines("volume", "ls", "--filter", "label=" + self.label(root), "--format",
                          '{{.Name}} {{.Label "clara-sandbox.kind"}}')
        return [name for name, _, kind in (row.partition(" ") for row in rows) if kind != "agent"]

    def left(self, root):
        """Containers, volumes and folders of sandboxes."""
        run = pathlib.Path(root, "run/docker")
        folders = [str(p) for p in run.iterdir() if p.name not in ("locks", "hosts")] if run.exists() else []
        folders += [str(p) for p in pathlib.Path(root, "state/docker/users").glob("*")]
        return self.containers(root) + self.volumes(root) + folders

    def remove_all(self, root):
        for name in self.containers(root):
            self.run("rm", "-f", "-v", name, check=False)
        for name in self.lines("volume", "ls", "-q", "--filter", "label=" + self.label(root)):
            self.run("volume", "rm", "-f", name, check=False)
        for name in self.lines("network", "ls", "-q", "--filter", "label=" + self.label(root)):
            self.run("network", "rm", name, check=False)


class OwnEngine(Engine):
    """One more engine, for a test that kills it: OwnEngine("--live-restore").up() … .close()

    script/test stops what is left in CSB_TEST_ENGINES, its folder, when a test was killed itself."""

    def __init__(self, *options):
        self.folder = tempfile.mkdtemp(prefix="csb-engine-", dir=os.environ.get("CSB_TEST_ENGINES") or "/tmp")
        self.options = options
        self.script = pathlib.Path(os.environ["CSB_SOURCE_DIR"], "tests/engines/docker.sh")
        super().__init__(f"unix://{self.folder}/e/run/docker.sock", "clara-sandbox-test:latest")

    def do(self, action, *options):
        done = subprocess.run([self.script, action, "--dir", self.folder + "/e", *options], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
        if done.returncode != 0:
            raise AssertionError(f"docker.sh {action}: {done.stdout}")
        return done.stdout

    def up(self):
        self.do("up", *self.options)
        return self

    def stop(self, sig=signal.SIGKILL):
        """Ends dockerd, and nothing else, with this signal."""
        pid = int(self.do("pid"))
        os.kill(pid, sig)
        deadline = time.monotonic() + 40
        while os.path.exists(f"/proc/{pid}"):
            if time.monotonic() > deadline:
                raise AssertionError(f"dockerd {pid} does not end")
            time.sleep(0.02)

    def close(self):
        self.do("down", "--purge")
        shutil.rmtree(self.folder)
