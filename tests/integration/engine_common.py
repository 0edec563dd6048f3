# SPDX-License-Identifier: Apache-2.0
"""What tests do with an engine of any kind; docker_engine.py and incus_engine.py have the rest.

    class OwnEngine(OwnScript, Engine):
        program = "docker.sh"
    OwnEngine("--live-restore").up() … .close()
"""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time


def processes_beside(pids):
    """Every process in the PID namespaces of these."""
    spaces, found = set(), []
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):  # it has ended meanwhile
            spaces.add(os.readlink(f"/proc/{pid}/ns/pid"))
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/ns/pid") in spaces:
                found.append(int(pid))
    return found


def folders_left(root, backend):
    """Of sandboxes, in the runtime folder; locks of users and the files of hosts stay."""
    run = pathlib.Path(root, "run", backend)
    return [str(p) for p in run.iterdir() if p.name not in ("locks", "hosts")] if run.exists() else []


class OwnScript:
    """An engine of a test's own, for one that breaks it; tests/engines/PROGRAM does the work.

    script/test stops what is left in CSB_TEST_ENGINES, its folder, when a test was killed itself."""
    program = ""
    dir = ""

    def make_folder(self, options):
        self.folder = tempfile.mkdtemp(prefix="csb-engine-", dir=os.environ.get("CSB_TEST_ENGINES") or "/tmp")
        self.dir, self.start_options = self.folder + "/e", options

    def do_script(self, action, *options):
        script = pathlib.Path(os.environ["CSB_SOURCE_DIR"], "tests/engines", self.program)
        done = subprocess.run([script, action, "--dir", self.dir, *options], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180)
        if done.returncode != 0:
            raise AssertionError(f"{self.program} {action}: {done.stdout}")
        return done.stdout

    def up(self):
        self.do_script("up", *self.start_options)
        return self

    def daemon(self, *which):
        """The process id of the engine's daemon; of a cluster, of the member `which`."""
        return int(self.do_script("pid", *which))

    def stop(self, sig=signal.SIGKILL, *which, seconds=40):
        """Ends the daemon, and nothing else, with this signal."""
        pid = self.daemon(*which)
        os.kill(pid, sig)
        deadline = time.monotonic() + seconds
        while os.path.exists(f"/proc/{pid}"):
            if time.monotonic() > deadline:
                raise AssertionError(f"the daemon {pid} of {self.program} does not end")
            time.sleep(0.02)

    def close(self):
        self.do_script("down", "--purge")
        shutil.rmtree(self.folder)
