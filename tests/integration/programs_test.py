#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
# backends: bubblewrap docker incus incus-cluster
"""What ordinary programs need of a sandbox, and what is left on the machine when it is gone."""
import glob
import os
import subprocess
import tempfile
import textwrap
import unittest
import zipfile

import harness
from harness import BINARY, ENGINE


def wheel(folder):
    """A package without dependencies, as a wheel."""
    path = os.path.join(folder, "csb_sample-1.0-py3-none-any.whl")
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("csb_sample.py", "ANSWER = 42\n")
        info = "csb_sample-1.0.dist-info/"
        z.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: csb-sample\nVersion: 1.0\n")
        z.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr(info + "RECORD", "csb_sample.py,,\n%sMETADATA,,\n%sWHEEL,,\n%sRECORD,,\n" % (info, info, info))
    return path


def groups():
    return {p for p in glob.glob("/sys/fs/cgroup/**/clara-sandbox/*/cgroup.procs", recursive=True)}


class Programs(unittest.TestCase):
    def setUp(self):
        harness.need(harness.BACKEND)
        folder = tempfile.TemporaryDirectory(prefix="csb-programs-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        os.chmod(self.folder, 0o711)
        self.options = [*harness.folders(self.folder), *harness.limits(timeout=30)]
        if ENGINE:
            self.addCleanup(ENGINE.remove_all, self.folder)

    def run_in(self, *command, stdin=b"", more=()):
        return subprocess.run([BINARY, "run", "--backend", harness.BACKEND, *self.options, *more, *command], input=stdin,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)

    def python(self, code, **more):
        return self.run_in("-c", textwrap.dedent(code), **more)

    def test_python_has_threads_processes_and_sockets(self):
        done = self.python("""
            import asyncio, multiprocessing, os, socket, subprocess, tempfile, threading, queue
            q = queue.Queue()
            threads = [threading.Thread(target=q.put, args=(i,)) for i in range(20)]
            [t.start() for t in threads]; [t.join() for t in threads]
            assert q.qsize() == 20
            with multiprocessing.Pool(3) as pool:
                assert pool.map(abs, [-1, -2]) == [1, 2]
            assert subprocess.check_output(["echo", "hi"]) == b"hi\\n"
            async def talk():
                async def serve(reader, writer):
                    writer.write(await reader.readline()); await writer.drain(); writer.close()
                server = await asyncio.start_server(serve, "127.0.0.1", 0)
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                writer.write(b"echo\\n")
                return await reader.readline()
            assert asyncio.run(talk()) == b"echo\\n"
            with tempfile.NamedTemporaryFile() as f: f.write(b"x")
            m = multiprocessing.shared_memory.SharedMemory(create=True, size=4096)
            m.close(); m.unlink()
            print("fine", os.cpu_count() > 0)
        """.replace("import asyncio,", "import multiprocessing.shared_memory, asyncio,"))
        self.assertEqual(done.stdout, b"fine True\n", done.stderr)

    def test_a_compiler_and_git_work(self):
        if self.run_in("--", "sh", "-c", "command -v gcc && command -v git").returncode != 0:
            self.skipTest("gcc and git are not installed there")
        done = self.run_in("--", "sh", "-ec", """
            printf '#include <stdio.h>\\nint main(){puts("built");}' > a.c; gcc a.c -o a; ./a
            git init -q repo; cd repo; git config user.email a@b; git config user.name n
            echo x > f; git add f; git commit -qm one; git log --format=%s""")
        self.assertEqual(done.stdout, b"built\none\n", done.stderr)

    def test_a_wheel_is_installed_without_a_network_and_stays(self):
        with open(wheel(self.folder), "rb") as f:
            content = f.read()
        put = self.run_in("--user", "w", "--", "sh", "-c", "cat > csb_sample-1.0-py3-none-any.whl", stdin=content)
        self.assertEqual(put.returncode, 0, put.stderr)
        done = self.run_in("--user", "w", "--", "python3", "-m", "pip", "install", "-q", "--no-index",
                           "./csb_sample-1.0-py3-none-any.whl")
        self.assertEqual(done.returncode, 0, done.stderr)
        seen = self.run_in("--user", "w", "-c", "import csb_sample; print(csb_sample.ANSWER, csb_sample.__file__)")
        self.assertTrue(seen.stdout.startswith(b"42 /workspace/.local/"), seen)

    def test_nothing_of_the_host_is_inherited(self):
        os.environ["CSB_TEST_SECRET"] = "secret"
        self.addCleanup(os.environ.pop, "CSB_TEST_SECRET")
        done = self.run_in("--", "sh", "-c", "env; ls -l /proc/self/fd; cat /proc/1/environ 2>&1")
        self.assertNotIn(b"secret", done.stdout)

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_nothing_is_left_when_it_is_gone(self):
        before = groups()
        self.python("print(1)")
        if ENGINE:
            self.assertEqual(ENGINE.containers(self.folder), [])
        left = [p for p in groups() - before if open(p).read()]
        self.assertEqual(left, [])
        loops = subprocess.run(["losetup", "-a"], stdout=subprocess.PIPE).stdout.decode()
        self.assertNotIn(self.folder, loops)
        with open("/proc/self/mountinfo") as mounts:
            self.assertNotIn(self.folder, mounts.read())


if __name__ == "__main__":
    unittest.main()
