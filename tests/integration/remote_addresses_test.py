# SPDX-License-Identifier: Apache-2.0
# timeout: 300
# backends: remote-bubblewrap
"""Several addresses: a user stays at one, another is used only where that cannot cost the user's files."""
import json
import shutil
import signal
import tempfile
import time
import unittest

import harness
from harness import Service
from remote_peer import KEY, health, to, wait_for

from relay import Relay

USERS = [f"user-{i}" for i in range(24)]


def setUpModule():
    harness.need("remote")


class Two(unittest.TestCase):
    def setUp(self):
        self.far = [Service(mode=harness.OVER, key=KEY) for _ in range(2)]
        self.relays = []
        for far in self.far:
            self.addCleanup(far.__exit__)
            far.start()
            relay = Relay(far.port)
            self.relays.append(relay)
            self.addCleanup(relay.__exit__)
            relay.__enter__()
        self.root = tempfile.mkdtemp(prefix="csb-test-")
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)

    def near(self, *options, order=(0, 1)):
        near = Service("--remote.connect_timeout=1", *options, root=self.root, remote=to(*(self.relays[i].url for i in order)))
        self.addCleanup(lambda: near.process and near.stop())
        return near.start()

    def holders(self, user):
        """Indices of the services that have something of this user's."""
        return [i for i, far in enumerate(self.far) if far.call("GET", user, "/status")[0] == 200]

    def cut(self, i):
        self.relays[i].refuse()
        self.relays[i].drop()

    def test_users_are_spread_and_stay(self):
        near = self.near()
        for user in USERS:
            near.post(user, "file", path="f", content=user)
        homes = {user: self.holders(user) for user in USERS}
        self.assertTrue(all(len(home) == 1 for home in homes.values()), homes)
        counts = [sum(home == [i] for home in homes.values()) for i in range(2)]
        self.assertGreaterEqual(min(counts), 4, "neither has nearly all")
        near.stop()
        near = self.near(order=(1, 0))  # another order of the same addresses, another host
        for user in USERS:
            self.assertEqual(near.call("GET", user, "/file?path=f")[1].get("content"), user)
            self.assertEqual(self.holders(user), homes[user])
        near.stop()

    def test_a_host_with_no_memory_finds_the_same_place(self):
        near = self.near()
        for user in USERS[:8]:
            near.post(user, "file", path="f", content=user)
        homes = {user: self.holders(user) for user in USERS[:8]}
        near.stop()
        with Service(remote=to(*(r.url for r in self.relays))) as other:
            for user in USERS[:8]:
                self.assertEqual(other.call("GET", user, "/file?path=f")[1].get("content"), user)
            self.assertEqual({user: self.holders(user) for user in USERS[:8]}, homes)
            other.users.clear()

    def test_who_has_files_at_a_host_that_is_down_waits_for_it(self):
        near = self.near()
        for user in USERS:
            near.post(user, "file", path="f", content=user)
        homes = {user: self.holders(user)[0] for user in USERS}
        self.cut(0)
        for user in USERS:
            status, answer = near.call("GET", user, "/file?path=f")
            if homes[user] == 1:
                self.assertEqual((status, answer.get("content")), (200, user), answer)
            else:
                self.assertEqual(status, 503, (user, answer))
                self.assertIn(self.relays[0].url, answer["error"] + answer["detail"])
            status, answer = near.call("POST", user, "/shell", {"command": "cat f"})
            self.assertEqual((status, answer.get("output")), (200, user) if homes[user] == 1 else (503, None), answer)
        self.assertEqual(health(near)[0], 200, "half of it works")
        self.relays[0].listen()
        late = next(user for user in USERS if homes[user] == 0)
        wait_for(lambda: near.call("GET", late, "/file?path=f")[0] == 200, 30, "it is found again")
        for user in USERS:
            wait_for(lambda user=user: near.call("GET", user, "/file?path=f")[1].get("content") == user, 30, user)
            self.assertEqual(self.holders(user), [homes[user]], "nobody got a second sandbox")
        near.stop()

    def test_calls_never_wait_long_for_a_host_that_is_down(self):
        near = self.near()
        for user in USERS:
            near.post(user, "shell", command="true")
        self.cut(0)
        time.sleep(1)
        began = time.monotonic()
        for user in USERS:
            near.call("POST", user, "/shell", {"command": "true"})
        self.assertLess(time.monotonic() - began, 15)
        near.stop()

    def test_new_users_where_one_is_down(self):
        """A new user has no files to lose at the one that answers; whether the dead one holds some, nobody can tell without
        `remote.shared`, so that either answer must be one that loses nothing."""
        near = self.near()
        self.cut(0)
        placed = {}
        for user in USERS:
            status, answer = near.call("POST", user, "/file", {"path": "f", "content": user})
            self.assertIn(status, (200, 503), answer)
            if status == 200:
                placed[user] = user
        self.assertGreaterEqual(len(placed), 4, "those of the living one are served")
        self.relays[0].listen()
        wait_for(lambda: all(near.call("GET", user, "/file?path=f")[1].get("content") == user for user in placed), 30,
                 "they stay with what they have")
        for user in placed:
            self.assertEqual(self.holders(user), [1])
        near.stop()

    def test_a_host_that_is_killed_and_back(self):
        near = self.near()
        for user in USERS[:8]:
            near.post(user, "file", path="f", content=user)
        self.far[0].stop(signal.SIGKILL)
        for user in USERS[:8]:
            self.assertIn(near.call("POST", user, "/shell", {"command": "true"})[0], (200, 500, 503))
        self.far[0].start()
        for user in USERS[:8]:
            wait_for(lambda user=user: near.call("GET", user, "/file?path=f")[1].get("content") == user, 30, user)
        near.stop()

    def test_explain_tells_of_each(self):
        self.cut(1)
        found = harness.explain("remote", "--remote.connect_timeout=1", remote=to(*(r.url for r in self.relays)))
        self.assertTrue(found["available"], found)
        told = json.dumps(found)
        for relay in self.relays:
            self.assertIn(relay.url, told)
        self.cut(0)
        found = harness.explain("remote", "--remote.connect_timeout=1", remote=to(*(r.url for r in self.relays)))
        self.assertFalse(found["available"], found)


if __name__ == "__main__":
    unittest.main()
