# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("the x32 ABI")
if platform.machine() == "x86_64":
    X32 = 0x40000000
    for name in ("getpid", "unshare", "mount", "ptrace", "bpf", "clone3"):
        check.refused(X32 | NR[name], 0, label="x32 " + name)
    for number in (512, 521, 540, 547):  # x32's own: rt_sigaction, ptrace, process_vm_writev …
        check.refused(X32 | number, 0, label="x32 %d" % number)
    check.refused(X32 | 16, 0, 0x5412, 0, label="x32 ioctl")
check.done()
