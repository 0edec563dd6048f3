# SPDX-License-Identifier: Apache-2.0
"""Sandboxes that are ready before their user comes: each is given to one user at most, and none is left over.

    class Pool(PoolChecks, unittest.TestCase):
        mode = "docker"     # and what the functions below that only raise say
"""
import os
import shutil
import signal
import tempfile
import threading
import time

import harness
from harness import Service


class PoolChecks:
    mode = ""
    memory = "256m"

    def setUp(self):
        harness.need(self.mode)
        self.root = tempfile.mkdtemp(prefix="csb-pool-")
        os.chmod(self.root, 0o711)
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        self.engine = harness.engine_of(self.mode)
        self.addCleanup(self.engine.remove_all, self.root)

    def service(self, size, *options):
        return Service(f"--{self.mode}.pool_size={size}", f"--{self.mode}.memory={self.memory}", *options, mode=self.mode,
                       root=self.root)

    def log(self):
        with open(os.path.join(self.root, "log"), encoding="utf-8", errors="replace") as log:
            return log.read()

    def waiting(self):
        """What the engine knows each by that waits for a user, by name; it stays the same when it is given out."""
        raise NotImplementedError

    def id_of(self, service, user):
        raise NotImplementedError

    def cpu_of(self, service, user):
        """Cores, as the engine was told."""
        raise NotImplementedError

    def there(self):
        """Names of all that are not being removed."""
        raise NotImplementedError

    def going(self, _):
        """Those of waiting() that ran before and are not all gone, where an end takes more than one step."""
        return set()

    def remove(self, name):
        """As somebody at the command line would."""
        raise NotImplementedError

    def ready(self, count=None):
        """waiting(), once there are `count`, and the host has them to give: what runs may not be connected yet."""
        deadline = time.monotonic() + 60
        while True:
            found = self.waiting()
            if count is None or (len(found) == count and all(f" {name} waits for a user" in self.log() for name in found)):
                return found
            self.assertLess(time.monotonic(), deadline, f"{found}, not {count}")
            time.sleep(0.1)

    def test_a_new_user_gets_one_that_runs_already_and_it_is_replaced(self):
        with self.service(2) as service:
            before = self.ready(2)
            service.post("first", "shell", command="echo mine > file")
            self.assertIn(self.id_of(service, "first"), before.values())
            self.assertIn(service.call("GET", "first", "/status")[1]["container_id"], self.engine.running(self.root))
            # Other limits than the pool's: made for that user alone.
            status, answer = service.call("POST", "other", "/create", {"memory_limit": "128m"})
            self.assertEqual(status, 200, answer)
            self.assertNotIn(self.id_of(service, "other"), before.values())
            self.ready(2)
            # A returning user's files come with a fresh container, not with one of the pool's.
            service.call("DELETE", "first", "/destroy")
            waiting = self.ready(2)
            self.assertEqual(service.post("first", "shell", command="cat file")["output"], "mine\n")
            self.assertNotIn(self.id_of(service, "first"), waiting.values())

    def test_many_who_come_at_once_never_share_one(self):
        users = [f"many{i}" for i in range(16)]
        with self.service(4) as service:
            self.ready(4)
            seen, failed = {}, []

            def come(user):
                try:
                    answer = service.post(user, "shell", command=f"echo {user} >> who; echo {user} >> /tmp/who; cat who /tmp/who")
                    seen[user] = answer["output"]
                except Exception as error:  # pylint: disable=broad-except
                    failed.append(repr(error))
            threads = [threading.Thread(target=come, args=(user,)) for user in users]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(failed, [])
            self.assertEqual(seen, {user: f"{user}\n{user}\n" for user in users})
            self.assertEqual(len({self.id_of(service, user) for user in users}), len(users))

    def test_ready_ones_make_room_and_never_exceed_what_is_allowed(self):
        most, counts, failed, done = 4, [], [], threading.Event()

        def count():
            try:
                while not done.is_set():
                    counts.append(self.there())
            except Exception as error:  # pylint: disable=broad-except
                failed.append(error)

        with self.service(3, f"--sandbox.max_sandboxes={most}") as service:
            self.ready(3)
            watcher = threading.Thread(target=count)
            watcher.start()
            try:
                for i in range(most):
                    self.assertEqual(service.call("POST", f"room{i}", "/create", {"memory_limit": "128m"} if i % 2 else {})[0], 200)
                status, answer = service.call("POST", "one-more", "/create", {})
                self.assertIn(status, (429, 503), answer)
            finally:
                done.set()
                watcher.join()
            if failed:
                raise failed[0]
            self.assertLessEqual(len(max(counts, key=len)), most, max(counts, key=len))
            self.assertEqual(self.ready(), {})
            service.call("DELETE", "room0", "?purge=true")
            self.ready(1)

    def test_none_is_left_when_the_host_ends(self):
        service = self.service(2).start()
        self.ready(2)
        self.assertEqual(service.stop(), 0)
        self.assertEqual(self.engine.left(self.root), [])

    def test_those_of_a_killed_host_with_other_options_are_not_given_out(self):
        first = self.service(2).start()
        old = self.ready(2)
        first.stop(signal.SIGKILL)
        with self.service(2, f"--{self.mode}.cpu=0.5") as second:
            deadline = time.monotonic() + 60
            while set(self.ready()) & set(old) or self.going(old) or len(self.ready()) != 2:
                self.assertLess(time.monotonic(), deadline, self.ready())
                time.sleep(0.1)
            second.post("after", "shell", command="true")
            self.assertEqual(self.cpu_of(second, "after"), 0.5)
            self.assertNotIn(self.id_of(second, "after"), old.values())

    def test_one_that_was_removed_by_hand_is_not_given_out(self):
        with self.service(1) as service:
            name, = self.ready(1)
            self.remove(name)
            self.assertEqual(service.post("hand", "shell", command="echo fine")["output"], "fine\n")
            self.ready(1)
