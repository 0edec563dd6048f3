# SPDX-License-Identifier: Apache-2.0
# timeout: 300
# backends: bubblewrap docker incus
"""A request with an Idempotency-Key runs once, whatever becomes of its connection: a counter file shows it."""
import json
import os
import threading
import time
import unittest
import uuid

import harness

COUNT = "echo x >> count; wc -l < count"


class Once(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        harness.need(harness.BACKEND)
        cls.service = harness.Service().start()

    @classmethod
    def tearDownClass(cls):
        cls.service.__exit__()

    def setUp(self):
        self.user = "once-" + uuid.uuid4().hex[:8]
        self.service.users.add(self.user)
        self.key = str(uuid.uuid4())

    def post(self, path, body, key=None, **fields):
        """(status, fields, bytes)"""
        headers = {"Idempotency-Key": key or self.key, "Content-Type": "application/json",
                   **{name.replace("_", "-"): value for name, value in fields.items()}}
        return self.service.request("POST", f"/sandbox/{self.user}/{path}",
                                    body if isinstance(body, bytes) else json.dumps(body), headers)

    def counted(self):
        return self.service.post(self.user, "shell", command="cat count 2>/dev/null | wc -l")["output"].strip()

    def again(self, path, body, **fields):
        """The answer to a repetition once the first one has ended; waits as long as it is told to."""
        deadline = time.monotonic() + 60
        while True:
            status, got, answer = self.post(path, body, **fields)
            if (status, json.loads(answer.splitlines()[0]).get("code")) != (409, "conflict"):
                return status, got, answer
            self.assertLess(time.monotonic(), deadline, answer)
            time.sleep(int(got["Retry-After"]))

    def test_a_repetition_gets_the_first_answer(self):
        for path, body in (("shell", {"command": COUNT}), ("exec", {"argv": ["sh", "-c", COUNT]}),
                           ("execute", {"code": "open('count', 'a').write('x\\n'); print(id(object()))"})):
            for accept in ("application/json", "application/x-ndjson", "text/event-stream"):
                with self.subTest(f"{path} {accept}"):
                    key, before = str(uuid.uuid4()), int(self.counted())
                    first = self.post(path, body, key, Accept=accept)
                    self.assertEqual(first[0], 200, first[2])
                    self.assertNotIn("Idempotency-Replayed", first[1])
                    for _ in range(3):
                        again = self.post(path, body, key, Accept=accept)
                        self.assertEqual((again[0], again[2]), (200, first[2]))
                        self.assertEqual(again[1]["Idempotency-Replayed"], "true")
                        self.assertEqual(again[1]["Content-Type"], first[1]["Content-Type"])
                    self.assertEqual(int(self.counted()), before + 1)
        status, _, answer = self.post("shell", {"command": "true"}, key)
        self.assertEqual(status, 422, answer)
        self.assertTrue(json.loads(answer)["error"].startswith("Idempotency-Key: "), answer)

    def test_of_many_at_once_one_runs(self):
        self.service.post(self.user, "shell", command="true")
        body = {"command": f"{COUNT}; sleep 0.5"}
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(self.again("shell", body))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([answer[0] for answer in answers], [200] * 8)
        self.assertEqual({answer[2] for answer in answers}, {answers[0][2]})
        self.assertEqual(sum("Idempotency-Replayed" in answer[1] for answer in answers), 7)
        self.assertEqual(self.counted(), "1")

    def test_a_broken_connection_ends_it_for_good(self):
        for accept in ("application/json", "application/x-ndjson"):
            with self.subTest(accept):
                self.service.post(self.user, "shell", command="rm -f count; mkfifo -m 600 fifo 2>/dev/null || true")
                self.key = str(uuid.uuid4())
                body = {"command": "echo x >> count; echo begun > fifo; exec sleep 4322"}
                connection = self.service.connection()
                connection.request("POST", f"/sandbox/{self.user}/shell", json.dumps(body),
                                   {"Idempotency-Key": self.key, "Accept": accept})
                self.assertEqual(self.service.post(self.user, "shell", command="cat fifo")["output"], "begun\n")
                connection.close()
                status, fields, answer = self.again("shell", body, Accept=accept)
                told = json.loads(answer)
                self.assertEqual((status, told["code"]), (503, "gone"))
                self.assertEqual(told["error"], "the connection broke; what the request had started was ended")
                self.assertEqual(self.post("shell", body, Accept=accept)[2], answer, "and stays so")
                self.assertEqual(self.counted(), "1")

    def test_an_answer_that_is_too_large_is_not_kept_and_nothing_runs_again(self):
        body = {"command": f"{COUNT}; head -c 400000 /dev/zero | tr '\\0' x"}
        status, _, answer = self.post("shell", body)
        self.assertEqual(status, 200)
        self.assertGreater(len(answer), 400000)
        status, _, answer = self.post("shell", body)
        self.assertEqual((status, json.loads(answer)["code"]), (409, "gone"), answer)
        self.assertEqual(self.counted(), "1")

    def test_uploads_and_lives(self):
        data, octets = os.urandom(1_000_000), {"Content_Type": "application/octet-stream"}
        first = self.post("file?path=blob", data, **octets)
        self.assertEqual(first[0], 200, first[2])
        self.service.post(self.user, "shell", command="echo changed > blob")
        again = self.post("file?path=blob", data, **octets)
        self.assertEqual((again[0], again[2], again[1]["Idempotency-Replayed"]), (200, first[2], "true"))
        self.assertEqual(self.service.post(self.user, "shell", command="cat blob")["output"], "changed\n")
        self.assertEqual(self.post("file?path=blob", data[:-1], **octets)[0], 422)
        for path in ("create", "restart", "stop"):
            key = str(uuid.uuid4())
            first = self.post(path, {}, key)
            self.assertEqual(first[0], 200, first[2])
            self.assertEqual(self.post(path, {}, key)[2], first[2])

    def test_what_was_refused_may_run(self):
        status, _, answer = self.post("shell", {"command": COUNT, "timeout": 0})
        self.assertEqual(status, 422, answer)
        status, fields, answer = self.post("shell", {"command": COUNT})
        self.assertEqual(status, 200, answer)
        self.assertNotIn("Idempotency-Replayed", fields)


class Restart(unittest.TestCase):
    def test_another_process_refuses_a_repetition(self):
        harness.need(harness.BACKEND)
        with harness.Service() as service:
            service.users.add("restart")
            instance = service.request("GET", "/health")[1]["X-Sandbox-Instance"]
            headers = {"Idempotency-Key": "k", "X-Sandbox-Instance": instance}
            path, body = "/sandbox/restart/shell", json.dumps({"command": COUNT})
            self.assertEqual(service.request("POST", path, body, headers)[0], 200)
            service.stop()
            service.start()
            self.assertNotEqual(service.request("GET", "/info")[1]["X-Sandbox-Instance"], instance)
            status, _, answer = service.request("POST", path, body, headers)
            self.assertEqual((status, json.loads(answer)["code"]), (409, "gone"))
            self.assertEqual(json.loads(answer)["error"],
                             "the service was started anew since; whether an earlier attempt ran is not known")
            self.assertEqual(service.post("restart", "shell", command="wc -l < count")["output"], "1\n")


if __name__ == "__main__":
    unittest.main()
