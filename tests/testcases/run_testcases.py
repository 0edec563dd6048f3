#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs every program of manifest.json in a real sandbox and compares how it ends.

    run_testcases.py BINARY [NAME…]        or CSB_BINARY=…/bin/clara-sandbox run_testcases.py
    run_testcases.py --one-uid BINARY …    as a user without rights: agent and code share one uid
    run_testcases.py --bwrap [NAME…]       under a bare bwrap: to try a program, proves nothing

Exit code: 0 all as expected, 1 a mismatch, 77 bubblewrap cannot run here (an error when CSB_MUST_RUN
names bubblewrap). A command that only waits keeps each user's sandbox alive, so that a program and
the one that looks after it meet in the same sandbox; it must survive what its neighbours do.
"""
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SKIP = 77
BACKEND = "bubblewrap"
# Small, so that floods end soon.
LIMITS = ["--bubblewrap.memory=256m", "--bubblewrap.disk=64m", "--bubblewrap.pids=128", "--bubblewrap.network=none"]
TAIL = 1 << 16


class Host:
    """What stands on this machine for the programs to look for in vain."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="csb-testcases-")
        os.chmod(self.folder, 0o755)
        self.marker = "csb-marker-" + secrets.token_hex(8)
        self.file = os.path.join(self.folder, "canary")
        with open(self.file, "w") as f:
            f.write("untouched")
        os.chmod(self.file, 0o666)
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.abstract = "csb-testcases-" + secrets.token_hex(4)
        self.unix = [self._listen("\0" + self.abstract), self._listen(os.path.join(self.folder, "host.sock"))]
        os.chmod(os.path.join(self.folder, "host.sock"), 0o777)
        self.process = subprocess.Popen([self.marker, "1000"], executable="/usr/bin/sleep")

    @staticmethod
    def _listen(address):
        s = socket.socket(socket.AF_UNIX)
        s.bind(address)
        s.listen(8)
        return s

    def facts(self):
        return {"port": self.tcp.getsockname()[1], "abstract": self.abstract, "file": self.file, "marker": self.marker,
                "path": os.path.join(self.folder, "host.sock"), "hostname": os.uname().nodename}

    def close(self):
        self.process.kill()
        self.process.wait()
        for s in self.unix + [self.tcp]:
            s.close()
        with open(self.file) as f:
            untouched = f.read() == "untouched"
        shutil.rmtree(self.folder)
        return untouched


def program_text(path, facts):
    """The program with what it imports in front, so that one file is all that goes inside."""
    with open(os.path.join(HERE, "probe.py")) as f:
        shared = re.sub(r"^HOST = .*$", lambda _: "HOST = " + repr(facts), f.read(), flags=re.M)
    with open(os.path.join(HERE, path)) as f:
        return f.read().replace("from probe import *\n", shared, 1)


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
    """The real thing: clara-sandbox run on the bubblewrap backend, with folders of its own."""

    def __init__(self, binary, host):
        self.binary, self.host, self.holders = binary, host, {}
        self.folder = tempfile.mkdtemp(prefix="csb-testcases-run-")
        os.chmod(self.folder, 0o711)
        for name in ("data", "state", "runtime"):
            os.mkdir(os.path.join(self.folder, name), 0o711)
        self.env = dict(os.environ, CSB_TESTCASE_MARKER=host.marker, SANDBOX_API_KEY=host.marker,
                        AWS_SECRET_ACCESS_KEY=host.marker)
        self.keys = LIMITS + ["--sandbox.%s_dir=%s/%s" % (n, self.folder, n) for n in ("data", "state", "runtime")] + \
            ["--sandbox.max_sandboxes=50"]

    def command(self, user, seconds, *rest):
        return [self.binary, "run", "--backend", BACKEND, "--user", user, "--timeout", str(seconds)] + self.keys + list(rest)

    def execute(self, user, text, seconds):
        path = os.path.join(self.folder, "program.py")
        with open(path, "w") as f:
            f.write(text)
        return run(self.command(user, seconds, path), seconds + 60, self.env)

    def explain(self):
        ended = run([self.binary, "explain", "--json", "--sandbox.mode=" + BACKEND] + self.keys, 60, self.env)
        try:
            for candidate in json.loads(ended.out)["candidates"]:
                if candidate["name"] == BACKEND:
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
        left = []
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


def judge(entry, ended, missing):
    """"" when it ended as the manifest wants; "~…" when that was weaker, and allowed; else what is wrong."""
    verdict = ended.verdict()
    word = verdict.split(" ")[0]
    ends = entry.get("ends", [{"exit_code": 0}])
    matches = any(ended.code == e["exit_code"] and e.get("stderr", "") in ended.err for e in ends)
    if word == "ESCAPED" and not (missing and entry.get("may_escape_without")):
        return verdict
    if matches and (entry["expect"] in (None, word) or ended.code != 0):
        return ""
    weaker = word in ("WEAK", "ESCAPED") or (word == "OK" and entry["expect"] is None)
    if missing and (weaker or any(ended.code == e["exit_code"] and e["stderr"] in ended.err for e in entry.get("without", []))):
        return "~without %s: %s" % (" ".join(missing), verdict)
    return verdict if word and word != entry["expect"] else "ended with %s, %r" % (ended.code, (ended.err or ended.out)[-300:])


# Does the sandbox keep the agent and the user's code apart by uid?
ASK_UIDS = "from probe import *\nprint('separate' if os.stat('/proc/1').st_uid != os.getuid() else 'same')\n"


def conditions(sandboxes, host, explained):
    have = {name for name, limit in explained.get("enforces", {}).items() if isinstance(limit, dict) and limit.get("enforced")}
    with tempfile.NamedTemporaryFile("w", suffix=".py") as f:
        f.write(ASK_UIDS)
        f.flush()
        answer = sandboxes.execute("testcase-main", program_text(f.name, host.facts()), 20)
    if "separate" in answer.out:
        have.add("separate_uids")
    elif "same" not in answer.out:
        raise RuntimeError("a first program does not run: %s %s" % (answer.code, (answer.err or answer.out)[-1000:]))
    return have


def check_program(sandboxes, host, entry, have):
    user = entry.get("user", "testcase-main")
    seconds = entry.get("timeout", 30)
    sandboxes.hold(user)
    ended = sandboxes.execute(user, program_text(entry["file"], host.facts()), seconds)
    missing = [name for name in entry.get("requires", []) if name not in have]
    wrong = judge(entry, ended, missing)
    if "after" in entry and (not wrong or wrong.startswith("~")):
        after = sandboxes.execute(user, program_text(entry["after"], host.facts()), 30)
        if not after.verdict().startswith("OK"):
            wrong = "the next call: %s" % (after.verdict() or "%s %s" % (after.code, (after.err or after.out)[-300:]))
    died = sandboxes.holder_died(user)
    # An OOM kill may take a neighbour when the limit is the sandbox's.
    if died and not any(e["exit_code"] == 137 for e in entry.get("ends", [])):
        wrong = wrong if wrong and not wrong.startswith("~") else died
    return wrong, ended.seconds


def as_nobody(binary, arguments):
    """Itself again, as a user who owns nothing; the build folder may lie where that one cannot look."""
    folder = tempfile.mkdtemp(prefix="csb-testcases-one-uid-")
    try:
        os.chmod(folder, 0o755)
        build = os.path.dirname(os.path.dirname(os.path.realpath(binary)))
        for name in ("bin", "lib"):
            shutil.copytree(os.path.join(build, name), os.path.join(folder, name),
                            ignore=shutil.ignore_patterns("*.a", "cmake", "pkgconfig"))
        shutil.copytree(HERE, os.path.join(folder, "testcases"), ignore=shutil.ignore_patterns("__pycache__"))
        env = {name: value for name, value in os.environ.items() if name not in ("CSB_BINARY", "HOME")}
        return subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3",
                               folder + "/testcases/run_testcases.py", folder + "/bin/clara-sandbox"] + arguments,
                              env=dict(env, HOME=folder), cwd="/").returncode
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def namespaces_are_forbidden():
    return subprocess.run(["unshare", "--user", "true"], stderr=subprocess.DEVNULL).returncode != 0


def main(arguments):
    one_uid = "--one-uid" in arguments
    arguments = [a for a in arguments if a != "--one-uid"]
    bare = "--bwrap" in arguments
    arguments = [a for a in arguments if a != "--bwrap"]
    binary = os.environ.get("CSB_BINARY") or (arguments.pop(0) if arguments and not bare else "")
    must = BACKEND in re.split(r"[\s,]+", os.environ.get("CSB_MUST_RUN", "")) or os.environ.get("CSB_MUST_RUN") == "all"
    if not bare and not os.access(binary, os.X_OK):
        print("no binary %r: build clara-sandbox, or give its path" % binary)
        return 1 if must else SKIP
    if one_uid and os.geteuid() == 0:
        return as_nobody(binary, arguments)
    with open(os.path.join(HERE, "manifest.json")) as f:
        programs = json.load(f)["programs"]
    names = {os.path.splitext(os.path.basename(entry["file"]))[0]: entry for entry in programs}
    for name in arguments:
        if name not in names:
            print("no program is called %s" % name)
            return 1
    host = Host()
    sandboxes = BareBwrap(host) if bare else Sandboxes(binary, host)
    failures = weaker = 0
    try:
        explained = sandboxes.explain()
        if not explained.get("available"):
            print("bubblewrap cannot run here: %s %s" % (explained.get("reason"), explained.get("hint", "")))
            return 1 if must and not (os.geteuid() != 0 and namespaces_are_forbidden()) else SKIP
        have = conditions(sandboxes, host, explained)
        print("here: " + (" ".join(sorted(have)) or "nothing is enforced"))
        print("%-24s %-16s %6s  %s" % ("program", "class", "time", "result"))
        for name, entry in names.items():
            if arguments and name not in arguments:
                continue
            if bare and (name.startswith("flood_") or "ends" in entry):
                continue  # nothing would bound them
            if entry.get("costly") and any(limit not in have for limit in entry["requires"]):
                print("%-24s left out: long, and nothing bounds it here" % name)
                continue
            wrong, seconds = check_program(sandboxes, host, entry, have)
            weaker += wrong.startswith("~")
            failures += bool(wrong) and not wrong.startswith("~")
            classes = ",".join(str(c) for c in entry["classes"])
            print("%-24s %-16s %5.1fs  %s" % (name, classes, seconds, "as expected" if not wrong else
                                            "weaker, " + wrong[1:] if wrong.startswith("~") else "MISMATCH " + wrong), flush=True)
    finally:
        left = sandboxes.close()
        untouched = host.close()
    for what in left:
        print("MISMATCH left behind: " + what)
    if not untouched:
        print("MISMATCH the host's file was changed")
    failures += len(left) + (not untouched)
    print("%d programs, %d weaker here, %d mismatches" % (len(arguments) or len(names), weaker, failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
