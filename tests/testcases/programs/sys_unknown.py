# SPDX-License-Identifier: Apache-2.0
from probe import *

check = Check("system calls that no list names are refused, also those of the future")
# 451 and on: newer than the kernels this was written for; some exist by now (cachestat, futex_wait, statmount …).
harmless = {448, 449, 450, 451, 452, 453, 454, 455, 456, 462, 463, 464, 465, 466, 467, 468, 469}
for number in range(470, 700):
    check.refused(number, -1, -1, -1, -1, -1, -1)
for number in (457, 458, 459, 460, 461):  # statmount listmount lsm_*
    check.refused(number, 0, 0, 0, 0)
for number in (1 << 20, 0x7FFFFFFF, 0x80000000, (1 << 32) | NR["unshare"]):
    status, killed = in_child(lambda: 0 if syscall(number, 0x10000000)[0] >= 0 else 1)
    check.expect(status != 0, "number %#x worked" % number)
check.done()
