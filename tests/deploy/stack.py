"""The Compose file, brought up in the engine of DOCKER_HOST: script/test-deploy prepares it and runs the tests.

    with Stack(profile="production") as stack:
        assert stack.ask("alice", "execute", code="print(1)")["output"] == "1\n"

The tests run in the engine's network namespace, where the ports are that it publishes."""
import atexit
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

SOURCE = pathlib.Path(os.environ["CSB_SOURCE_DIR"])
PROJECT = "clara-deploy-test"
KEY = "a-key-for-tests-0123456789"
IMAGE = "clara-sandbox-test:latest"


def run(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, timeout=180, check=False, **options)
    return done.returncode, done.stdout + done.stderr


def docker(*words):
    code, said = run("docker", *words)
    assert code == 0, (words, said)
    return said.strip()


class Stack:
    def __init__(self, profile="production", files=("docker-compose.yml",), **settings):
        self.folder = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, self.folder)
        self.settings = {"SANDBOX_API_KEY": KEY, "COMPOSE_PROFILES": profile, "SANDBOX_DOCKER_IMAGE": IMAGE,
                         "SANDBOX_RATE_LIMIT": "0", "DOCKER_SOCKET": os.environ["DOCKER_HOST"].removeprefix("unix://"), **settings}
        self.files = files
        self.service = "sandbox-api" if profile == "production" else "sandbox-api-dev"
        self.url = "https://localhost" if profile == "production" else "http://127.0.0.1:8080"
        self.authority = os.path.join(self.folder, "root.crt")

    def compose(self, *words):
        """(exit code, what it said), with the environment file that an operator would have."""
        env = pathlib.Path(self.folder, "env")
        example = (SOURCE / "deploy/env.example").read_text(encoding="utf-8").splitlines()
        kept = [line for line in example if line.split("=")[0] not in self.settings]
        env.write_text("\n".join(kept + [f"{k}={v}" for k, v in self.settings.items()]) + "\n", encoding="utf-8")
        files = [word for name in self.files for word in ("-f", str(SOURCE / "deploy" / name))]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("SANDBOX_", "DOCKER_SANDBOX", "COMPOSE"))}
        return run(*os.environ["CSB_COMPOSE"].split(), "--project-directory", str(SOURCE / "deploy"), "--env-file", str(env),
                   "-p", PROJECT, *files, *words, env=clean)

    def up(self):
        code, said = self.compose("up", "-d", "--no-build")
        assert code == 0, said
        if self.url.startswith("https"):
            # Its own authority is made with the first start; the first connection is tried until it is there.
            code, said = run("curl", "-sSk", "--retry", "60", "--retry-delay", "1", "--retry-all-errors",
                             self.url + "/health")
            assert code == 0, said
            docker("cp", self.container("caddy") + ":/data/caddy/pki/authorities/local/root.crt", self.authority)
        code, said = self.curl("/health", "--fail", "--retry", "60", "--retry-delay", "1", "--retry-all-errors")
        assert code == 0, (said, self.compose("logs", "--tail", "20")[1])

    def __enter__(self):
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_):
        self.down()

    def down(self, *words):
        if not os.environ.get("CSB_KEEP"):
            self.compose("down", "--timeout", "15", *words)

    def container(self, service):
        return docker("ps", "-aq", "--no-trunc", "--filter", f"label=com.docker.compose.project={PROJECT}",
                      "--filter", f"label=com.docker.compose.service={service}")

    def inside(self, service, *words):
        """(exit code, what it said) of a program in the container of a service."""
        return run("docker", "exec", self.container(service), *words)

    def words(self, path, *more, key=KEY):
        trust = ["--cacert", self.authority] if os.path.exists(self.authority) else []
        return ["curl", "-s", "-S", "--max-time", "120", *trust, "-H", f"X-API-Key: {key}", *more, self.url + path]

    def curl(self, path, *more, **options):
        return run(*self.words(path, *more, **options))

    def status(self, path, *more, **options):
        return int(self.curl(path, "-o", os.devnull, "-w", "%{http_code}", *more, **options)[1])

    def ask(self, user, call, **body):
        code, said = self.curl(f"/sandbox/{user}/{call}", "-H", "Content-Type: application/json", "-d", json.dumps(body))
        assert code == 0, said
        return json.loads(said)

    def forget(self):
        """Removes users' sandboxes and files, which outlive the stack, and what the service knows of them."""
        self.down("--volumes")
        for kind, remove in (("container", ["rm", "-f"]), ("volume", ["volume", "rm"])):
            listing = ["ps", "-a"] if kind == "container" else ["volume", "ls"]
            for name in docker(*listing, "-q", "--filter", "label=clara-sandbox.installation").split():
                docker(*remove, name)
