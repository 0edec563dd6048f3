# SPDX-License-Identifier: Apache-2.0
"""What tests share that break an engine under a running service. Each has an engine of its own to break.

    class Broken(Faults, unittest.TestCase):
        mode, make = "docker", OwnEngine
"""
import threading
import time

import harness
from harness import Service


class Call:
    """A request in a thread of its own; started(): the command says that it runs."""

    def __init__(self, service, user, command, timeout=100):
        self.service, self.user = service, user
        self.answer = self.status = self.error = None
        self.mark = f"started-{time.monotonic_ns()}"

        def run():
            try:
                self.status, self.answer = service.call("POST", user, "/shell", {
                    "command": f"touch /workspace/.{self.mark}; {command}", "timeout": timeout})
            except OSError as error:
                self.error = error
        self.thread = threading.Thread(target=run)
        self.thread.start()

    def started(self):
        self.service.post(self.user, "shell", command=f"while [ ! -e /workspace/.{self.mark} ]; do sleep 0.02; done", timeout=20)
        return self

    def end(self, seconds=60):
        self.thread.join(seconds)
        if self.thread.is_alive():
            raise AssertionError(f"{self.user} has no answer after {seconds} s\n{self.service.log_text()[-3000:]}")
        if self.error is not None:
            raise AssertionError(f"the connection of {self.user} broke: {self.error}")
        return self.status, self.answer


class Faults:
    mode = ""       # the backend
    make = None     # makes the engine, given `options`
    options = ()

    @classmethod
    def setUpClass(cls):
        harness.need(cls.mode)
        harness.need_root("engines of its own need root")
        cls.engine = cls.make(*cls.options)
        cls.addClassCleanup(cls.engine.close)
        cls.engine.up()

    def service(self, *options, **more):
        return Service(f"--{self.mode}.memory=256m", *options, mode=self.mode, engine=self.engine, **more)

    def works_again(self, service, user, expected, seconds=30):
        """The user's next calls are answered, at the latest after the breaker's pause, with the files that were there."""
        deadline = time.monotonic() + seconds
        while True:
            status, answer = service.call("POST", user, "/shell", {"command": "cat file"})
            if status == 200:
                break
            self.assertIn(status, (503, 504), answer)
            self.assertTrue(answer["error"], "a cause is told")
            self.assertLess(time.monotonic(), deadline, f"{answer}\n{service.log_text()[-4000:]}")
            time.sleep(0.2)
        self.assertEqual(answer["output"], expected, answer)

    def ended_with_a_cause(self, call, *words):
        """The sandbox was ended under it: told to end, its agent can still say that the command was cancelled."""
        status, answer = call.end()
        if status == 200:
            self.assertEqual((answer["success"], answer["cause"]), (False, "cancelled"), answer)
            return
        self.assertGreaterEqual(status, 500, answer)
        self.assertTrue(any(word in answer["error"] for word in words), answer)

    def wait_for_create(self, service, user):
        deadline = time.monotonic() + 30
        while (status := service.call("POST", user, "/create", {})[0]) != 200 and time.monotonic() < deadline:
            time.sleep(0.2)
        return status

    def left_alone(self, service, seconds=60):
        """Calls that need the engine fail until the host asks it nothing any more for a while."""
        deadline = time.monotonic() + seconds
        while "is left alone" not in service.log_text():
            self.assertLess(time.monotonic(), deadline, service.log_text()[-4000:])
            calls = [Call(service, f"left{i}", "true", 20) for i in range(3)]
            for call in calls:
                call.end()

    def health(self, service):
        began = time.monotonic()
        status = service.request("GET", "/health")[0]
        self.assertLess(time.monotonic() - began, harness.AT_ONCE)
        return status
