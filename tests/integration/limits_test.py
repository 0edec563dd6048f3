# SPDX-License-Identifier: Apache-2.0
# backends: bubblewrap docker docker-exec incus incus-exec remote-bubblewrap
"""Limits hold, say what they did, and leave the next call working."""
import json
import os
import threading
import time
import unittest

import harness

# Children that try to survive: double-forked, in a session of their own, deaf to SIGTERM, stopped. 50 of each.
SURVIVORS = r"""
import os, signal, sys, time
def stay(how):
    if os.fork() == 0:
        if how == "setsid": os.setsid()
        if how == "double":
            if os.fork(): os._exit(0)
        if how == "deaf":
            for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(s, signal.SIG_IGN)
        if how == "stopped": os.kill(os.getpid(), signal.SIGSTOP)
        while True: time.sleep(1000)
for how in ("double", "setsid", "deaf", "stopped"):
    for _ in range(50): stay(how)
print("ready", flush=True)
time.sleep(1000)
"""

# Each small beside the agent's score.
MANY_EAT = """
import os, time
for _ in range(40):
    if os.fork() == 0:
        b = bytearray(os.urandom(1 << 20)) * 16
        time.sleep(1000)
time.sleep(1000)
"""

COUNT = """
import os
n = 0
for p in os.listdir('/proc'):
    if p.isdigit():
        try:
            n += open(f'/proc/{p}/comm').read().strip() == 'python3'
        except OSError:
            pass
print(n)
"""


class Limits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        harness.need(harness.BACKEND)
        # Without an interpreter that is kept for the next run: what is counted is what code has left.
        cls.service = harness.Service(*harness.limits(memory="256m", pids=512, disk="64m", cpu=1.0),
                                      "--sandbox.warm_python=0")
        cls.service.start()

    @classmethod
    def tearDownClass(cls):
        cls.service.__exit__()

    def test_deadline_kills_every_descendant_and_nothing_else(self):
        self.service.post("kill", "shell", command="true")
        untouched = {}

        def other():
            untouched.update(self.service.post("kill", "shell", command="sleep 6; echo untouched", timeout=30))

        thread = threading.Thread(target=other)
        thread.start()
        started = time.monotonic()
        answer = self.service.post("kill", "execute", code=SURVIVORS, timeout=3)
        took = time.monotonic() - started
        self.assertTrue(answer["timed_out"], answer)
        self.assertIn("Execution timed out", answer["error"])
        self.assertIn("ready", answer["output"], "partial output is kept")
        # Sent only when all are gone: the deadline, 100 ms for the kill, and room for a loaded machine.
        self.assertLess(took, 3 + 2.0)
        left = self.service.post("kill", "execute", code=COUNT)
        self.assertEqual(left["output"].strip(), "1", "only the counting interpreter itself is left")
        thread.join()
        self.assertEqual(untouched.get("output"), "untouched\n", untouched)

    def test_fork_bomb_ends_and_the_next_call_works(self):
        answer = self.service.post("bomb", "shell", command=":(){ :|:& };:; sleep 100", timeout=2)
        self.assertFalse(answer["success"])
        self.assertEqual(self.service.post("bomb", "shell", command="echo fine")["output"], "fine\n")

    def test_memory(self):
        answer = self.service.post("memory", "execute", code="b = bytearray(1 << 30)\nprint('survived')", timeout=60)
        self.assertFalse(answer["success"], answer)
        # Either the kernel kills the program or Python is told that there is no more.
        self.assertTrue(answer["oom_killed"] or "MemoryError" in answer["error"], answer)
        if answer["oom_killed"]:
            self.assertIn("OOM killed", answer["error"])
        self.assertEqual(self.service.post("memory", "shell", command="echo fine")["output"], "fine\n")

    def test_temporary_files_that_fill_the_memory_leave_the_next_call_working(self):
        # Empty files: only the kernel's own memory grows, which no process holds and no kill gives back.
        self.service.post("inodes", "shell", command="true")
        bounded = self.enforced("inodes", "memory")
        answer = self.service.post("inodes", "execute", timeout=60, code="""
import os
for d in range(10000):
    os.mkdir(f"/tmp/{d}")
    for n in range(1000): os.close(os.open(f"/tmp/{d}/{n}", os.O_CREAT | os.O_WRONLY))
""")
        self.assertFalse(answer["success"])
        if bounded:
            self.assertTrue(answer["oom_killed"], answer)
            self.assertIn("/tmp", answer["error"])
        self.assertEqual(self.service.post("inodes", "execute", code="print('fine')")["output"], "fine\n")

    def test_full_temporary_folders_leave_the_next_call_working(self):
        self.service.post("full", "shell", command="cat /dev/zero > /tmp/a; cat /dev/zero > /dev/shm/a; true", timeout=60)
        answer = self.service.post("full", "execute", code="import os; os.unlink('/tmp/a'); print(os.listdir('/workspace'))")
        self.assertTrue(answer["success"], answer)
        answer = self.service.post("full", "execute", code="import os; print(os.listdir('/workspace'))")
        self.assertEqual(answer["output"], "[]\n", "nothing of the code is left")

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_an_agent_that_runs_out_of_memory_is_told_and_replaced(self):
        self.service.post("agent", "shell", command="echo kept > file")
        if not self.enforced("agent", "memory"):
            self.skipTest("no control group bounds memory here")
        name = self.service.call("GET", "agent", "/status")[1]["container_id"]
        if harness.ENGINE:
            init = harness.ENGINE.pid(name)
        else:
            with open(f"{(self.service.far or self.service).root}/run/{name}/live.json") as f:
                init = json.load(f)["init"]["pid"]
        with open(f"/proc/{init}/oom_score_adj", "w") as score:
            score.write("1000")
        status, answer = self.service.call("POST", "agent", "/execute",
                                           {"code": MANY_EAT, "timeout": 60})
        self.assertGreaterEqual(status, 500, answer)
        self.assertIn("OOM killed", answer["error"])
        self.assertEqual(self.service.post("agent", "shell", command="cat file")["output"], "kept\n")

    def enforced(self, user, name):
        return self.service.call("GET", user, "/status")[1]["enforced"][name]["enforced"]

    def test_disk(self):
        status, info = self.service.call("POST", "disk", "/create", {})
        self.assertEqual(status, 200, info)
        answer = self.service.post("disk", "shell", command="head -c 200000000 /dev/zero > big; stat -c %s big", timeout=60)
        if info["enforced"]["disk"]["enforced"]:
            self.assertLess(int(answer["output"].split()[0]), 70_000_000, answer)
        self.service.post("disk", "shell", command="rm -f big")
        self.assertEqual(self.service.post("disk", "shell", command="echo fine > x; cat x")["output"], "fine\n")

    def test_two_floods_leave_the_host_flat(self):
        self.service.post("flood", "shell", command="true")
        before = self.service.rss_kib()
        answers = []
        command = "head -c 300000000 /dev/zero | tr '\\0' 'x'; echo END"
        threads = [threading.Thread(target=lambda: answers.append(
            self.service.post("flood", "shell", command=command, timeout=120))) for _ in range(2)]
        peak = before
        for t in threads:
            t.start()
        while any(t.is_alive() for t in threads):
            peak = max(peak, self.service.rss_kib())
            time.sleep(0.05)
        for answer in answers:
            self.assertTrue(answer["success"], str(answer)[:300])
            self.assertTrue(answer["truncated"])
            self.assertEqual(answer["stdout_bytes"], 300_000_004)
            self.assertTrue(answer["output"].startswith("xxx") and answer["output"].endswith("END\n"), "head and tail")
            self.assertIn("dropped", answer["output"])
        self.assertEqual(len(answers), 2)
        self.assertLess(peak - before, 64 << 10, "KiB that the host grew by")

    def test_enforced_is_read_back(self):
        status, info = self.service.call("POST", "truth", "/create", {})
        self.assertEqual(status, 200, info)
        for name in ("memory", "cpu", "pids", "disk", "network", "seccomp", "userns", "no_new_privs"):
            self.assertIn(name, info["enforced"])
            self.assertIn("by", info["enforced"][name])
        inside = self.service.post("truth", "shell", command="grep -E 'Seccomp:|NoNewPrivs|CapEff' /proc/self/status")
        self.assertIn("Seccomp:\t2", inside["output"])
        self.assertIn("NoNewPrivs:\t1", inside["output"])
        self.assertIn("CapEff:\t0000000000000000", inside["output"])

    def test_other_limits_on_a_live_sandbox_conflict(self):
        self.assertEqual(self.service.call("POST", "again", "/create", {"memory_limit": "128m"})[0], 200)
        status, answer = self.service.call("POST", "again", "/create", {"memory_limit": "200m"})
        self.assertEqual(status, 409, answer)


if __name__ == "__main__":
    unittest.main()
