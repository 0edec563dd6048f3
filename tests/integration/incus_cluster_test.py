# SPDX-License-Identifier: Apache-2.0
# timeout: 1500
# backends: incus-cluster
"""Sandboxes on a cluster: placed on all members, served by any host, through members that are lost and come back.

The cluster is of three members on this machine (cluster_fixture.py). A host reaches it through one of them.
CSB_TEST_RACES (200) is how often two hosts make the same user's sandbox at once.
"""
import collections
import concurrent.futures
import http.client
import os
import random
import shutil
import signal
import tempfile
import threading
import time
import unittest

import harness
import kills
from faults import Call
from harness import Service
from incus_engine import OWN, Cluster, EngineError

RACES = int(os.environ.get("CSB_TEST_RACES", "200"))
RACES_AT_ONCE = 8
CUT_SECONDS = 30
LEADER_CUT_SECONDS = 24  # Incus answers nothing for 35, or until it is mended
LATE_SECONDS = 30  # TCP, which doubles its pauses, tries once more that long after the end of such a cut
MEMBERS = ("m1", "m2", "m3")
INSTALLATION = "clustertests"


def setUpModule():
    harness.need("incus")


class Case(unittest.TestCase):
    def setUp(self):
        self.engine = Cluster()
        self.whole()

    maxDiff = None

    def whole(self, seconds=60):
        """There is no event for what members think of each other: asked again until all are there, for each of
        them, and each reaches each other: a member that has just come back is Online before it answers."""
        deadline = time.monotonic() + seconds
        for i in range(1, len(MEMBERS) + 1):
            while (wrong := self.not_whole(Cluster(i))):
                self.assertLess(time.monotonic(), deadline, f"through m{i}: {wrong}")
                time.sleep(0.2)

    @staticmethod
    def not_whole(engine):
        try:
            found = engine.members()
            if found != {name: "Online" for name in MEMBERS}:
                return found
            for name in MEMBERS:
                engine.do("GET", f"/1.0/cluster/members/{name}/state")
        except (OSError, EngineError, http.client.HTTPException) as error:
            return error
        return None

    def root(self):
        root = tempfile.mkdtemp(prefix="csb-cluster-")
        os.chmod(root, 0o711)
        self.addCleanup(shutil.rmtree, root, ignore_errors=True)
        return root

    def host(self, member=1, *options, installation=INSTALLATION, root=None):
        """One with a state folder of its own, which reaches the cluster through this member."""
        engine, root = Cluster(member), root or self.root()
        if installation:
            options = (*options, f"--incus.installation={installation}")
            engine.known[root] = installation
        return Service("--incus.memory=128m", *options, mode="incus", engine=engine, root=root)

    def location(self, service, user):
        return self.engine.inspect(service.call("GET", user, "/status")[1]["container_id"])["location"]

    @staticmethod
    def at_once(work, items):
        with concurrent.futures.ThreadPoolExecutor(len(items)) as threads:
            return list(threads.map(work, items))


class Placement(Case):
    def test_users_who_come_at_once_are_spread_over_all_members(self):
        users = [f"p{i}" for i in range(24)]
        with self.host() as service:
            answers = self.at_once(lambda user: service.call("POST", user, "/shell", {"command": f"echo {user} > file; cat file"}), users)
            self.assertEqual([(status, answer.get("output")) for status, answer in answers], [(200, f"{user}\n") for user in users])
            at = collections.Counter(each["location"] for each in service.engine.instances(service.root))
            print(f"placed: {dict(at)}")
            self.assertEqual((set(at), sum(at.values())), (set(MEMBERS), len(users)))
            self.assertLessEqual(max(at.values()), 2 * len(users) // len(MEMBERS), at)
            for user in users[:6]:
                status = service.call("GET", user, "/status")[1]
                self.assertEqual(status["member"], self.location(service, user))

    def test_a_member_or_a_group_can_be_asked_for(self):
        with self.host(1, "--incus.target=m3") as service:
            for i in range(3):
                service.post(f"t{i}", "shell", command="true")
                self.assertEqual(self.location(service, f"t{i}"), "m3")
        self.engine.do("POST", "/1.0/cluster/groups", {"name": "csbtest", "members": ["m2"]})
        self.addCleanup(self.ungroup)
        with self.host(1, "--incus.target=@csbtest") as service:
            service.post("g", "shell", command="true")
            self.assertEqual(self.location(service, "g"), "m2")

    def ungroup(self):
        self.engine.do("PUT", "/1.0/cluster/groups/csbtest", {"members": []})
        self.engine.do("DELETE", "/1.0/cluster/groups/csbtest")

    def test_a_pool_is_taken_from_wherever_it_waits(self):
        with self.host(1, "--incus.pool_size=3") as service:
            deadline = time.monotonic() + 60
            while len(service.engine.pooled(service.root)) < 3:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.1)
            users = [f"w{i}" for i in range(6)]
            self.at_once(lambda user: service.post(user, "shell", command=f"echo {user} >> file"), users)
            for user in users:
                self.assertEqual(service.post(user, "shell", command="cat file")["output"], f"{user}\n")

    def test_files_stay_with_their_member(self):
        with self.host() as service:
            service.post("stay", "shell", command="echo kept > file")
            at = self.location(service, "stay")
            for what in ("/stop", "/restart"):
                service.call("POST", "stay", what, {})
                self.assertEqual(service.post("stay", "shell", command="cat file")["output"], "kept\n")
                self.assertEqual(self.location(service, "stay"), at)
            service.call("DELETE", "stay", "/destroy")
            self.assertEqual(service.post("stay", "shell", command="cat file")["output"], "kept\n")


class Hosts(Case):
    def test_any_host_serves_any_user(self):
        with self.host(1) as one, self.host(2) as two, self.host(3) as three:
            hosts = [one, two, three]
            for i, first in enumerate(hosts):
                user = f"any{i}"
                first.post(user, "shell", command="echo 0 > file; echo here > /tmp/mark")
                for n, host in enumerate(hosts[i:] + hosts[:i]):
                    answer = host.post(user, "shell", command=f"cat file; echo {n + 1} > file; cat /tmp/mark")
                    self.assertEqual(answer["output"], f"{n}\nhere\n", "the same sandbox")
            self.assertEqual(len(one.engine.containers(one.root)), 3)
            two.users.update(one.users)
            one.users.clear()

    def test_two_that_make_the_same_sandbox_make_one(self):
        with self.host(1) as one, self.host(2) as two:
            self.races([one, two], RACES)
            self.nothing_left(one)

    def test_two_that_have_pools_make_one(self):
        with self.host(1, "--incus.pool_size=2") as one, self.host(2, "--incus.pool_size=2") as two:
            self.races([one, two], max(1, RACES // 10))
            self.assertEqual(one.stop(), 0, "its pool goes with it, and two's with two")

    def races(self, hosts, number):
        """That many users, each of whom both hosts have at once: some at a time."""
        def race(n):
            user, took = f"race{n}", time.monotonic()
            answers = self.at_once(lambda host: host.call("POST", user, "/shell", {
                "command": f"echo {hosts.index(host)} >> file; echo x >> /tmp/mark"}), hosts)
            self.assertEqual([status for status, _ in answers], [200, 200], answers)
            took = time.monotonic() - took
            seen = self.at_once(lambda host: host.call("POST", user, "/shell", {
                "command": "sort file; wc -l < /tmp/mark"})[1].get("output"), hosts)
            self.assertEqual(seen, ["0\n1\n2\n"] * 2, f"{user}: one sandbox, one set of files")
            names = {host.call("GET", user, "/status")[1]["container_id"] for host in hosts}
            self.assertEqual(len(names), 1, names)
            self.assertEqual(hosts[n % 2].call("DELETE", user, "?purge=true")[0], 200)
            return took
        with concurrent.futures.ThreadPoolExecutor(RACES_AT_ONCE) as threads:
            times = sorted(threads.map(race, range(number)))
        for host in hosts:
            host.users.clear()
        print(f"{number} races, p50 {times[number // 2]:.2f} s, slowest {times[-1]:.2f} s")

    def nothing_left(self, service):
        """What was second in a race goes in the background."""
        deadline = time.monotonic() + 30
        while left := service.engine.left(service.root):
            self.assertLess(time.monotonic(), deadline, left)
            time.sleep(0.1)


class Client(kills.Client):
    codes = ("gone",)  # what ran on a member that is not heard of any more


class Loss(Case):
    def load(self, service, seconds_of, break_it):
        """Clients that know what their users' files must be, while break_it runs; each second's good answers."""
        host = kills.Host("incus", service.engine, service.root)
        host.service, host.up = service, True
        clients = [Client([host], i, random.Random(kills.SEED + i)) for i in range(6)]
        for client in clients:
            client.start()
        good = []
        done = threading.Event()

        def watch():
            while not done.wait(1):
                good.append(sum(client.counts.get(200, 0) for client in clients))
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            deadline = time.monotonic() + 90
            while sum(client.counts.get(200, 0) for client in clients) < 40:  # most users are there, on all members
                self.assertLess(time.monotonic(), deadline, service.log_text()[-4000:])
                time.sleep(0.1)
            began = len(good)
            break_it()
            ended = len(good)
            self.whole()
            time.sleep(seconds_of)
        finally:
            for client in clients:
                client.over.set()
            for client in clients:
                client.join()
            done.set()
            watcher.join()
        wrong = [w for c in clients for w in c.wrong]
        self.assertEqual(wrong, [], f"seed {kills.SEED}\n{service.log_text()[-6000:]}")
        counts, causes = collections.Counter(), collections.Counter()
        for client in clients:
            counts.update(client.counts)
            causes.update(client.causes)
            for user in client.users:
                client.read(user, "")
            service.users.update(client.users)
        self.assertEqual([w for c in clients for w in c.wrong], [], f"seed {kills.SEED}")
        print(f"refused: {causes.most_common(5)}")
        print(f"seed {kills.SEED}, answers {dict(counts)}, good ones a second: {[b - a for a, b in zip(good, good[1:])]}")
        return good[began:ended]

    def test_a_member_that_is_cut_off_for_a_while(self):
        with self.host() as service:
            good = self.load(service, 10, lambda: self.cut(self.follower()))
            # Users on other members are served on, once the cluster knows; few, as each client waits for its creates too.
            self.assertGreater(good[-1] - good[len(good) // 2], 5, f"answers by the second: {good}")

    def leader(self):
        members = self.engine.do("GET", "/1.0/cluster/members?recursion=1")
        return next(int(each["server_name"][1]) for each in members if "database-leader" in each["roles"])

    def follower(self):
        """One that does not lead the database, and is not the first."""
        return 3 if self.leader() != 3 else 2

    def cut(self, member, seconds=CUT_SECONDS):
        self.addCleanup(self.engine.mend, member)
        self.engine.cut(member)
        try:
            time.sleep(seconds)
        finally:
            self.engine.mend(member)

    def test_open_sandboxes_need_no_leader(self):
        """Incus itself answers nothing, on no member, for half a minute after its database's leader was cut off."""
        users = [f"o{i}" for i in range(9)]
        for _ in range(3):
            leader = self.leader()
            with self.host(next(i for i in (1, 2, 3) if i != leader)) as service:
                self.at_once(lambda user: service.post(user, "shell", command="echo 0 > file"), users)
                at = {user: int(self.location(service, user)[1]) for user in users}
                self.assertEqual(set(at.values()), {1, 2, 3})
                if self.leader() == leader:  # no other was elected meanwhile
                    self.without_leader(service, leader, at)
                    return
        self.fail("another leader each time")

    def without_leader(self, service, leader, at):
        over = threading.Event()

        def go_on(user):
            n, slowest = 0, 0.0
            over.wait(LEADER_CUT_SECONDS / 2)  # until then all calls fail, and the backend is left alone
            while not over.is_set():
                n += 1
                began = time.monotonic()
                status, answer = service.call("POST", user, "/shell", {"command": f"echo {n} > file; cat file"})
                self.assertEqual((status, answer.get("output")), (200, f"{n}\n"), answer)
                slowest = max(slowest, time.monotonic() - began)
                over.wait(0.2)
            return n, slowest

        def in_vain(user):
            told = collections.Counter()
            while not over.is_set():
                told[service.call("POST", user, "/shell", {"command": "cat file", "timeout": 20})[0]] += 1
                over.wait(0.2)
            return told
        served = [user for user in at if at[user] != leader]
        others = [user for user in at if at[user] == leader] + ["new0", "new1", "new2"]
        with concurrent.futures.ThreadPoolExecutor(len(served) + len(others)) as threads:
            going = [threads.submit(go_on, user) for user in served]
            vain = [threads.submit(in_vain, user) for user in others]
            try:
                self.cut(leader, LEADER_CUT_SECONDS)
            finally:
                over.set()
            mended = time.monotonic()
            counts = [each.result() for each in going]
            told = sum((each.result() for each in vain), collections.Counter())
        print(f"calls in open sandboxes {sum(n for n, _ in counts)}, the slowest {max(s for _, s in counts):.2f} s; "
              f"answers to the others {dict(told)}")
        self.assertLess(max(slowest for _, slowest in counts), 2)
        self.assertGreater(told[503], 0)
        self.assertLessEqual(set(told), {200, 500, 503, 504}, "500: its sandbox is not heard of any more")
        self.whole()
        for user, (n, _) in zip(served, counts):
            self.assertEqual(self.again(service, user), f"{n}\n")
        for user in others:
            self.assertEqual(self.again(service, user), "0\n" if user in at else "")
        # What nobody waits for any more the engine may do only then: a record that is made after its user's purge.
        time.sleep(max(0.0, mended + LATE_SECONDS - time.monotonic()))

    def test_one_that_is_mute_is_not_taken_for_its_member(self):
        with self.host(1, "--incus.target=m2") as service:
            for user in ("mute", "beside"):
                service.post(user, "shell", command=f"echo {user} > file")
            first = service.call("GET", "mute", "/status")[1]["container_id"]
            os.kill(self.engine.pid(first), signal.SIGSTOP)  # the agent, which is the first process there

            def until_it_is_made_anew():
                status, answer = service.call("POST", "mute", "/shell", {"command": "cat file"})
                self.assertEqual((status, answer["code"]), (500, "gone"), answer)
                return self.again(service, "mute", 120)
            refused, n = 0, 0
            with concurrent.futures.ThreadPoolExecutor(1) as threads:
                anew = threads.submit(until_it_is_made_anew)
                while not anew.done():
                    n += 1
                    status, answer = service.call("POST", "beside", "/shell", {"command": "cat file"})
                    self.assertIn(status, (200, 503), answer)
                    refused += status == 503
                    time.sleep(0.02)
            self.assertEqual(anew.result(), "mute\n")
            self.assertNotEqual(service.call("GET", "mute", "/status")[1]["container_id"], first)
            doubts = service.log_text().count("member m2 of the cluster seems not to answer")
            print(f"{n} calls beside it, {refused} refused in {doubts} doubts")
            self.assertGreater(doubts, 1)
            self.assertLessEqual(refused, doubts, "at most those that came before a sign of life did")

    def test_users_of_a_member_that_is_away_are_told_and_no_other_is_kept_waiting(self):
        away = self.follower()
        with self.host(1, f"--incus.target=m{away}") as gone, \
                self.host(1, f"--incus.target=m{5 - away}", installation=None) as other:
            # After a test that lost a member the others may still find each other silent for a moment.
            for service, user in ((gone, "a"), (other, "b")):
                self.again(service, user, command=f"echo {user} > file; cat file")
            running = Call(gone, "a", "sleep 60").started()
            self.engine.cut(away)
            self.addCleanup(self.engine.mend, away)
            try:
                slowest, end = 0.0, time.monotonic() + 20
                while time.monotonic() < end:
                    began = time.monotonic()
                    self.assertEqual(other.post("b", "shell", command="cat file")["output"], "b\n")
                    slowest = max(slowest, time.monotonic() - began)
                self.assertLess(slowest, 2)
                began = time.monotonic()
                status, answer = gone.call("POST", "a", "/shell", {"command": "cat file", "timeout": 20})
                self.assertIn(status, (503, 504), answer)
                self.assertIn(f"m{away}", answer["error"])
                self.assertLess(time.monotonic() - began, 40)
            finally:
                self.engine.mend(away)
            status, answer = running.end(90)
            self.assertTrue(status == 200 or answer["error"], answer)
            self.whole()
            self.assertEqual(self.again(gone, "a"), "a\n")

    def again(self, service, user, seconds=60, command="cat file"):
        deadline = time.monotonic() + seconds
        while True:
            status, answer = service.call("POST", user, "/shell", {"command": command})
            if status == 200:
                return answer["output"]
            self.assertIn(status, (503, 504), answer)
            self.assertLess(time.monotonic(), deadline, answer)
            time.sleep(0.2)

    def test_the_leader_is_killed(self):
        leader = self.leader()
        through = next(i for i in (1, 2, 3) if i != leader)
        with self.host(through) as service:
            def kill():
                self.engine.stop(signal.SIGKILL, str(leader))
                try:
                    deadline = time.monotonic() + 60
                    while service.call("POST", "meanwhile", "/shell", {"command": "true"})[0] != 200:
                        self.assertLess(time.monotonic(), deadline, "the others elect another")
                finally:
                    self.engine.do_script("up")
            self.addCleanup(self.engine.do_script, "up")
            self.load(service, 5, kill)

    def test_the_member_that_the_host_asks_is_killed(self):
        with self.host(2) as service:
            service.post("a", "shell", command="echo a > file")
            self.engine.stop(signal.SIGKILL, "2")
            self.addCleanup(self.engine.do_script, "up")
            try:
                status, answer = service.call("POST", "new", "/shell", {"command": "true"})
                self.assertEqual(status, 503, answer)
                self.assertIn("Incus", answer["error"])
                self.assertIn(service.request("GET", "/health")[0], (200, 503))
            finally:
                self.engine.do_script("up")
            self.whole()
            self.assertEqual(self.again(service, "a"), "a\n")

    def test_files_of_an_evacuated_member_come_along(self):
        with self.host(1) as service:
            self.engine.known[service.root] = INSTALLATION
            users = [f"e{i}" for i in range(6)]
            self.at_once(lambda user: service.post(user, "shell", command=f"echo {user} > file"), users)
            there = [user for user in users if self.location(service, user) == "m3"]
            self.assertTrue(there, "some are on it")
            self.engine.do("POST", "/1.0/cluster/members/m3/state", {"action": "evacuate"})
            self.addCleanup(self.restore)
            for i in range(4):
                service.post(f"after{i}", "shell", command="true")
                self.assertNotEqual(self.location(service, f"after{i}"), "m3")
            for user in there:  # their files were on its disk
                self.assertEqual(self.again(service, user), f"{user}\n")
                self.assertNotEqual(self.location(service, user), "m3")
                service.post(user, "shell", command="echo more >> file")
            kept = [each for each in self.engine.own(service.root, self.engine.all_volumes(service.root))
                    if each["config"][OWN + "kind"] == "workspace"]
            self.assertEqual(dict(collections.Counter(each["config"][OWN + "user"] for each in kept)), {
                user: 1 for user in service.users}, "no copy is left behind")
            self.assertNotIn("m3", {each["location"] for each in kept})
            self.assertEqual(set(self.engine.profiles(service.root)), {each["name"] for each in kept}, "no move is left open")
            self.restore()
            self.whole()
            for user in users:
                self.assertEqual(self.again(service, user), f"{user}\n" + "more\n" * (user in there))

    def restore(self):
        if self.engine.members()["m3"] == "Evacuated":
            self.engine.do("POST", "/1.0/cluster/members/m3/state", {"action": "restore"})


if __name__ == "__main__":
    unittest.main()
