"""What the guard before Docker's socket lets through: all that the service needs, nothing that leads out of it."""
import copy
import http.client
import json
import socket
import unittest
import urllib.parse

from stack import IMAGE, PROJECT, Stack, docker

OURS = "clara-0123abcd-tried"
LABELS = {"clara-sandbox.installation": "0123abcd", "clara-sandbox.kind": "sandbox"}
BODY = {"Image": IMAGE, "User": "0:0", "Cmd": ["true"], "Labels": LABELS, "HostConfig": {
    "NetworkMode": "none", "CapDrop": ["ALL"], "CapAdd": ["SETUID"], "IpcMode": "private", "CgroupnsMode": "private",
    "SecurityOpt": ["no-new-privileges:true", 'seccomp={"defaultAction":"SCMP_ACT_ERRNO","syscalls":[]}']}}


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("docker", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


def changed(**changes):
    """BODY with members of its HostConfig set, or with `top` set beside them."""
    body = copy.deepcopy(BODY)
    body.update(changes.pop("top", {}))
    body["HostConfig"].update(changes)
    return json.dumps(body)


def mount(**members):
    return changed(Mounts=[{"Type": "volume", "Source": "clara-0123abcd-x", "Target": "/workspace", **members}])


class Guard(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.addClassCleanup(cls.stack.forget)
        cls.enterClassContext(cls.stack)
        cls.stack.ask("alice", "create")
        folder = docker("volume", "inspect", f"{PROJECT}_docker-proxy", "--format", "{{.Mountpoint}}")
        cls.socket = folder + "/docker.sock"

    def ask(self, method, target, body=None, **headers):
        connection = UnixConnection(self.socket)
        try:
            connection.request(method, target, body, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def create(self, body, name=OURS):
        return self.ask("POST", f"/v1.41/containers/create?name={name}", body)

    def refused(self, method, target, body=None, **headers):
        status, said = self.ask(method, target, body, **headers)
        self.assertEqual(status, 403, (method, target, str(body)[:1000], said))
        self.assertIn("docker-proxy refuses this", said)

    def test_lets_the_service_s_own_calls_through(self):
        self.assertEqual(self.ask("GET", "/_ping"), (200, "OK"))
        status, said = self.create(json.dumps(BODY))
        self.assertEqual(status, 201, said)
        self.assertEqual(self.ask("GET", f"/v1.41/containers/{OURS}/json")[0], 200)
        self.assertEqual(self.ask("DELETE", f"/v1.41/containers/{json.loads(said)['Id']}?force=1")[0], 204)
        self.assertEqual(self.ask("GET", f"/v1.41/containers/{OURS}/json")[0], 404)

    def test_refuses_other_calls(self):
        for target in ("/v1.41/secrets", "/v1.41/configs", "/v1.41/swarm", "/v1.41/plugins", "/v1.41/nodes", "/v1.41/services",
                       "/v1.41/images/json", "/v1.41/system/df", "/v1.41/containers/json", "/v1.41/containers/json?all=1",
                       "/v1.41/volumes", "/v1.41/networks", "/grpc", "/session", "/v1.40/info", "/v1.41//info", "/v1.41/../info",
                       "/v1.41/images/..%2Fsecrets%3F/json", "/v1.41/images/x%2F..%2F..%2Fcontainers%2Fy/json"):
            self.refused("GET", target)
        for target in ("/v1.41/build", "/v1.41/swarm/init", "/v1.41/plugins/pull?remote=x", "/v1.41/secrets/create",
                       "/v1.41/services/create", "/v1.41/images/load", "/v1.41/images/create?fromSrc=-&repo=x", "/v1.41/commit",
                       "/v1.41/containers/prune", "/v1.41/volumes/prune", "/v1.41/auth", "/session", "/grpc"):
            self.refused("POST", target, "{}")
        everything = urllib.parse.quote('{"label":["clara-sandbox.installation=x","com.docker.compose.project=x"]}')
        self.refused("GET", f"/v1.41/containers/json?all=1&filters={everything}")
        self.refused("GET", "/v1.41/info", **{"Upgrade": "tcp", "Connection": "Upgrade"})
        self.refused("POST", "/v1.41/containers/create?name=elsewhere", json.dumps(BODY))
        self.refused("POST", "/v1.41/containers/create", json.dumps(BODY))

    def test_refuses_containers_that_are_more_than_a_sandbox(self):
        for body in (
                changed(Privileged=True), changed(privileged=True), changed(Binds=["/:/host"]), changed(PidMode="host"),
                changed(UsernsMode="host"), changed(UTSMode="host"), changed(IpcMode="host"), changed(CgroupnsMode="host"),
                changed(NetworkMode="host"), changed(NetworkMode="default"),
                changed(NetworkMode="container:" + self.stack.container("docker-proxy")),
                changed(Devices=[{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda", "CgroupPermissions": "rwm"}]),
                changed(DeviceCgroupRules=["b *:* rwm"]), changed(DeviceRequests=[]), changed(CapAdd=["SYS_ADMIN"]),
                changed(CapAdd=["ALL"]), changed(CapDrop=[]), changed(SecurityOpt=[]),
                changed(SecurityOpt=["no-new-privileges:true", "seccomp=unconfined"]),
                changed(SecurityOpt=["no-new-privileges:true", "apparmor=unconfined"]),
                changed(SecurityOpt=["no-new-privileges:true", 'seccomp={"defaultAction":"SCMP_ACT_ALLOW"}']),
                changed(SecurityOpt=["no-new-privileges:true",
                                     'seccomp={"defaultAction":"SCMP_ACT_ERRNO","defaultAction":"SCMP_ACT_ALLOW"}']),
                changed(CgroupParent="/"), changed(VolumesFrom=[self.stack.container("caddy")]), changed(Runtime="runc"),
                changed(PortBindings={"80/tcp": [{"HostPort": "80"}]}), changed(Sysctls={"kernel.x": "1"}),
                changed(OomScoreAdj=-1000), changed(RestartPolicy={"Name": "always"}), changed(LogConfig={"Type": "syslog"}),
                changed(top={"Volumes": {"/x": {}}}), changed(top={"Labels": {}}), changed(top={"NetworkingConfig": {}}),
                changed(top={"Labels": {**LABELS, "com.docker.compose.project": PROJECT}}), changed(top={"image": "other"}),
                mount(Type="bind", Source="/", Target="/workspace"), mount(Source=f"{PROJECT}_caddy-data"),
                mount(Source="clara-0123abcd-x/../.."), mount(Target="/etc"), mount(BindOptions={"Propagation": "shared"}),
                mount(VolumeOptions={"DriverConfig": {"Name": "local", "Options": {"device": "/", "o": "bind", "type": "none"}}}),
                changed(top={"Labels": {**LABELS, "clara-sandbox.kind": "agent"}}, Binds=["/:/agent:nocopy"]),
                json.dumps(BODY)[:-1] + ',"HostConfig":{"Privileged":true}}',
                json.dumps(BODY)[:-1] + ',"\\u0048ostConfig":{"Privileged":true}}',
                json.dumps(BODY) + '{"HostConfig":{"Privileged":true}}', json.dumps(BODY)[:-1], "", "null",
                changed(Tmpfs={"/tmp": "x" * 600_000})):
            self.refused("POST", f"/v1.41/containers/create?name={OURS}", body)

    def test_refuses_volumes_and_networks_that_are_more(self):
        for body in ({"Name": "elsewhere", "Labels": LABELS}, {"Name": OURS},
                     {"Name": OURS, "Labels": LABELS, "Driver": "nfs"},
                     {"Name": OURS, "Labels": LABELS, "DriverOpts": {"type": "none", "o": "bind", "device": "/"}}):
            self.refused("POST", "/v1.41/volumes/create", json.dumps(body))
        bridge = {"Name": "clara-0123abcd-bridge", "Driver": "bridge", "Labels": LABELS,
                  "Options": {"com.docker.network.bridge.enable_icc": "false"}}
        for more in ({"Driver": "macvlan"}, {"Options": {"com.docker.network.bridge.name": "docker0"}}, {"Options": {}},
                     {"Name": "elsewhere"}, {"IPAM": {}}, {"Scope": "swarm"}):
            self.refused("POST", "/v1.41/networks/create", json.dumps({**bridge, **more}))
        self.refused("DELETE", f"/v1.41/volumes/{PROJECT}_caddy-data")
        self.refused("GET", f"/v1.41/volumes/{PROJECT}_caddy-data")
        self.refused("DELETE", f"/v1.41/networks/{PROJECT}_back")

    def test_refuses_containers_of_others(self):
        other = self.stack.container("docker-proxy")
        run = json.dumps({"AttachStdout": True, "Tty": False, "User": "0", "Cmd": ["id"]})
        for name in (other, other[:12], f"{PROJECT}_docker-proxy_1"):
            self.refused("POST", f"/v1.41/containers/{name}/exec", run)
            self.refused("GET", f"/v1.41/containers/{name}/json")
            self.refused("GET", f"/v1.41/containers/{name}/logs?stderr=1&tail=5")
            self.refused("DELETE", f"/v1.41/containers/{name}?force=1")
            self.refused("POST", f"/v1.41/containers/{name}/rename?name={OURS}")
            self.refused("PUT", f"/v1.41/containers/{name}/archive?path=%2Fagent", b"x")

    def test_refuses_what_a_sandbox_is_not_asked_for(self):
        ours = docker("ps", "-q", "--no-trunc", "--filter", "label=clara-sandbox.kind=sandbox").split()[0]
        self.assertEqual(self.ask("GET", f"/v1.41/containers/{ours}/json")[0], 200)
        self.refused("GET", f"/v1.41/containers/{ours}/archive?path=%2Fworkspace")
        self.refused("PUT", f"/v1.41/containers/{ours}/archive?path=%2Fagent", b"x")
        self.refused("PUT", f"/v1.41/containers/{ours}/archive?path=%2F", b"x")
        self.refused("POST", f"/v1.41/containers/{ours}/exec", json.dumps({"Cmd": ["id"], "Privileged": True}))
        self.refused("POST", f"/v1.41/containers/{ours}/update", json.dumps({"Memory": 0}))
        self.refused("POST", f"/v1.41/containers/{ours}/start", json.dumps({"Privileged": True}))
        self.refused("POST", f"/v1.41/containers/{ours}/start?checkpoint=x&checkpoint-dir=%2F")
        self.refused("GET", f"/v1.41/containers/{ours}/top?ps_args=-eo%20environ")
        self.refused("POST", f"/v1.41/containers/{ours}/attach?stream=1")


if __name__ == "__main__":
    unittest.main()
