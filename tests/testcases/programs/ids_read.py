# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("a user whose id looks alike sees nothing of it")
check.expect(not os.path.exists("/workspace/csb-secret"), "the other user's file is here")
for pid in pids():
    try:
        names = os.listdir("/proc/%d/root/workspace" % pid)
    except OSError:
        continue
    check.expect("csb-secret" not in names, "seen through /proc/%d" % pid)
check.done()
