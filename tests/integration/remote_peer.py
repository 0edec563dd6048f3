# SPDX-License-Identifier: Apache-2.0
"""The services that hosts with the backend `remote` use: one for each root folder, started when it is asked for.

    far_of(root)                # a Service over CSB_TEST_REMOTE_OVER, its folders in root/far; or a PlainService
    options(root)               # --remote.url=… --remote.api_key=…
    close(root)                 # ends it; its sandboxes must be gone by then

What is left when the program ends is closed then.
"""
import atexit
import json
import os
import pathlib
import sys
import time

import harness

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "fake_servers"))
from plain_service import PlainService  # noqa: E402

for name in ("http_proxy", "https_proxy", "all_proxy"):  # a test says which it means
    os.environ.pop(name, None)
    os.environ.pop(name.upper(), None)
KEY = "key-of-the-far-service"
FARS = {}


def far_of(root, more=()):
    if root not in FARS:
        if harness.OVER == "plain":
            FARS[root] = PlainService(key=KEY).start()
        else:
            folder = f"{root}/far"
            os.makedirs(folder, exist_ok=True)
            FARS[root] = harness.Service(*more, mode=harness.OVER, root=folder, key=KEY).start()
    return FARS[root]


def to(*urls, key=KEY):
    """The options of a host that lead to these."""
    return [f"--remote.url={','.join(urls)}", f"--remote.api_key={key}"]


def options(root):
    return to(far_of(root).url)


def close(root, *failed):
    """`failed`: as __exit__ gets it; then what is left is no news."""
    far = FARS.pop(root, None)
    if far:
        far.__exit__(*(failed or (None,)))


def health(service):
    status, _, body = service.request("GET", "/health")
    return status, json.loads(body)["backends"]["remote"]


def wait_for(what, seconds, why=""):
    """Nothing tells of another process's change of mind."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {why}")
        time.sleep(0.05)
    return found


@atexit.register
def close_all():
    for root in list(FARS):
        close(root)
