# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("namespaces by unshare, clone, setns")
SIGCHLD = 17
FLAGS = dict(user=0x10000000, mount=0x20000, net=0x40000000, pid=0x20000000, uts=0x4000000, ipc=0x8000000,
             cgroup=0x2000000, time=0x80)
for name, flag in FLAGS.items():
    check.refused("unshare", flag, label="unshare " + name)
    check.refused("unshare", flag | HIGH, label="unshare %s with high bits" % name)
    if name != "time":
        for garbage in (0, HIGH, HIGH << 7):
            def attempt():
                result, err = syscall("clone", flag | SIGCHLD | garbage, 0, 0, 0, 0)
                if result == 0:
                    os._exit(0)
                return 0 if result > 0 else err
            status, killed = in_child(attempt)
            check.count += 1
            label = "clone %s%s" % (name, " with high bits" if garbage else "")
            if status == 0:
                check.escaped(label + " worked")
            elif killed != signal.SIGSYS and status not in REFUSALS:
                check.weak("%s: %s" % (label, errno.errorcode.get(status, status)))
check.refused("unshare", FLAGS["user"] | FLAGS["mount"] | FLAGS["net"], label="unshare of several")
for name in os.listdir("/proc/self/ns"):
    fd = os.open("/proc/self/ns/" + name, os.O_RDONLY)
    check.refused("setns", fd, 0, label="setns " + name)
check.refused("setns", -1, 0)
check.done()
