# SPDX-License-Identifier: Apache-2.0
"""Where the programs run: the product on one of its backends, or a bare bwrap.

    sandboxes = Sandboxes(binary, host, "docker")
    sandboxes.hold("user")                              # its sandbox lives on between two programs
    ended = sandboxes.execute("user", program, 30)      # ended.code, .out, .err, .seconds
    left = sandboxes.close()                            # [] is right
"""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

TAIL = 1 << 16
# Small, so that floods end soon. Workspaces of Docker are volumes, which have a size on few disks only.
LIMITS = {
    "bubblewrap": ["--bubblewrap.memory=256m", "--bubblewrap.disk=64m", "--bubblewrap.pids=128",
                   "--bubblewrap.network=none"],
    "docker": ["--docker.memory=256m", "--docker.pids=128", "--docker.network=none"],
    "incus": ["--incus.memory=256m", "--incus.disk=64m", "--incus.pids=128", "--incus.network=none"],
}
LABEL = "clara-sandbox.installation"
FAR_KEY = "csb-testcases-far"


class Ended:
    def __init__(self, code, out, err, seconds):
        self.code, self.out, self.err, self.seconds = code, out, err, seconds

    def verdict(self):
        lines = [line for line in self.out.splitlines() if re.match(r"(OK|WEAK|ESCAPED) ", line)]
        return lines[-1] if lines else ""


def run(command, seconds, env):
    """Runs to its end; holds only the tail of what it prints."""
    start = time.monotonic()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env,
                             start_new_session=True)
    tails = {}

    def drain(name, stream):
        tail = b""
        for piece in iter(lambda: stream.read1(TAIL), b""):
            tail = (tail + piece)[-TAIL:]
        tails[name] = tail.decode("utf-8", "replace")
    threads = [threading.Thread(target=drain, args=pair) for pair in (("out", child.stdout), ("err", child.stderr))]
    for thread in threads:
        thread.start()
    try:
        code = child.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        code = "no end within %d s" % seconds
    for thread in threads:
        thread.join()
    return Ended(code, tails["out"], tails["err"], time.monotonic() - start)


class Sandboxes:
    """The real thing: clara-sandbox run on one backend, with folders of its own. With remote-BACKEND it uses a service on that
    one, which is started here."""

    def __init__(self, binary, host, backend):
        self.binary, self.host, self.backend, self.holders, self.far = binary, host, backend, {}, None
        self.over = backend.removeprefix("remote-")
        self.folder = tempfile.mkdtemp(prefix="csb-testcases-run-")
        os.chmod(self.folder, 0o711)
        self.env = dict(os.environ, CSB_TESTCASE_MARKER=host.marker, SANDBOX_API_KEY=host.marker,
                        AWS_SECRET_ACCESS_KEY=host.marker)
        self.keys = self.local_keys(self.over, self.folder)
        if backend != self.over:
            os.mkdir(self.folder + "/near", 0o711)
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            self.far = [binary, "serve", "--sandbox.mode=" + self.over, "--http.host=127.0.0.1", "--http.port=%d" % port,
                        "--http.rate_limit=0", "--http.api_key=" + FAR_KEY] + self.keys
            self.far_process = None
            self.far_port = port
            self.keys = ["--sandbox.%s_dir=%s/near/%s" % (n, self.folder, n) for n in ("state", "runtime")] + \
                ["--remote.url=http://127.0.0.1:%d" % port, "--remote.api_key=" + FAR_KEY]
        self.backend = "remote" if self.far else backend

    @staticmethod
    def local_keys(backend, folder):
        names = ("data", "state", "runtime") if backend == "bubblewrap" else ("state", "runtime")
        for name in ("data", "state", "runtime"):
            os.mkdir(os.path.join(folder, name), 0o711)
        keys = LIMITS[backend] + ["--sandbox.%s_dir=%s/%s" % (n, folder, n) for n in names] + ["--sandbox.max_sandboxes=50"]
        if backend == "docker":
            keys += ["--docker.host=" + os.environ.get("CSB_TEST_DOCKER_HOST", ""),
                     "--docker.image=" + os.environ.get("CSB_TEST_DOCKER_IMAGE", "")]
        if backend == "incus":
            keys += ["--incus.remote=unix://" + os.environ.get("CSB_TEST_INCUS_SOCKET", ""),
                     "--incus.image=" + os.environ.get("CSB_TEST_INCUS_IMAGE", ""),
                     "--incus.pool=" + os.environ.get("CSB_TEST_INCUS_POOL", "default")]
        return keys

    def ask_far(self, method, path):
        """(status, bytes) of the service behind; (0, why) where it does not answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.far_port, timeout=60)
        try:
            connection.request(method, path, headers={"X-API-Key": FAR_KEY})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError as error:
            return 0, str(error).encode()
        finally:
            connection.close()

    def start_far(self):
        """"" when it is healthy, else what it said."""
        env = {name: value for name, value in self.env.items() if name != "SANDBOX_API_KEY"}
        with open(self.folder + "/far.log", "wb") as log:
            self.far_process = subprocess.Popen(self.far, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.far_process.poll() is None:
            if self.ask_far("GET", "/health")[0] == 200:
                return ""
            time.sleep(0.05)
        with open(self.folder + "/far.log", errors="replace") as log:
            return log.read()[-1000:]

    def stop_far(self):
        """Removes all that is there and ends it."""
        if self.far_process is None or self.far_process.poll() is not None:
            return ["the service behind has ended: %s" % self.far_process.returncode] if self.far_process else []
        for info in json.loads(self.ask_far("GET", "/sandboxes")[1] or b"{}").get("sandboxes", []):
            self.ask_far("DELETE", "/sandbox/%s" % urllib.parse.quote(info["user_id"], safe=""))
        self.far_process.terminate()
        return [] if self.far_process.wait(60) == 0 else ["the service behind ended with %s" % self.far_process.returncode]

    def command(self, user, seconds, *rest):
        return [self.binary, "run", "--backend", self.backend, "--user", user, "--timeout", str(seconds)] + self.keys + \
            list(rest)

    def execute(self, user, text, seconds):
        path = os.path.join(self.folder, "program.py")
        with open(path, "w") as f:
            f.write(text)
        return run(self.command(user, seconds, path), seconds + 60, self.env)

    def explain(self):
        for backend, name in (("docker", "CSB_TEST_DOCKER_HOST"), ("incus", "CSB_TEST_INCUS_SOCKET")):
            if self.over == backend and not os.environ.get(name):
                return {"available": False, "reason": name + " is not set;",
                        "hint": 'eval "$(tests/engines/%s.sh env)" sets it' % backend}
        if self.far and (said := self.start_far()):
            return {"available": False, "reason": said, "enforces": {}}
        ended = run([self.binary, "explain", "--json", "--sandbox.mode=" + self.backend] + self.keys, 60, self.env)
        try:
            for candidate in json.loads(ended.out)["candidates"]:
                if candidate["name"] == self.backend:
                    return candidate
        except (ValueError, KeyError, TypeError):
            pass
        return {"available": False, "reason": (ended.err or ended.out or str(ended.code)).strip()[:500], "enforces": {}}

    def hold(self, user):
        if user in self.holders:
            return
        # 290 s: below the largest timeout; renewed before it ends.
        child = subprocess.Popen(self.command(user, 290, "--", "sh", "-c", "echo ready; exec sleep 285"), env=self.env,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = []  # warnings about what is not enforced come first
        while b"ready\n" not in said[-1:]:
            said.append(child.stdout.readline())
            if not said[-1]:
                child.kill()
                raise RuntimeError("no sandbox for %s: %s" % (user, b"".join(said).decode()))
        self.holders[user] = (child, time.monotonic())

    def holder_died(self, user):
        child, since = self.holders[user]
        if child.poll() is None:
            if time.monotonic() - since > 120:
                self.release(user)
            return None
        self.holders.pop(user)
        return "the waiting command beside it ended with %s: %s" % (child.returncode, child.stdout.read().decode()[-300:])

    def release(self, user):
        child, _ = self.holders.pop(user)
        child.terminate()
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def close(self):
        """What is left of the sandboxes once all have stopped; [] is right."""
        for user in list(self.holders):
            self.release(user)
        left = self.stop_far() if self.far else []
        left += {"docker": self.left_in_docker, "incus": self.left_in_incus}.get(self.over, list)()
        with open("/proc/self/mounts") as f:
            left += ["mount " + line.split()[1] for line in f if self.folder in line]
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/cmdline" % pid, "rb") as f:
                    if self.folder.encode() in f.read():
                        left.append("process " + pid)
            except OSError:
                continue
        if not left:
            shutil.rmtree(self.folder, ignore_errors=True)
        return left

    def left_in_incus(self):
        """Instances of this run; then its records and volumes, which hold the users' files and go here."""
        sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../integration"))
        import incus_engine  # pylint: disable=import-outside-toplevel
        engine = incus_engine.Engine()
        left = ["instance " + name for name in engine.containers(self.folder)]
        engine.remove_all(self.folder)
        return left + engine.profiles(self.folder) + engine.volumes(self.folder)

    def left_in_docker(self):
        """Containers of this run; then its volumes, which hold the users' files and go here."""
        try:
            with open(os.path.join(self.folder, "state/docker/installation")) as f:
                own = "label=%s=%s" % (LABEL, f.read().strip())
        except FileNotFoundError:
            return []  # it never got to the engine
        left = ["container " + name for name in self.docker("ps", "-a", "--filter", own, "--format", "{{.Names}}")]
        for volume in self.docker("volume", "ls", "-q", "--filter", own):
            left += ["volume " + volume for removed in [self.docker("volume", "rm", volume)] if removed != [volume]]
        return left

    def docker(self, *words):
        done = subprocess.run(["docker", "--host", os.environ["CSB_TEST_DOCKER_HOST"], *words], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        return done.stdout.split("\n")[:-1]


class BareBwrap:
    """Namespaces and a read-only /usr, no filter, no agent: what the programs find wanting shows that they look."""

    def __init__(self, host):
        self.folder = tempfile.mkdtemp(prefix="csb-testcases-bare-")
        os.mkdir(self.folder + "/workspace")
        if os.getuid() == 0:
            os.chmod(self.folder, 0o755)
            os.chown(self.folder + "/workspace", 65534, 65534)

    def execute(self, user, text, seconds):
        with open(self.folder + "/program.py", "w") as f:
            f.write(text)
        # Never as root: without a filter, its uid would still own the files of /proc/sys in there.
        who = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
        return run(who + ["bwrap", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib",
                    "--symlink", "usr/lib64", "/lib64", "--symlink", "usr/sbin", "/sbin", "--proc", "/proc", "--dev", "/dev",
                    "--tmpfs", "/tmp", "--bind", self.folder + "/workspace", "/workspace", "--ro-bind", "/etc/passwd",
                    "/etc/passwd", "--ro-bind", self.folder + "/program.py", "/tmp/program.py", "--unshare-all", "--clearenv",
                    "--unshare-user", "--uid", "1000", "--gid", "1000", "--new-session", "--die-with-parent", "--chdir", "/workspace",
                    "--hostname", "sandbox", "--cap-drop", "ALL", "timeout", str(seconds), "/usr/bin/python3", "/tmp/program.py"],
                   seconds + 10, dict(os.environ))

    def explain(self):
        return {"available": shutil.which("bwrap") is not None, "reason": "no bwrap", "enforces": {}}

    def hold(self, user):
        pass

    def holder_died(self, user):
        return None

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        return []
