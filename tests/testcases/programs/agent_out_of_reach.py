# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("the agent and its supervisors cannot be signalled, traced or read")
above = sorted(set(ancestors() + [1]))
for pid in above:
    for name in ("mem", "environ", "maps", "auxv", "syscall", "stack", "personality"):
        try:
            with open("/proc/%d/%s" % (pid, name), "rb", buffering=0) as f:
                data = f.read(64)
        except OSError:
            check.count += 1
            continue
        check.expect(not data and name != "mem", "/proc/%d/%s can be read" % (pid, name))
    check.fails("listing the descriptors of %d" % pid, lambda: os.listdir("/proc/%d/fd" % pid))
    check.fails("writing oom_score_adj of %d" % pid, lambda: open("/proc/%d/oom_score_adj" % pid, "w").close())
    check.fails("signal 0 to %d" % pid, lambda: os.kill(pid, 0))
    check.fails("SIGSTOP to %d" % pid, lambda: os.kill(pid, signal.SIGSTOP))
    try:
        os.close(os.open("/proc/%d/mem" % pid, os.O_RDWR))
        check.escaped("/proc/%d/mem opens to write" % pid)
    except OSError:
        pass
check.done()
