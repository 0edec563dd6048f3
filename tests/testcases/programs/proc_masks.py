# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("links and tricks do not lead around what is hidden in /proc (runc 2025-31133)")
# Races over /dev/null and /dev/console ended in writable mounts of /proc files; here they are the kernel's own devices.
import stat
for path, want in (("/dev/null", (1, 3)), ("/dev/zero", (1, 5))):
    s = os.stat(path)
    check.expect(stat.S_ISCHR(s.st_mode) and (os.major(s.st_rdev), os.minor(s.st_rdev)) == want, path + " is something else")
    check.fails("replacing " + path, lambda: os.rename("/dev/full", path))
for way in ("/proc/self/task/%d/root/proc/" % os.getpid(), "/proc/self/root/proc/", "/proc/thread-self/root/proc/",
            "/proc/self/cwd/../proc/"):
    for name in ("sysrq-trigger", "sys/kernel/core_pattern"):
        check.fails(way + name, lambda: os.close(os.open(way + name, os.O_WRONLY)))
check.refused("umount2", b"/proc", 2)
check.refused("mount", b"proc", b"/tmp", b"proc", 0, 0, label="mounting a new proc")
check.done()
