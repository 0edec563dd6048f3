# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("no capabilities, and none to be had")
status = status_of()
for field in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
    check.expect(int(status[field], 16) == 0, "%s is %s" % (field, status[field]))
check.expect(status["NoNewPrivs"] == "1", "no_new_privs is not set")
check.expect(os.getuid() != 0 and os.geteuid() != 0, "runs as root")
own = {os.getuid()}
for uid in sorted({0, 1, 1000, 65534, os.getuid() + 1, max(0, os.getuid() - 1)} - own):
    check.fails("setuid(%d)" % uid, lambda: os.setuid(uid))
for gid in sorted({0, 1, 1000, os.getgid() + 1} - {os.getgid()}):
    check.fails("setgid(%d)" % gid, lambda: os.setgid(gid))
check.fails("setgroups", lambda: os.setgroups([0]))
check.fails("chroot", lambda: os.chroot("/tmp"))
check.fails("nice(-5)", lambda: os.nice(-5))
check.done()
