# SPDX-License-Identifier: Apache-2.0
"""A hundred calls and more with interrupts, kills, floods and pictures leave nothing behind: no process, no descriptor,
no memory, neither in the host nor in the sandbox's agent. CSB_TEST_SOAK_ROUNDS (8) is how often all of them are made."""
import os
import random
import unittest

import harness

ROUNDS = int(os.environ.get("CSB_TEST_SOAK_ROUNDS", "8"))
# As the agent's clock of idle supervisors and interpreters goes; what is kept on purpose is there before, too.
PICTURE = "class P:\n  def _repr_png_(self): return b'x' * 300000\ndisplay(P())"


class Soak(unittest.TestCase):
    def setUp(self):
        harness.need(harness.BACKEND)

    def calls(self, service):
        post = service.post
        at = self.random.choice(["a", "b"])
        post("s", "execute", code="x = 1", context=at)
        self.assertEqual(len(post("s", "execute", code=PICTURE, context=at)["results"]), 1)
        self.assertTrue(post("s", "execute", code="import time\ntime.sleep(60)", context=at, timeout=0.2)["timed_out"])
        self.assertEqual(post("s", "execute", code="import os\nos._exit(3)", context="dies")["exit_code"], 3)
        self.assertTrue(post("s", "execute", code="x", context="dies")["context"]["lost"])
        post("s", "execute", code="print('y' * 3_000_000)", output={"head": 100, "tail": 100})
        self.assertTrue(post("s", "execute", code="while True: pass", timeout=0.2)["timed_out"])
        post("s", "execute", code="import os\nif os.fork() == 0:\n  os.setsid()\n  os.execvp('sleep', ['sleep', '1000'])")
        self.assertEqual(post("s", "execute", code="import os\nos.kill(os.getpid(), 9)")["exit_code"], 137)
        post("s", "execute", code="print(1)", results=True)
        post("s", "shell", command="setsid sleep 1000 & head -c 3000000 /dev/zero", output={"head": 10, "tail": 10})
        kept = post("s", "shell", command="head -c 3000000 /dev/zero | tr '\\0' z", keep=True, output={"head": 10, "tail": 10})
        service.call("GET", "s", f"/processes/{kept['handle']}/output?offset=-10")
        yielded = post("s", "shell", command="echo a; sleep 1000", yield_after=0.2)
        for handle in (kept["handle"], yielded["handle"]):
            self.assertEqual(service.call("DELETE", "s", f"/processes/{handle}")[0], 200)
        started = service.call("POST", "s", "/processes", {"command": "yes", "terminal": {"rows": 5, "cols": 5}})[1]
        service.call("POST", "s", f"/processes/{started['handle']}/signal", {"signal": "KILL"})
        service.call("POST", "s", f"/processes/{started['handle']}/wait", {"timeout": 20})
        self.assertEqual(service.call("DELETE", "s", f"/processes/{started['handle']}")[0], 200)

    def count(self, service):
        """What there is once nothing runs: descriptors and KiB of the host and of the agent, processes inside."""
        agent = min(harness.sandbox_processes(service.root))
        inside = service.post("s", "shell", command="ls -d /proc/[0-9]* | wc -l")["output"]
        told = {"processes": int(inside)}
        for name, pid in (("host", service.process.pid), ("agent", agent)):
            told[f"{name} descriptors"] = len(os.listdir(f"/proc/{pid}/fd"))
            with open(f"/proc/{pid}/status", encoding="ascii") as file:
                told[f"{name} KiB"] = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
        return told

    def test_nothing_is_left_behind(self):
        seed = random.randrange(1 << 32)
        self.random = random.Random(seed)
        # A few supervisors and interpreters are kept for the next calls, of which there may be more or fewer.
        spare = {"processes": 8, "host descriptors": 8, "agent descriptors": 8, "host KiB": 24 << 10, "agent KiB": 4 << 10}
        with harness.Service(env={**os.environ, "ASAN_OPTIONS": "quarantine_size_mb=4"}) as service:
            for _ in range(2):
                self.calls(service)
            before = self.count(service)
            for _ in range(ROUNDS):
                self.calls(service)
            after = self.count(service)
            grown = {name: after[name] - before[name] for name in before}
            print(f"seed {seed}, before {before}, grown {grown}")
            for name, most in spare.items():
                self.assertLessEqual(grown[name], most, f"{name}: seed {seed}")


if __name__ == "__main__":
    unittest.main()
