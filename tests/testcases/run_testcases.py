#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs every program of manifest.json in a real sandbox and compares how it ends.

    run_testcases.py BINARY [NAME…]        or CSB_BINARY=…/bin/clara-sandbox run_testcases.py
    run_testcases.py --backend docker …    on the engine of CSB_TEST_DOCKER_HOST, its image CSB_TEST_DOCKER_IMAGE;
                     --backend incus …     on that of CSB_TEST_INCUS_SOCKET, its image CSB_TEST_INCUS_IMAGE
                     --backend remote-X …  through a host in front of a service on X
    run_testcases.py --one-uid BINARY …    as a user without rights: agent and code share one uid
    run_testcases.py --bwrap [NAME…]       under a bare bwrap: to try a program, proves nothing

Exit code: 0 all as expected, 1 a mismatch, 77 the backend cannot run here (an error when CSB_MUST_RUN
names it). A command that only waits keeps each user's sandbox alive, so that a program and
the one that looks after it meet in the same sandbox; it must survive what its neighbours do.
"""
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile

from sandboxes import BareBwrap, LIMITS, Sandboxes

HERE = os.path.dirname(os.path.abspath(__file__))
SKIP = 77


class Host:
    """What stands on this machine for the programs to look for in vain."""

    def __init__(self, image):
        self.image = image
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
                "path": os.path.join(self.folder, "host.sock"), "hostname": os.uname().nodename,
                "root": os.stat("/").st_dev, "image": self.image}

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
    backend = "bubblewrap"
    if "--backend" in arguments:
        at = arguments.index("--backend")
        backend = arguments[at + 1]
        del arguments[at:at + 2]
    binary = os.environ.get("CSB_BINARY") or (arguments.pop(0) if arguments and not bare else "")
    over = backend.removeprefix("remote-")
    if over not in LIMITS:
        print("no backend is called %s here, but: %s, each with remote- in front" % (backend, " ".join(LIMITS)))
        return 1
    must = over in re.split(r"[\s,]+", os.environ.get("CSB_MUST_RUN", "")) or os.environ.get("CSB_MUST_RUN") == "all"
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
    host = Host(over != "bubblewrap")
    sandboxes = BareBwrap(host) if bare else Sandboxes(binary, host, backend)
    failures = weaker = 0
    try:
        explained = sandboxes.explain()
        if not explained.get("available"):
            print("%s cannot run here: %s %s" % (backend, explained.get("reason"), explained.get("hint", "")))
            return 1 if must and not (over == "bubblewrap" and os.geteuid() != 0 and namespaces_are_forbidden()) else SKIP
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
