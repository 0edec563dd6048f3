# SPDX-License-Identifier: Apache-2.0
"""A host that is killed at any moment of its work leaves nothing behind, and loses and mixes nobody's files.

Clients create, claim from the pool, write, read, destroy and purge, each for users of its own, while the host is killed
CSB_TEST_KILLS times (50) and started again. A client knows what it was told: what was acknowledged must be there, what was
cut off may be there or not, and nothing else may.

    class Kills(KillChecks, unittest.TestCase):
        mode, make = "docker", OwnEngine
        def pools(self, root): …
"""
import collections
import http.client
import os
import random
import shutil
import signal
import tempfile
import threading
import time

import harness
from harness import Service

KILLS = int(os.environ.get("CSB_TEST_KILLS", "50"))
SEED = int(os.environ.get("CSB_TEST_SEED", "0")) or random.randrange(1 << 32)
CLIENTS = 5
POOL = 2
# What a host may answer that has just started, or whose neighbour was just killed.
PASSING = {503, 504}


class Host:
    """The service and its kills; a request that overlaps one may break off."""

    def __init__(self, mode, engine, root):
        self.mode, self.engine, self.root = mode, engine, root
        self.kills, self.up = 0, False
        self.service = None

    def start(self):
        port = self.service.port if self.service else harness.free_port()
        self.service = Service(f"--{self.mode}.memory=128m", f"--{self.mode}.pool_size={POOL}", f"--http.port={port}",
                               mode=self.mode, root=self.root, engine=self.engine)
        self.service.port = port
        self.service.start()
        self.up = True

    def kill(self):
        self.up = False
        self.kills += 1
        self.service.stop(signal.SIGKILL)

    def end(self):
        if self.service.process is not None:
            self.service.stop(signal.SIGKILL)
        self.engine.remove_all(self.root)


class Client(threading.Thread):
    codes = ()  # of answers that pass as well

    def __init__(self, hosts, number, random_):
        super().__init__()
        self.hosts, self.random = hosts, random_
        self.users = [f"user{number}-{i}" for i in range(3)]
        # What is in the user's file for sure, what may be, and whether a purge may have come between.
        self.known = {user: [] for user in self.users}
        self.maybe = {user: set() for user in self.users}
        self.purged = {user: False for user in self.users}
        self.wrong, self.counts, self.over = [], {}, threading.Event()
        self.causes = collections.Counter()  # what those were told who were refused

    def run(self):
        n = 0
        while not self.over.is_set() and not self.wrong:
            n += 1
            user = self.random.choice(self.users)
            what = self.random.choices(("write", "read", "create", "destroy", "purge"), (8, 3, 1, 1, 2))[0]
            try:
                getattr(self, what)(user, f"{user}.{n}")
            except Exception as error:  # pylint: disable=broad-except
                self.wrong.append(f"{what} for {user}: {error!r}")

    def call(self, method, user, path, body=None):
        """The answer; None when it was cut off, or refused with a cause that passes."""
        host = self.random.choice(self.hosts)
        before, up = host.kills, host.up
        try:
            status, answer = host.service.call(method, user, path, body, timeout=60)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if before == host.kills and up and host.up:
                self.wrong.append(f"{method} {user}{path} broke off without a kill: {error!r}")
            time.sleep(0.02)
            return None
        self.counts[status] = self.counts.get(status, 0) + 1
        if status == 200:
            return answer
        self.causes[f"{status} {answer.get('error')}".replace(user, "USER")] += 1
        if not answer.get("error") or not answer.get("code"):
            self.wrong.append(f"{method} {user}{path}: {status} without a cause: {answer}")
        elif status not in PASSING and answer["code"] not in self.codes:
            self.wrong.append(f"{method} {user}{path}: {status} {answer}")
        time.sleep(0.02)
        return None

    def seen(self, user, text, wrote=()):
        lines, maybe = text.split(), self.maybe[user]
        maybe.difference_update(wrote)

        def fits(known):
            required = [*known, *wrote]
            return [line for line in lines if line in required] == required and \
                all(line in required or line in maybe for line in lines) and len(set(lines)) == len(lines)
        if not fits(self.known[user]) and not (self.purged[user] and fits([])):
            self.wrong.append(f"{user} sees {lines}, has written {self.known[user]} {wrote}, perhaps {sorted(maybe)}, "
                              f"purged: {self.purged[user]}")
        self.known[user], self.purged[user] = lines, False
        maybe.difference_update(lines)

    def write(self, user, token):
        self.maybe[user].add(token)
        how = self.random.random()
        if how < 0.2:  # long enough to be met by a kill; it may go on without the host and write later
            answer = self.call("POST", user, "/shell", {"command": f"sleep 0.4; echo {token} >> file; cat file"})
        elif how < 0.6:
            answer = self.call("POST", user, "/shell", {"command": f"echo {token} >> file; cat file"})
        else:
            answer = self.call("POST", user, "/execute", {
                "code": f"open('file', 'a').write('{token}\\n')\nprint(open('file').read())"})
        if answer and answer["success"]:
            self.seen(user, answer["output"], (token,))
        elif answer:
            self.wrong.append(f"write for {user}: {answer}")

    def read(self, user, _):
        answer = self.call("POST", user, "/shell", {"command": "cat file 2>/dev/null; true"})
        if answer:
            self.seen(user, answer["output"])

    def create(self, user, _):
        self.call("POST", user, "/create", {})

    def destroy(self, user, _):
        self.call("DELETE", user, "/destroy")

    def purge(self, user, _):
        answer = self.call("DELETE", user, "?purge=true")
        # Of a user whose host was killed before it wrote down where the files are, a host beside it may know nothing yet.
        if answer and (answer["status"] == "deleted" or len(self.hosts) == 1):
            self.known[user], self.purged[user] = [], False
            self.maybe[user] = set()
        else:
            self.purged[user] = True


class KillChecks:
    mode = ""    # the backend
    make = None  # makes the engine

    @classmethod
    def setUpClass(cls):
        harness.need(cls.mode)
        harness.need_root("an engine of its own needs root")
        cls.engine = cls.make()
        cls.addClassCleanup(cls.engine.close)
        cls.engine.up()

    def pools(self, root):
        """The hosts that have ready sandboxes which nobody has taken."""
        raise NotImplementedError

    def test_killed_at_random_moments(self):
        self.kill(KILLS)

    def test_a_host_beside_it_is_not_disturbed(self):
        self.kill(KILLS // 5, beside=True)

    def kill(self, kills, beside=False):
        root = tempfile.mkdtemp(prefix="csb-kill-")
        self.addCleanup(shutil.rmtree, root, ignore_errors=True)
        chance = random.Random(SEED)
        host = Host(self.mode, self.engine, root)
        self.addCleanup(host.end)
        host.start()
        hosts = [host]
        if beside:
            hosts.append(Host(self.mode, self.engine, root))
            self.addCleanup(hosts[1].end)
            hosts[1].start()
        clients = [Client(hosts, i, random.Random(SEED + i)) for i in range(CLIENTS)]
        for client in clients:
            client.start()
        wrong = []
        try:
            while host.kills < kills and not wrong:
                time.sleep(chance.uniform(0.0, 0.9))
                host.kill()
                host.start()
                wrong = [w for c in clients for w in c.wrong]
            time.sleep(1)
        finally:
            for client in clients:
                client.over.set()
            for client in clients:
                client.join()
        wrong = [w for c in clients for w in c.wrong]
        self.assertEqual(wrong, [], f"seed {SEED}, after {host.kills} kills\n{host.service.log_text()[-6000:]}")
        counts = {}
        for client in clients:
            for status, number in client.counts.items():
                counts[status] = counts.get(status, 0) + number
        print(f"seed {SEED}, {host.kills} kills, answers {counts}")
        self.assertGreater(counts[200], kills, "it was under load")
        for client in clients:
            for user in client.users:
                client.read(user, "")
            host.service.users.update(client.users)
        self.assertEqual([w for c in clients for w in c.wrong], [], f"seed {SEED}")
        if beside:
            self.assertEqual(hosts[1].service.stop(), 0)
            # Folders that it began are looked after by the first that starts without it.
            users = host.service.users
            host.kill()
            host.start()
            host.service.users.update(users)
        # Pools of dead hosts go in the background.
        deadline = time.monotonic() + 60
        while len(pools := self.pools(root)) > 1:
            self.assertLess(time.monotonic(), deadline, f"pools of hosts that are dead: {pools}, seed {SEED}")
            time.sleep(0.1)
        # One workspace for each user at most, and those of the pool: ready, or just being made.
        self.assertLessEqual(len(self.engine.volumes(root)), sum(len(client.users) for client in clients) + POOL + 1)
        host.service.__exit__(None)  # purges all; then nothing may be left
