# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("/proc shows the sandbox's processes only")
names = {}
for pid in pids():
    try:
        names[pid] = status_of(pid)
    except OSError:
        continue
check.expect(len(names) < 40, "%d processes" % len(names))
for pid, status in names.items():
    check.expect(status["Name"] not in ("kthreadd", "systemd", "dockerd", "incusd", "clara-sandbox", "sshd", "kworker"),
                 "%d is %s" % (pid, status["Name"]))
    check.expect(pid == 1 or status["PPid"] != "0", "%d has no parent inside" % pid)
    try:
        check.expect(pid == os.getpid() or not HOST["marker"] or HOST["marker"] not in read_text("/proc/%d/cmdline" % pid), "a host's command line")
    except OSError:
        pass
check.done()
