# SPDX-License-Identifier: Apache-2.0
# backends: bubblewrap docker incus
"""`clara-sandbox run` on the real engine: exit codes, live output, stdin, signals. And the ends of serve and stdio."""
import contextlib
import json
import os
import pathlib
import pty
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from faults import Call
from harness import BACKEND, BINARY, ENGINE, Service, folders, free_port, limits, need


def setUpModule():
    need(BACKEND)


def bare_folders(root):
    """Without the backend's own options, which nobody knows where its plugin is not."""
    return [each for each in folders(root) if not each.startswith(f"--{BACKEND}.")]


class Run(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = tempfile.mkdtemp(prefix="csb-cli-")
        os.chmod(cls.root, 0o711)

    @classmethod
    def tearDownClass(cls):
        if ENGINE:
            ENGINE.remove_all(cls.root)
        shutil.rmtree(cls.root, ignore_errors=True)

    def words(self, *args):
        return [BINARY, "run", "--backend", BACKEND, "--user", "cli", *folders(self.root), *args]

    def run_(self, *args, stdin=subprocess.DEVNULL, **kwargs):
        if "input" in kwargs:
            stdin = None
        return subprocess.run(self.words(*args), stdin=stdin, capture_output=True, timeout=120, **kwargs)

    def start(self, *args, **kwargs):
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **kwargs}
        return subprocess.Popen(self.words(*args), **options)

    def file(self, text, name="script.py"):
        path = os.path.join(self.root, name)
        pathlib.Path(path).write_text(text, encoding="utf-8")
        return path

    def test_output_and_exit_code(self):
        result = self.run_("-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)")
        self.assertEqual((result.returncode, result.stdout, result.stderr), (7, b"out\n", b"err\n"))

    def test_success_says_nothing_more(self):
        result = self.run_("-c", "print(1)")
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, b"1\n", b""))

    def test_a_file_with_arguments(self):
        path = self.file("import sys\nprint(sys.argv[1:])\n")
        result = self.run_(path, "a b", "--timeout", "x", "--", "ü")
        self.assertEqual((result.returncode, result.stdout.decode()), (0, "['a b', '--timeout', 'x', '--', 'ü']\n"))
        result = self.run_("-c", "import sys; print(sys.argv[1:])", "--", "-x", "y")
        self.assertEqual(result.stdout, b"['-x', 'y']\n")

    def test_code_from_stdin(self):
        result = self.run_("-", "arg", input=b"import sys; print(sys.argv[1], sys.stdin.read() == '')")
        self.assertEqual((result.returncode, result.stdout), (0, b"arg True\n"))

    def test_a_command(self):
        result = self.run_("--", "sh", "-c", 'printf "%s|" "$@"; exit 9', "sh", "a b", "$HOME", "--help")
        self.assertEqual((result.returncode, result.stdout), (9, b"a b|$HOME|--help|"))

    def test_a_command_that_is_not_there(self):
        result = self.run_("--", "no-such-command")
        self.assertEqual(result.returncode, 127, result)
        self.assertIn(b"no-such-command", result.stderr)

    def test_a_signal_is_128_and_its_number(self):
        result = self.run_("--", "sh", "-c", "kill -9 $$")
        self.assertEqual(result.returncode, 137)

    def test_the_timeout_says_what_to_do(self):
        began = time.monotonic()
        result = self.run_("--timeout", "0.5", "-c", "import time; print('partial', flush=True); time.sleep(60)")
        self.assertEqual((result.returncode, result.stdout), (124, b"partial\n"))
        self.assertIn(b"Execution timed out", result.stderr)
        self.assertIn(b"timeout", result.stderr.split(b"\n", 1)[1], "a hint")
        self.assertLess(time.monotonic() - began, 30)

    def test_out_of_memory_says_what_to_do(self):
        result = self.run_(*limits(memory="128m"), "--user", "cli-oom", "-c", "x = bytearray(1 << 30); print(len(x))")
        if result.returncode == 1:
            self.assertIn(b"MemoryError", result.stderr)  # where only rlimits hold
        else:
            self.assertEqual(result.returncode, 137)
            self.assertIn(b"OOM killed", result.stderr)

    def test_output_comes_as_it_is_written(self):
        process = self.start("-c", "import time\nfor i in range(50): print(i, flush=True); time.sleep(0.2)")
        first = process.stdout.readline()
        second = process.stdout.readline()
        self.assertEqual((first, second, process.poll()), (b"0\n", b"1\n", None))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)

    def test_bytes_pass_unchanged(self):
        data = bytes(range(256)) * 4096
        result = self.run_("--", "cat", input=data)
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        self.assertEqual(result.stdout, data)

    def test_stdin_is_a_conversation(self):
        process = self.start("-c", "while True: print('you said', input(), flush=True)", stdin=subprocess.PIPE)
        for word in (b"one", b"two"):
            process.stdin.write(word + b"\n")
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), b"you said " + word + b"\n")
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"EOFError", err)

    def test_stdin_that_nobody_reads_does_not_hinder(self):
        read, write = os.pipe()
        try:
            began = time.monotonic()
            process = self.start("-c", "print('done')", stdin=read)
            self.assertEqual(process.communicate(timeout=60)[0], b"done\n")
            self.assertLess(time.monotonic() - began, 30)
        finally:
            os.close(read)
            os.close(write)

    def test_a_slow_reader_makes_the_code_wait_and_not_the_host_grow(self):
        def rss():
            return next(int(line.split()[1]) for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines()
                        if line.startswith("VmRSS:"))
        process = self.start("--timeout", "60", "--", "sh", "-c", "echo up; read go; head -c 300000000 /dev/zero; echo end >&2",
                             stdin=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), b"up\n")
        before = rss()  # a sanitizer's shadow is part of it
        process.stdin.write(b"go\n")
        process.stdin.close()
        time.sleep(3)
        self.assertLess(rss() - before, 100_000)  # KiB
        total = 0
        while chunk := process.stdout.read1(1 << 20):
            total += len(chunk)
        self.assertEqual((process.wait(timeout=60), total), (0, 300000000))
        process.stderr.close()
        process.stdout.close()

    def test_a_reader_that_leaves(self):
        process = self.start("--timeout", "100", "--", "yes")
        process.stdout.readline()
        process.stdout.close()
        self.assertEqual(process.wait(timeout=30), 141)
        process.stderr.close()

    def test_a_full_disk_is_told(self):
        with open("/dev/full", "wb") as full:
            result = subprocess.run(self.words("-c", "print(1)"), stdin=subprocess.DEVNULL, stdout=full,
                                    stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"No space left on device", result.stderr)

    def test_signals_end_the_code_and_the_sandbox(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process = self.start("--timeout", "100", "-c", "import time; print('up', flush=True); time.sleep(99)")
            self.assertEqual(process.stdout.readline(), b"up\n")
            began = time.monotonic()
            process.send_signal(number)
            process.communicate(timeout=60)
            self.assertEqual(process.returncode, 128 + number)
            self.assertLess(time.monotonic() - began, 20)

    def test_closed_standard_files_do_no_harm(self):
        script = 'exec 0<&- 1>&- 2>&-; exec "$@"'
        result = subprocess.run(["sh", "-c", script, "sh", *self.words("-c", "import sys; print(1); sys.exit(5)")],
                                timeout=60)
        self.assertEqual(result.returncode, 5)

    def test_files_stay_and_the_sandbox_does_not(self):
        self.assertEqual(self.run_("--user", "stay", "-c", "open('kept', 'w').write('x')").returncode, 0)
        self.assertEqual(self.run_("--user", "stay", "--", "cat", "kept").stdout, b"x")
        self.assertEqual(self.live("stay"), [])

    def test_keep_leaves_it_running_and_a_later_run_does_too(self):
        options = ["--user", "kept", *limits(timeout=20)]
        self.assertEqual(self.run_(*options, "--keep", "-c", "print(1)").returncode, 0)
        self.assertEqual(len(self.live("kept")), 1)
        self.assertEqual(self.run_(*options, "-c", "print(1)").returncode, 0)
        self.assertEqual(len(self.live("kept")), 1)
        deadline = time.monotonic() + 60  # its idle time
        while (live := self.live("kept")) and time.monotonic() < deadline:
            time.sleep(0.5)
        self.assertEqual(live, [])  # asked again, Incus may take back for a moment that one has ended

    def live(self, user):
        """The pids of the user's sandboxes; a record whose process is gone is swept by the next host."""
        if ENGINE:
            return ENGINE.running(self.root, user)
        pids = []
        for record in pathlib.Path(self.root, "run").glob(f"{user}-*/live.json"):
            pid = json.loads(record.read_text())["init"]["pid"]
            with contextlib.suppress(OSError):
                if "\nState:\tZ" not in pathlib.Path(f"/proc/{pid}/status").read_text():
                    pids.append(pid)
        return pids

    def test_two_runs_of_one_user_share_the_files_and_not_the_fate(self):
        first = self.start("--timeout", "60", "-c",
                           "import os, time\nprint('up', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.05)\nprint('end')")
        self.assertEqual(first.stdout.readline(), b"up\n")
        self.assertEqual(self.run_("--", "touch", "go").returncode, 0)
        out, err = first.communicate(timeout=60)
        self.assertEqual((out, first.returncode), (b"end\n", 0), err)

    def at_a_terminal(self, *args, dialogue):
        """Exit code and what the terminal showed; dialogue: (what to wait for, what to type)."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(BINARY, [str(w) for w in self.words(*args)])
        shown = b""
        while True:
            try:
                data = os.read(terminal, 4096)
            except OSError:  # EIO: the other side is gone
                break
            if not data:
                break
            shown += data
            if dialogue and dialogue[0][0] in shown:
                os.write(terminal, dialogue.pop(0)[1])
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown

    def test_a_conversation_at_a_terminal(self):
        code, shown = self.at_a_terminal("-c", "print('name?'); print('hi', input())", dialogue=[(b"name?", b"bob\n")])
        self.assertEqual(code, 0, shown)
        self.assertIn(b"hi bob", shown)

    def test_control_c_at_a_terminal(self):
        code, shown = self.at_a_terminal("--timeout", "60", "-c", "import time; print('up', flush=True); time.sleep(60)",
                                         dialogue=[(b"up", b"\x03")])
        self.assertEqual(code, 130, shown)

    def test_without_a_backend_it_says_so(self):
        with tempfile.TemporaryDirectory() as empty:
            words = [BINARY, "run", "--backend", BACKEND, *bare_folders(self.root), f"--sandbox.plugin_dirs={empty}", "-c", "1"]
            result = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
        self.assertEqual(result.returncode, 1)
        self.assertIn(f"backend {BACKEND} is not installed or not enabled".encode(), result.stderr)

    def test_code_that_is_no_text(self):
        path = os.path.join(self.root, "latin.py")
        pathlib.Path(path).write_bytes(b"print('\xe4')")
        result = self.run_(path)
        self.assertEqual(result.returncode, 2)
        self.assertIn(b"is not UTF-8 text", result.stderr)


@contextlib.contextmanager
def service_that_ends(*options):
    """A service that the test stops; it is started again to destroy the sandboxes, which outlive it."""
    with Service(*options) as service:
        try:
            yield service
        finally:
            if service.process is None or service.process.poll() is not None:
                service.start()


class Shutdown(unittest.TestCase):
    def test_sigterm_lets_what_runs_end(self):
        with service_that_ends() as service:
            service.post("alice", "shell", command="true")
            running = Call(service, "alice", "sleep 2; echo done").started()
            self.assertEqual(service.stop(), 0)
            self.assertEqual(running.end()[1]["output"], "done\n")

    def test_after_the_grace_what_runs_is_cancelled(self):
        with service_that_ends("--sandbox.shutdown_grace=1") as service:
            service.post("alice", "shell", command="true")
            running = Call(service, "alice", "sleep 60").started()
            began = time.monotonic()
            self.assertEqual(service.stop(), 0)
            self.assertLess(time.monotonic() - began, 20)
            running.thread.join(60)
            self.assertTrue(running.answer or running.error)

    def test_under_load(self):
        with service_that_ends("--sandbox.shutdown_grace=2") as service:
            stop = threading.Event()
            counts = {"ok": 0, "refused": 0, "other": []}

            def client(user):
                while not stop.is_set():
                    try:
                        status, answer = service.call("POST", user, "/shell", {"command": "echo x"}, timeout=30)
                        if status == 200 and answer["output"] == "x\n":
                            counts["ok"] += 1
                        elif status == 503:
                            counts["refused"] += 1
                        else:
                            counts["other"].append((status, answer))
                    except OSError:
                        counts["refused"] += 1
                        if service.process is None or service.process.poll() is not None:
                            return
                    except Exception as error:  # pylint: disable=broad-except
                        counts["other"].append(repr(error))
                        return

            threads = [threading.Thread(target=client, args=(f"load{i}",)) for i in range(6)]
            for thread in threads:
                thread.start()
            time.sleep(3)
            self.assertEqual(service.stop(), 0, service.log_text())
            stop.set()
            for thread in threads:
                thread.join(60)
            self.assertGreater(counts["ok"], 0)
            self.assertEqual(counts["other"], [])
            self.assertNotIn("Sanitizer", service.log_text())

    def test_a_second_signal_does_not_wait(self):
        with service_that_ends("--sandbox.shutdown_grace=60") as service:
            service.post("alice", "shell", command="true")
            running = Call(service, "alice", "sleep 50").started()
            service.process.send_signal(signal.SIGINT)
            time.sleep(0.7)  # it waits for what runs
            self.assertIsNone(service.process.poll())
            self.assertEqual(service.stop(signal.SIGINT), 130)
            running.thread.join(30)

    def test_a_signal_that_comes_twice_at_once_is_one(self):
        """As timeout(1) sends it: to the program, and to its group."""
        with service_that_ends() as service:
            service.post("alice", "shell", command="true")
            running = Call(service, "alice", "sleep 2; echo done").started()
            service.process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
            self.assertEqual(service.stop(), 0)
            self.assertEqual(running.end()[1]["output"], "done\n")

    def test_sighup_is_no_end(self):
        with Service() as service:
            service.process.send_signal(signal.SIGHUP)
            time.sleep(0.3)
            self.assertTrue(service.post("alice", "shell", command="true")["success"])
            self.assertIn("SIGHUP", service.log_text())

    def test_a_port_in_use_is_told(self):
        with socket.socket() as taken, tempfile.TemporaryDirectory() as root:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            result = subprocess.run([BINARY, "serve", f"--http.port={port}", *folders(root)], capture_output=True,
                                    text=True, timeout=60)
        self.assertEqual(result.returncode, 1)
        self.assertIn(str(port), result.stderr)

    def test_beyond_loopback_without_a_key_is_refused(self):
        with tempfile.TemporaryDirectory() as root:
            result = subprocess.run([BINARY, "serve", "--http.host=0.0.0.0", f"--http.port={free_port()}", *folders(root)],
                                    capture_output=True, text=True, timeout=60)
        self.assertIn(result.returncode, (1, 2))
        self.assertIn("key", result.stderr)

    def test_without_a_backend_it_stays_up_and_says_unhealthy(self):
        with tempfile.TemporaryDirectory() as root:
            usual = pathlib.Path(BINARY).parent.parent / "lib" / "clara-sandbox" / "plugins"
            os.symlink(usual / "http.so", f"{root}/http.so")
            port = free_port()
            process = subprocess.Popen([BINARY, "serve", f"--http.port={port}", f"--sandbox.plugin_dirs={root}",
                                        *bare_folders(root)], stderr=subprocess.PIPE)
            try:
                service = Service()
                service.port = port
                deadline = time.monotonic() + 30
                status = None
                while status is None and time.monotonic() < deadline:
                    try:
                        status = service.request("GET", "/health")[0]
                    except OSError:
                        time.sleep(0.05)
                self.assertEqual(status, 503)
            finally:
                process.terminate()
                _, err = process.communicate(timeout=30)
                shutil.rmtree(service.root, ignore_errors=True)
            self.assertEqual(process.returncode, 0)
            self.assertIn(b"no backend could be started", err)

    def test_stdio_ends_with_its_input_and_makes_nothing(self):
        with tempfile.TemporaryDirectory() as root:
            began = time.monotonic()
            result = subprocess.run([BINARY, "stdio", "--user", "me", "--only", *folders(root)], input=b"", capture_output=True,
                                    timeout=60)
            self.assertEqual((result.returncode, result.stdout), (0, b""))
            self.assertLess(time.monotonic() - began, 10)
            self.assertFalse(os.path.exists(f"{root}/data") and os.listdir(f"{root}/data"))

    def test_stdio_ends_at_a_signal(self):
        with tempfile.TemporaryDirectory() as root:
            process = subprocess.Popen([BINARY, "stdio", *folders(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE)
            process.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
            process.stdin.flush()
            self.assertIn(b'"id":1', process.stdout.readline())
            process.terminate()
            process.wait(timeout=30)
            process.communicate()
            self.assertEqual(process.returncode, 0)


if __name__ == "__main__":
    sys.exit(unittest.main())
