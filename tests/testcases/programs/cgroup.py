# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("control groups cannot be changed, release_agent not planted")
for base in ("/sys/fs/cgroup", "/proc/self/root/sys/fs/cgroup"):
    for folder, dirs, files in os.walk(base):
        for name in files:
            if name in ("release_agent", "cgroup.procs", "notify_on_release", "memory.max", "memory.limit_in_bytes",
                        "pids.max", "cgroup.subtree_control", "devices.allow", "tasks"):
                path = os.path.join(folder, name)
                check.fails(path, lambda: os.close(os.open(path, os.O_WRONLY)))
        check.fails("mkdir in " + folder, lambda: os.mkdir(folder + "/csb-planted"))
check.refused("mount", b"cgroup", b"/tmp", b"cgroup", 0, b"memory", label="mounting cgroup")
check.refused("mount", b"cgroup2", b"/tmp", b"cgroup2", 0, 0, label="mounting cgroup2")
check.done()
