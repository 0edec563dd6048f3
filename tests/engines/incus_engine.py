# SPDX-License-Identifier: Apache-2.0
"""An Incus engine of a test's own, to kill, fill and restart; tests/engines/incus.sh does the work.

    with IncusEngine() as engine:
        engine.do("POST", "/1.0/instances", engine.container("one"))
        engine.kill()
        engine.up()

do() waits for what it began and raises what the engine says against it; api() is one request. Needs root. need() skips
a test unless CSB_MUST_RUN names incus or an engine is there (CSB_TEST_INCUS_SOCKET)."""
import os
import signal
import unittest

import engine as engines


def need():
    """Skips the test where no private engine is asked for; fails instead where one is and cannot run."""
    must = "incus" in os.environ.get("CSB_MUST_RUN", "").replace(" ", "").split(",")
    if os.geteuid() == 0 and (must or os.environ.get("CSB_TEST_INCUS_SOCKET")):
        return
    message = "needs root, and incus in CSB_MUST_RUN or CSB_TEST_INCUS_SOCKET"
    if must:
        raise AssertionError(message)
    raise unittest.SkipTest(message)


class IncusEngine(engines.Engine):
    image = "clara-sandbox-test"
    program = "incus.sh"

    def __init__(self, *options, pool="2GiB"):
        self.make_folder()
        self.options = [*options, "--pool", pool]
        self.socket = f"{self.dir}/incus/unix.socket"

    def do(self, method, path, body=None):
        """The metadata of the finished operation, or of an answer that is one at once."""
        answer = self.api(method, path, body)[1]
        if answer["type"] == "async":  # built from the id: in a cluster the operation's own path has a query
            answer = self.api("GET", f"/1.0/operations/{answer['metadata']['id']}/wait", timeout=120)[1]
        if answer["type"] == "error":  # an operation that failed too: its wait has the status 200 and this
            raise RuntimeError(f"{method} {path}: {answer['error']}")
        return answer["metadata"]

    def container(self, name, command="/bin/sleep infinity", **config):
        """What creates a container that runs nothing but the command."""
        return {"name": name, "type": "container", "profiles": [], "start": True,
                "source": {"type": "image", "alias": self.image},
                "devices": {"root": {"type": "disk", "path": "/", "pool": "default"}},
                "config": {"raw.lxc": f"lxc.init.cmd = {command}", **config}}

    def running(self):
        """The process ids of the running instances' first processes, by name."""
        instances = self.do("GET", "/1.0/instances?recursion=2")
        return {each["name"]: each["state"]["pid"] for each in instances if each["status"] == "Running"}


class IncusCluster(IncusEngine):
    """Members m1, m2, …; api() and what uses it speak to the first, or to the one that `socket` is set to."""
    program = "incus-cluster.sh"

    def __init__(self, members=3):
        super().__init__()
        self.options = [str(members)]
        self.sockets = [f"{self.dir}/{i}/incus/unix.socket" for i in range(1, members + 1)]
        self.socket = self.sockets[0]

    def pid(self, member=1):
        return int(self.script("pid", str(member)))

    def kill(self, member=1, sig=signal.SIGKILL):
        """Ends one member's incusd, and returns when it has ended."""
        with engines.open_pidfd(self.pid(member)) as process:
            signal.pidfd_send_signal(process.fileno(), sig)
            process.wait()

    def members(self):
        """Their states by name: Online, Offline, …"""
        return {each["server_name"]: each["status"] for each in self.do("GET", "/1.0/cluster/members?recursion=1")}
