"""The Compose file as users meet it: Caddy's TLS, the service behind it, Docker's socket behind the guard."""
import hashlib
import json
import os
import subprocess
import tempfile
import time
import unittest

from stack import PROJECT, Stack, docker, run


class WithoutKey(unittest.TestCase):
    def test_does_not_start(self):
        code, said = Stack(SANDBOX_API_KEY="").compose("up", "-d", "--no-build")
        self.assertNotEqual(code, 0)
        self.assertIn("set it in .env", said)


class Production(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(SANDBOX_MAX_UPLOAD="64MiB")
        cls.addClassCleanup(cls.stack.forget)
        cls.enterClassContext(cls.stack)

    def test_runs_code(self):
        self.assertEqual(self.stack.curl("/sandbox/alice/create", "-X", "POST", "--fail")[0], 0)
        answer = self.stack.ask("alice", "execute", code="print(6 * 7)")
        self.assertEqual((answer["output"], answer["exit_code"]), ("42\n", 0), answer)

    def test_refuses_who_has_no_key(self):
        self.assertEqual(self.stack.status("/sandbox/alice/status", key=""), 401)
        self.assertEqual(self.stack.status("/sandbox/alice/status", key="wrong"), 401)
        self.assertEqual(self.stack.status("/health", key=""), 200)

    def test_http_leads_to_https(self):
        code, said = run("curl", "-s", "-o", os.devnull, "-w", "%{http_code} %{redirect_url}", "http://localhost/health")
        self.assertEqual((code, said), (0, "308 https://localhost/health"))

    def test_output_comes_while_the_program_runs(self):
        words = self.stack.words("/sandbox/alice/shell", "-N", "-H", "Accept: application/x-ndjson", "-H",
                                 "Content-Type: application/json", "-d", '{"command": "echo first; sleep 3; echo last"}')
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as client:
            first, at = json.loads(client.stdout.readline()), time.monotonic()
            rest = [json.loads(line) for line in client.stdout]
            waited = time.monotonic() - at
        self.assertEqual(first, {"event": "stdout", "data": "first\n"})
        self.assertEqual(rest[-1]["exit_code"], 0, rest)
        self.assertGreater(waited, 2, "the first line came with the last")

    def test_a_client_that_leaves_ends_its_run(self):
        for form in ("application/x-ndjson", "application/json"):
            words = self.stack.words("/sandbox/leaver/shell", "-N", "-H", f"Accept: {form}", "-H",
                                     "Content-Type: application/json",
                                     "-d", '{"command": "touch started; sleep 246", "timeout": 250}')
            self.stack.ask("leaver", "shell", command="rm -f started")
            with subprocess.Popen(words, stdout=subprocess.DEVNULL) as client:
                self.ends(lambda: self.stack.ask("leaver", "shell", command="cat started")["success"])
                client.kill()
            self.ends(lambda: "246" not in self.stack.ask("leaver", "shell", command="ps -eo args | grep '[s]leep'")["output"])

    def ends(self, condition):
        until = time.monotonic() + 30
        while not condition():
            self.assertLess(time.monotonic(), until)
            time.sleep(0.2)

    def test_large_files_pass_unchanged(self):
        with tempfile.TemporaryDirectory() as folder:
            sent, got = os.path.join(folder, "sent"), os.path.join(folder, "got")
            with open(sent, "wb") as file:
                file.write(os.urandom(50_000_000))
            url = "/sandbox/alice/file?path=blob"
            self.assertEqual(self.stack.status(url, "-H", "Content-Type: application/octet-stream", "-X", "POST", "-T", sent), 200)
            self.assertEqual(self.stack.curl(url, "--fail", "-H", "Accept: application/octet-stream", "-o", got)[0], 0)
            digests = []
            for name in (sent, got):
                with open(name, "rb") as file:
                    digests.append(hashlib.file_digest(file, "sha256").hexdigest())
            self.assertEqual(digests[0], digests[1])
            inside = self.stack.ask("alice", "shell", command="sha256sum < blob; rm blob")["output"]
            self.assertEqual(inside.split()[0], digests[0])

    def test_larger_files_are_refused(self):
        with tempfile.NamedTemporaryFile() as file:
            file.truncate(65 << 20)
            self.assertEqual(self.stack.status("/sandbox/alice/file?path=big", "-H", "Content-Type: application/octet-stream",
                                               "-X", "POST", "-T", file.name), 413)

    def test_files_and_sandboxes_outlive_the_service(self):
        before = self.stack.ask("keeper", "create")["container_id"]
        self.stack.ask("keeper", "file", path="note", content="kept")
        code, said = self.stack.compose("restart", "sandbox-api")
        self.assertEqual(code, 0, said)
        self.stack.up()
        self.assertEqual(json.loads(self.stack.curl("/sandbox/keeper/file?path=note")[1])["content"], "kept")
        self.assertEqual(json.loads(self.stack.curl("/sandbox/keeper/status")[1])["container_id"], before)

    def test_the_page_of_the_calls_may_call(self):
        origin = ["-H", "Origin: https://localhost", "-H", "Sec-Fetch-Site: same-origin"]
        self.assertEqual(self.stack.status("/sandbox/alice/shell", *origin, "-H", "Content-Type: application/json",
                                           "-d", '{"command": "true"}'), 200)
        foreign = ["-H", "Origin: https://elsewhere.example", "-H", "Sec-Fetch-Site: cross-site"]
        self.assertEqual(self.stack.status("/sandbox/alice/shell", *foreign, "-H", "Content-Type: application/json",
                                           "-d", '{"command": "true"}'), 403)

    def test_a_sandbox_reaches_neither_docker_nor_the_service(self):
        code = ("import os, socket\n"
                "print([p for p in ('/var/run/docker.sock', '/run/docker.sock', '/run/docker-proxy') if os.path.exists(p)],"
                " sorted(n for _, n in socket.if_nameindex()))\n"
                "try: socket.create_connection(('sandbox-api', 8080), 2)\n"
                "except OSError: print('no way')\n")
        self.assertEqual(self.stack.ask("alice", "execute", code=code)["output"], "[] ['lo']\nno way\n")

    def test_only_caddy_is_published(self):
        published = {}
        for line in docker("ps", "--format", '{{.Label "com.docker.compose.service"}}|{{.Ports}}').splitlines():
            service, ports = line.split("|")
            published[service] = ports
        self.assertIn("->443/tcp", published.pop("caddy"))
        self.assertFalse([p for p in published.values() if "->" in p], published)

    def test_the_service_has_no_rights(self):
        for service in ("sandbox-api", "caddy", "docker-proxy"):
            code, said = self.stack.inside(service, "cat", "/proc/1/status")
            self.assertEqual(code, 0, said)
            status = dict(line.split(":\t") for line in said.splitlines() if ":\t" in line)
            self.assertEqual(int(status["CapBnd"], 16), 0 if service != "caddy" else 1 << 10, service)
            self.assertEqual(status["NoNewPrivs"], "1", service)
            self.assertNotEqual(self.stack.inside(service, "touch", "/new")[0], 0, service)
        self.assertEqual(self.stack.inside("sandbox-api", "id", "-u")[1].strip(), "10001")
        self.assertNotEqual(self.stack.inside("sandbox-api", "test", "-e", "/var/run/docker.sock")[0], 0)
        networks = json.loads(docker("inspect", self.stack.container("sandbox-api")))[0]["NetworkSettings"]["Networks"]
        for name in networks:
            self.assertEqual(docker("network", "inspect", name, "--format", "{{.Internal}}"), "true", "a way out")
        self.assertEqual(list(networks), [f"{PROJECT}_back"])
        self.assertEqual(self.stack.inside("docker-proxy", "ls", "/sys/class/net")[1].split(), ["lo"])


class Development(unittest.TestCase):
    def test_serves_loopback_with_the_files_of_production(self):
        with Stack() as stack:
            stack.ask("mover", "file", path="note", content="from production")
            self.addCleanup(stack.forget)
        with Stack("development") as stack:
            self.assertEqual(json.loads(stack.curl("/sandbox/mover/file?path=note")[1])["content"], "from production")
            self.assertEqual(stack.status("/sandbox/mover/status", key=""), 401)
            self.assertIn("127.0.0.1:8080->8080/tcp", docker("ps", "--format", "{{.Ports}}"))
            self.assertEqual(stack.container("caddy"), "")


class DataFolder(unittest.TestCase):
    def test_files_are_in_a_folder_of_the_machine(self):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o711)
            files = ("docker-compose.yml", "docker-compose.data-dir.yml")
            with Stack(files=files, SANDBOX_DATA_DIR=folder) as stack:
                self.addCleanup(stack.forget)
                stack.ask("carol", "file", path="note", content="on the machine")
                name = hashlib.sha256(b"carol").hexdigest()[:32]
                with open(os.path.join(folder, "docker", name, "note"), encoding="utf-8") as file:
                    self.assertEqual(file.read(), "on the machine")
                stack.ask("carol", "shell", command="mkdir -p a/b; touch a/b/c; chmod 500 a/b a")
                code, said = stack.curl("/sandbox/carol?purge=true", "--fail", "-X", "DELETE")
                self.assertEqual(code, 0, said)
                self.assertEqual(os.listdir(os.path.join(folder, "docker")), [])


if __name__ == "__main__":
    unittest.main()
