#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A host without root: agent and code share one uid, nothing is delegated, and `enforced` says so."""
# timeout: 300
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import unittest

import harness
import limits_test

NOBODY = 65534
COUNT_EVIL = "ps -eo comm | grep -c '^evil' || true"

# Ends the process that would end it, then tries to live on.
KILLS_ITS_SUPERVISOR = r"""
import os, signal, time, ctypes
ctypes.CDLL(None).prctl(15, b"evil")
for _ in range(20):
    if os.fork() == 0:
        os.setsid()
        time.sleep(1000)
os.kill(os.getppid(), signal.SIGKILL)
time.sleep(1000)
"""

FORKS = r"""
import os, time
n = 0
try:
    while n < 5000:
        if os.fork() == 0: time.sleep(1000)
        n += 1
except OSError as e:
    print(n, e.errno)
"""


class OneUid(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="csb-one-uid-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        os.chmod(cls.folder, 0o755)
        cls.program = (harness.BINARY,)
        if os.geteuid() == 0:
            # The build folder may lie where nobody else can look.
            for name in ("bin", "lib"):
                shutil.copytree(harness.BUILD / name, f"{cls.folder}/{name}",
                                ignore=shutil.ignore_patterns("*.a", "cmake", "pkgconfig"))
            cls.program = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                           f"{cls.folder}/bin/clara-sandbox")
        cls.who = cls.program[:-1]
        root = cls.new_root()
        found = subprocess.run([*cls.program, "explain", "--json", *harness.folders(root)], capture_output=True,
                               text=True, timeout=60, cwd="/")
        cls.explained = None
        with contextlib.suppress(ValueError, KeyError):
            for candidate in harness.json.loads(found.stdout)["candidates"]:
                if candidate["name"] == "bubblewrap" and candidate["available"]:
                    cls.explained = candidate
        if cls.explained is None:
            possible = subprocess.run([*cls.who, "unshare", "--user", "true"], capture_output=True, text=True, cwd="/")
            message = f"bubblewrap cannot run without root here: {found.stdout}{found.stderr}{possible.stderr}"
            if harness.must_run("bubblewrap") and possible.returncode == 0:
                raise AssertionError(message)
            raise unittest.SkipTest(message)
        cls.service = cls.new_service(cls.new_root()).start()

    @classmethod
    def tearDownClass(cls):
        if hasattr(cls, "service"):
            cls.service.__exit__()

    @classmethod
    def new_root(cls):
        root = tempfile.mkdtemp(prefix="root-", dir=cls.folder)
        os.chmod(root, 0o711)
        if os.geteuid() == 0:
            os.chown(root, NOBODY, NOBODY)
        return root

    @classmethod
    def new_service(cls, root):
        return harness.Service("--bubblewrap.memory=256m", "--bubblewrap.pids=64", "--bubblewrap.disk=16m",
                               "--sandbox.warm_python=0", root=root,
                               program=cls.program)

    def shell(self, user, command, **more):
        return self.service.post(user, "shell", command=command, **more)

    def test_code_has_no_rights_and_other_settings_stay(self):
        seen = self.shell("rights", "id -u; grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\\n\\t '; echo;"
                          "find /proc/sys -writable 2>/dev/null | wc -l; unshare -U true 2>&1; "
                          "ls /run/clara/ctl/*.sock >/dev/null && touch /run/clara/ctl/x 2>&1; kill -9 1; kill -TERM 1; "
                          "cat /proc/1/environ /proc/1/mem 2>&1 | wc -l; echo end")["output"].splitlines()
        self.assertEqual(seen[0], "1000")
        self.assertEqual(seen[1], "CapEff:0000000000000000CapBnd:0000000000000000NoNewPrivs:1Seccomp:2")
        # Its own processes' entries are no settings; /proc/sys is read-only also for the owner of the namespaces.
        self.assertEqual(self.shell("rights", "f=/proc/sys/fs/mqueue/msg_max; echo 9 2>&1 > $f")["success"], False)
        self.assertIn("Operation not permitted", seen[3])
        self.assertIn("Read-only file system", seen[4])
        self.assertEqual(seen[-1], "end")
        self.assertEqual(self.shell("rights", "echo alive")["output"], "alive\n")

    def test_enforced_tells_what_holds(self):
        status, info = self.service.call("POST", "truth", "/create", {})
        self.assertEqual(status, 200, info)
        enforced = info["enforced"]
        for name, expected in self.explained["enforces"].items():
            self.assertEqual(enforced[name]["enforced"], expected["enforced"], f"{name}: {expected} {enforced[name]}")
        self.assertIn("one uid", enforced["userns"]["by"])
        self.assertFalse(enforced["disk"]["enforced"])
        self.assertIn("RLIMIT_FSIZE", enforced["disk"]["by"])
        grown = self.shell("truth", "head -c 30000000 /dev/zero > big; stat -c %s big; rm big")
        self.assertEqual(grown["output"], "16777216\n", "each file is bounded, as enforced says")
        if not enforced["memory"]["enforced"]:
            self.assertIn("RLIMIT_DATA", enforced["memory"]["by"])
            answer = self.service.post("truth", "execute", code="b = bytearray(1 << 29)")
            self.assertIn("MemoryError", answer["error"])
        if enforced["pids"]["enforced"]:
            made = self.service.post("truth", "execute", code=FORKS, timeout=30)
            self.assertLess(int(made["output"].split()[0]), int(enforced["pids"]["value"]), made)
        self.assertEqual(self.shell("truth", "echo alive")["output"], "alive\n")

    def test_what_kills_its_supervisor_dies_with_it(self):
        other = {}
        self.shell("sup", "true")
        thread = threading.Thread(target=lambda: other.update(self.shell("sup", "sleep 3; echo untouched", timeout=30)))
        thread.start()
        answer = self.service.post("sup", "execute", code=KILLS_ITS_SUPERVISOR, timeout=20)
        self.assertEqual(answer["exit_code"], 137, answer)
        self.assertIn("killed its own supervisor", answer["error"])
        self.assertEqual(self.shell("sup", COUNT_EVIL)["output"], "0\n")
        thread.join()
        self.assertEqual(other.get("output"), "untouched\n", other)

    def test_deadline_ends_every_descendant(self):
        code = limits_test.SURVIVORS.replace("range(50)", "range(8)")
        answer = self.service.post("late", "execute", code=code, timeout=3)
        self.assertTrue(answer["timed_out"], answer)
        self.assertIn("ready", answer["output"])
        self.assertEqual(self.service.post("late", "execute", code=limits_test.COUNT)["output"].strip(), "1")

    def test_files_packages_and_archives_work(self):
        self.service.post("files", "file", path="d/a.txt", content="text")
        status, read = self.service.call("GET", "files", "/file?path=d/a.txt")
        self.assertEqual((status, read["content"]), (200, "text"))
        self.shell("files", "python3 -c \"import zipfile; zipfile.ZipFile('z.zip','w').writestr('in/b', 'zipped')\"")
        self.assertTrue(self.service.post("files", "unzip", path="z.zip", destination="out")["success"])
        self.assertEqual(self.shell("files", "cat out/in/b")["output"], "zipped")
        status, listed = self.service.call("GET", "files", "/pip/list")
        self.assertEqual(status, 200, listed)
        if os.path.exists("/usr/lib/python3/dist-packages/pip"):
            self.assertIn("pip ", listed["output"])

    def test_a_killed_host_is_followed_and_nothing_is_left(self):
        root = self.new_root()
        first = self.new_service(root).start()
        first.post("heir", "shell", command="echo kept > file; echo boot > /tmp/boot")
        first.stop(signal.SIGKILL)
        with self.new_service(root) as second:
            self.assertEqual(second.post("heir", "shell", command="cat file /tmp/boot")["output"], "kept\nboot\n")
            self.assertEqual(second.call("DELETE", "heir", "?purge=true")[0], 200)
            self.assertEqual(harness.sandbox_processes(root), [])
            self.assertEqual(os.listdir(root + "/data"), [])


if __name__ == "__main__":
    unittest.main()
