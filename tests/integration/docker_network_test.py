# SPDX-License-Identifier: Apache-2.0
"""docker.network=bridge: out to public addresses only. A neighbour, the gateway, the metadata address can't be reached.

A container of the engine's own on the same network reaches the listeners at the gateway and at the metadata address: what
stops a sandbox is the product's doing.
"""
import contextlib
import json
import os
import subprocess
import unittest

import harness
from docker_engine import Engine
from harness import Service

METADATA = "169.254.169.254"
TRY = """
import socket, sys
for address in sys.argv[2:]:
    try:
        socket.create_connection((address, int(sys.argv[1])), 3).close()
        print(address, "reached")
    except OSError as error:
        print(address, error.errno or error)
"""


class Bridge(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        harness.need("docker")
        namespace = os.environ.get("CSB_TEST_DOCKER_NETNS")
        if not namespace:
            why = "CSB_TEST_DOCKER_NETNS is not set: the engine's network is not one of tests/engines/docker.sh"
            if harness.must_run("docker"):
                raise AssertionError(why)
            raise unittest.SkipTest(why)
        cls.engine = Engine()
        cls.service = Service("--docker.network=bridge", mode="docker").start()
        cls.addClassCleanup(cls.service.__exit__)
        cls.info = cls.service.call("POST", "a", "/create", {})[1]
        cls.found = cls.engine.inspect(cls.info["container_id"])
        cls.network, = cls.found["NetworkSettings"]["Networks"].values()
        cls.name, = cls.found["NetworkSettings"]["Networks"]
        # Where the containers' networks are: a namespace that nothing else lives in.
        inside = ["nsenter", "--net=" + namespace]
        added = subprocess.run([*inside, "ip", "addr", "add", METADATA + "/32", "dev", "lo"], capture_output=True, text=True)
        if added.returncode == 0:
            cls.addClassCleanup(subprocess.run, [*inside, "ip", "addr", "del", METADATA + "/32", "dev", "lo"], check=True)
        listener = subprocess.Popen([*inside, "/usr/bin/python3", "-c", """
import socket
s = socket.create_server(("0.0.0.0", 0), backlog=64)
print(s.getsockname()[1], flush=True)
while True: s.accept()[0].close()
"""], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        cls.addClassCleanup(listener.stdout.close)
        cls.addClassCleanup(listener.wait)
        cls.addClassCleanup(listener.kill)
        cls.port = int(listener.stdout.readline())

    def reach(self, user, *addresses):
        answer = self.service.post(user, "shell", command=f"python3 - {self.port} " + " ".join(addresses), stdin=TRY, timeout=60)
        self.assertTrue(answer["success"], answer)
        return dict(line.split(" ", 1) for line in answer["output"].splitlines())

    def test_the_listeners_are_there_for_any_other_container(self):
        gateway = self.network["Gateway"]
        shown = self.engine.run("run", "--rm", "--network", self.name, self.engine.image, "python3", "-c", TRY, str(self.port), gateway,
                                METADATA)
        self.assertEqual(shown.splitlines(), [f"{gateway} reached", f"{METADATA} reached"])

    def test_gateway_and_metadata_are_unreachable(self):
        found = self.reach("a", self.network["Gateway"], METADATA, "10.1.2.3", "192.168.1.1", "172.17.0.1", "100.100.100.200")
        self.assertEqual([address for address, end in found.items() if end == "reached"], [])
        # Refused by the sandbox's own routes, not lost on the way.
        self.assertEqual(found[METADATA], "113", found)

    def test_two_sandboxes_do_not_reach_each_other(self):
        other = self.service.call("POST", "b", "/create", {})[1]["container_id"]
        address = self.engine.inspect(other)["NetworkSettings"]["Networks"][self.name]["IPAddress"]
        listening = ("import socket, time\ns = socket.create_server(('0.0.0.0', %d))\n"
                     "socket.create_connection(('127.0.0.1', %d)).close()\nopen('up', 'w').close()\ntime.sleep(60)" % (self.port, self.port))
        connection = self.service.connection()
        connection.request("POST", "/sandbox/b/execute", json.dumps({"code": listening, "timeout": 100}))
        with contextlib.closing(connection):
            self.service.post("b", "shell", command="while [ ! -e up ]; do sleep 0.05; done", timeout=30)
            self.assertNotEqual(self.reach("a", address)[address], "reached")

    def test_the_routes_can_not_be_changed_inside(self):
        answer = self.service.post("a", "shell", command="ip route; ip route del unreachable 169.254.0.0/16; ip route flush all; ip link add x type dummy")
        self.assertIn("unreachable 169.254.0.0/16", answer["output"], answer)
        self.assertFalse(answer["success"])
        self.assertEqual(self.reach("a", METADATA)[METADATA], "113")

    def test_what_is_enforced_is_said(self):
        said = self.info["enforced"]["network"]
        self.assertTrue(said["enforced"], said)
        self.assertEqual(said["value"], "bridge")
        self.assertRegex(said["by"], r"\d+ private ranges unreachable by routes")
        self.assertNotIn("NET_ADMIN", self.service.post("a", "shell", command="grep Cap /proc/self/status")["output"])
        agent = self.service.post("a", "shell", command="grep CapEff /proc/1/status")["output"]
        self.assertEqual(int(agent.split()[1], 16) & ~0b11100000, 0, "the agent has dropped the right to set routes too")

    def test_the_network_is_ours_and_keeps_containers_apart(self):
        network = json.loads(self.engine.run("network", "inspect", self.name))[0]
        self.assertEqual(network["Options"].get("com.docker.network.bridge.enable_icc"), "false", network)
        self.assertIn(self.engine.label(self.service.root).split("=")[1], network["Labels"].values())


class NoNetwork(unittest.TestCase):
    def test_without_a_network_there_is_a_loopback_only(self):
        harness.need("docker")
        with Service(mode="docker") as service:
            answer = service.post("none", "shell", command="ls /sys/class/net; cat /proc/net/route | wc -l")
            self.assertEqual(answer["output"].split(), ["lo", "1"], answer)


if __name__ == "__main__":
    unittest.main()
