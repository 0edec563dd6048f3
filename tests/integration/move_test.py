# SPDX-License-Identifier: Apache-2.0
# timeout: 900
# backends: bubblewrap docker incus remote-bubblewrap
"""`clara-sandbox move`: from this backend to each of the others, while a service runs beside it."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import tempfile
import unittest

import harness

SOURCE = harness.BACKEND
STAGE = "'/.clara-sandbox-move"
ALL = ("bubblewrap", "docker", "incus", "remote")

FILL = r"""
import os
R = b"/workspace/"
def put(name, data=b"", mode=0o644, when=1_600_000_000_123_456_789):
    with open(R + name, "wb") as f:
        f.write(data)
    os.chmod(R + name, mode)
    os.utime(R + name, ns=(when, when))
for d in (b"empty", b"deep/er/still", b".hidden", b"closed/inner", b"readonly"):
    os.makedirs(R + d)
put(b"plain.txt", b"hello\n")
put(b"empty.txt")
put(b".dot", b"x", 0o600)
put(b"program.sh", b"#!/bin/sh\n", 0o755)
put(b"writeonly", b"nobody reads this", 0o200)
put("snow \u2603 man".encode(), b"utf-8")
put(b"not utf-8 \xff\xfe", b"bytes")
put(b"new\nline and 'quotes\" \\ %s {}", b"odd")
put(b"-rf", b"minus")
put(b"json.py", b"raise SystemExit('a module of the user was imported')")
put(b"deep/er/still/file", b"deep", 0o440, 1_000_000_000)
put(b"closed/secret", b"behind a closed door")
put(b"closed/inner/\xffmore", b"further in", 0)
put(b"readonly/r", b"r")
with open("/dev/urandom", "rb") as random:
    put(b"50 MB", random.read(50_000_000))
with open(R + b"holes", "wb") as f:
    f.write(b"begin")
    f.seek(40 << 20)
    f.write(b"middle")
    f.truncate(90 << 20)
os.link(R + b"plain.txt", R + b"zz second name")
os.symlink(b"plain.txt", R + b"link")
os.symlink(b"/nowhere/\xff", R + b"broken")
os.mkfifo(R + b"pipe", 0o600)
for i in range(200):
    put(b"empty/%d" % i, b"%d" % i)
os.chmod(R + b"readonly", 0o500)
os.chmod(R + b"closed/inner", 0o300)
os.chmod(R + b"closed", 0)
"""

# What is there: types, permissions, times to the microsecond, sizes, contents, links.
TREE = r"""
import sys
sys.path[:] = [p for p in sys.path if p and not p.startswith("/workspace")]
import hashlib, os, stat
def walk(path, rel):
    for name in sorted(os.listdir(path)):
        below, here = os.path.join(path, name), rel + b"/" + name
        st = os.lstat(below)
        mode, extra = stat.S_IMODE(st.st_mode), ""
        if stat.S_ISLNK(st.st_mode):
            mode, extra = 0, repr(os.readlink(below))
        if stat.S_ISREG(st.st_mode):
            os.chmod(below, mode | 0o400)
            digest = hashlib.sha256()
            with open(below, "rb") as f:
                while block := f.read(1 << 20):
                    digest.update(block)
            extra = f"{st.st_size} {digest.hexdigest()} {st.st_nlink}"
            os.chmod(below, mode)
        print(stat.S_IFMT(st.st_mode), oct(mode), st.st_mtime_ns // 1000, ascii(here), extra)
        if stat.S_ISDIR(st.st_mode):
            os.chmod(below, mode | 0o700)
            walk(below, here)
            os.chmod(below, mode)
walk(b"/workspace", b"")
"""


def but_reading(tree):
    """Without what a mover that is killed leaves where it reads: its own folder, links to files in that, open folders."""
    left = [line for line in tree.splitlines() if not line.endswith(("'/closed' ", "'/closed/inner' ")) and STAGE not in line]
    return [line.rpartition(" ")[0] if line.startswith(f"{stat.S_IFREG} ") else line for line in left]


class Pair:
    """A service that has both backends, and the command with the same options."""

    def __init__(self, test, target, *options):
        self.test, self.target = test, target
        self.root = tempfile.mkdtemp(prefix="csb-move-")
        os.chmod(self.root, 0o711)
        self.engines = {b: e for b in (SOURCE, target) if (e := harness.engine_of(b))}
        names = " ".join((SOURCE, target))
        more = [f"--sandbox.backends={names}", f"--sandbox.order={names}", "--sandbox.allow_backend_choice=all", *options]
        for engine in self.engines.values():
            more += engine.options()
        if "remote" in (SOURCE, target):
            more += harness.remote_peer().options(self.root)
        # Workspaces of Docker are volumes where bubblewrap does not need the data folder, else folders in it.
        plain = [f"--sandbox.state_dir={self.root}/state", f"--sandbox.runtime_dir={self.root}/run"]
        if "bubblewrap" in (SOURCE, target):
            plain.append(f"--sandbox.data_dir={self.root}/data")
        self.options = [*plain, *more]
        self.env = dict(os.environ)
        for engine in self.engines.values():
            self.env.update(engine.environment())
        self.service = harness.Service(root=self.root, mode="auto", env=self.env)
        self.service.options = [o for o in self.service.options
                                if not o.startswith(("--sandbox.state", "--sandbox.data", "--sandbox.runtime"))] + self.options

    def __enter__(self):
        self.service.start()
        return self

    def __exit__(self, *exc):
        try:
            self.service.__exit__(*exc)
            if not any(exc):
                left = [x for e in self.engines.values() for x in e.left(self.root)]
                self.test.assertEqual(left, [], self.service.log_text()[-4000:])
        finally:
            harness.remote_peer().close(self.root, *exc)
            for engine in self.engines.values():
                engine.remove_all(self.root)
            shutil.rmtree(self.root, ignore_errors=True)

    def fill(self, user, code=FILL):
        status, info = self.service.call("POST", user, "/create", {"backend": SOURCE})
        self.test.assertEqual((status, info.get("backend")), (200, SOURCE), info)
        answer = self.service.post(user, "execute", code=code, timeout=120)
        self.test.assertTrue(answer["success"], answer)
        return self.tree(user)

    def tree(self, user):
        answer = self.service.post(user, "execute", code=TREE, timeout=120)
        self.test.assertTrue(answer["success"], answer)
        return answer["output"]

    def home(self, user):
        return self.service.call("GET", user, "/status")[1].get("backend")

    def record(self, user):
        for path in pathlib.Path(self.root, "state/users").glob("*.json"):
            found = json.loads(path.read_text())
            if found["user"] == user:
                return found
        return None

    def start_move(self, *words):
        return subprocess.Popen([harness.BINARY, "move", *words, *self.options], env=self.env, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def move(self, *words):
        process = self.start_move(*words)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def kill_target(self, user):
        """Ends the target's sandbox as an engine that dies would."""
        engine = harness.ENGINE if self.target == "remote" else self.engines.get(self.target)
        if engine:
            names = engine.running(self.folder())  # of this test alone, and nobody else is on the target
            self.test.assertTrue(names, "the target's sandbox runs")
            for name in names:
                (engine.remove if hasattr(engine, "remove") else engine.delete)(name)
            return
        pids = [int(p) for p in filter(str.isdigit, os.listdir("/proc")) if self.is_inside(p)]
        self.test.assertTrue(pids, "the target's sandbox runs")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def folder(self):
        """Of the host whose backend makes the target's sandboxes."""
        return self.root + ("/far" if self.target == "remote" else "")

    def is_inside(self, pid):
        run = self.folder() + "/run/"
        try:
            with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="replace") as f:
                return any(run in line and " /run/clara/ctl " in line for line in f)
        except OSError:
            return False


def wait_line(process, part):
    seen = []
    for line in process.stderr:
        seen.append(line)
        if part in line:
            return
    raise AssertionError(f"{part!r} was never said: {''.join(seen)}")


class Move(unittest.TestCase):
    maxDiff = 4000

    def each(self, check, all_targets=True):
        harness.need(SOURCE)
        for target in ALL:
            if target == SOURCE:
                continue
            with self.subTest(f"{SOURCE} to {target}"):
                harness.need(target)
                check(target)
                if not all_targets:
                    return

    def test_everything_arrives_while_a_service_runs(self):
        def check(target):
            with Pair(self, target) as pair:
                before = pair.fill("alice")
                self.assertIn("50 MB", before)
                code, out, err = pair.move("alice", "--to", target)
                self.assertEqual((code, out), (1, ""), "it is running")
                self.assertIn("--stop", err)
                code, out, err = pair.move("alice", "--to", target, "--stop")
                self.assertEqual(code, 0, err)
                self.assertIn("clara-sandbox move alice --confirm", out)
                self.assertEqual(pair.tree("alice"), before)
                self.assertEqual(pair.home("alice"), target)
                self.assertEqual(pair.record("alice")["moved_from"], SOURCE)
                # Written on the new one; the old one is not served, not even after a new start.
                pair.service.post("alice", "shell", command="echo new > written-later")
                pair.service.stop()
                pair.service.start()
                self.assertEqual(pair.service.post("alice", "shell", command="cat written-later")["output"], "new\n")
                self.assertEqual(pair.home("alice"), target)
                code, out, err = pair.move("alice", "--confirm")
                self.assertEqual(code, 0, err)
                self.assertEqual(pair.service.post("alice", "shell", command="cat written-later")["output"], "new\n")
                # And back again.
                code, out, err = pair.move("alice", "--to", SOURCE, "--stop")
                self.assertEqual(code, 0, err)
                self.assertEqual(pair.home("alice"), SOURCE)
                self.assertEqual(pair.service.post("alice", "shell", command="cat written-later")["output"], "new\n")
                code, out, err = pair.move("alice", "--confirm")
                self.assertEqual(code, 0, err)

        self.each(check)

    def test_a_target_that_dies_in_the_middle_loses_nothing(self):
        def check(target):
            with Pair(self, target) as pair:
                before = pair.fill("bob")
                mover = pair.start_move("bob", "--to", target, "--stop")
                wait_line(mover, "copying")
                mover.send_signal(signal.SIGSTOP)
                pair.kill_target("bob")
                mover.send_signal(signal.SIGCONT)
                out, err = mover.communicate(timeout=300)
                if target == "remote" and mover.returncode == 0:  # its service has made another sandbox on the files
                    self.assertEqual(pair.tree("bob"), before)
                    return
                self.assertEqual((mover.returncode, out), (1, ""), err)
                self.assertEqual(pair.home("bob"), SOURCE)
                self.assertEqual(pair.tree("bob"), before)
                code, _, err = pair.move("bob", "--to", target, "--stop")
                self.assertEqual(code, 0, err)
                self.assertEqual(pair.tree("bob"), before)

        self.each(check)

    def test_a_mover_that_is_killed_loses_nothing(self):
        def check(target):
            with Pair(self, target) as pair:
                before = pair.fill("carol")
                mover = pair.start_move("carol", "--to", target, "--stop")
                wait_line(mover, "copying")
                mover.send_signal(signal.SIGSTOP)  # or it might be through before it is killed
                status, answer = pair.service.call("POST", "carol", "/shell", {"command": "true"})
                self.assertEqual(status, 503, answer)
                self.assertIn("being moved", answer["error"])
                mover.kill()
                mover.communicate()
                # What its reading leaves is put right by the next move.
                self.assertEqual(but_reading(pair.tree("carol")), but_reading(before))
                self.assertEqual(pair.home("carol"), SOURCE)
                self.assertEqual(pair.record("carol")["moving_to"], target)
                code, _, err = pair.move("carol", "--to", target, "--stop")
                self.assertEqual(code, 0, err)
                self.assertEqual(pair.tree("carol"), before)
                self.assertEqual(pair.home("carol"), target)

        self.each(check)

    def test_ctrl_c_puts_everything_back(self):
        def check(target):
            with Pair(self, target) as pair:
                before = pair.fill("dave")
                mover = pair.start_move("dave", "--to", target, "--stop")
                wait_line(mover, "copying")
                mover.send_signal(signal.SIGINT)
                out, err = mover.communicate(timeout=120)
                self.assertEqual((mover.returncode, out), (1, ""), err)
                self.assertEqual(pair.tree("dave"), before)
                self.assertNotIn("moving_to", pair.record("dave"))
                self.assertEqual(pair.home("dave"), SOURCE)

        self.each(check, all_targets=False)

    def test_a_target_that_is_full_loses_nothing(self):
        if SOURCE == "bubblewrap":
            self.skipTest("the one with a small disk is the target here")
        harness.need(SOURCE)
        harness.need("bubblewrap")
        harness.need_root("disk limits of bubblewrap need loop devices")
        with Pair(self, "bubblewrap", "--bubblewrap.disk=24m") as pair:
            before = pair.fill("erin")
            code, out, err = pair.move("erin", "--to", "bubblewrap", "--stop")
            self.assertEqual((code, out), (1, ""), err)
            self.assertEqual(pair.home("erin"), SOURCE)
            self.assertEqual(pair.tree("erin"), before)
            self.assertNotIn("moving_to", pair.record("erin"))

    @unittest.skipIf(SOURCE == "remote", "its end is another service's")
    def test_a_user_whose_backend_is_gone_gets_503_and_a_way_out(self):
        def check(target):
            with Pair(self, target) as pair:
                before = pair.fill("frank")
                pair.service.post("frank", "shell", command="true")
                pair.service.call("POST", "frank", "/stop")
                pair.service.stop()
                both = pair.service.options
                pair.service.options = [o for o in both if not o.startswith("--sandbox.backends")] \
                    + [f"--sandbox.backends={target}"]
                pair.service.start()
                status, answer = pair.service.call("POST", "frank", "/shell", {"command": "true"})
                self.assertEqual(status, 503, answer)
                self.assertIn(f"files are on backend {SOURCE}, which is not loaded", answer["error"])
                self.assertIn("clara-sandbox move USER --to BACKEND", answer["detail"])
                info = json.loads(pair.service.request("GET", "/info")[2])
                reasons = {c["name"]: c["reason"] for c in info["candidates"]}
                self.assertEqual(reasons[SOURCE], "is not in sandbox.backends")
                # The files can still be carried over: the plugin is there.
                options = pair.options
                pair.options = [o for o in options if not o.startswith("--sandbox.backends")] \
                    + [f"--sandbox.backends={target}"]
                code, _, err = pair.move("frank", "--to", target)
                self.assertEqual(code, 0, err)
                self.assertEqual(pair.tree("frank"), before)
                code, _, err = pair.move("frank", "--confirm")
                self.assertEqual(code, 0, err)
                pair.service.stop()
                pair.service.options, pair.options = both, options
                pair.service.start()
                self.assertEqual(pair.home("frank"), target)

        self.each(check, all_targets=False)

class CommandLine(unittest.TestCase):
    def run_move(self, *words):
        with tempfile.TemporaryDirectory() as folder:
            return subprocess.run([harness.BINARY, "move", *words, f"--sandbox.state_dir={folder}/state",
                                   f"--sandbox.runtime_dir={folder}/run", f"--sandbox.data_dir={folder}/data"],
                                  capture_output=True, text=True, timeout=60, check=False)

    def test_says_what_is_wrong(self):
        if SOURCE != "bubblewrap":
            self.skipTest("the same on each")
        for words, said in ((("",), "USER"), (("--to", "docker"), "whom?"), (("alice",), "one of --to BACKEND"),
                            (("alice", "--to", "bubblewrap", "--confirm"), "one of --to BACKEND"),
                            (("alice", "--confirm", "--overwrite"), "--overwrite goes with --to"),
                            (("alice", "bob", "--to", "docker"), "unexpected argument"),
                            (("alice", "--to", "nosuch"), "nosuch is not loaded"),
                            (("alice", "--to", "bubblewrap"), "no backend has files of this user"),
                            (("alice", "--undo"), "no old copy")):
            done = self.run_move(*words)
            self.assertEqual((done.returncode, done.stdout), (2, ""), (words, done.stderr))
            self.assertIn(said, done.stderr, words)


if __name__ == "__main__":
    unittest.main()
