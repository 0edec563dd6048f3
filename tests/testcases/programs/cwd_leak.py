# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("the working directory is the workspace, and .. ends at the sandbox's root")
check.expect(os.getcwd() == "/workspace", "cwd is " + os.getcwd())
root = os.stat("/")
for up in ("../" * 40, "/proc/self/cwd/" + "../" * 40, "/proc/self/root/" + "../" * 40):
    s = os.stat(up)
    check.expect((s.st_dev, s.st_ino) == (root.st_dev, root.st_ino), up[:30] + " is not the root")
for pid in ancestors():
    for link in ("cwd", "root"):
        try:
            names = os.listdir("/proc/%d/%s/" % (pid, link))
        except OSError:
            continue
        check.expect(link == "cwd" or set(names) <= set(os.listdir("/")), "/proc/%d/%s shows %s" % (pid, link, names[:5]))
check.done()
