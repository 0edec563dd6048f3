# SPDX-License-Identifier: Apache-2.0
# timeout: 400
"""Containers that are ready before their user comes (pool_checks.py), and what is so of Docker alone."""
import time
import unittest

from pool_checks import PoolChecks


class Pool(PoolChecks, unittest.TestCase):
    mode = "docker"

    def waiting(self):
        rows = self.engine.lines("ps", "--no-trunc", "--filter", "label=" + self.engine.label(self.root), "--format",
                                 "{{.Names}} {{.ID}}")
        return {name: id for name, id in map(str.split, rows) if "-pool-" in name}

    def id_of(self, service, user):
        return self.engine.inspect(service.call("GET", user, "/status")[1]["container_id"])["Id"]

    def cpu_of(self, service, user):
        container = service.call("GET", user, "/status")[1]["container_id"]
        return self.engine.inspect(container)["HostConfig"]["NanoCpus"] / 1e9

    def there(self):
        rows = self.engine.lines("ps", "-a", "--filter", "label=" + self.engine.label(self.root), "--format",
                                 "{{.Names}} {{.State}}")
        return [row for row in rows if "removing" not in row]

    def remove(self, name):
        self.engine.run("rm", "-f", name)

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


if __name__ == "__main__":
    unittest.main()
