# SPDX-License-Identifier: Apache-2.0
"""The emulated machine with an Incus engine that runs VMs, as tests/engines/incus-vm.sh starts it.

    with IncusVmEngine() as engine:
        engine.do("POST", "/1.0/instances", engine.vm("one"))
        engine.await_agent("one")
        engine.run("one", "python3", "-c", "print(1)")

do() and api() are IncusEngine's, over HTTPS. All is emulated, VMs twice: what takes a tenth of a second elsewhere takes
seconds, and every limit here is for a machine that is busy beside. Needs root. need() skips a test where no such engine
is asked for (CSB_MUST_RUN names incus-vm, or CSB_TEST_INCUS_VM_URL is set)."""
import http.client
import json
import os
import ssl
import subprocess
import time
import unittest
import urllib.parse

import engine as engines
import incus_engine


def need():
    """Skips the test where no emulated machine is asked for; fails instead where one is and cannot run."""
    must = "incus-vm" in os.environ.get("CSB_MUST_RUN", "").replace(" ", "").split(",")
    if os.geteuid() == 0 and (must or os.environ.get("CSB_TEST_INCUS_VM_URL")):
        return
    message = "needs root, and incus-vm in CSB_MUST_RUN or CSB_TEST_INCUS_VM_URL"
    if must:
        raise AssertionError(message)
    raise unittest.SkipTest(message)


class IncusVmEngine(incus_engine.IncusEngine):
    image = "clara-sandbox-test-vm"
    profile = "clara-vm"
    program = "incus-vm.sh"
    patience = 300  # seconds, for whatever it is

    def __init__(self, *options):
        self.make_folder()
        self.options = list(options)

    def script(self, action, *options):
        done = subprocess.run([engines.HERE / self.program, action, "--dir", self.dir, *options], capture_output=True,
                              text=True, stdin=subprocess.DEVNULL, timeout=2400)  # the first one makes the machine
        if done.returncode != 0:
            raise RuntimeError(f"{self.program} {action}: {done.stderr}")
        return done.stdout.strip()

    def environment(self):
        lines = self.script("env").replace("export ", "").split()
        return dict(line.split("=", 1) for line in lines)

    def connect(self):
        """A connection to the API. Each request has its own: the machine may have been started anew."""
        environment = self.environment()
        certificates = environment["CSB_TEST_INCUS_VM_CERTS"]
        context = ssl.create_default_context(cafile=f"{certificates}/server.crt")
        context.load_cert_chain(f"{certificates}/client.crt", f"{certificates}/client.key")
        address = urllib.parse.urlsplit(environment["CSB_TEST_INCUS_VM_URL"])
        return http.client.HTTPSConnection(address.hostname, address.port, timeout=self.patience, context=context)

    def raw(self, method, path, body=None, headers=None):
        """The answer's status and its bytes."""
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def api(self, method, path, body=None, timeout=None):
        status, answer = self.raw(method, path, None if body is None else json.dumps(body),
                                  {"Content-Type": "application/json"})
        text = answer.decode()
        return status, json.loads(text) if text[:1] in ("{", "[") else text

    def vm(self, name, **config):
        """What creates and starts a VM of the test image."""
        return {"name": name, "type": "virtual-machine", "profiles": [self.profile], "start": True,
                "source": {"type": "image", "alias": self.image}, "config": {"limits.memory": "512MiB", **config}}

    def await_agent(self, name):
        """Until the agent in the VM answers: before, its processes are -1 and no event tells when they are not."""
        end = time.monotonic() + self.patience
        while (state := self.do("GET", f"/1.0/instances/{name}/state"))["processes"] < 0 or state["status"] != "Running":
            if time.monotonic() > end or state["status"] == "Stopped":
                raise AssertionError(f"{name} is {state['status']} without its agent")
            time.sleep(0.5)

    def run(self, name, *command):
        """The exit code and the output of a command in the VM."""
        done = self.do("POST", f"/1.0/instances/{name}/exec", {"command": command, "record-output": True})["metadata"]
        output = b"".join(self.raw("GET", done["output"][fd])[1] for fd in ("1", "2"))
        return done["return"], output.decode()

    def push(self, name, path, content, mode=0o644):
        status, answer = self.raw("POST", f"/1.0/instances/{name}/files?path={urllib.parse.quote(path)}", content, {
            "Content-Type": "application/octet-stream", "X-Incus-type": "file", "X-Incus-mode": f"{mode:o}",
            "X-Incus-uid": "0", "X-Incus-gid": "0"})
        if status != 200:
            raise RuntimeError(f"pushing {path}: {answer.decode()}")
