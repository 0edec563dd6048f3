# SPDX-License-Identifier: Apache-2.0
"""A Docker engine as a test sees it: what is in it, and what a host has left there.

    engine = Engine()                                   # CSB_TEST_DOCKER_HOST, CSB_TEST_DOCKER_IMAGE
    engine.inspect(info["container_id"])["HostConfig"]["Memory"]
    engine.left(service.root)                           # [] is right after the last user was purged
"""
import json
import os
import pathlib
import subprocess

from engine_common import OwnScript, folders_left, processes_beside

OWN = "clara-sandbox.installation"


class Engine:
    none = "no Docker engine: CSB_TEST_DOCKER_HOST is not set (tests/engines/docker.sh)"

    def __init__(self, host=None, image=None):
        self.host = host or os.environ.get("CSB_TEST_DOCKER_HOST", "")
        self.image = image or os.environ.get("CSB_TEST_DOCKER_IMAGE", "")

    def environment(self):
        return {"DOCKER_HOST": self.host, "DOCKER_SANDBOX_IMAGE": self.image}

    @staticmethod
    def options():
        """What a host needs besides."""
        return []

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

    def alive(self, name):
        return self.inspect(name)["State"]["Running"]

    def identity(self, name):
        """Another one has another, whatever it is called."""
        return self.inspect(name)["Id"]

    def told(self, name):
        """Bytes of memory and cores that the engine was told to allow."""
        host = self.inspect(name)["HostConfig"]
        return {"memory": host["Memory"], "cpu": host["NanoCpus"] / 1e9}

    def channel(self, name):
        return self.inspect(name)["Config"]["Labels"]["clara-sandbox.channel"]

    def folders_of_this_machine(self, name):
        return [m["Destination"] for m in self.inspect(name)["Mounts"] if m["Type"] == "bind"]

    def remove(self, name):
        """As somebody at the command line would."""
        self.run("rm", "-f", name)

    def stranger(self, name):
        """One that no host has made, though it looks like it."""
        self.run("run", "-d", "--name", name, "--label", "clara-sandbox.kind=sandbox", self.image, "sleep", "300")

    @staticmethod
    def label(root):
        """The label of all that hosts with this state folder make; one that nothing has before the first."""
        path = pathlib.Path(root, "state/docker/installation")
        return f"{OWN}={path.read_text() if path.exists() else 'none'}"

    def containers(self, root, *filters):
        """Names."""
        more = [word for text in filters for word in ("--filter", text)]
        return self.lines("ps", "-a", "--filter", "label=" + self.label(root), *more, "--format", "{{.Names}}")

    def running(self, root, user=None):
        own = [f"label=clara-sandbox.user={user}"] if user else []
        return self.containers(root, "status=running", *own)

    def processes(self, root):
        """Every process inside the sandboxes of `root`."""
        return processes_beside([self.pid(name) for name in self.running(root)])

    def volumes(self, root):
        """Names of workspaces, and of those that were meant to be one."""
        rows = self.lines("volume", "ls", "--filter", "label=" + self.label(root), "--format",
                          '{{.Name}} {{.Label "clara-sandbox.kind"}}')
        return [name for name, _, kind in (row.partition(" ") for row in rows) if kind != "agent"]

    def left(self, root):
        """Containers, volumes and folders of sandboxes."""
        records = [str(p) for p in pathlib.Path(root, "state/docker/users").glob("*")]
        return self.containers(root) + self.volumes(root) + folders_left(root, "docker") + records

    def remove_all(self, root):
        for name in self.containers(root):
            self.run("rm", "-f", "-v", name, check=False)
        for name in self.lines("volume", "ls", "-q", "--filter", "label=" + self.label(root)):
            self.run("volume", "rm", "-f", name, check=False)
        for name in self.lines("network", "ls", "-q", "--filter", "label=" + self.label(root)):
            self.run("network", "rm", name, check=False)


class OwnEngine(OwnScript, Engine):
    """One more engine, for a test that kills it: OwnEngine("--live-restore").up() … .close()"""
    program = "docker.sh"

    def __init__(self, *options):
        self.make_folder(options)
        super().__init__(f"unix://{self.dir}/run/docker.sock", "clara-sandbox-test:latest")
