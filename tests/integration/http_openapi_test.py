# SPDX-License-Identifier: Apache-2.0
"""/openapi.json against the OpenAPI 3.1 schema, by a validator from npm; it makes no sandbox."""
import json
import pathlib
import shutil
import subprocess
import unittest

import harness

VALIDATOR = "@seriousme/openapi-schema-validator@2.11.0"


def validator():
    """The validator's program, installed into the build folder; skipped without npm or its registry."""
    folder = harness.BUILD / "openapi-validator"
    program = folder / "node_modules" / ".bin" / "validate-api"
    if program.exists():
        return program
    reason = "npm is not installed"
    if shutil.which("npm"):
        folder.mkdir(exist_ok=True)
        done = subprocess.run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error",
                               "--prefix", str(folder), VALIDATOR], capture_output=True, text=True, timeout=200)
        if done.returncode == 0:
            return program
        reason = f"npm install failed: {done.stderr[-500:]}"
    if harness.must_run("openapi"):
        raise AssertionError(reason)
    raise unittest.SkipTest(reason)


class OpenApi(unittest.TestCase):
    def test_the_document_is_valid(self):
        program = validator()
        with harness.Service() as service:
            status, _, body = service.request("GET", "/openapi.json")
            self.assertEqual(status, 200)
            file = pathlib.Path(service.root, "openapi.json")
            file.write_bytes(body)
            checked = subprocess.run([program, file], capture_output=True, text=True, timeout=60)
            self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
            # Does the validator see anything at all?
            broken = json.loads(body)
            del broken["info"]["title"]
            file.write_text(json.dumps(broken))
            checked = subprocess.run([program, file], capture_output=True, text=True, timeout=60)
            self.assertNotEqual(checked.returncode, 0, "a document without a title is not valid")

    def test_what_it_describes_is_there(self):
        with harness.Service() as service:
            document = json.loads(service.request("GET", "/openapi.json")[2])
            for path, methods in document["paths"].items():
                target = path.replace("{user_id}", "")  # refused as 422: found, and nothing is made
                allow = service.request("OPTIONS", target)[1]["Allow"]
                for method in methods:
                    self.assertIn(method.upper(), allow, path)


if __name__ == "__main__":
    unittest.main()
