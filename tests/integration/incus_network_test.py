# SPDX-License-Identifier: Apache-2.0
# backends: incus incus-exec
"""incus.network=bridge: out to public addresses only. A neighbour, the gateway, the metadata address can't be reached.

A container of the engine's own on another network reaches the listeners at its gateway and at the metadata address: what
stops a sandbox is the product's doing.
"""
import concurrent.futures
import contextlib
import json
import os
import subprocess
import unittest

import harness
from harness import Service
from incus_engine import Engine

METADATA = "169.254.169.254"
PUBLIC = "203.0.113.7"  # of a range for documents, which nothing else here has
PEERS = "csbtestpeers"
TRY = """
import socket, sys
for address in sys.argv[2:]:
    try:
        socket.create_connection((address, int(sys.argv[1])), 3).close()
        print(address, "reached")
    except OSError as error:
        print(address, error.errno or error)
"""
LISTEN = """
import socket
s = socket.create_server(("0.0.0.0", int(__import__("sys").argv[1])), backlog=64)
print(s.getsockname()[1], flush=True)
while True: s.accept()[0].close()
"""
ASK_NAME_SERVER = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
server = next(line.split()[1] for line in open("/etc/resolv.conf") if line.startswith("nameserver"))
s.sendto(bytes.fromhex("beef01000001000000000000") + b"\\x04none\\x04test\\x00\\x00\\x01\\x00\\x01", (server, 53))
print(server, s.recv(512)[:2].hex())
"""


class Bridge(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        harness.need("incus")
        namespace = os.environ.get("CSB_TEST_INCUS_NETNS")
        if not namespace or os.geteuid() != 0:
            why = "needs root, and CSB_TEST_INCUS_NETNS: the engine's network is not one of tests/engines/incus.sh"
            if harness.must_run("incus"):
                raise AssertionError(why)
            raise unittest.SkipTest(why)
        cls.engine = Engine()
        cls.service = Service("--incus.network=bridge", mode="incus").start()
        cls.addClassCleanup(cls.service.__exit__)
        cls.info = cls.service.call("POST", "a", "/create", {})[1]
        cls.found = cls.engine.inspect(cls.info["container_id"])
        cls.name = cls.found["expanded_devices"]["eth0"]["network"]
        cls.network = cls.engine.do("GET", f"/1.0/networks/{cls.name}")
        cls.gateway = cls.network["config"]["ipv4.address"].split("/")[0]
        # Where the instances' networks are: a namespace that nothing else lives in.
        cls.inside = ["nsenter", "--net=" + namespace]
        cls.own_address(METADATA)
        cls.port = cls.listen(cls.inside, 0)
        cls.outside(cls.port)

    @classmethod
    def ip(cls, *words):
        subprocess.run([*cls.inside, "ip", *words], check=True, capture_output=True)

    @classmethod
    def own_address(cls, address):
        cls.ip("addr", "replace", address + "/32", "dev", "lo")
        cls.addClassCleanup(cls.ip, "addr", "del", address + "/32", "dev", "lo")

    @classmethod
    def listen(cls, where, port):
        listener = subprocess.Popen([*where, "/usr/bin/python3", "-c", LISTEN, str(port)], stdout=subprocess.PIPE,
                                    stdin=subprocess.DEVNULL)
        cls.addClassCleanup(listener.stdout.close)
        cls.addClassCleanup(listener.wait)
        cls.addClassCleanup(listener.kill)
        return int(listener.stdout.readline())

    @classmethod
    def outside(cls, port):
        """Another machine, beyond the engine's: a namespace that a veth leads to."""
        other = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo up; exec sleep 600"], stdout=subprocess.PIPE,
                                 stdin=subprocess.DEVNULL)
        cls.addClassCleanup(other.stdout.close)
        cls.addClassCleanup(other.wait)
        cls.addClassCleanup(other.kill)
        other.stdout.readline()
        cls.ip("link", "add", "csbpublic", "type", "veth", "peer", "name", "eth0", "netns", str(other.pid))
        cls.ip("addr", "add", "203.0.113.1/24", "dev", "csbpublic")
        cls.ip("link", "set", "csbpublic", "up")
        there = ["nsenter", f"--net=/proc/{other.pid}/ns/net"]
        for words in (["addr", "add", PUBLIC + "/24", "dev", "eth0"], ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]):
            subprocess.run([*there, "ip", *words], check=True, capture_output=True)
        cls.listen(there, port)

    def reach(self, user, *addresses):
        answer = self.service.post(user, "shell", command=f"python3 - {self.port} " + " ".join(addresses), stdin=TRY, timeout=60)
        self.assertTrue(answer["success"], answer)
        return dict(line.split(" ", 1) for line in answer["output"].splitlines())

    def test_the_listeners_are_there_for_a_container_of_the_engines_own(self):
        self.engine.do("POST", "/1.0/networks", {"name": PEERS, "config": {"ipv4.address": "10.213.7.1/24", "ipv4.nat": "true",
                                                                          "ipv6.address": "none"}})
        self.addCleanup(self.engine.do, "DELETE", f"/1.0/networks/{PEERS}")
        self.engine.create("csb-net-peer", devices={"eth0": {"type": "nic", "network": PEERS, "name": "eth0"}})
        self.addCleanup(self.engine.delete, "csb-net-peer")
        code, shown = self.engine.run("csb-net-peer", "sh", "-ec",
                                      "ip addr add 10.213.7.9/24 dev eth0; ip link set eth0 up; ip route add default via 10.213.7.1; "
                                      f"python3 -c '{TRY}' {self.port} 10.213.7.1 {METADATA} {PUBLIC}")
        self.assertEqual((code, shown.splitlines()), (0, ["10.213.7.1 reached", f"{METADATA} reached", f"{PUBLIC} reached"]))

    def test_public_addresses_are_reached(self):
        self.assertEqual(self.reach("a", PUBLIC), {PUBLIC: "reached"})

    def test_gateway_and_metadata_and_private_ranges_are_unreachable(self):
        found = self.reach("a", self.gateway, METADATA, "10.1.2.3", "192.168.1.1", "172.17.0.1", "100.100.100.200")
        self.assertEqual([address for address, end in found.items() if end == "reached"], [])
        self.assertNotIn("timed out", found[METADATA], "refused, not lost on the way")

    def test_addresses_of_this_machine_are_unreachable(self):
        own = json.loads(subprocess.run(["ip", "-j", "-4", "addr"], capture_output=True, check=True).stdout)
        addresses = [a["local"] for link in own for a in link["addr_info"] if not a["local"].startswith("127.")]
        for address in addresses:  # in the engine's namespace they are another's, which listens
            if not address.startswith(("10.", "192.168.", "172.")):
                self.own_address(address)
        self.assertNotIn("reached", self.reach("a", *addresses).values() if addresses else [])

    def test_the_name_server_answers(self):
        answer = self.service.post("a", "execute", code=ASK_NAME_SERVER)
        self.assertTrue(answer["success"], answer)
        self.assertEqual(answer["output"].split()[1], "beef")

    def test_two_sandboxes_do_not_reach_each_other(self):
        self.service.post("b", "shell", command="true")
        shown = self.service.post("b", "shell", command="ip -j addr show dev eth0")["output"]
        addresses = [a["local"] + ("%eth0" if a["local"].startswith("fe80") else "") for a in json.loads(shown)[0]["addr_info"]]
        self.assertTrue(addresses, shown)
        listening = ("import socket, time\ns = socket.create_server(('::', %d), family=socket.AF_INET6, dualstack_ipv6=True)\n"
                     "socket.create_connection(('127.0.0.1', %d)).close()\nopen('up', 'w').close()\ntime.sleep(60)" %
                     (self.port, self.port))
        connection = self.service.connection()
        connection.request("POST", "/sandbox/b/execute", json.dumps({"code": listening, "timeout": 100}))
        with contextlib.closing(connection):
            self.service.post("b", "shell", command="while [ ! -e up ]; do sleep 0.05; done", timeout=30)
            self.assertEqual({a for a, end in self.reach("a", *addresses).items() if end == "reached"}, set())

    def test_the_address_can_not_be_changed_inside(self):
        before = self.service.post("a", "shell", command="ip -4 addr show dev eth0")["output"]
        answer = self.service.post("a", "shell", command="ip addr add 10.9.9.9/24 dev eth0; ip route flush all; ip link add x type dummy")
        self.assertFalse(answer["success"])
        self.assertEqual(self.service.post("a", "shell", command="ip -4 addr show dev eth0")["output"], before)

    def address_of(self, user):
        info = self.service.call("POST", user, "/create", {})[1]
        return info["container_id"], self.engine.inspect(info["container_id"])["expanded_devices"]["eth0"]["ipv4.address"]

    def as_its_root(self, name, script):
        """With every right in the sandbox's namespaces: more than the agent ever had."""
        done = subprocess.run(["nsenter", "--user", "--net", f"--target={self.engine.pid(name)}", "sh", "-ec", script],
                              capture_output=True, text=True, timeout=100)
        self.assertEqual(done.returncode, 0, done.stderr)
        return dict(line.split(" ", 1) for line in done.stdout.splitlines())

    def test_root_inside_gets_no_further(self):
        """The list and the filters hold outside, without the routes that the agent has set."""
        name, own = self.address_of("r")
        neighbour, other = self.address_of("n")
        attempt = f"/usr/bin/python3 -c '{TRY}' {self.port} "
        there = ["nsenter", "--net", f"--target={self.engine.pid(neighbour)}"]
        self.listen(there, self.port)
        self.assertEqual(self.as_its_root(neighbour, attempt + other), {other: "reached"}, "it listens")
        whole = self.gateway.rsplit(".", 1)[0] + ".0/24"
        found = self.as_its_root(name, f"ip route flush type unreachable; ip route replace {whole} dev eth0; {attempt} {PUBLIC} "
                                 f"{self.gateway} {METADATA} {other}")
        self.assertEqual(found.pop(PUBLIC), "reached")
        self.assertEqual(set(found), {self.gateway, METADATA, other})
        self.assertNotIn("reached", found.values(), found)
        # By way of the bridge's own routing, where ports that are apart don't help.
        found = self.as_its_root(name, f"ip route replace {other}/32 via {self.gateway}; {attempt} {other}")
        self.assertNotEqual(found[other], "reached")
        # As somebody else, by address and by hardware address.
        spoofed = self.gateway.rsplit(".", 1)[0] + ".250"
        out = f"ip route replace default via {self.gateway} dev eth0 src "
        found = self.as_its_root(name, f"ip addr add {spoofed}/24 dev eth0; {out} {spoofed}; {attempt} {PUBLIC}")
        self.assertEqual(found, {PUBLIC: "timed out"})
        self.assertEqual(self.as_its_root(name, f"{out} {own}; {attempt} {PUBLIC}"), {PUBLIC: "reached"})
        change = "ip link set eth0 down; ip link set eth0 address {}; ip link set eth0 up; "
        hardware = self.engine.inspect(name)["config"]["volatile.eth0.hwaddr"]
        found = self.as_its_root(name, change.format("02:00:00:00:00:07") + f"{out} {own}; {attempt} {PUBLIC}")
        self.assertNotEqual(found[PUBLIC], "reached")
        self.assertEqual(self.as_its_root(name, change.format(hardware) + f"{out} {own}; {attempt} {PUBLIC}"), {PUBLIC: "reached"})

    def test_what_is_enforced_is_said(self):
        said = self.info["enforced"]["network"]
        self.assertTrue(said["enforced"], said)
        self.assertEqual(said["value"], "bridge")

    def test_the_network_is_ours_and_has_a_list(self):
        config = self.network["config"]
        acl = config["security.acls"]
        rules = self.engine.do("GET", f"/1.0/network-acls/{acl}")
        rejected = {r["destination"] for r in rules["egress"] if r["action"] in ("reject", "drop") and r["state"] == "enabled"}
        self.assertIn("169.254.0.0/16", ",".join(rejected), rules)
        nic = self.found["expanded_devices"]["eth0"]
        self.assertEqual((nic["security.port_isolation"], nic["security.mac_filtering"]), ("true", "true"))


class Shared(unittest.TestCase):
    """Several hosts, one network."""
    installation = "sharednetwork1"

    def setUp(self):
        harness.need("incus")
        self.engine = Engine()
        self.services = []

    def service(self):
        service = Service("--incus.network=bridge", f"--incus.installation={self.installation}", mode="incus")
        service.engine.known[service.root] = self.installation
        self.services.append(service)
        return service.start()

    def tearDown(self):
        for service in self.services:  # all of them first: they have each other's sandboxes
            service.stop()
        for service in self.services:
            service.__exit__()

    def ours(self, kind):
        return [each for each in self.engine.do("GET", f"/1.0/{kind}?recursion=1")
                if each["config"].get("user.clara-sandbox.installation") == self.installation]

    def test_hosts_that_begin_at_once_share_it(self):
        services = [self.service() for _ in range(3)]
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            made = list(pool.map(lambda i: services[i % 3].call("POST", f"u{i}", "/create", {}), range(6)))
        self.assertEqual([(status, info.get("error")) for status, info in made], [(200, None)] * 6)
        nics = [self.engine.inspect(info["container_id"])["expanded_devices"]["eth0"] for _, info in made]
        self.assertEqual(len({nic["ipv4.address"] for nic in nics}), 6, nics)
        network, = self.ours("networks")
        self.assertEqual({nic["network"] for nic in nics}, {network["name"]})
        self.assertEqual(len(self.ours("network-acls")), 1)

    def test_those_that_choose_the_same_address_choose_again(self):
        """Of one as good as full: ten places for nine sandboxes."""
        self.engine.do("POST", "/1.0/networks", {"name": "clara" + self.installation[:8], "config": {
            "ipv4.address": "10.213.9.1/28", "ipv6.address": "none"}})
        services = [self.service() for _ in range(3)]
        with concurrent.futures.ThreadPoolExecutor(9) as pool:
            made = list(pool.map(lambda i: services[i % 3].call("POST", f"n{i}", "/create", {}), range(9)))
        self.assertEqual([(status, info.get("error")) for status, info in made], [(200, None)] * 9)

    def test_what_somebody_changed_is_put_right(self):
        self.service().post("first", "shell", command="true")
        network, = self.ours("networks")
        acl, = self.ours("network-acls")
        name = network["name"]
        self.engine.do("PATCH", f"/1.0/networks/{name}", {"config": {"dns.mode": "managed", "ipv4.nat": "false", "security.acls": "",
                                                                     "user.theirs": "kept"}})
        self.engine.do("PUT", f"/1.0/network-acls/{name}", {"config": acl["config"], "ingress": [],
                                                            "egress": [{"action": "allow", "state": "enabled"}]})
        self.service().post("second", "shell", command="true")
        again, = self.ours("networks")
        self.assertEqual(again["config"], {**network["config"], "user.theirs": "kept"})
        self.assertEqual([rule["action"] for rule in self.engine.do("GET", f"/1.0/network-acls/{name}")["egress"]], ["reject", "allow"])


class NoNetwork(unittest.TestCase):
    def test_without_a_network_there_is_a_loopback_only(self):
        harness.need("incus")
        with Service(mode="incus") as service:
            answer = service.post("none", "shell", command="ls /sys/class/net; cat /proc/net/route | wc -l; "
                                  "python3 -c 'import socket; print(socket.create_server((\"127.0.0.1\", 0)) and 1)'")
            self.assertEqual(answer["output"].split(), ["lo", "1", "1"], answer)

    def test_a_network_that_is_missing_is_said(self):
        harness.need("incus")
        found = harness.explain("incus", "--incus.network=no-such-net", env={**os.environ, **Engine().environment()})
        self.assertFalse(found["available"], found)
        self.assertIn("no-such-net", found["reason"])
        self.assertIn("incus network create no-such-net", found["hint"])

    def test_a_network_that_is_named_is_joined_as_it_is(self):
        harness.need("incus")
        engine = Engine()
        engine.do("POST", "/1.0/networks", {"name": PEERS, "config": {"ipv4.address": "10.213.8.1/24", "ipv6.address": "none"}})
        self.addCleanup(engine.do, "DELETE", f"/1.0/networks/{PEERS}")
        with Service(f"--incus.network={PEERS}", mode="incus") as service:
            info = service.call("POST", "named", "/create", {})[1]
            self.assertFalse(info["enforced"]["network"]["enforced"], info)
            self.assertEqual(engine.inspect(info["container_id"])["expanded_devices"]["eth0"]["network"], PEERS)


if __name__ == "__main__":
    unittest.main()
