# SPDX-License-Identifier: Apache-2.0
# timeout: 900
# backends: incus incus-exec
"""Instances that are ready before their user comes (pool_checks.py), and what is so of Incus alone."""
import time
import unittest

from incus_engine import OWN
from pool_checks import PoolChecks


class Pool(PoolChecks, unittest.TestCase):
    mode = "incus"

    def waiting(self):
        return {name: name for name in self.engine.pooled(self.root)}  # a running one can't be renamed

    def id_of(self, service, user):
        return service.call("GET", user, "/status")[1]["container_id"]

    def cpu_of(self, service, user):
        used, period = self.engine.inspect(self.id_of(service, user))["config"]["limits.cpu.allowance"].split("/")
        return float(used.removesuffix("ms")) / float(period.removesuffix("ms"))

    def there(self):
        return self.engine.containers(self.root)

    def going(self, names):
        return set(names) & set(self.there())  # stopped, then deleted; a host that ends leaves the rest to the next

    def remove(self, name):
        self.engine.delete(name)

    def test_one_that_is_given_out_says_whose_it_is(self):
        with self.service(1) as service:
            name, = self.ready(1)
            self.assertNotIn(OWN + "user", self.engine.inspect(name)["config"])
            service.post("whose/ä", "shell", command="true")
            # Written behind the claim, which the record decides: for people who look at the engine.
            until = time.monotonic() + 20
            while OWN + "user" not in (config := self.engine.inspect(name)["config"]) and time.monotonic() < until:
                time.sleep(0.1)
            self.assertEqual((config[OWN + "kind"], config.get(OWN + "user")), ("sandbox", "whose/ä"))

    def test_another_image_of_the_same_name_replaces_them(self):
        alias, first = "csb-pool-test", self.engine.do("GET", f"/1.0/images/aliases/{self.engine.image}")["target"]
        self.engine.do("POST", "/1.0/images/aliases", {"name": alias, "target": first})
        images = []  # with the image goes the name

        def remove():
            self.engine.do("DELETE", f"/1.0/images/{images[0]}" if images else f"/1.0/images/aliases/{alias}")
        self.addCleanup(remove)
        with self.service(1, f"--incus.image={alias}") as service:
            old = self.ready(1)
            self.engine.create("csb-pool-image")
            self.addCleanup(self.engine.delete, "csb-pool-image")
            self.engine.change("csb-pool-image", "stop", force=True)
            made = self.engine.do("POST", "/1.0/images", {"source": {"type": "instance", "name": "csb-pool-image"}, "compression_algorithm": "none",
                                                          "properties": {"csb.test": "changed"}})["metadata"]["fingerprint"]
            self.engine.do("PUT", f"/1.0/images/aliases/{alias}", {"target": made})
            images.append(made)
            deadline = time.monotonic() + 60
            while not set(self.ready()) - set(old):
                self.assertLess(time.monotonic(), deadline, "the one of the old image still waits")
                time.sleep(0.1)
            service.post("after", "shell", command="true")
            found = self.engine.inspect(self.id_of(service, "after"))
            self.assertEqual(found["config"]["volatile.base_image"], made, "the image that the name means now")


if __name__ == "__main__":
    unittest.main()
