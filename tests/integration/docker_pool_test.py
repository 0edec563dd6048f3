# SPDX-License-Identifier: Apache-2.0
# timeout: 400
"""Containers that are ready before their user comes: each is given to one user at most, and none is left over."""
import os
import shutil
import signal
import tempfile
import threading
import time
import unittest

import harness
from docker_engine import Engine
from harness import Service


def setUpModule():
    harness.need("docker")


class Pool(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="csb-pool-")
        os.chmod(self.root, 0o711)
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        self.engine = Engine()
        self.addCleanup(self.engine.remove_all, self.root)

    def service(self, size, *options):
        return Service(f"--docker.pool_size={size}", "--docker.memory=256m", *options, mode="docker", root=self.root)

    def ready(self, count=None):
        """Ids by name of the containers that wait for a user, once there are `count`."""
        deadline = time.monotonic() + 60
        while True:
            rows = self.engine.lines("ps", "--no-trunc", "--filter", "label=" + self.engine.label(self.root), "--format",
                                     "{{.Names}} {{.ID}}")
            found = {name: id for name, id in map(str.split, rows) if "-pool-" in name}
            if count is None or len(found) == count:
                return found
            self.assertLess(time.monotonic(), deadline, f"{found}, not {count}")
            time.sleep(0.1)

    def id_of(self, service, user):
        return self.engine.inspect(service.call("GET", user, "/status")[1]["container_id"])["Id"]

    def test_a_new_user_gets_one_that_runs_already_and_it_is_replaced(self):
        with self.service(2) as service:
            before = self.ready(2)
            service.post("first", "shell", command="echo mine > file")
            self.assertIn(self.id_of(service, "first"), before.values())
            self.assertEqual(self.engine.inspect(service.call("GET", "first", "/status")[1]["container_id"])["State"]["Running"], True)
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
                    rows = self.engine.lines("ps", "-a", "--filter", "label=" + self.engine.label(self.root), "--format",
                                             "{{.Names}} {{.State}}")
                    counts.append([row for row in rows if "removing" not in row])
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
        with self.service(2, "--docker.cpu=0.5") as second:
            deadline = time.monotonic() + 60
            while set(self.ready()) & set(old) or len(self.ready()) != 2:
                self.assertLess(time.monotonic(), deadline, self.ready())
                time.sleep(0.1)
            second.post("after", "shell", command="true")
            found = self.engine.inspect(second.call("GET", "after", "/status")[1]["container_id"])
            self.assertEqual(found["HostConfig"]["NanoCpus"], 500_000_000)
            self.assertNotIn(found["Id"], old.values())

    def test_another_image_of_the_same_name_replaces_them(self):
        tag = "csb-pool-test:latest"
        self.engine.run("tag", self.engine.image, tag)
        self.addCleanup(self.engine.run, "rmi", tag)
        with self.service(1, f"--docker.image={tag}") as service:
            name, = old = self.ready(1)
            changed = self.engine.run("commit", "--change", "LABEL csb.test=changed", name, tag).strip()
            deadline = time.monotonic() + 30
            while not (set(self.ready()) - set(old)):
                self.assertLess(time.monotonic(), deadline, "the one of the old image still waits")
                time.sleep(0.1)
            service.post("after", "shell", command="true")
            found = self.engine.inspect(service.call("GET", "after", "/status")[1]["container_id"])
            self.assertEqual(found["Image"], changed, "the image that the name means now")

    def test_one_that_was_removed_by_hand_is_not_given_out(self):
        with self.service(1) as service:
            name, = self.ready(1)
            self.engine.run("rm", "-f", name)
            self.assertEqual(service.post("hand", "shell", command="echo fine")["output"], "fine\n")
            self.ready(1)


if __name__ == "__main__":
    unittest.main()
