# SPDX-License-Identifier: Apache-2.0
# timeout: 400
# backends: remote-bubblewrap
"""Peers that answer badly (tests/fake_servers/bad_peer.py): a typed cause for each, in time, and nothing lost beside it."""
import json
import pathlib
import subprocess
import threading
import time
import unittest

import harness
from harness import Service, explain
from remote_peer import KEY, to

from bad_peer import BEHAVIOURS, BadPeer, Recorder

SENT_AND_LOST = {500, 503}  # it may have run; 503 only where it surely has not
WAIT = 2
# What a client is told of an execute: statuses, and a word of the message.
TABLE = {
    "no-answer": ({500, 503, 504}, "did not answer|no answer|timed out|within|seconds|may have run"),
    "slow-drip": ({500, 503, 504}, "did not answer|no answer|timed out|within|seconds|may have run|slow"),
    "half-answer": (SENT_AND_LOST, "may have run|ended|closed|cut|incomplete"),
    "half-chunks": (SENT_AND_LOST, "may have run|ended|closed|cut|incomplete"),
    "half-head": (SENT_AND_LOST, ""),
    "no-head": (SENT_AND_LOST, "may have run|ended|closed|no answer|empty"),
    "reset": (SENT_AND_LOST, "may have run|reset|closed"),
    "no-http": (SENT_AND_LOST, "HTTP|may have run"),
    "endless-head": (SENT_AND_LOST, "header|too large|larger|may have run"),
    "huge-json": (SENT_AND_LOST, "too much|too large|larger"),
    "deep-json": (SENT_AND_LOST, "JSON|not understood|no answer of"),
    "wrong-type": (SENT_AND_LOST, "JSON|not understood|text/plain|no answer of"),
    "html-page": (SENT_AND_LOST, "502"),
    "html-page-200": (SENT_AND_LOST, "JSON|not understood|text/html|no answer of"),
    "json-list": (SENT_AND_LOST, ""),
    "json-of-wrong-types": (SENT_AND_LOST, ""),
    "json-without-members": (SENT_AND_LOST, ""),
    "json-cut": (SENT_AND_LOST, "JSON|not understood|no answer of"),
    "json-not-utf8": (SENT_AND_LOST, ""),
    "empty-200": (SENT_AND_LOST, ""),
    "nothing-204": (SENT_AND_LOST, ""),
    "redirect": (SENT_AND_LOST, "redirect"),
    "redirect-307": (SENT_AND_LOST, "redirect"),
    "redirect-308": (SENT_AND_LOST, "redirect"),
    "redirect-loop": (SENT_AND_LOST, "redirect"),
    # The client's own key is right: 401 would tell it otherwise.
    "status-401": (SENT_AND_LOST, "key"),
    "status-403": (SENT_AND_LOST | {403}, "key|refused|Not authenticated|403"),
    "status-404": ({500, 501, 503}, ""),
    "status-429": ({429, 503}, "Rate limit exceeded|too many"),
    "status-500": (SENT_AND_LOST, "500|Internal Server Error"),
    "status-503": ({503}, "Docker daemon not running"),
    "status-503-long": ({503}, "no capacity"),
    "status-999": (SENT_AND_LOST, ""),
    "continue-for-ever": ({500, 503, 504}, ""),
    "two-lengths": (SENT_AND_LOST, ""),
    "bomb": (SENT_AND_LOST, ""),
}
FINE = {"good", "status-429-once", "wrong-type-with-json", "json-of-huge-numbers"}  # an answer or an error, both will do


def setUpModule():
    harness.need("remote")


def rss_kib(service):
    return service.rss_kib()


class BadPeers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.elsewhere = Recorder().__enter__()
        cls.addClassCleanup(cls.elsewhere.__exit__)
        cls.peer = BadPeer(key=KEY, elsewhere=cls.elsewhere.url).start()
        cls.addClassCleanup(cls.peer.close)
        cls.near = Service(f"--remote.request_timeout={WAIT}", remote=to(cls.peer.url)).start()
        cls.addClassCleanup(cls.near.__exit__)

    def tearDown(self):
        self.near.users.clear()  # to be purged they would have to be answered well
        self.assertIsNone(self.near.process.poll(), self.near.log_text()[-2000:])

    def execute(self, user):
        began = time.monotonic()
        status, answer = self.near.call("POST", user, "/execute", {"code": "1", "timeout": 1}, timeout=60)
        return status, answer, time.monotonic() - began

    def test_the_table_has_all(self):
        self.assertEqual(set(TABLE) | FINE, set(BEHAVIOURS))

    def test_each_has_a_typed_cause(self):
        for name, (statuses, word) in TABLE.items():
            with self.subTest(name):
                sent = len(self.peer.requests)
                status, answer, took = self.execute(name)
                self.assertIn(status, statuses, answer)
                self.assertRegex(answer["error"] + " " + answer["detail"], word or ".")
                self.assertTrue(answer["error"])
                self.assertTrue(answer["code"])
                self.assertNotIn(KEY, json.dumps(answer))
                self.assertLess(took, 4 * WAIT + 4)
                runs = [r for r in self.peer.requests[sent:] if r.target.endswith("/execute")]
                if name not in ("status-429", "status-503", "status-503-long"):
                    self.assertEqual(len(runs), 1, "what may have run is not sent again")
        self.assertEqual(self.elsewhere.requests, [], "nothing follows a redirect, the key least of all")
        self.assertEqual(self.execute("good")[1]["output"], "ok\n")

    def test_fine_ones(self):
        for name in FINE:
            with self.subTest(name):
                status, answer, _ = self.execute(name)
                self.assertTrue(status == 200 or answer["error"], answer)
                self.assertEqual(self.execute("good")[0], 200)

    def test_files_and_life(self):
        """Other calls read other answers: none may take the host along or look like success."""
        self.peer.life = True
        self.addCleanup(setattr, self.peer, "life", False)
        for name in TABLE:
            if name in ("no-answer", "slow-drip", "continue-for-ever"):
                continue  # each of these costs its time
            for method, path, body in (("GET", "/file?path=x", None), ("GET", "/files", None), ("GET", "/status", None),
                                       ("POST", "/file", {"path": "x", "content": "y"}), ("POST", "/create", {}),
                                       ("DELETE", "?purge=true", None), ("POST", "/stop", {})):
                with self.subTest(f"{name} {method} {path}"):
                    status, answer = self.near.call(method, name, path, body, timeout=60)
                    self.assertNotEqual(status, 401)
                    if path in ("/stop", "?purge=true") and status == 200:
                        self.assertEqual(answer["status"], "not_found", "nobody of this name is known")
                    elif status < 300:
                        self.fail(answer)
                    else:
                        self.assertTrue(answer["error"])
        self.assertEqual(self.elsewhere.requests, [])

    def test_what_is_large_does_not_stay_in_memory(self):
        self.execute("good")
        before = rss_kib(self.near)
        threads = [threading.Thread(target=self.execute, args=(name,)) for name in ("huge-json", "bomb", "endless-head") * 2]
        most = 0
        for t in threads:
            t.start()
        while any(t.is_alive() for t in threads):
            most = max(most, rss_kib(self.near))
            time.sleep(0.02)
        if "asan" not in pathlib.Path(f"/proc/{self.near.process.pid}/maps").read_text():
            self.assertLess(most - before, 96 << 10)

    def test_a_wait_that_the_peer_asks_for_is_told(self):
        for name, least in (("status-429", 7), ("status-503", 11)):
            with self.subTest(name):
                self.near.users.add(name)
                status, fields, _ = self.near.request("POST", f"/sandbox/{name}/execute", '{"code":"1"}',
                                                      {"Content-Type": "application/json"})
                self.assertIn(status, (429, 503))
                self.assertTrue("Retry-After" not in fields or int(fields["Retry-After"]) > 0, least)

    def test_neighbours_are_not_held_up(self):
        slow = [threading.Thread(target=self.execute, args=(name,)) for name in ("no-answer", "slow-drip", "continue-for-ever") * 4]
        for t in slow:
            t.start()
        worst = 0
        while any(t.is_alive() for t in slow):
            status, _, took = self.execute("good")
            self.assertEqual(status, 200)
            worst = max(worst, took)
        self.assertLess(worst, 1)


class Described(unittest.TestCase):
    """The peer's own description is as hostile as its answers."""

    def test_explain_says_what_is_wrong_in_time(self):
        with Recorder() as elsewhere, BadPeer(key=KEY, elsewhere=elsewhere.url) as peer:
            for name in ("no-answer", "slow-drip", "half-answer", "no-http", "endless-head", "huge-json", "deep-json", "html-page-200",
                         "json-list", "json-without-members", "redirect-308", "status-401", "status-404", "status-503",
                         "continue-for-ever"):
                with self.subTest(name):
                    peer.always = name
                    began = time.monotonic()
                    found = explain("remote", f"--remote.request_timeout={WAIT}", remote=to(peer.url))
                    self.assertLess(time.monotonic() - began, 25)
                    self.assertFalse(found["available"], found)
                    self.assertTrue(found["reason"], found)
                    self.assertNotIn(KEY, json.dumps(found))
            self.assertEqual(elsewhere.requests, [])

    def test_a_service_that_is_none_of_these(self):
        with Recorder() as web:  # answers everything with 200 and some JSON
            found = explain("remote", remote=to(web.url))
            self.assertTrue(found["reason"], found)

    def test_doctor_tells_as_well(self):
        with BadPeer(key="another") as peer:
            ran = subprocess.run([harness.BINARY, "doctor", "--sandbox.mode=remote", *to(peer.url)], capture_output=True, text=True,
                                 timeout=60)
            self.assertIn("SANDBOX_API_KEY", ran.stdout + ran.stderr)


if __name__ == "__main__":
    unittest.main()
