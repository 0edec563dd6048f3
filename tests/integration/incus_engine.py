# SPDX-License-Identifier: Apache-2.0
"""An Incus engine as a test sees it: what is in it, and what a host has left there.

    engine = Engine()                                   # CSB_TEST_INCUS_SOCKET, CSB_TEST_INCUS_IMAGE
    engine.inspect(info["container_id"])["config"]["limits.memory"]
    engine.left(service.root)                           # [] is right after the last user was purged

Its API over the unix socket; do() waits for what it began and raises what the engine says against it.
"""
import base64
import contextlib
import http.client
import json
import os
import pathlib
import socket
import struct
import threading
import time
import urllib.parse

from engine_common import OwnScript, folders_left, processes_beside

OWN = "user.clara-sandbox."
NO_USERS = ("tools", "filler", "network")  # kinds of what belongs to no user, and stays


def bytes_of(text):
    """256MiB, or a number."""
    units = {"KiB": 10, "MiB": 20, "GiB": 30}
    return int(text[:-3]) << units[text[-3:]] if text[-3:] in units else int(text.removesuffix("B"))


class EngineError(AssertionError):
    """What the engine says against a request."""


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("incus", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Engine:
    none = "no Incus engine: CSB_TEST_INCUS_SOCKET is not set (tests/engines/incus.sh)"

    def __init__(self, path=None, image=None, pool=None):
        self.socket = path or os.environ.get("CSB_TEST_INCUS_SOCKET", "")
        self.image = image or os.environ.get("CSB_TEST_INCUS_IMAGE", "")
        self.known = {}  # installations that an option says, by the state folder's parent
        self.pool = pool or os.environ.get("CSB_TEST_INCUS_POOL", "default")

    @property
    def host(self):
        return f"unix://{self.socket}" if self.socket else ""

    def environment(self):
        return {"INCUS_REMOTE": self.host, "INCUS_SANDBOX_IMAGE": self.image}

    def options(self):
        """What a host needs besides."""
        return [f"--incus.pool={self.pool}"]

    # ---- requests ----
    def raw(self, method, path, body=None, timeout=60):
        """(status, bytes)"""
        connection = UnixConnection(self.socket, timeout)
        try:
            connection.request(method, path, None if body is None else json.dumps(body),
                               {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def api(self, method, path, body=None, timeout=60):
        return json.loads(self.raw(method, path, body, timeout)[1])

    def do(self, method, path, body=None, timeout=120):
        answer = self.api(method, path, body, timeout)
        if answer["type"] == "async":
            answer = self.api("GET", f"/1.0/operations/{answer['metadata']['id']}/wait", timeout=timeout)
        metadata = answer.get("metadata")
        if answer["type"] == "error":
            raise EngineError(f"{method} {path}: {answer['error']}")
        if isinstance(metadata, dict) and metadata.get("class") == "task" and metadata.get("status_code", 200) >= 400:
            raise EngineError(f"{method} {path}: {metadata.get('err')}")
        return metadata

    # ---- instances ----
    def inspect(self, name):
        return self.do("GET", f"/1.0/instances/{name}")

    def state(self, name):
        return self.do("GET", f"/1.0/instances/{name}/state")

    def pid(self, name):
        return self.state(name)["pid"]

    def change(self, name, action, **more):
        """start, stop, restart, freeze, unfreeze, as somebody at the command line would."""
        return self.do("PUT", f"/1.0/instances/{name}/state", {"action": action, "timeout": 10, **more})

    def delete(self, name):
        """What `incus delete --force` does; one that is gone is none."""
        with contextlib.suppress(EngineError):
            self.change(name, "stop", force=True)
        with contextlib.suppress(EngineError):
            self.do("DELETE", f"/1.0/instances/{name}")

    def create(self, name, command="/bin/sleep infinity", devices=None, target="", **config):
        """One of the test's own, which runs nothing but the command."""
        root = {"root": {"type": "disk", "path": "/", "pool": self.pool}}
        self.do("POST", "/1.0/instances" + (f"?target={target}" if target else ""), {
            "name": name, "type": "container", "profiles": [], "start": True,
            "source": {"type": "image", "alias": self.image}, "devices": {**root, **(devices or {})},
            "config": {"raw.lxc": f"lxc.init.cmd = {command}", **config}})

    def run(self, name, *command):
        """(exit code, stdout) of a command in an instance, as its root."""
        done = self.do("POST", f"/1.0/instances/{name}/exec", {"command": list(command), "record-output": True})
        found = done["metadata"]
        return found["return"], self.raw("GET", found["output"]["1"])[1].decode()

    def alive(self, name):
        return any(each["name"] == name and each["status"] == "Running" for each in self.do("GET", "/1.0/instances?recursion=1"))

    def identity(self, name):
        """Another one has another, whatever it is called."""
        return self.inspect(name)["config"]["volatile.uuid"]

    def told(self, name):
        """Bytes of memory and cores that the engine was told to allow."""
        config = self.inspect(name)["config"]
        used, period = config["limits.cpu.allowance"].split("/")
        return {"memory": bytes_of(config["limits.memory"]), "cpu": float(used[:-2]) / float(period[:-2])}

    def channel(self, name):
        return self.inspect(name)["config"][OWN + "channel"]

    def folders_of_this_machine(self, name):
        return [device["path"] for device in self.inspect(name)["expanded_devices"].values()
                if device["type"] == "disk" and not device.get("pool")]

    def remove(self, name):
        self.delete(name)

    def stranger(self, name):
        """One that no host has made, though it looks like it."""
        self.create(name, **{OWN + "kind": "sandbox"})

    # ---- what a host has made ----
    def installation(self, root):
        """Of all hosts with this state folder; one that nothing has before the first."""
        if root in self.known:
            return self.known[root]
        path = pathlib.Path(root, "state/incus/installation")
        return path.read_text().strip() if path.exists() else "none"

    def own(self, root, listed):
        return [each for each in listed if each["config"].get(OWN + "installation") == self.installation(root)]

    def instances(self, root):
        return self.own(root, self.do("GET", "/1.0/instances?recursion=1"))

    def containers(self, root):
        """Names of instances."""
        return [each["name"] for each in self.instances(root)]

    def running(self, root, user=None):
        return [each["name"] for each in self.instances(root) if each["status"] == "Running"
                and user in (None, each["config"].get(OWN + "user"))]

    def pooled(self, root):
        """Those that run and wait for a user."""
        return [each["name"] for each in self.instances(root)
                if each["config"].get(OWN + "kind") == "pool" and each["status"] == "Running"]

    def profiles(self, root):
        return [each["name"] for each in self.own(root, self.do("GET", "/1.0/profiles?recursion=1"))]

    def all_volumes(self, root):
        return self.own(root, self.do("GET", f"/1.0/storage-pools/{self.pool}/volumes/custom?recursion=1"))

    def volumes(self, root):
        """Names of workspaces, and of those that were meant to be one."""
        return [each["name"] for each in self.all_volumes(root) if each["config"].get(OWN + "kind") not in NO_USERS]

    def left(self, root):
        """Instances, records, volumes and folders of sandboxes."""
        return self.containers(root) + self.profiles(root) + self.volumes(root) + folders_left(root, "incus/slots")

    def volume_path(self, name, member=""):
        query = "?target=" + member if member not in ("", "none") else ""
        return f"/1.0/storage-pools/{self.pool}/volumes/custom/{urllib.parse.quote(name)}{query}"

    def remove_all(self, root):
        if not self.socket or not os.path.exists(self.socket):
            return
        for name in self.containers(root):
            self.delete(name)
        paths = [self.volume_path(each["name"], each["location"]) for each in self.all_volumes(root)]
        paths += [f"/1.0/profiles/{name}" for name in self.profiles(root)]
        for kind in ("networks", "network-acls"):
            paths += [f"/1.0/{kind}/{each['name']}" for each in self.own(root, self.do("GET", f"/1.0/{kind}?recursion=1"))]
        for path in paths:
            with contextlib.suppress(EngineError):
                self.do("DELETE", path)

    def processes(self, root):
        """Every process inside the sandboxes of `root`."""
        until = time.monotonic() + 10
        while True:
            try:
                return processes_beside([self.pid(name) for name in self.running(root)])
            except EngineError:  # of one that is just ending the engine tells no pid
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    # ---- the server ----
    def members(self):
        """Their states by name: Online, Offline, Evacuated."""
        return {each["server_name"]: each["status"] for each in self.do("GET", "/1.0/cluster/members?recursion=1")}

    def events(self):
        return Events(self.socket)


class Events:
    """The engine's lifecycle events while the context lasts, as (action, name) in `seen`."""

    def __init__(self, path):
        self.path, self.seen, self.news = path, [], threading.Condition()

    def __enter__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(self.path)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall((f"GET /1.0/events?type=lifecycle HTTP/1.1\r\nHost: incus\r\nConnection: Upgrade\r\n"
                             f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n").encode())
        self.stream = self.socket.makefile("rb")
        if b" 101 " not in self.stream.readline():
            raise EngineError("the engine gives no events")
        while self.stream.readline() not in (b"\r\n", b""):
            pass
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        return self

    def read(self):
        with contextlib.suppress(OSError, ValueError):
            text = b""
            while head := self.stream.read(2):
                size = head[1] & 0x7f
                if size == 126:
                    size, = struct.unpack(">H", self.stream.read(2))
                elif size == 127:
                    size, = struct.unpack(">Q", self.stream.read(8))
                data, kind = self.stream.read(size), head[0] & 0xf
                if kind not in (0, 1):  # a ping: the engine closes nothing for one that is not answered within 30 s
                    continue
                text += data
                if head[0] & 0x80:
                    metadata = json.loads(text)["metadata"]
                    text = b""
                    with self.news:
                        self.seen.append((metadata["action"], metadata["source"].split("?")[0].rsplit("/", 1)[-1]))
                        self.news.notify_all()

    def wait_for(self, action, name, seconds=30):
        with self.news:
            if not self.news.wait_for(lambda: (action, name) in self.seen, seconds):
                raise AssertionError(f"no {action} of {name} within {seconds} s, but {self.seen}")

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.stream.close()
        self.socket.close()


class OwnEngine(OwnScript, Engine):
    """One more engine, for a test that kills it: OwnEngine("--pool", "700MiB").up() … .close()"""
    program = "incus.sh"

    def __init__(self, *options):
        self.make_folder(options)
        super().__init__(f"{self.dir}/incus/unix.socket", "clara-sandbox-test", "default")


class Cluster(OwnScript, Engine):
    """The cluster that the fixture of CMakeLists.txt starts (cluster_fixture.py), or that of
    CSB_TEST_INCUS_CLUSTER_SOCKETS: members m1, m2, …; asked at the one of this number."""
    program = "incus-cluster.sh"
    none = "no Incus cluster: ctest starts one, or CSB_TEST_INCUS_CLUSTER_SOCKETS names it (tests/engines/incus-cluster.sh)"
    start_options = ()

    def __init__(self, member=1):
        given = os.environ.get("CSB_TEST_INCUS_CLUSTER_SOCKETS", "").split()
        self.dir = str(pathlib.Path(given[0]).parents[2]) if given else self.usual_dir()
        self.sockets = given or sorted(map(str, pathlib.Path(self.dir).glob("[1-9]/incus/unix.socket")))
        super().__init__(self.sockets[member - 1] if self.sockets else "", "clara-sandbox-test", "default")

    @staticmethod
    def usual_dir():
        parent = os.environ.get("CSB_TEST_ENGINES")
        return f"{parent}/cluster/e" if parent else os.path.expanduser("~/.cache/clara-sandbox-tests/cluster")

    def options(self):
        return [*super().options(), "--incus.channel=exec"]  # no folder of this machine is on every member

    def cut(self, member):
        """Takes a member's network away."""
        self.do_script("cut", str(member))

    def mend(self, member):
        self.do_script("mend", str(member))
