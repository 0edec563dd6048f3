# SPDX-License-Identifier: Apache-2.0
# backends: bubblewrap docker incus remote-bubblewrap
"""Programs in the background and interpreters that keep their state: over REST, and over a host that is killed."""
import base64
import json
import shutil
import signal
import tempfile
import unittest

import harness


class Case(unittest.TestCase):
    def setUp(self):
        harness.need(harness.BACKEND)
        self.root = tempfile.mkdtemp(prefix="csb-test-")
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)

    def service(self, *options):
        return harness.Service(*options, root=self.root)

    def get(self, service, user, path):
        status, answer = service.call("GET", user, path)
        self.assertEqual(status, 200, answer)
        return answer

    def post(self, service, user, path, **body):
        status, answer = service.call("POST", user, path, body)
        self.assertEqual(status, 200, answer)
        return answer


class Processes(Case):
    def test_a_program_from_its_start_to_its_removal(self):
        with self.service() as service:
            self.assertEqual(service.call("GET", "p", "/processes")[0], 404, "a list makes no sandbox")
            started = self.post(service, "p", "/processes", command="while read line; do echo got $line; done; exit 5")
            handle = started["handle"]
            self.assertEqual((started["state"], started["kind"]), ("running", "process"))
            at = f"/processes/{handle}"
            self.assertEqual(self.post(service, "p", at + "/input", content="one\n")["written"], 4)
            shown = self.get(service, "p", at + "/output?wait=20")
            self.assertEqual((shown["output"], shown["running"]), ("got one\n", True))
            raw = base64.b64encode(b"two\n").decode()
            self.post(service, "p", at + "/input", content=raw, encoding="base64", eof=True)
            ended = self.post(service, "p", at + "/wait", timeout=20)
            self.assertEqual((ended["state"], ended["exit_code"], ended["cause"]), ("exited", 5, "exit"))
            more = self.get(service, "p", f"{at}/output?offset={shown['next_offset']}&encoding=base64")
            self.assertEqual(base64.b64decode(more["output"]), b"got two\n")
            self.assertEqual(service.call("POST", "p", at + "/input", {"content": "x"})[0], 409)
            self.assertEqual([one["handle"] for one in self.get(service, "p", "/processes")["processes"]], [handle])
            self.assertEqual(service.call("DELETE", "p", at)[1], {"status": "deleted"})
            status, answer = service.call("GET", "p", at)
            self.assertEqual(status, 404)
            self.assertIn(handle, answer["error"])

    def test_they_and_their_output_survive_a_host_that_is_killed(self):
        first = self.service().start()
        handle = self.post(first, "q", "/processes", command="echo before; read line; echo after $line")["handle"]
        self.get(first, "q", f"/processes/{handle}/output?wait=20")
        first.post("q", "execute", code="kept = 7", context="c")
        first.stop(signal.SIGKILL)
        with self.service() as second:
            self.assertEqual(self.get(second, "q", f"/processes/{handle}")["state"], "running")
            self.post(second, "q", f"/processes/{handle}/input", content="x\n")
            self.assertEqual(self.post(second, "q", f"/processes/{handle}/wait", timeout=20)["exit_code"], 0)
            self.assertEqual(self.get(second, "q", f"/processes/{handle}/output")["output"], "before\nafter x\n")
            self.assertEqual(second.post("q", "execute", code="print(kept)", context="c")["output"], "7\n")

    def test_signals_and_kills(self):
        with self.service() as service:
            handle = self.post(service, "s", "/processes", argv=["sleep", "60"])["handle"]
            self.post(service, "s", f"/processes/{handle}/signal", signal="TERM")
            ended = self.post(service, "s", f"/processes/{handle}/wait", timeout=20)
            self.assertEqual((ended["cause"], ended["signal"]), ("signal", 15))
            self.assertEqual(service.call("POST", "s", f"/processes/{handle}/signal", {"signal": "NO-SUCH"})[0], 422)

    def test_a_run_that_is_given_up_goes_on_and_one_that_is_cut_can_be_read(self):
        with self.service() as service:
            run = service.post("y", "shell", command="echo a; read x < fifo || sleep 1; echo b", yield_after=0.3)
            self.assertEqual((run["cause"], run["running"], run["output"]), ("running", True, "a\n"))
            at = f"/processes/{run['handle']}"
            self.assertEqual(self.post(service, "y", at + "/wait", timeout=20)["exit_code"], 0)
            self.assertIn("b\n", self.get(service, "y", at + "/output")["output"])
            cut = service.post("y", "shell", command="seq 1 5000", keep=True, output={"head": 100, "tail": 100})
            self.assertTrue(cut["truncated"])
            between = self.get(service, "y", f"/processes/{cut['handle']}/output?offset=100&limit=20")["output"]
            whole = "".join(f"{i}\n" for i in range(1, 5001))
            self.assertEqual(between, whole[100:120])

    def test_an_answer_as_a_model_reads_it(self):
        with self.service() as service:
            run = service.post("m", "shell", command="seq 1 5000; echo err >&2; exit 2", max_output=1000)
            whole = "".join(f"{i}\n" for i in range(1, 5001))
            self.assertTrue(run["output"].startswith(whole[:400]) and "bytes omitted, read_output(" in run["output"], run)
            self.assertLess(len(run["output"]), 1200)
            self.assertEqual((run["truncated"], run["exit_code"]), (True, 2))
            offset = int(run["output"].split("offset=")[1].split(")")[0])
            rest = self.get(service, "m", f"/processes/{run['handle']}/output?offset={offset}&limit=50")["output"]
            self.assertEqual(rest, whole[offset:offset + 50])
            short = service.post("m", "shell", command="echo häuser; echo err >&2", max_output=1000)
            self.assertEqual(sorted(short["output"].split()), ["err", "häuser"])
            self.assertNotIn("handle", short)
            binary = service.post("m", "shell", command="printf '\\211PNG\\r\\n\\032\\n'; head -c 5000 /dev/zero", max_output=1000)
            self.assertIn("(binary output: 5,008 bytes, looks like PNG image)", binary["output"])
            self.assertEqual(service.call("POST", "m", "/shell", {"command": "true", "max_output": 1})[0], 422)

    def test_its_output_live(self):
        with self.service() as service:
            handle = self.post(service, "l", "/processes", command="for i in 1 2 3; do echo $i; done; exit 3")["handle"]
            connection = service.connection()
            self.addCleanup(connection.close)
            path = f"/sandbox/{service.quote('l')}/processes/{handle}/output"
            connection.request("GET", path, headers={**service.keys(), "Accept": "application/x-ndjson"})
            lines = [json.loads(line) for line in connection.getresponse().read().splitlines()]
            self.assertEqual("".join(line["data"] for line in lines if line["event"] == "stdout"), "1\n2\n3\n")
            self.assertEqual((lines[-1]["event"], lines[-1]["exit_code"]), ("exit", 3))

    def test_bad_requests_are_told(self):
        with self.service() as service:
            service.post("b", "shell", command="true")
            for path, body in (("/processes", {}), ("/processes", {"command": "x", "argv": ["x"]}),
                               ("/processes", {"command": "x", "terminal": {"rows": 0}}),
                               ("/processes/p_x/signal", {}), ("/processes/p_x/wait", {"timeout": -1})):
                self.assertEqual(service.call("POST", "b", path, body)[0], 422, (path, body))
            for path in ("/processes/p_x", "/processes/p_x/output", "/processes/%2e%2e"):
                self.assertIn(service.call("GET", "b", path)[0], (404, 422), path)


class Contexts(Case):
    def test_state_stays_and_results_are_typed(self):
        with self.service() as service:
            self.assertEqual(service.call("GET", "c", "/contexts")[0], 404, "a list makes no sandbox")
            first = service.post("c", "execute", code="x = 20\nx + 1", context="work")
            self.assertEqual(first["results"], [{"kind": "value", "data": {"text/plain": "21"}}])
            self.assertEqual((first["context"]["name"], first["context"]["new"]), ("work", True))
            self.assertEqual(service.post("c", "execute", code="print(x)", context="work")["output"], "20\n")
            self.assertEqual(service.post("c", "execute", code="print('x' in globals())")["output"], "False\n")
            listed = self.get(service, "c", "/contexts")["contexts"]
            self.assertEqual([(one["name"], one["executions"]) for one in listed], [("work", 2)])
            self.assertEqual(self.get(service, "c", "/contexts/work")["state"], "idle")
            self.assertEqual(service.call("GET", "c", "/contexts/other")[0], 404)
            self.assertEqual(service.call("DELETE", "c", "/contexts/work")[1], {"status": "deleted"})
            self.assertEqual(service.call("DELETE", "c", "/contexts/work")[1], {"status": "not_found"})
            shown = service.post("c", "execute", code="class P:\n  def _repr_png_(self): return b'png'\ndisplay(P())",
                                 results=True)["results"]
            self.assertEqual(shown[0]["data"]["image/png"], base64.b64encode(b"png").decode())

    def test_figures_and_tables_are_shown_once_each(self):
        with self.service() as service:
            if service.post("f", "execute", code="import matplotlib, pandas", timeout=120)["exit_code"] != 0:
                self.skipTest("no matplotlib and pandas in this sandbox")
            shown = service.post("f", "execute", context="c", timeout=120, code="import matplotlib.pyplot as plt\n"
                                 "plt.plot([1, 2])\nplt.show()\nplt.figure()\nplt.bar([1], [2])\n"
                                 "fig, ax = plt.subplots()\nax.plot([3, 4])\nfig")["results"]
            pictures = [base64.b64decode(one["data"]["image/png"]) for one in shown]
            self.assertEqual([picture[:8] for picture in pictures], [b"\x89PNG\r\n\x1a\n"] * 3)
            self.assertEqual([one["kind"] for one in shown], ["display", "value", "display"])
            table = service.post("f", "execute", code="import pandas\npandas.DataFrame({'a': [1]})", context="c")["results"][0]
            self.assertIn("<table", table["data"]["text/html"])
            self.assertEqual(table["data"]["text/plain"], "   a\n0  1")

    def test_a_deadline_keeps_the_state_and_a_death_is_said(self):
        with self.service() as service:
            service.post("d", "execute", code="x = 1", context="c")
            late = service.post("d", "execute", code="import time\ntime.sleep(60)", context="c", timeout=1)
            self.assertEqual((late["timed_out"], late["context"]["kept"]), (True, True))
            self.assertEqual(service.post("d", "execute", code="print(x)", context="c")["output"], "1\n")
            dead = service.post("d", "execute", code="import os\nos.kill(os.getpid(), 9)", context="c")
            self.assertEqual((dead["exit_code"], dead["context"]["kept"]), (137, False))
            fresh = service.post("d", "execute", code="print('x' in globals())", context="c")
            self.assertEqual((fresh["output"], fresh["context"]["new"]), ("False\n", True))
            self.assertIn("signal 9", fresh["context"]["lost"])

    def test_events_of_a_streamed_execution(self):
        with self.service() as service:
            connection = service.connection()
            self.addCleanup(connection.close)
            service.users.add("e")
            connection.request("POST", f"/sandbox/{service.quote('e')}/execute",
                               json.dumps({"code": "print(1)\ndisplay(2)\n3", "context": "c"}),
                               {**service.keys(), "Accept": "application/x-ndjson", "Content-Type": "application/json"})
            lines = [json.loads(line) for line in connection.getresponse().read().splitlines()]
            self.assertEqual([line["event"] for line in lines], ["stdout", "result", "result", "exit"])
            self.assertEqual([line["kind"] for line in lines[1:3]], ["display", "value"])
            self.assertEqual(lines[3]["context"]["name"], "c")

    def test_modules_that_the_operator_names_are_there_already(self):
        with self.service("--sandbox.preload=decimal, json,no_such_module") as service:
            for _ in range(10):  # the first runs come before the interpreter has loaded them
                found = service.post("m", "execute", code="import sys\nprint('decimal' in sys.modules)")["output"]
                if found == "True\n":
                    break
            self.assertEqual(found, "True\n")


if __name__ == "__main__":
    unittest.main()
